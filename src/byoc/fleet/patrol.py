"""Sweeping again and again while a client lasts: the second net under what the first one missed.

The first sweep comes before the first launch (:meth:`Fleet.acquire`); these follow it. What clients
of this data folder left when they died is seen within seconds, and ended after a lease.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..errors import Error, StateError
from ..tasks import attempt
from .policy import SWEEP_LATER, SWEEP_ROUNDS, SWEEP_SOON
from .ports import Reporter


def pause_after(rounds: int) -> float:
    """Seconds until the next sweep, after so many."""
    return SWEEP_SOON if rounds < SWEEP_ROUNDS else SWEEP_LATER


class Patrol:
    """One thread that sweeps; it holds no program from ending. ``wait``: of so many seconds, True
    when it was told to stop meanwhile; a test's own."""

    def __init__(
        self,
        sweep: Callable[[], object],
        reporter: Reporter,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._sweep = sweep
        self._reporter = reporter
        self._over = threading.Event()
        self._wait = wait or self._over.wait
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._told: set[str] = set()

    def begin(self) -> None:
        """Sweep from now on, unless it does already or was stopped."""
        with self._guard:
            if self._thread is None and not self._over.is_set():
                self._thread = threading.Thread(target=self.run, name="byoc-sweep", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """No more sweeps are begun; one that is under way is not waited for."""
        self._over.set()

    def run(self) -> None:
        """Sweep until stopped, or until the journal cannot be used any more."""
        rounds = 0
        while not self._wait(pause_after(rounds)):
            rounds += 1
            failed = attempt(self._sweep)
            if isinstance(failed, StateError):
                return
            if isinstance(failed, BaseException) and not self._over.is_set():
                self._tell(failed)

    def _tell(self, failed: BaseException) -> None:
        text = failed.message if isinstance(failed, Error) else repr(failed)
        if text not in self._told:
            self._told.add(text)
            self._reporter.notice(f"a look at what is rented failed: {text}")
