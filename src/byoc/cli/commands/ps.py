"""``byoc ps``: the instances there are, who uses them, and the runs that have not ended."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import _lazy
from ...clock import SYSTEM
from ...fleet.watch import Row
from ...state import Run
from .. import context, instances, records
from ..command import command
from ..console import Console

_INSTANCES = ("INSTANCE", "WHERE", "STATE", "USE", "UP", "PRICE/H", "RUN")
_RUNS = ("RUN", "STATUS", "STARTED", "COMMAND")
LATEST = 20
"""Runs that ``--all`` lists."""


@command(quick=True)
def ps(
    console: Console,
    all: Annotated[bool, typer.Option("--all", "-a", help="Also the latest ended runs.")] = False,
    everywhere: Annotated[
        bool,
        typer.Option(
            "--everywhere",
            "-e",
            help="Ask every region of every cloud with credentials, for instances of any owner.",
        ),
    ] = False,
) -> int:
    """List instances, and runs that have not ended.

    What is shown is what the clouds say now. They are asked where this computer's journal knows of
    something; ``--everywhere`` asks all of them, also for what was rented from other computers.
    """
    if everywhere:  # loaded now: the usual ps does not pay for it
        code: int = _lazy.load("byoc.cli.everywhere:show")(console)
        return code
    with instances.watched(context.merged(), console) as watch:
        rows = watch.ps()
        runs = watch.journal.runs(limit=LATEST, status=None if all else "running")
        partly = watch.partial()
    if console.as_json:
        fields = {"instances": rows, "runs": runs, "complete": not partly}
        console.json_object("ps", 0, fields)
        return 0
    now = SYSTEM.wall()
    if rows:
        console.table(_INSTANCES, [_instance(row, now) for row in rows])
    if rows and runs:
        console.data("")
    if runs:
        console.table(_RUNS, [_run(run) for run in runs])
    if not rows and not runs:
        console.say("no instance is up")
    if partly:
        names = ", ".join(partly)
        console.say(f"{names}: asked where this computer had something; --everywhere asks all")
    return 0


def _instance(row: Row, now: float) -> tuple[str, ...]:
    offer = row.offer
    use = row.use
    if row.use == "idle" and row.idle_until:
        use = f"idle, ends in {records.span(row.idle_until - now)}"
    elif row.use == "busy":
        use = f"busy, process {row.pid}"
    price = "-" if row.price is None else f"${row.price:.2f}"
    up = records.span(now - row.started) if row.started else "-"
    return (row.id, f"{row.provider}/{offer.zone}/{offer.type}", row.state, use, up, price, row.run)


def _run(run: Run) -> tuple[str, ...]:
    status = f"{run.status} ({run.exit_code})" if run.exit_code else run.status
    return run.id, status, records.moment(run.started), " ".join(run.command)
