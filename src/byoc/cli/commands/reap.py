"""``byoc reap``: end what nobody uses any more, with nothing but credentials."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ...errors import InvalidError
from ...fleet.audit import open_auditor
from ...fleet.reaper import ENDED, ENDING, LEFT, WOULD, Done, Reaped, Reaper
from ...fleet.runids import SHARED
from .. import complete, context, found, logged
from ..command import command
from ..console import Console

_CLOUD = typer.Option(
    "--cloud",
    metavar="NAME",
    help="Only this cloud; repeatable. Default: every one with credentials.",
    autocompletion=complete.clouds,
)
_RUN = typer.Option(
    "--run",
    metavar="NAME",
    help="Only this run, or all whose names begin with NAME-; at once, whatever their leases.",
)
_WORDS = {ENDED: "ended", ENDING: "is ending", LEFT: "left alone", WOULD: "would be ended"}


@command()
def reap(
    console: Console,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    run: Annotated[str | None, _RUN] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only this installation's.")] = False,
    all: Annotated[
        bool, typer.Option("--all", "-a", help="Also when it is very many at once.")
    ] = False,
    cloud: Annotated[list[str] | None, _CLOUD] = None,
) -> int:
    """End instances that nobody uses any more, and what they have left behind, in every region.

    Goes by the tags that each launch puts on: this computer's data folder may be empty. Of this
    installation's own: those whose process is no more. Of anybody's: those whose lease is over and
    that do not answer. Never what is in use or warm, or what byoc has not launched.

    Exits with 1 when there was something to end (ended or not), with 0 when there was nothing, and
    with 4 when there was nothing but not every cloud or region could be asked.
    """
    if run is not None and run.rstrip("-") in ("", *SHARED):
        raise InvalidError(
            f"--run needs the name of a run, or a beginning that only your runs have, not {run!r}",
            hints=("see whether the variable that it is made of is set",),
        )
    with logged.told(console), open_auditor(context.merged(), os.environ) as auditor:
        names = found.known(cloud or (), auditor.providers)
        done = Reaper(auditor).reap(
            names, named=run or "", mine=mine, however_many=all, dry=dry_run
        )
    code = found.exit_code(bool(done.done), done.audit.unasked)
    if console.as_json:
        console.json_object("reap", code, _fields(done, dry_run))
        return code
    _show(console, done)
    return code


def _fields(reaped: Reaped, dry: bool) -> dict[str, Any]:
    ended = [
        {**found.fields(one.item), "outcome": one.outcome, "detail": one.detail}
        for one in reaped.done
    ]
    chosen = {(one.item.thing.provider, one.item.thing.id) for one in reaped.done}
    left = [
        found.fields(item)
        for item in reaped.audit.items
        if (item.thing.provider, item.thing.id) not in chosen
    ]
    return {
        "dry_run": dry,
        "reaped": ended,
        "left": left,
        "refused": reaped.refused,
        **found.asked(reaped.audit),
    }


def _show(console: Console, reaped: Reaped) -> None:
    for one in reaped.done:
        console.data(_line(one))
    for name, count in reaped.refused.items():
        console.error(f"{name}: {count} instances would be ended at once, which may be a mistake")
        console.hint("look at them with `byoc audit`; end them with `byoc reap --all`")
    if not reaped.done:
        console.say("nothing was to be ended")
    _tell_left(console, reaped)
    found.tell_asked(console, reaped.audit)


def _line(one: Done) -> str:
    word = _WORDS.get(one.outcome, one.outcome)
    why = one.detail if one.outcome not in (ENDED, WOULD) and one.detail else one.item.verdict.why
    return found.printable(f"{one.item.thing.id}  {one.item.thing.kind}  {word}: {why}")


def _tell_left(console: Console, reaped: Reaped) -> None:
    chosen = {(one.item.thing.provider, one.item.thing.id) for one in reaped.done}
    left: Sequence[str] = [
        item.verdict.word
        for item in reaped.audit.items
        if (item.thing.provider, item.thing.id) not in chosen and item.found
    ]
    if left:
        counts = ", ".join(f"{left.count(word)} {word}" for word in dict.fromkeys(left))
        console.say(f"left alone: {counts}")
