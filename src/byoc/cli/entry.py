"""The ``byoc`` command: build it, run it, turn wrong usage into words."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from .._version import __version__
from . import failure, usage
from .console import Console
from .group import LazyGroup


def _show_version(wanted: bool) -> None:
    if wanted:
        Console().data(f"byoc {__version__}")
        raise typer.Exit


def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    """Run Python functions on instances in your own cloud accounts."""


def _with_stdin(args: list[str]) -> list[str]:
    """``run -::NAME`` is a program on standard input; typer would take it for an option."""
    at = next((at for at, word in enumerate(args) if word.startswith("-::")), 0)
    return [*args[:at], "--", *args[at:]] if at and args[0] == "run" else args


def build() -> Any:
    """The whole command tree, each command's module still to be imported."""
    app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_top)
    return typer.main.get_command(app)


def run(args: list[str] | None = None) -> int:
    """Run ``byoc`` with ``args`` (default: the process's) and return its exit code."""
    args = _with_stdin(sys.argv[1:] if args is None else args)
    try:
        code = build().main(args, prog_name="byoc", standalone_mode=False, obj=list(args))
    except usage.WRONG as error:
        code = usage.report(error, args)
    except typer.Abort:
        code = failure.INTERRUPTED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a bug of ours, reported as one
        code = failure.conclude(error, Console(as_json="--json" in args), "byoc")
    Console().finish()
    return int(code or 0)
