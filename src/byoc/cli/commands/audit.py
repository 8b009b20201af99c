"""``byoc audit``: all that carries byoc's tags, of any owner, in every region of every cloud."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ...fleet.audit import Audit, open_auditor
from .. import complete, context, found, logged
from ..command import command
from ..console import Console

_CLOUD = typer.Option(
    "--cloud",
    metavar="NAME",
    help="Only this cloud; repeatable. Default: every one with credentials.",
    autocompletion=complete.clouds,
)


@command()
def audit(
    console: Console,
    cloud: Annotated[list[str] | None, _CLOUD] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only this installation's.")] = False,
) -> int:
    """List everything of byoc's in every enabled region: what it costs a day, its age, whose it is.

    Of any owner, by the clouds' own record: this computer's data folder may be empty. Nothing is
    ended. Exits with 1 when something is there that costs money or opens a door, with 0 when
    nothing is, and with 4 when nothing is but not every cloud or region could be asked.
    """
    with logged.told(console), open_auditor(context.merged(), os.environ) as auditor:
        seen = auditor.look(found.known(cloud or (), auditor.providers), mine=mine)
    code = found.exit_code(any(item.found for item in seen.items), seen.unasked)
    if console.as_json:
        things = [found.fields(item) for item in seen.items]
        fields = {"things": things, "per_day": seen.per_day, **found.asked(seen)}
        console.json_object("audit", code, fields)
        return code
    _show(console, seen)
    return code


def _show(console: Console, seen: Audit) -> None:
    if seen.items:
        console.table(found.HEADER, [found.row(item) for item in seen.items])
        console.data("")
        ends = sum(item.verdict.ends for item in seen.items)
        console.data(f"{len(seen.items)} things, ${seen.per_day:.2f} a day")
        if ends:
            console.hint(f"{ends} of them nobody uses: end them with `byoc reap`")
    else:
        console.say("nothing of byoc's is there")
    found.tell_asked(console, seen)
