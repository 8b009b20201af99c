"""Exceptions of user code arrive as themselves or as an honest substitute, and end nothing."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import pytest

from byoc.engine.results import value_of
from byoc.errors import (
    DeserializationError,
    ExecutionError,
    RemoteError,
    SerializationError,
)
from tests.runtime_agent.machine import PROGRAMS, Client, Running

groups = pytest.mark.skipif(sys.version_info < (3, 11), reason="no ExceptionGroup in 3.10")


@pytest.fixture(autouse=True)
def _programs_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has the user's modules, as it has where their functions were declared."""
    monkeypatch.syspath_prepend(str(PROGRAMS))


def failing(client: Client, name: str, *args: Any) -> BaseException:
    """What ``errors.NAME`` raises; the container takes inputs after it as before."""
    running = client.ready("errors." + name)
    error = running.error(*args)
    assert running.word is None
    assert type(running.error(*args)).__name__ == type(error).__name__
    return error


def test_type_args_and_attributes_are_kept(client: Client) -> None:
    """An ordinary exception keeps its type, arguments and attributes."""
    error: Any = failing(client, "attributes")
    assert type(error) is ValueError
    assert error.args == ("plain", 3)
    assert error.data == {"a": [1, 2]}


def test_constructors_of_any_kind(client: Client) -> None:
    """A class whose constructor does not take its own args arrives whole, and is not called."""
    own: Any = failing(client, "own")
    assert type(own).__name__ == "Own"
    assert (str(own), own.code, own.reason) == ("code 7: because", 7, "because")
    doubling: Any = failing(client, "doubling")
    assert (str(doubling), doubling.name) == ("no such thing: spoon", "spoon")


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("system", FileNotFoundError, "[Errno 2] No such file or directory: '/no/such/file'"),
        ("lookup", KeyError, "'key'"),
        ("chained", ValueError, "outer"),
        ("circular", ValueError, "round"),
        ("long_chain", ValueError, "2999"),
        ("surrogates", ValueError, "\ud800 and \0"),
        ("huge", ValueError, "x" * 3_000_000),
    ],
)
def test_builtins_arrive_as_themselves(
    client: Client, name: str, kind: type[Exception], text: str
) -> None:
    """Python's own exceptions arrive equal, whatever their causes and texts."""
    error = failing(client, name)
    assert type(error) is kind
    assert str(error) == text


def test_attributes_in_c_are_kept(client: Client) -> None:
    """What Python keeps outside the dictionary survives too."""
    system: Any = failing(client, "system")
    assert (system.errno, system.filename) == (2, "/no/such/file")
    decode: Any = failing(client, "decode")
    assert (decode.start, decode.end, decode.object) == (0, 1, b"\xff")


def test_notes_are_kept(client: Client) -> None:
    """Notes arrive, and Python prints them where it knows of notes."""
    error: Any = failing(client, "noted")
    assert error.__notes__ == ["first note", "second note"]
    if sys.version_info >= (3, 11):
        assert "second note" in "".join(traceback.format_exception(error))


@groups
def test_groups_are_kept(client: Client) -> None:
    """An ExceptionGroup arrives with its members."""
    error: Any = failing(client, "grouped_plain")
    assert [type(e) for e in error.exceptions] == [ValueError, KeyError]


@groups
def test_a_group_with_a_member_that_cannot_travel(client: Client) -> None:
    """The substitute of a group names every member."""
    error = failing(client, "grouped")
    assert isinstance(error, RemoteError)
    assert "ExceptionGroup: several" in str(error) and "code 2: two" in str(error)


@pytest.mark.parametrize("name", ["local", "closure"])
def test_what_only_cloudpickle_can_pickle_arrives(client: Client, name: str) -> None:
    """A class of a function's own, or a function as an attribute, is no obstacle."""
    error: Any = failing(client, name)
    assert type(error).__name__ == {"local": "Hidden", "closure": "RuntimeError"}[name]
    if name == "closure":
        assert error.call() == 42


def test_one_that_cannot_travel_has_a_substitute(client: Client) -> None:
    """An exception that cannot be pickled keeps its name, its whole text and the reason."""
    error: Any = failing(client, "grown")
    assert isinstance(error, RemoteError)
    assert str(error).startswith("errors.Grown: ('x', 1)\n")
    assert "cannot pickle '_thread.lock' object" in str(error)
    assert 'raise Grown("x", 1)' in str(error)
    assert error.remote_type == "errors.Grown"


@pytest.mark.parametrize("name", ["silent", "deadly", "lying", "raising"])
def test_broken_classes_arrive_as_their_parts(client: Client, name: str) -> None:
    """A class whose __str__ or __reduce__ is broken is still itself, arguments and all."""
    error = failing(client, name)
    assert type(error).__name__ == name.title()
    assert error.args in (("hidden",), ("truth",))


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("exits", (3,), "the function raised SystemExit(3)"),
        ("exits", ("words",), "the function raised SystemExit(words)"),
        ("leaves", (), "the function raised Leave(2)"),
        ("interrupted", (), "the function raised KeyboardInterrupt()"),
        ("closed", (), "the function raised GeneratorExit()"),
        ("cancelled", (), "the function raised CancelledError(who)"),
    ],
)
def test_what_would_end_the_caller_does_not(
    client: Client, name: str, args: tuple[Any, ...], text: str
) -> None:
    """Exceptions that mean "end this program" are reported and not raised at home."""
    error = failing(client, name, *args)
    assert type(error) is ExecutionError
    assert str(error) == text


@groups
def test_a_group_that_would_end_the_caller(client: Client) -> None:
    """Nor is a group of them."""
    error = failing(client, "grouped_base")
    assert type(error) is ExecutionError
    assert "BaseExceptionGroup" in str(error)


def test_a_base_exception_of_ones_own_is_itself(client: Client) -> None:
    """A class derived from BaseException by the user is raised as it would be locally."""
    running = client.ready("errors.stopped")
    (ident,) = running.put(())
    client.until(lambda: ident in running.outcomes)
    with pytest.raises(BaseException, match="bare") as caught:
        value_of(running.outcomes[ident])
    assert type(caught.value).__name__ == "Stop"


def test_deep_recursion(client: Client) -> None:
    """A recursion without end arrives as RecursionError, with a bounded number of frames."""
    error = failing(client, "deep")
    assert type(error) is RecursionError
    assert 100 < len(traceback.extract_tb(error.__traceback__)) < 300


def test_remote_frames_are_shown_with_their_source(client: Client) -> None:
    """A traceback shows the remote frames, their lines, and none of byoc's own remote frames."""
    running = client.ready("errors.own")
    error = running.error()
    shown = "".join(traceback.format_exception(error))
    file = PROGRAMS / "errors.py"
    line = file.read_text().splitlines().index('    raise Own(7, reason="because")') + 1
    assert f'File "<{running.name}>:{file}", line {line}, in own' in shown
    assert 'raise Own(7, reason="because")' in shown
    remote = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<")]
    assert [f.name for f in remote] == ["own"]


def test_the_traceback_is_printed_to_the_container_too(client: Client) -> None:
    """The container's stderr shows the exception with its causes, without byoc's frames."""
    running = client.ready("errors.chained")
    running.error()
    client.flush()
    shown = running.out(2).decode()
    assert "KeyError: 'missing'" in shown
    assert "direct cause" in shown
    assert shown.endswith("ValueError: outer\n")
    assert "worker" not in shown


# --- values -----------------------------------------------------------------------------------


def test_results_that_cannot_be_pickled(client: Client) -> None:
    """A result that cannot travel is a SerializationError which names its type."""
    error = failing(client, "locks")
    assert type(error) is SerializationError
    assert "lock" in str(error)
    assert type(failing(client, "returns_broken")) is ZeroDivisionError


def test_results_that_cannot_be_unpickled(client: Client) -> None:
    """A result that arrives but does not unpickle here is a DeserializationError."""
    error = failing(client, "returns_trap")
    assert type(error) is DeserializationError
    assert "not a number" in str(error)


def test_arguments_that_cannot_be_unpickled(client: Client) -> None:
    """An argument whose module is not on the instance fails this input and no other."""
    running: Running = client.ready("kinds.add")
    idents = running.put((1, 2), (Elsewhere(), 1), (3, 4))
    assert running.value(idents[0]) == 3
    assert running.value(idents[2]) == 7
    with pytest.raises(ModuleNotFoundError, match="byoc_nowhere"):
        running.value(idents[1])


class Elsewhere:
    """Refers to a module that is only here."""

    def __reduce__(self) -> Any:
        return os.path.join, ("a", _Missing())


class _Missing:
    def __reduce__(self) -> Any:
        return __import__, ("byoc_nowhere",)


def test_an_item_that_cannot_be_pickled(client: Client) -> None:
    """A generator's earlier items arrive; then the error."""
    running = client.ready("errors.items_then_lock", generator=True)
    assert type(running.error(2)) is SerializationError
    assert [value_of(o) for o in running.items[1]] == [0, 1]


# --- starting ---------------------------------------------------------------------------------


MODULES = {
    "syntax": "f = (1,\n",
    "imports": "from json import nothing\n",
    "divides": "def f():\n    pass\n\n1 / 0\n",
    "exits": "raise SystemExit(6)\n",
    "fine": "class f:\n    nothing = 1\n",
}


@pytest.fixture
def folder(client: Client) -> str:
    """A folder on the machine with modules that cannot be imported."""
    folder = client.machine.home / "broken"
    folder.mkdir(exist_ok=True)
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("no_such_module.f", ModuleNotFoundError, "No module named 'no_such_module'"),
        ("syntax.f", SyntaxError, "was never closed"),
        ("imports.f", ImportError, "cannot import name 'nothing'"),
        ("divides.f", ZeroDivisionError, "division by zero"),
        ("exits.f", ExecutionError, "the function raised SystemExit(6)"),
        ("fine.missing", AttributeError, "has no attribute 'missing'"),
        ("fine.f.nothing", TypeError, "fine.f.nothing is not a function"),
    ],
)
def test_failures_to_start(
    client: Client, folder: str, name: str, kind: type[Exception], text: str
) -> None:
    """Whatever the user's module raises at import arrives as itself, and the container ends."""
    running = client.function(name, root=folder)
    error = running.start_error()
    assert type(error) is kind
    assert text in str(error)
    assert running.word is not None
    assert (running.word["reason"], running.word["code"]) == ("exit", 1)


def test_the_frames_of_a_failed_import_are_shown(client: Client, folder: str) -> None:
    """The traceback shows the failing line of the user's module, and no frames of importing it."""
    error = client.function("divides.f", root=folder).start_error()
    remote = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("<")]
    assert [(f.name, f.lineno, f.line) for f in remote] == [("<module>", 4, "1 / 0")]
