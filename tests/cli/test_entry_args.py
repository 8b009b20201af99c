"""The command line that a function's signature makes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Optional

import pytest
import typer

import byoc
from byoc.cli import entry_args, usage
from byoc.errors import InvalidError
from byoc.sdk.parameters import command_line


def nothing() -> None: ...
def number(n: int) -> None: ...
def real(x: float = 1.0) -> None: ...
def text(name: str = "x") -> None: ...
def bare(thing, other="y") -> None: ...  # type: ignore[no-untyped-def]
def yes(fast: bool = True) -> None: ...
def must(fast: bool) -> None: ...
def when(at: datetime) -> None: ...
def maybe(n: Optional[int] = None) -> None: ...  # noqa: UP045 - the old spelling is the test
def either(n: int | None = 3) -> None: ...
def choice(mode: Literal["a", "b"] = "a", level: Literal[1, 2] = 1) -> None: ...
def dashed(some_long_name: int = 0) -> None: ...
def rest(n: int = 1, *files: str, k: float = 0.5) -> None: ...
def only(n: int, /, m: int = 2, *, k: str = "k") -> None: ...


MORNING = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - as the user writes it


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (nothing, [], ((), {})),
        (number, ["--n", "3"], ((), {"n": 3})),
        (number, ["--n=-3"], ((), {"n": -3})),
        (real, [], ((), {})),
        (real, ["--x", "2"], ((), {"x": 2.0})),
        (text, ["--name", ""], ((), {"name": ""})),
        (text, ["--name", "[b] ü"], ((), {"name": "[b] ü"})),
        (bare, ["--thing", "5"], ((), {"thing": "5"})),
        (yes, ["--no-fast"], ((), {"fast": False})),
        (must, ["--fast"], ((), {"fast": True})),
        (when, ["--at", "2026-01-02T03:04:05"], ((), {"at": MORNING})),
        (when, ["--at", "2026-01-02 03:04:05"], ((), {"at": MORNING})),
        (maybe, ["--n", "4"], ((), {"n": 4})),
        (either, [], ((), {})),
        (either, ["--n", "4"], ((), {"n": 4})),
        (choice, ["--mode", "b", "--level", "2"], ((), {"mode": "b", "level": 2})),
        (dashed, ["--some-long-name", "7"], ((), {"some_long_name": 7})),
        (rest, [], ((1,), {})),
        (rest, ["a", "--n", "2", "--other", "-v"], ((2, "a", "--other", "-v"), {})),
        (rest, ["--k", "2", "x"], ((1, "x"), {"k": 2.0})),
        (only, ["--n", "1", "--m", "3"], ((1,), {"m": 3})),
    ],
)
def test_arguments(
    function: Callable[..., Any], args: list[str], expected: tuple[tuple[Any, ...], dict[str, Any]]
) -> None:
    """Each parameter is an option of its type; only what was given is passed on."""
    positional, named = entry_args.parse(function, args, "byoc run f.py::f")
    assert (positional, named) == expected
    function(*positional, **named)


@pytest.mark.parametrize(
    ("function", "args", "word"),
    [
        (number, [], "--n"),
        (number, ["--n", "x"], "--n"),
        (number, ["--n", "1.5"], "--n"),
        (number, ["--n", "1", "extra"], "extra"),
        (number, ["--m", "1"], "--m"),
        (must, [], "--fast"),
        (when, ["--at", "noon"], "--at"),
        (choice, ["--mode", "c"], "--mode"),
        (choice, ["--level", "3"], "--level"),
        (nothing, ["--x"], "--x"),
    ],
)
def test_wrong_arguments_are_usage_errors(
    function: Callable[..., Any], args: list[str], word: str
) -> None:
    """What the signature does not allow is a usage error that names it."""
    with pytest.raises(usage.WRONG) as caught:
        entry_args.parse(function, args, "byoc run f.py::f")
    assert word in caught.value.format_message()  # type: ignore[attr-defined]


def lists(xs: list[int]) -> None: ...
def path(p: Path) -> None: ...
def union(x: int | str) -> None: ...
def mixed(x: Literal[1, "a"]) -> None: ...
def unknown(x: NotThere) -> None: ...  # type: ignore[name-defined] # noqa: F821
def keywords(**options: int) -> None: ...


@pytest.mark.parametrize("function", [lists, path, union, mixed, unknown, keywords])
def test_other_annotations_are_refused_by_name(function: Callable[..., Any]) -> None:
    """A parameter that has no command line is refused before anything runs, and named."""
    with pytest.raises(InvalidError) as caught:
        entry_args.parse(function, [], "byoc run f.py::f")
    name = next(iter(function.__annotations__))
    assert name in caught.value.message
    assert caught.value.hints


def test_help_shows_the_docstring_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """--help prints the function's own words, square brackets included, and stops."""

    def documented(n: int = 3) -> None:
        """Train [once].

        With care.
        """

    with pytest.raises(typer.Exit):
        entry_args.parse(documented, ["--help"], "byoc run f.py::documented")
    shown = capsys.readouterr().out
    assert "Train [once]." in shown and "With care." in shown
    assert "--n" in shown and "[default: 3]" in shown


class Model:
    """Has a method for the command line."""

    size: int = byoc.parameter()
    fast: bool = byoc.parameter(default=False)
    key: bytes = byoc.parameter(default=b"")

    @byoc.method()
    def go(self, x: float, *rest: str, mode: Literal["a", "b"] = "a") -> None:
        """Goes."""

    @byoc.method()
    def clash(self, size: int) -> None: ...


class Old:
    """Has a constructor of the old way."""

    def __init__(self, name: str, n: int = 2) -> None: ...

    @byoc.method()
    def go(self) -> None: ...


@pytest.mark.parametrize(
    ("raw", "args", "expected"),
    [
        (Model, ["--size", "3", "--x", "2"], (((), {"size": 3}), ((2.0,), {}))),
        (
            Model,
            ["--x", "1", "--size", "3", "--fast", "--mode", "b", "r"],
            (((), {"size": 3, "fast": True}), ((1.0, "r"), {"mode": "b"})),
        ),
        (Old, ["--name", "m"], (((), {"name": "m"}), ((), {}))),
        (Old, ["--n", "5", "--name", "m"], (((), {"name": "m", "n": 5}), ((), {}))),
    ],
)
def test_constructor_and_method_share_the_options(raw: Any, args: list[str], expected: Any) -> None:
    """Behaviour 11: parameters of a class and of its method stand side by side."""
    found = entry_args.parse_method(command_line(raw), raw.go.raw, args, "byoc run f.py::M.go")
    assert found == expected


def test_constructor_and_method_with_one_name() -> None:
    """A name that both take cannot be meant, and a missing one is named."""
    with pytest.raises(InvalidError, match="size is a parameter of the class and of its method"):
        entry_args.parse_method(command_line(Model), Model.clash.raw, [], "byoc run")
    with pytest.raises(usage.WRONG, match="size"):
        entry_args.parse_method(command_line(Model), Model.go.raw, ["--x", "1"], "byoc run")
