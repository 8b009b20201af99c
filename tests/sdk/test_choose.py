"""Which function or entrypoint of a program is meant."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from byoc.errors import InvalidError, NotFoundError
from byoc.sdk.choose import MethodOf, candidates, choose
from byoc.sdk.load import FILE, Reference, load

HEAD = "import byoc\napp = byoc.App('a')\n"
FUNCTION = "@app.function()\ndef {0}(): ...\n"
ENTRYPOINT = "@app.local_entrypoint()\ndef {0}(): ...\n"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[type[Program]]:
    """Makes programs in the test's folder; they are forgotten afterwards."""
    path = list(sys.path)
    Program.folder = tmp_path
    yield Program
    sys.path[:] = path
    sys.modules.pop("program", None)


class Program:
    """A program made of pieces of text."""

    folder: Path

    @classmethod
    def of(cls, *parts: str) -> ModuleType:
        """The imported module."""
        path = cls.folder / "program.py"
        path.write_text("".join(parts))
        return load(Reference(FILE, str(path)), b"")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([FUNCTION.format("f")], "f"),
        ([FUNCTION.format("f"), ENTRYPOINT.format("main")], "main"),
        ([FUNCTION.format("f"), FUNCTION.format("g"), ENTRYPOINT.format("main")], "main"),
        ([FUNCTION.format("f"), ENTRYPOINT.format("m"), "del m\n"], "f"),
        ([FUNCTION.format("f"), ENTRYPOINT.format("m"), "del f, m\n"], "app.m"),
        ([FUNCTION.format("f"), "del f\n"], "app.f"),
        ([FUNCTION.format("f"), "g = f\ndel f\n"], "g"),
        ([ENTRYPOINT.format("m"), "other = byoc.App()\n"], "m"),
    ],
)
def test_the_only_candidate_of_the_best_rank(
    program: type[Program], parts: list[str], expected: str
) -> None:
    """Module entrypoints, then module functions, then those that only the app knows."""
    chosen = choose(program.of(HEAD, *parts), "", "p.py")
    assert chosen.name == expected
    assert chosen.app.name == "a"


@pytest.mark.parametrize(
    "parts",
    [
        [FUNCTION.format("f"), FUNCTION.format("g")],
        [ENTRYPOINT.format("f"), ENTRYPOINT.format("g")],
    ],
)
def test_several_candidates_are_listed(program: type[Program], parts: list[str]) -> None:
    """With two of the same rank byoc does not guess."""
    module = program.of(HEAD, *parts)
    with pytest.raises(InvalidError) as caught:
        choose(module, "", "p.py")
    assert caught.value.hints == ("run one of p.py::f, p.py::g",)
    assert candidates(module) == ["f", "g"]


@pytest.mark.parametrize("name", ["f", "app.f", "main", "app.main", "named"])
def test_names(program: type[Program], name: str) -> None:
    """Variables, app.name, and the name given to the decorator."""
    named = "@app.function(name='named')\ndef hidden(): ...\n"
    module = program.of(
        HEAD, FUNCTION.format("f"), ENTRYPOINT.format("main"), named, "del hidden\n"
    )
    chosen = choose(module, name, "p.py")
    assert chosen.target.name == name.rpartition(".")[2]


@pytest.mark.parametrize("name", ["other", "given", "app.given"])
def test_names_beside_the_variable(program: type[Program], name: str) -> None:
    """What has another name than its variable is found under both."""
    given = "@app.local_entrypoint(name='given')\ndef other(): ...\n"
    module = program.of(HEAD, ENTRYPOINT.format("main"), given)
    assert choose(module, name, "p.py").target.name == "given"


def test_an_app_stands_for_its_only_function(program: type[Program]) -> None:
    """FILE::app works when there is nothing to choose."""
    module = program.of(HEAD, FUNCTION.format("f"))
    assert choose(module, "app", "p.py").name == "f"


def test_the_app_of_an_imported_function_is_found(program: type[Program]) -> None:
    """A function from another file brings its own app along."""
    (program.folder / "library.py").write_text(HEAD + FUNCTION.format("f"))
    module = program.of("from library import f\n")
    chosen = choose(module, "", "p.py")
    assert chosen.name == "f" and chosen.app.name == "a"
    del sys.modules["library"]


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [
        ("ff", NotFoundError, "did you mean p.py::f?"),
        ("zzzzz", NotFoundError, "run one of p.py::f, p.py::main"),
        ("app.g", NotFoundError, "p.py::f"),
        ("helper", InvalidError, "@app.function()"),
        ("app", InvalidError, "p.py::f, p.py::main"),
    ],
)
def test_names_that_lead_nowhere(
    program: type[Program], name: str, kind: type[Exception], hint: str
) -> None:
    """Each is refused with the way out."""
    module = program.of(
        HEAD, FUNCTION.format("f"), ENTRYPOINT.format("main"), "def helper(): ...\n"
    )
    with pytest.raises(kind) as caught:
        choose(module, name, "p.py")
    assert hint in " ".join(caught.value.hints)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("text", "hint"), [("x = 1\n", "byoc.App"), (HEAD, "@app.function()")])
def test_nothing_to_run(program: type[Program], text: str, hint: str) -> None:
    """No app, or an app without functions, is said in so many words."""
    with pytest.raises(NotFoundError) as caught:
        choose(program.of(text), "", "p.py")
    assert hint in " ".join(caught.value.hints)


def test_long_lists_are_cut(program: type[Program]) -> None:
    """An error does not fill the screen."""
    module = program.of(HEAD, *(FUNCTION.format(f"f{i:02}") for i in range(30)))
    with pytest.raises(InvalidError) as caught:
        choose(module, "", "p.py")
    assert "and 20 more" in caught.value.hints[0]


CLASS = """
@app.cls()
class {0}:
    size: int = byoc.parameter(default=1)

    @byoc.method()
    def go(self): ...
"""
MORE = """
    @byoc.method()
    def stop(self): ...
"""


@pytest.mark.parametrize(
    ("parts", "name", "expected"),
    [
        ([CLASS.format("C")], "", "C.go"),
        ([CLASS.format("C")], "C", "C.go"),
        ([CLASS.format("C"), MORE], "C.stop", "C.stop"),
        ([CLASS.format("C"), MORE], "app.C.stop", "app.C.stop"),
        ([CLASS.format("C"), "D = C\ndel C\n"], "", "D.go"),
        ([CLASS.format("C"), "del C\n"], "", "app.C.go"),
        ([CLASS.format("C"), ENTRYPOINT.format("main")], "", "main"),
        ([CLASS.format("C"), FUNCTION.format("f")], "f", "f"),
    ],
)
def test_methods(program: type[Program], parts: list[str], name: str, expected: str) -> None:
    """Behaviour 11: each method of a class is a function, called Class.method."""
    chosen = choose(program.of(HEAD, *parts), name, "p.py")
    assert chosen.name == expected
    if isinstance(chosen.target, MethodOf):
        assert chosen.target.method == expected.rpartition(".")[2]


@pytest.mark.parametrize("name", ["", "C"])
def test_several_methods_are_listed(program: type[Program], name: str) -> None:
    """Behaviour 11: a class with several methods does not say which one runs."""
    with pytest.raises(InvalidError) as caught:
        choose(program.of(HEAD, CLASS.format("C"), MORE), name, "p.py")
    assert caught.value.hints == ("run one of p.py::C.go, p.py::C.stop",)


def test_functions_of_an_included_app(program: type[Program]) -> None:
    """What an app includes is found under its name."""
    (program.folder / "library.py").write_text(HEAD + FUNCTION.format("f"))
    module = program.of("import byoc, library\napp = byoc.App()\napp.include(library.app)\n")
    chosen = choose(module, "", "p.py")
    assert chosen.name == "app.f"
    assert chosen.app is module.app
    del sys.modules["library"]
