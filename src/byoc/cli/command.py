"""The decorator that makes a typer command of a plain function."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import typer

from . import failure, usage
from .console import Console

OUTPUT = "Output"
"""The help's panel for options about output."""


def flag(text: str, help: str, panel: str, default: bool | None = None) -> tuple[Any, Any]:
    """A yes/no option as data: its type and what typer is told. ``text``: its names."""
    return bool | None, typer.Option(
        default, *text.split(), help=help, rich_help_panel=panel, show_default=False
    )


OUTPUT_TABLE = {
    "quiet": flag("--quiet -q", "Only results, the program's output, and errors.", OUTPUT, False),
    "as_json": flag("--json", "Print one JSON object on stdout.", OUTPUT, False),
}


class Shared(NamedTuple):
    """Options as data (name -> type and typer's declaration) that several commands take, and how
    to turn what was given into one keyword argument of the command's function."""

    table: Mapping[str, tuple[Any, Any]]
    collect: Callable[[dict[str, Any]], dict[str, Any]]


def command(
    *,
    shared: Shared | None = None,
    as_json: bool = True,
    stops_at_first: bool = False,
    quick: bool = False,
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Make a command of a function.

    The function's first parameter is its :class:`Console`; one called ``common`` gets what
    ``shared`` collects; the others are typer parameters. It returns the exit code. What it raises
    is reported here, on stderr and, with ``--json``, on stdout. ``as_json``: it has ``--json`` and
    ``--quiet``. ``stops_at_first``: options after the first argument belong to the user's program.
    ``quick``: it is over in no time, so the garbage collector stays off (:mod:`byoc.cli.main`).
    """

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        table = {**(shared.table if shared else {}), **(OUTPUT_TABLE if as_json else {})}
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind)
            for name, (kind, info) in table.items()
        ]
        kept = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name != "common"]

        def run(**given: Any) -> int:
            quiet, as_json = bool(given.pop("quiet", False)), bool(given.pop("as_json", False))
            console = Console(quiet=quiet, as_json=as_json)
            if not quick:
                gc.enable()
            return _reported(function, console, given, shared)

        run.__doc__ = _flowing(inspect.cleandoc(function.__doc__ or ""))
        run.__name__ = _name(function)
        run.__signature__ = inspect.Signature(kept + added)  # type: ignore[attr-defined]
        run.__annotations__ = {}
        run.stops_at_first = stops_at_first  # type: ignore[attr-defined]
        return run

    return decorate


def _flowing(text: str) -> str:
    """Each paragraph as one line, which the help breaks where the terminal ends."""
    return "\n\n".join(" ".join(part.split("\n")) for part in text.split("\n\n"))


def _name(function: Callable[..., int]) -> str:
    return function.__module__.rpartition(".")[2]


def _reported(
    function: Callable[..., int], console: Console, given: dict[str, Any], shared: Shared | None
) -> int:
    try:
        if shared:
            given |= shared.collect(given)
        code = function(console, **given)
    except (typer.Exit, typer.Abort, usage.WRONG):
        raise  # for main: the program's own --help, or wrong options of the program's function
    except BaseException as error:  # noqa: BLE001 - the last resort: everything becomes an exit code
        code = failure.conclude(error, console, _name(function))
    finally:
        console.finish()
    return failure.READER_GONE if console.reader_gone else code
