"""``byoc logs``: what a run has printed, and what it prints from now on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from ...clock import SYSTEM, Clock
from ...errors import NotFoundError
from ...state import Journal
from .. import context, records
from ..command import command
from ..console import Console

FOLLOW_EVERY = 0.1
"""Seconds between two looks at a log that is followed: quick for an eye, free for a CPU."""
_PIECE = 256 * 1024


@command(as_json=False)
def logs(
    console: Console,
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="A run's id; default: latest.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
) -> int:
    """Print what a run has printed; with -f, go on until it ends."""
    with records.opened(context.merged(), console) as journal:
        found = records.chosen_run(journal, run)
        if not found.log:
            raise NotFoundError(f"{found.id} has no log")
        try:
            file = Path(found.log).open("rb")  # noqa: SIM115 - closed by the `with` below
        except FileNotFoundError:
            raise NotFoundError(
                f"the log of {found.id} is no longer there", hints=(f"it was {found.log}",)
            ) from None
        with file:
            _print(file, console)
            if follow:
                _follow(file, console, journal, found.id, SYSTEM)
    return 0


def _follow(file: BinaryIO, console: Console, journal: Journal, run: str, clock: Clock) -> None:
    while not console.reader_gone:
        # Asked before reading: what was written until the end is then read after it.
        running = journal.run(run).status == "running"
        _print(file, console)
        if not running:
            return
        clock.sleep(FOLLOW_EVERY)


def _print(file: BinaryIO, console: Console) -> None:
    while not console.reader_gone and (data := file.read(_PIECE)):
        console.write(1, data)
