"""Seconds of the epoch that never go back: what lives and their commands are timed in."""

from __future__ import annotations

import threading

from ..clock import Clock

_STEP_BACK = 0.5
"""Seconds by which the wall clock may lag what has passed before it is not followed."""


class Hours:
    """The wall clock as something that never goes back. Safe from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last, self._mono = clock.wall(), clock.mono()

    def now(self) -> float:
        """Seconds since the epoch: the wall's, or those that have passed where it was set back."""
        with self._lock:
            wall, mono = self._clock.wall(), self._clock.mono()
            passed = self._last + (mono - self._mono)
            self._last = max(self._last, wall if wall >= passed - _STEP_BACK else passed)
            self._mono = mono
            return self._last
