"""The process's one thread for what has to be done again and again: pings, leases, looking whether
a connection has gone silent. Hundreds of instances cost it less than one thread each would."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

from ..clock import SYSTEM
from ..tasks import attempt
from . import threads

Beat = Callable[[], float | None]
"""Does what is due, without waiting for anything; the seconds until the next time, None: never."""

AFTER_FAILURE = 1.0
"""Seconds until a beat that failed is tried again."""
GRID = 0.25
"""Beats of more than twice this come at multiples of it, so that those of hundreds of instances
fall together: a wake-up of the thread costs more than a beat."""


class _Heart:
    def __init__(self) -> None:
        self._due: list[tuple[float, int, Beat]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._running = False

    def add(self, beat: Beat, first: float) -> None:
        with self._changed:
            due = SYSTEM.mono() + first
            if first > 2 * GRID:
                due -= due % GRID  # sooner, never later
            heapq.heappush(self._due, (due, next(self._order), beat))
            if not self._running:
                self._running = True
                threads.start("byoc-heart", self._run)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            beat = self._next()
            if beat is None:
                return
            again = attempt(beat)
            if isinstance(again, BaseException):  # other instances' leases hang on this thread
                threads.tell_failure(again)
                again = AFTER_FAILURE
            if again is not None:
                self.add(beat, again)

    def _next(self) -> Beat | None:
        """Wait for the next one that is due; None when there is none left."""
        with self._changed:
            while self._due:
                left = self._due[0][0] - SYSTEM.mono()
                if left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(left)
            self._running = False
            return None


_heart = _Heart()


def add(beat: Beat, first: float) -> None:
    """Call ``beat`` in ``first`` seconds, and then whenever it says."""
    _heart.add(beat, first)
