"""What came of past tries: how often an offer could be had, and how long its machines boot."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..state import Attempt

WINDOW = 7 * 86400.0
"""Seconds into the past that count. A week holds each day of the week once; a shortage of last
month says little of today."""
MOST = 500
"""Attempts that are looked at, the latest ones: more than a person makes in a week, and read in a
few milliseconds."""
_CHANCE = frozenset(
    {"capacity", "boot", "bad-host", "transient", "throttle", "unclassified", "instance"}
)
"""Errors that another try may not meet. A quota or a missing permission is no matter of chance: it
is remembered as such."""

Kind = tuple[str, str, str, str]
"""Cloud, region, type, market: what tries are counted by. Zones are left out: there would be too
few tries in each, and a zone that is out is remembered for minutes anyway."""


class Tries(NamedTuple):
    """Of ``tries`` of one kind, ``good`` gave an instance; ``lost``: seconds that each of the
    others took on the average."""

    good: int = 0
    tries: int = 0
    lost: float = 0.0


class History(NamedTuple):
    """``tries``: by :data:`Kind`. ``boots``: by (cloud, type), the median of the seconds from the
    launch until the machine could be used. ``usual``: by cloud, those seconds where none was seen.
    """

    tries: Mapping[Kind, Tries] = MappingProxyType({})
    boots: Mapping[tuple[str, str], float] = MappingProxyType({})
    usual: Mapping[str, float] = MappingProxyType({})


def history_of(attempts: Iterable[Attempt]) -> History:
    """The history that these attempts make, in whatever order they come."""
    good: dict[Kind, int] = {}
    lost: dict[Kind, list[float]] = {}
    boots: dict[tuple[str, str], list[float]] = {}
    for one in attempts:
        parts = one.offer.split("/")
        if len(parts) != 5:
            continue
        kind = (parts[0], parts[1], parts[3], parts[4])
        if one.outcome == "ok":
            good[kind] = good.get(kind, 0) + 1
            boots.setdefault((parts[0], parts[3]), []).append(one.seconds)
        elif one.error in _CHANCE:
            lost.setdefault(kind, []).append(one.seconds)
    tries = {}
    for kind in good.keys() | lost.keys():
        bad = lost.get(kind, [])
        mean = sum(sorted(bad)) / len(bad) if bad else 0.0
        tries[kind] = Tries(good.get(kind, 0), good.get(kind, 0) + len(bad), mean)
    return History(tries, {key: statistics.median(found) for key, found in boots.items()})
