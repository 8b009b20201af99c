"""``byoc down``: end instances, or cancel runs that go on in the background."""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import typer

from ...clock import SYSTEM
from ...errors import InvalidError, NotFoundError
from ...fleet.reap import of_run
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
        running = watch.journal.runs(status="running")
        named = {one: named_by(running, one) for one in ids or ()}
        runs = running if all else list(dict.fromkeys(chain.from_iterable(named.values())))
        cancelled = [run for run in runs if drivers.cancel(run, settings, SYSTEM)]
        for run in cancelled:
            console.say(f"cancelled {run.id}")
        ended = watch.down(None if all else _left(watch, named, cancelled))
    if console.as_json:
        console.json_object("down", 0, {"instances": ended, "runs": [run.id for run in cancelled]})
        return 0
    for row in ended:
        console.data(row.id)
    if not ended and not cancelled:
        console.say("nothing was up")
    return 0


def named_by(runs: list[Run], one: str) -> list[Run]:
    """The runs that a word names: by the name, by its beginning up to a dash, else by a beginning
    that only one of them has. Raises NotFoundError when it is the beginning of several."""
    found = [run for run in runs if of_run(run.id, one)]
    if found or not one:
        return found
    found = [run for run in runs if run.id.startswith(one)]
    if len(found) > 1:
        listed = ", ".join(run.id for run in found)
        raise NotFoundError(f"several runs begin with {one!r}", hints=(f"name one of {listed}",))
    return found


def _left(watch: Watch, named: dict[str, list[Run]], cancelled: list[Run]) -> list[str]:
    """The ids that are still to be ended: a run that was cancelled may have left nothing."""
    there = {row.run for row in watch.ps()}
    left = []
    for one, runs in named.items():
        stopped = [run.id for run in runs if run in cancelled]
        left += [run for run in stopped if run in there] if stopped else [one]
    if not left and not cancelled:
        raise NotFoundError(f"nothing is called {', '.join(named)}", hints=("see 'byoc ps'",))
    return left
