"""How fast clouds are asked for instances: one bucket of launch calls per cloud."""

from __future__ import annotations

import threading

from ..clock import Clock
from .ports import Stop, never, pause

LAUNCHES_PER_MINUTE = 120
"""Launch calls a minute that a cloud gets from one client in the long run: EC2 grants two a second
to an account in a region, the others more."""
LAUNCH_BURST = 100
"""Calls that need not wait after a quiet time: the largest fleet that the usual cap allows, with
half as many refusals on the way."""


class Pace:
    """Buckets of calls, by name. Safe to use from several threads."""

    def __init__(
        self, clock: Clock, per_minute: float = LAUNCHES_PER_MINUTE, burst: int = LAUNCH_BURST
    ) -> None:
        self._clock = clock
        self._every = 60.0 / per_minute
        self._ahead = burst * self._every
        self._guard = threading.Lock()
        self._next: dict[str, float] = {}

    def wait(self, name: str, stop: Stop = never) -> float:
        """Wait for one's turn; returns the seconds that it took. Returns at once when told to
        stop."""
        with self._guard:
            now = self._clock.mono()
            turn = max(self._next.get(name, now - self._ahead), now - self._ahead)
            self._next[name] = turn + self._every
        begun = self._clock.mono()
        pause(self._clock, turn - begun, stop)
        return self._clock.mono() - begun
