"""The top command: a table of names, each command's module imported only when it is invoked."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from .. import _lazy
from .table import COMMANDS


class LazyGroup(TyperGroup):
    """Holds a light stand-in per command for help and completion; loads the real one to run it."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, (_, summary) in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command in place of the stand-in that the base class found."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest


def load(name: str) -> Any:
    """Import the module of command ``name`` and build its typer command."""
    path, summary = COMMANDS[name]
    function = _lazy.load(path)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    settings = {"allow_interspersed_args": not getattr(function, "stops_at_first", False)}
    app.command(name, short_help=summary, context_settings=settings)(function)
    return typer.main.get_command(app)
