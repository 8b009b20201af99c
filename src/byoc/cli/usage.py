"""Wrong usage that typer finds (an unknown option, a missing value), in byoc's own words."""

from __future__ import annotations

from typing import Any

import typer

from . import failure
from .console import Console
from .table import COMMANDS, LATER

WRONG: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer's base of all usage errors, which it does not export by name."""


def report(error: Any, args: list[str]) -> int:
    """Print what is wrong and what to do; returns the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its help is printed by now
        return failure.USAGE
    console = Console(as_json="--json" in args)
    message, hints = _words(error, args)
    console.error(message)
    for hint in hints:
        console.hint(hint)
    if console.as_json:
        described = {
            "code": "usage",
            "message": message,
            "retryable": False,
            "done": "",
            "remediation": hints,
        }
        name = args[0] if args[0] in COMMANDS else "byoc"
        console.json_object(name, failure.USAGE, {"error": described})
    return failure.USAGE


def _words(error: Any, args: list[str]) -> tuple[str, list[str]]:
    """Typer's sentence in our form, and what to do about it."""
    message = error.message if getattr(error, "option_name", "") else error.format_message()
    message, _, suggestion = message.rstrip(".?").partition(". Did you mean ")
    name = args[0] if args else ""
    if name in LATER and message.startswith("No such command"):
        return f"byoc {name} is not available in this version of byoc", [
            hint for hint in (LATER[name], "run 'byoc --help' to see what there is") if hint
        ]
    hints = []
    close = [repr(name) for name in getattr(error, "possibilities", None) or ()]
    if suggestion or close:
        hints.append(f"did you mean {suggestion or ' or '.join(close)}?")
    path = error.ctx.command_path if error.ctx is not None else " ".join(["byoc", *args[:1]])
    hints.append(f"run '{path} --help' to see what it takes")
    return message[:1].lower() + message[1:], hints
