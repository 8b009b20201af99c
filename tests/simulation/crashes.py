"""A crash at every write and every request, one after the other: exhaustive, not at random.

A calm world, a small job. First it runs through and the moments are counted at which the process
could die; then it dies at each of them in turn, and one of three things happens: the user starts it
again, a reaper comes by with credentials alone, or nobody ever comes and only the leases are left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .clouds import HABITS
from .faults import CALM
from .scene import Outcome, Setup, simulate

RETURNS, REAPED, NOBODY = "returns", "reaped", "nobody"
AFTER = (RETURNS, REAPED, NOBODY)
"""What comes after the crash."""
TASKS = 2
SEED = 1


class Crash(NamedTuple):
    """One case: a cloud, the number of the moment, what comes after it, and whether a machine that
    shuts itself down there stops costing money."""

    cloud: str
    point: int
    after: str
    mortal: bool = True


def setup(cloud: str, point: int = 0, after: str = RETURNS, mortal: bool = True) -> Setup:
    """The world of a case; of the run that counts the moments when ``point`` is 0."""
    knobs = CALM._replace(
        mortal=mortal,
        downtime=30.0,
        never_returns=after != RETURNS,
        reaper=1e9 if after == REAPED else 0.0,
    )
    return Setup(knobs=knobs, tasks=TASKS, clouds=(cloud,), crash_at=point)


def points(cloud: str) -> int:
    """How many moments there are."""
    found = simulate(SEED, setup(cloud))
    assert not found.bad, found.bad
    return int(found.sums["most-points"])


def cases() -> Iterator[Crash]:
    """All of them."""
    for cloud in HABITS:
        for point in range(1, points(cloud) + 1):
            for after in AFTER:
                yield Crash(cloud, point, after)
            if HABITS[cloud].self_end != "gone":
                yield Crash(cloud, point, RETURNS, mortal=False)
                yield Crash(cloud, point, REAPED, mortal=False)


def crash(case: Crash) -> Outcome:
    """One case, to the end."""
    return simulate(SEED, setup(*case))
