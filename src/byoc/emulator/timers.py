"""One thread that does things later."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_LOG = logging.getLogger(__name__)


class Timers:
    """Does work at its time, in order, on one thread; nothing any more after :meth:`end`.

    What a piece of work raises is logged and kept in :attr:`failures`.
    """

    def __init__(self) -> None:
        self.failures: list[str] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._wake = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="emulator-timers", daemon=True)
        self._thread.start()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do ``work`` after so many seconds."""
        with self._wake:
            due = time.monotonic() + max(0.0, seconds)
            heapq.heappush(self._due, (due, next(self._numbers), work))
            self._wake.notify()

    def end(self) -> None:
        """Forget what is left, and wait for what is being done."""
        with self._wake:
            self._ended = True
            self._due.clear()
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                work = self._next()
            if work is None:
                return
            self.guard(work)()

    def guard(self, work: Callable[[], None]) -> Callable[[], None]:
        """``work``, whose failure is kept and not raised."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - one bad piece must not stop the clock
                _LOG.exception("work of the emulator failed")
                self.failures.append(f"{type(error).__name__}: {error}")

        return guarded

    def _next(self) -> Callable[[], None] | None:
        while not self._ended:
            pause = self._due[0][0] - time.monotonic() if self._due else None
            if pause is not None and pause <= 0:
                return heapq.heappop(self._due)[2]
            self._wake.wait(pause)
        return None
