"""References, the question whether a file declares an app, and importing the user's program."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.errors import InvalidError, NotFoundError
from byoc.sdk import load
from byoc.sdk.load import FILE, MODULE, STDIN, Reference


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder of the test's own; what it imports is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    modules, path = set(sys.modules), list(sys.path)
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


def write(name: str, text: str = "") -> Path:
    """A file below the working folder."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "module", "expected"),
    [
        ("a.py", False, Reference(FILE, "a.py")),
        ("a.py::main", False, Reference(FILE, "a.py", "main")),
        ("a.py::app.fn", False, Reference(FILE, "a.py", "app.fn")),
        ("pkg.mod", True, Reference(MODULE, "pkg.mod")),
        ("pkg.mod::f", True, Reference(MODULE, "pkg.mod", "f")),
        ("-", False, Reference(STDIN, "-")),
        ("-::f", False, Reference(STDIN, "-", "f")),
    ],
)
def test_references(text: str, module: bool, expected: Reference) -> None:
    """Files, modules and standard input, with and without a name."""
    write("a.py")
    assert load.parse_reference(text, module=module) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a.py:main", "a.py::main"),
        ("b.py", "did you mean a.py"),
        ("sub", "inner.py"),
        ("sub.inner", "-m sub.inner"),
        ("nowhere/a.py", "no folder"),
        ("a.py::", "FILE::NAME"),
        ("::main", "FILE::NAME"),
        ("", "FILE::NAME"),
    ],
)
def test_wrong_references_say_what_was_meant(text: str, hint: str) -> None:
    """Each likely mistake gets the hint that leads out of it."""
    write("a.py")
    write("sub/inner.py")
    wrong = "a_.py" if text == "b.py" else text
    with pytest.raises((InvalidError, NotFoundError)) as caught:
        load.parse_reference(wrong)
    assert hint in " ".join(caught.value.hints)


APPS = {
    "imports byoc": "import byoc\n",
    "from byoc": "from byoc import App\n",
    "imports modal": "import modal\n",
    "imports it late": "def f():\n    import byoc.sdk\n",
    "decorates": "from where import it\n\n@it.function()\ndef f(): ...\n",
    "takes an app over": "from beside import app\n",
    "takes it over from afar": "from chain import shared as app\n",
}
PLAIN = {
    "nothing": "",
    "a script": "import json\nprint(json.dumps({}))\n",
    "a similar name": "import byocrat\nfrom byoc_tools import x\n",
    "another App": "from flask_like import App\napp = App()\n",
    "another decorator": "@functools.cache\ndef f(): ...\n",
    "a helper that knows byoc": "from helper import add\n",
    "itself": "from script import app\n",
}


@pytest.fixture
def neighbours() -> None:
    """Files beside the script."""
    write("beside.py", "import byoc\napp = byoc.App('x')\n")
    write("chain.py", "from beside import app as shared\n")
    write("helper.py", "import byoc\ndef add(): ...\n")
    write("flask_like.py", "class App: ...\n")


@pytest.mark.parametrize("text", APPS.values(), ids=list(APPS))
@pytest.mark.usefixtures("neighbours")
def test_files_with_an_app(text: str) -> None:
    """A file that uses byoc, or takes an app from a file beside it, is imported here."""
    write("script.py", text)
    assert not load.is_plain(Reference(FILE, "script.py"), text.encode())


@pytest.mark.parametrize("text", PLAIN.values(), ids=list(PLAIN))
@pytest.mark.usefixtures("neighbours")
def test_plain_scripts(text: str) -> None:
    """Anything else is a plain script, found out without running a line of it."""
    write("script.py", text)
    assert load.is_plain(Reference(FILE, "script.py"), text.encode())


def test_a_name_means_that_there_is_an_app() -> None:
    """FILE::NAME is never a plain script."""
    assert not load.is_plain(Reference(FILE, "script.py", "f"), b"print()")


def test_modules_are_looked_at_too() -> None:
    """A module is judged by its source, and its own top level is not run for that."""
    write("pkg/__init__.py")
    write("pkg/plain.py", "raise SystemExit('must not run here')\n")
    write("pkg/app.py", "import byoc\napp = byoc.App()\n")
    assert load.is_plain(Reference(MODULE, "pkg.plain"), b"")
    assert not load.is_plain(Reference(MODULE, "pkg.app"), b"")


def test_a_missing_module_is_told_from_a_broken_one() -> None:
    """No such module is NotFoundError; a module that fails to import says why itself."""
    write("pkg/__init__.py", "import not_installed_anywhere\n")
    write("pkg/app.py")
    with pytest.raises(NotFoundError):
        load.is_plain(Reference(MODULE, "nothing.here"), b"")
    with pytest.raises(ModuleNotFoundError) as caught:
        load.is_plain(Reference(MODULE, "pkg.app"), b"")
    assert caught.value.name == "not_installed_anywhere"


def test_what_is_no_python_is_refused() -> None:
    """A broken .py file is a SyntaxError at its own line; another file is not a program."""
    with pytest.raises(SyntaxError) as caught:
        load.is_plain(Reference(FILE, "a.py"), b"x = (\n")
    assert caught.value.filename == str(Path("a.py").absolute()) and caught.value.lineno == 1
    with pytest.raises(InvalidError):
        load.is_plain(Reference(FILE, "a.csv"), b"a,b,,\n1 2")
    with pytest.raises(InvalidError):
        load.is_plain(Reference(FILE, "a.bin"), b"\0\1")


def test_a_file_is_imported_under_its_stem(folder: Path) -> None:
    """The module has the stem's name, is registered, finds its neighbours and is not __main__."""
    write("sub/neighbour.py", "value = 5\n")
    path = write("sub/program.py", "import neighbour\nname = __name__\nvalue = neighbour.value\n")
    module = load.load(Reference(FILE, str(path)), b"")
    assert (module.__name__, module.name, module.value) == ("program", "program", 5)
    assert sys.modules["program"] is module
    assert sys.path[0] == str(folder / "sub") and module.__file__ == str(folder / "sub/program.py")


def test_a_failed_import_leaves_nothing_behind() -> None:
    """The user's exception passes through as it is, and no half module stays registered."""
    path = write("program.py", "raise KeyError('mine')\n")
    with pytest.raises(KeyError, match="mine"):
        load.load(Reference(FILE, str(path)), b"")
    assert "program" not in sys.modules


def test_a_name_that_python_needs_is_refused() -> None:
    """A program called like a loaded module would break everything that uses that module."""
    path = write("json.py")
    with pytest.raises(InvalidError, match="hides the module 'json'"):
        load.load(Reference(FILE, str(path)), b"")


def test_relative_imports_lead_to_m() -> None:
    """A file that needs its package gets the command that works."""
    write("pkg/__init__.py")
    write("pkg/sub/__init__.py")
    path = write("pkg/sub/part.py", "from . import other\n")
    with pytest.raises(InvalidError) as caught:
        load.load(Reference(FILE, str(path)), b"")
    assert caught.value.hints == ("use -m: byoc run -m pkg.sub.part",)


def test_standard_input_is_a_module_without_a_file() -> None:
    """A program from stdin runs as a module whose lines tracebacks can show."""
    reference = Reference(STDIN, "-")
    source = load.read(reference, io.BytesIO(b"def f():\n    return {}['k']\n"))
    module = load.load(reference, source)
    assert getattr(module, "__file__", None) is None and module.__name__ != "__main__"
    with pytest.raises(KeyError):
        module.f()


def test_no_typer_is_loaded() -> None:
    """The SDK's loader leaves the command line's libraries alone."""
    code = "import sys, byoc.sdk.load, byoc.sdk.choose; print('typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
