"""The journal, opened for a command that reads it; and how its times are shown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager

from ..clock import SYSTEM
from ..errors import NotFoundError
from ..settings import Settings
from ..state import Journal, Run
from .console import Console


@contextmanager
def opened(settings: Settings, console: Console) -> Iterator[Journal]:
    """The journal of this installation. A recovery from damage is reported."""
    journal = Journal.open(settings.home, SYSTEM)
    try:
        if journal.recovered:
            console.plain(f"warning: {journal.recovered}")
        yield journal
    finally:
        journal.close()


def chosen_run(journal: Journal, run: str) -> Run:
    """The run of that id, or of an unambiguous beginning; the latest when ``run`` is empty.

    Raises :class:`NotFoundError`.
    """
    if run:
        return journal.run(run)
    latest = journal.runs(limit=1)
    if not latest:
        raise NotFoundError("there is no run yet", hints=("start one: byoc run FILE",))
    return latest[0]


def moment(seconds: float) -> str:
    """A time of day for people, with its date; nothing when it is not known."""
    if not seconds:
        return ""
    when = dt.datetime.fromtimestamp(seconds, dt.timezone.utc).astimezone()
    return when.strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """``42 s``, ``3 min``, ``2.5 h``: how long something has lasted."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
