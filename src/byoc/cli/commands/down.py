"""``byoc down``: end instances, or cancel runs that go on in the background."""

from __future__ import annotations

from typing import Annotated

import typer

from ...clock import SYSTEM
from ...errors import InvalidError, NotFoundError
from ...fleet.watch import Watch
from ...state import Run
from .. import context, drivers, instances
from ..command import command
from ..console import Console


@command()
def down(
    console: Console,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Instances (or beginnings of their ids) or runs."),
    ] = None,
    all: Annotated[bool, typer.Option("--all", "-a", help="Every instance and run.")] = False,
) -> int:
    """End instances, or cancel runs: what runs on them stops.

    A run that goes on in the background is told to stop, and ends its instances itself; what it
    leaves is then ended here.
    """
    if bool(ids) == all:
        raise InvalidError(
            "say what to end", hints=("name instances or runs (see 'byoc ps'), or use --all",)
        )
    settings = context.merged()
    with instances.watched(settings, console) as watch:
        runs = [run for run in watch.journal.runs(status="running") if all or _named(run, ids)]
        cancelled = [run for run in runs if drivers.cancel(run, settings, SYSTEM)]
        for run in cancelled:
            console.say(f"cancelled {run.id}")
        ended = watch.down(None if all else _left(watch, list(ids or ()), cancelled))
    if console.as_json:
        console.json_object("down", 0, {"instances": ended, "runs": [run.id for run in cancelled]})
        return 0
    for row in ended:
        console.data(row.id)
    if not ended and not cancelled:
        console.say("nothing was up")
    return 0


def _named(run: Run, ids: list[str] | None) -> bool:
    return any(run.id == one or (one and run.id.startswith(one)) for one in ids or ())


def _left(watch: Watch, ids: list[str], cancelled: list[Run]) -> list[str]:
    """The ids that are still to be ended: a run that was cancelled may have left nothing."""
    rows = watch.ps()
    left = []
    for one in ids:
        run = next((run for run in cancelled if _named(run, [one])), None)
        if run is None:
            left.append(one)
        elif any(row.run == run.id for row in rows):
            left.append(run.id)
    if not left and not cancelled:
        raise NotFoundError(f"nothing is called {', '.join(ids)}", hints=("see 'byoc ps'",))
    return left
