"""Import the user's program (:mod:`byoc.sdk.choose` then finds what in it is to be run).

A file is imported under its own stem, with its folder first on ``sys.path``: the same name that
the instance imports it by. Exceptions of the user's own code pass through unchanged.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.machinery
import importlib.util
import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, NamedTuple

from ..errors import InvalidError, NotFoundError

FILE, MODULE, STDIN = "file", "module", "stdin"
STDIN_NAME = "byoc_stdin"
"""The module that a program read from standard input becomes."""
_DECLARES = ("byoc", "modal")
_DECORATORS = ("function", "cls", "local_entrypoint")
_LISTED = 5
"""Files that a hint lists."""
_FOLLOW = 8
"""How many files away from the script an imported ``app`` is looked for."""


class Reference(NamedTuple):
    """What ``byoc run`` was asked for. ``target``: a path, a dotted module or ``-``; ``name``: what
    stood after ``::``, or nothing."""

    kind: str
    target: str
    name: str = ""

    @property
    def path(self) -> Path:
        """The file, absolute (:data:`FILE` only)."""
        return Path(self.target).absolute()


# --- references -----------------------------------------------------------------------------


def parse_reference(text: str, *, module: bool = False) -> Reference:
    """``FILE[::NAME]``, ``-[::NAME]`` or, with ``module``, ``pkg.mod[::NAME]``.

    Raises :class:`InvalidError` or :class:`NotFoundError` with what was probably meant.
    """
    target, separator, name = text.partition("::")
    if not target or (separator and not name):
        raise InvalidError(
            f"{text!r} is not a reference", hints=("write FILE, FILE::NAME or -m MODULE",)
        )
    if target == "-":
        return Reference(STDIN, "-", name)
    if module:
        if target.endswith(".py"):
            raise InvalidError(
                f"-m takes a module, and {target!r} is a file", hints=(f"leave out -m: {text}",)
            )
        return Reference(MODULE, target, name)
    _check_file(target)
    return Reference(FILE, target, name)


def _check_file(target: str) -> None:
    path = Path(target)
    if path.is_file():
        return
    if path.is_dir():
        inside = sorted(one.name for one in path.glob("*.py"))[:5]
        hint = f"name a file in it: {', '.join(inside)}" if inside else "name a Python file"
        raise InvalidError(f"{target} is a folder", hints=(hint,))
    before, colon, after = target.rpartition(":")
    if colon and Path(before).is_file():
        raise InvalidError(
            f"there is no file {target}", hints=(f"use two colons: {before}::{after}",)
        )
    if not path.suffix or path.suffix != ".py":
        as_file = Path(*target.split(".")).with_suffix(".py") if "." in target else path
        if as_file.is_file() or (as_file.with_suffix("") / "__init__.py").is_file():
            raise NotFoundError(f"there is no file {target}", hints=(f"use -m: -m {target}",))
    raise NotFoundError(f"there is no file {target}", hints=_near_files(path))


def _near_files(path: Path) -> tuple[str, ...]:
    if not path.parent.is_dir():
        return (f"there is no folder {path.parent} either",)
    here = {one.stem: one for one in sorted(path.parent.glob("*.py"))}
    close = difflib.get_close_matches(path.stem, here, 1)
    if close:
        return (f"did you mean {here[close[0]]}?",)
    if not here:
        place = path.parent.absolute()
        return (f"{place} holds no Python file: cd to your program's folder, or name its path",)
    some = [one.name for one in here.values()][:_LISTED]
    more = f" and {len(here) - len(some)} more" if len(here) > len(some) else ""
    return (f"the Python files there are: {', '.join(some)}{more}",)


# --- does it declare an app? ----------------------------------------------------------------


def read(reference: Reference, stdin: BinaryIO) -> bytes:
    """The source of a file or of standard input; empty for a module."""
    if reference.kind == STDIN:
        return stdin.read()
    if reference.kind == MODULE:
        return b""
    try:
        return reference.path.read_bytes()
    except OSError as error:
        raise InvalidError(f"{reference.target} cannot be read: {error.strerror}") from None


def is_plain(reference: Reference, source: bytes) -> bool:
    """True for a program that declares no app: it is run remotely as it stands.

    Found by looking at its source, never by running it here: a training script must not train
    while byoc looks for an app in it. Raises SyntaxError as Python would, and
    :class:`NotFoundError` for a missing module.
    """
    folder, shown = Path.cwd(), "<stdin>"
    if reference.kind == MODULE:
        origin = _origin(reference.target)
        if origin is None:
            return False
        source, shown = origin.read_bytes(), str(origin)
    elif reference.kind == FILE:
        folder, shown = reference.path.parent, str(reference.path)
    if reference.name:
        return False
    try:
        tree = ast.parse(source, shown)
    except (SyntaxError, ValueError) as error:
        if isinstance(error, SyntaxError) and (reference.kind == STDIN or shown.endswith(".py")):
            raise error.with_traceback(None) from None
        raise InvalidError(f"{reference.target} is not a Python file") from None
    return not (_imports_byoc(tree) or _decorates(tree) or _binds_app(tree, folder, _FOLLOW))


def _origin(name: str) -> Path | None:
    """The source file of a module, its ``__main__`` for a package. Imports its parents only."""
    _put_first(str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise
        spec = None
    if spec is None:
        hint = f"leave out -m: {name}" if Path(name).exists() else "run it from the folder above it"
        raise NotFoundError(f"there is no module {name}", hints=(hint,))
    origin = Path(spec.origin) if spec.origin else None
    return origin if origin is not None and origin.suffix == ".py" else None


def _imports_byoc(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        if any(name.split(".")[0] in _DECLARES for name in names):
            return True
    return False


def _decorates(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        for decorator in getattr(node, "decorator_list", ()):
            called = decorator.func if isinstance(decorator, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr in _DECORATORS:
                return True
    return False


def _binds_app(tree: ast.Module, folder: Path, depth: int, wanted: str = "") -> bool:
    """Whether the module's top level makes an App (called ``wanted``, if said), or takes one over
    from a file beside it."""
    if any(_makes_app(node, wanted) for node in tree.body):
        return _imports_byoc(tree)
    return depth > 0 and any(_takes_app(node, folder, depth, wanted) for node in tree.body)


def _makes_app(node: ast.stmt, wanted: str) -> bool:
    if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(node.value, ast.Call):
        return False
    called = node.value.func
    kind = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    bound = [one.id for one in targets if isinstance(one, ast.Name)]
    return kind in ("App", "Stub") and (not wanted or wanted in bound)


def _takes_app(node: ast.stmt, folder: Path, depth: int, wanted: str) -> bool:
    if not isinstance(node, ast.ImportFrom) or not node.module:
        return False
    asked = [one.name for one in node.names if wanted in ("", one.asname or one.name)]
    beside = _parsed(folder.joinpath(*node.module.split(".")).with_suffix(".py")) if asked else None
    return beside is not None and any(_binds_app(beside, folder, depth - 1, name) for name in asked)


def _parsed(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except (OSError, SyntaxError, ValueError):  # not there, or not ours to judge
        return None


# --- importing ------------------------------------------------------------------------------


def load(reference: Reference, source: bytes) -> ModuleType:
    """Import the program. The user's own exceptions pass through unchanged.

    Raises :class:`NotFoundError` for a missing module, :class:`InvalidError` for a file whose name
    hides a module that Python itself is using.
    """
    if reference.kind == MODULE:
        _origin(reference.target)
        return importlib.import_module(reference.target)
    if reference.kind == STDIN:
        return _import_source(source)
    return _import_file(reference.path)


def _import_file(path: Path) -> ModuleType:
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) != str(path):
        raise InvalidError(
            f"a program called {path.name} hides the module {name!r} that Python itself uses",
            hints=("give the file another name",),
        )
    _put_first(str(path.parent))
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    try:
        _execute(module, lambda: loader.exec_module(module))
    except ImportError as error:
        if "no known parent package" in str(error) and (path.parent / "__init__.py").is_file():
            raise _part_of_package(path) from None
        raise
    return module


def _part_of_package(path: Path) -> InvalidError:
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    place = "" if folder == Path.cwd() else f"cd {folder} && "
    return InvalidError(
        f"{path.name} imports from its own package, so it has to be run as part of it",
        hints=(f"use -m: {place}byoc run -m {'.'.join(parts)}",),
    )


def _import_source(source: bytes) -> ModuleType:
    import cloudpickle  # 20 ms: only programs on stdin pay

    # Without a file its functions travel by value (byoc.sdk.origin), and so do its types.
    module = ModuleType(STDIN_NAME)
    text = source.decode(errors="replace")
    linecache.cache["<stdin>"] = (len(text), None, text.splitlines(keepends=True), "<stdin>")
    _put_first(str(Path.cwd()))
    code = compile(source, "<stdin>", "exec")
    _execute(module, lambda: exec(code, module.__dict__))  # noqa: S102 - that is the request
    cloudpickle.register_pickle_by_value(module)
    return module


def _execute(module: ModuleType, body: Callable[[], object]) -> None:
    sys.modules[module.__name__] = module
    try:
        body()
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise


def _put_first(folder: str) -> None:
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
