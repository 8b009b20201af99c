"""Outcomes become values and exceptions as the caller would have had them at home."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import pytest

from byoc.engine.inputs import FAILURE, VALUE, Outcome
from byoc.engine.results import failure_of, unpicklable, value_of
from byoc.errors import ContainerError, DeserializationError, ExecutionError, RemoteError
from byoc.runtime_agent import payload
from tests.engine.fake import failure, value


class Parted(Exception):
    """Needs what is not in its args."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Heavy(Exception):
    """Cannot be pickled at all."""

    def __init__(self) -> None:
        super().__init__("heavy")
        self.frame = sys._getframe()


def raised(error: BaseException) -> BaseException:
    """The same exception with a traceback of its own."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - it is what was raised
        return caught


def got(error: BaseException, renames: dict[str, str] | None = None) -> BaseException:
    """What a caller gets of an exception that was raised remotely."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any
        value_of(failure(raised(error)), renames)
    return caught.value


def test_an_exception_is_itself() -> None:
    """Type, arguments, attributes and notes arrive."""
    error = ValueError("bad", 4)
    error.extra = {"a": 1}  # type: ignore[attr-defined]
    error.__notes__ = ["a note"]
    again: Any = got(error)
    assert type(again) is ValueError
    assert again is not error
    assert (again.args, again.extra, again.__notes__) == (("bad", 4), {"a": 1}, ["a note"])
    parted: Any = got(Parted(code=5))
    assert (type(parted), parted.code, str(parted)) == (Parted, 5, "code 5")


def test_remote_frames_stand_below_the_callers() -> None:
    """A traceback leads from the caller's line to the remote one, with its source."""
    error = got(LookupError("deep"))
    frames = traceback.extract_tb(error.__traceback__)
    names = [frame.name for frame in frames]
    assert names.index("got") < names.index("value_of") < names.index("raised")
    assert frames[-1].filename == f"<ta-1>:{__file__}"
    assert frames[-1].line == "raise error"
    text = "".join(traceback.format_exception(error))
    assert f'File "<ta-1>:{__file__}", line {frames[-1].lineno}, in raised\n    raise error' in text


@pytest.mark.parametrize("name", ["<module>", "<lambda>", "<listcomp>", "f", "ünïcode", ""])
def test_frames_of_any_name(name: str) -> None:
    """Whatever a remote frame is called, it is shown as that."""
    trace = payload.remote_traceback([("/root/a.py", 3, name, "x = 1"), ("b", 9, "g", "")], "ta-2")
    (first, second) = traceback.extract_tb(trace)
    assert (first.filename, first.lineno, first.name) == ("<ta-2>:/root/a.py", 3, name)
    assert first.line == "x = 1"
    assert (second.filename, second.lineno, second.line or "") == ("<ta-2>:b", 9, "")


def test_lines_of_one_file_add_up() -> None:
    """Two exceptions from one remote file keep the source of both lines."""
    one = payload.remote_traceback([("/root/both.py", 2, "f", "first")], "ta-3")
    two = payload.remote_traceback([("/root/both.py", 40, "f", "second")], "ta-3")
    assert [traceback.extract_tb(trace)[0].line for trace in (one, two)] == ["first", "second"]


def test_an_outcome_raises_a_fresh_exception_each_time() -> None:
    """Asking twice gives two exceptions with equal tracebacks: they do not grow."""
    outcome = failure(raised(KeyError("k")))
    texts = []
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            value_of(outcome)
        texts.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(set(texts)) == 1
    died = Outcome(FAILURE, error=ContainerError("it died"))
    for _ in range(3):
        with pytest.raises(ContainerError) as death:
            value_of(died)
        assert len(traceback.extract_tb(death.value.__traceback__)) == 2


def test_what_cannot_travel_has_a_substitute() -> None:
    """The substitute keeps the type's name, the text with its frames, and says why."""
    error: Any = got(Heavy())
    assert type(error) is RemoteError
    text = str(error)
    assert text.startswith(f"{__name__}.Heavy: heavy\n")
    assert "could not be transferred: TypeError: cannot pickle 'frame' object" in text
    assert "raise error" in text
    assert error.remote_type == f"{__name__}.Heavy"
    assert traceback.extract_tb(error.__traceback__)[-1].name == "raised"


def test_a_type_that_is_not_here_has_a_substitute_with_a_hint() -> None:
    """An exception of a module that the client lacks names the module to install."""
    error = LookupError("x")
    buffers = payload.dump_failure(error, payload.describe(error, ()))
    there = [buffers[0], buffers[1].replace(b"builtins", b"missing_")]  # type: ignore[union-attr]
    again = failure_of(there, "ta-1")
    assert type(again) is RemoteError
    assert again.hints == ("install missing_ here too, or return plain Python values",)


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), GeneratorExit("x")])
def test_what_ends_a_program_is_reported(error: BaseException) -> None:
    """Remote exits do not exit here."""
    again = got(error)
    assert type(again) is ExecutionError
    assert f"the function raised {type(error).__name__}(" in str(again)


def test_types_of_main_are_found_again() -> None:
    """What was defined in ``__main__`` here and in a module there is one type."""
    outcome = failure(raised(Parted(code=1)))
    assert type(got(Parted(code=1), {"elsewhere": "__main__"})) is Parted
    moved = [
        bytes(buffer).replace(__name__.encode(), b"m" * len(__name__)) for buffer in outcome.buffers
    ]
    again: Any = failure_of(moved, "ta-1", {"m" * len(__name__): __name__})
    assert type(again) is Parted


def test_values_come_back() -> None:
    """A value is what was sent; large buffers can be written to."""
    assert value_of(value({"a": [1, 2.5, "x"]})) == {"a": [1, 2.5, "x"]}
    assert value_of(value(None)) is None


def test_a_value_that_does_not_unpickle_is_an_honest_error() -> None:
    """The error says why, and which module is missing."""
    data = b"\x80\x04\x8c\x0ano_module_\x94\x8c\x01f\x94\x93."
    with pytest.raises(DeserializationError, match="No module named 'no_module_'") as caught:
        value_of(Outcome(VALUE, [data]))
    assert "install no_module_" in caught.value.hints[0]
    with pytest.raises(DeserializationError):
        value_of(Outcome(VALUE, [b"garbage"]))


def test_arguments_that_cannot_be_sent_are_described_in_a_line() -> None:
    """The error is one line, however long the reason."""
    error = unpicklable("an argument of f", object(), TypeError("x\ny " * 1000))
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    assert error.hints
