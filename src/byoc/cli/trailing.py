"""byoc's own options behind the program: ``byoc run train.py --gpu H100:8``.

What follows FILE is the program's. But an option of byoc's that the program does not have itself is
byoc's there as well. With a plain program, whose options nobody knows, only those are that come
first; ``--`` ends them.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import typer

from .command import OUTPUT_TABLE
from .console import Console
from .options import RUN, Common, common

_TABLE = {**RUN.table, **OUTPUT_TABLE}
_ADD_UP = ("gpu", "cloud", "region", "exclude", "words")
"""Options that may be given several times; of the others the last one counts."""


class Split(NamedTuple):
    """The words behind FILE: byoc's, and the program's."""

    ours: list[str]
    theirs: list[str]


def split(args: Sequence[str], own: Collection[str] | None) -> Split:
    """Tell byoc's options from the program's. ``own``: the options that the program has, None for a
    plain program."""
    flags = _flags()
    ours: list[str] = []
    theirs: list[str] = []
    at = 0
    while at < len(args) and args[at] != "--":
        flag, has_value, _ = args[at].partition("=")
        if flag in flags and flag not in (own or ()):
            end = at + 1 + (flags[flag] and not has_value)
            ours += args[at:end]
            at = end
        elif own is None:
            return Split(ours, [*args[at:]])
        else:
            theirs.append(args[at])
            at += 1
    rest = args[at + 1 :] if not theirs else args[at:]
    return Split(ours, [*theirs, *rest])


def lifted(
    console: Console, given: Common, args: Sequence[str], own: Collection[str] | None
) -> tuple[Common, tuple[str, ...]]:
    """The options with those behind FILE added, and the program's own words.

    Raises what wrong options raise. ``--json`` and ``--quiet`` are told to ``console``.
    """
    ours, theirs = split(args, own)
    if ours:
        found = _parse(ours)
        console.as_json = bool(found.pop("as_json")) or console.as_json
        console.quiet = bool(found.pop("quiet")) or console.quiet
        given = _joined(given, common(found))
    return given, tuple(theirs)


def _joined(first: Common, later: Common) -> Common:
    silent, whole = Common()._asdict(), first._asdict()
    for name, value in later._asdict().items():
        if value != silent[name]:
            whole[name] = (*(whole[name] or ()), *value) if name in _ADD_UP else value
    return Common(**whole)


def _flags() -> dict[str, bool]:
    """Each long option, and whether a value follows it."""
    return {
        flag: kind != bool | None
        for kind, info in _TABLE.values()
        for declared in info.param_decls
        for flag in declared.split("/")
        if flag.startswith("--")
    }


def _parse(words: list[str]) -> dict[str, Any]:
    """What the options say, as typer gives it to a command that has them."""

    def collect(**given: Any) -> dict[str, Any]:
        return given

    collect.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind)
            for name, (kind, info) in _TABLE.items()
        ]
    )
    collect.__annotations__ = {}
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command("run")(collect)
    with typer.main.get_command(app).make_context("byoc run", words) as context:
        found: dict[str, Any] = context.command.invoke(context)
    return found
