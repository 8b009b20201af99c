"""Each safety net alone: with all others switched off it still has to hold what it is there for."""

from __future__ import annotations

from typing import NamedTuple

from .scene import Setup


class Alone(NamedTuple):
    """One net without the others. ``left``: the checkers that count; ``setup``: its world."""

    net: str
    promise: str
    setup: Setup
    left: tuple[str, ...] = ("leak",)


_DIES = (("never_returns", True), ("crash", 600.0), ("crash_loop", 0.0), ("clients", 1))

ALONE = (
    Alone(
        "sweep",
        "what crashed clients left is ended by those that come after them",
        Setup(off=("deadman", "reaper", "ttl"), force=(("never_returns", False),)),
    ),
    Alone(
        "dead-man",
        "every machine that has booted ends itself, whoever is left",
        Setup(
            off=("sweep", "reaper", "ttl"),
            force=(*_DIES, ("mortal", True), ("no_boot", 0.0)),
            strict=True,
        ),
    ),
    Alone(
        "time limit of the cloud",
        "nobody ever comes back, and no machine ends itself",
        Setup(off=("deadman", "sweep", "reaper"), force=_DIES, clouds=("gcp",), strict=True),
    ),
    Alone(
        "reaper",
        "nobody ever comes back: credentials and tags are enough",
        Setup(off=("deadman", "sweep", "ttl"), force=(*_DIES, ("reaper", 900.0)), strict=True),
    ),
)

NONE = Setup(off=("deadman", "sweep", "reaper", "ttl"), force=_DIES, strict=True)
"""No net at all: leaks are certain, or the worlds above prove nothing."""
