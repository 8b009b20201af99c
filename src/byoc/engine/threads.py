"""Small pieces of threading that the engine shares."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from ..clock import Clock
from ..tasks import SLICE, attempt

T = TypeVar("T")


def start(name: str, work: Callable[[], object]) -> threading.Thread:
    """Run ``work`` in a daemon thread."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def tell_failure(error: BaseException) -> None:
    """Tell of a failure as that of a whole thread is told, and go on."""
    failed = (type(error), error, error.__traceback__, threading.current_thread())
    threading.excepthook(threading.ExceptHookArgs(failed))


def take(queue: SimpleQueue[T]) -> T:
    """The next thing in a queue, however long it takes; signals are heard meanwhile."""
    while True:
        try:
            return queue.get(timeout=SLICE)
        except Empty:
            continue


def take_within(queue: SimpleQueue[T], seconds: float) -> T:
    """The next thing in a queue within so many seconds. Raises Empty."""
    while seconds > SLICE:
        try:
            return queue.get(timeout=SLICE)
        except Empty:
            seconds -= SLICE
    return queue.get(timeout=max(0.0, seconds), block=seconds > 0)


class Ticker:
    """Calls functions later, in one thread that exists only once something waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], object], object]] = []
        self._keys: set[object] = set()
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def after(self, delay: float, call: Callable[[], object], key: object = None) -> None:
        """Call after ``delay`` seconds; with a ``key``, only if none of that key is waiting."""
        with self._wake:
            if self._stopped or (key is not None and key in self._keys):
                return
            if key is not None:
                self._keys.add(key)
            when = self._clock.mono() + delay
            heapq.heappush(self._due, (when, next(self._order), call, key))
            if self._thread is None:
                self._thread = start("byoc-ticker", self._run)
            self._wake.notify()

    def stop(self) -> None:
        """Forget what waits."""
        with self._wake:
            self._stopped = True
            self._due.clear()
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._stopped:
                    return
                now = self._clock.mono()
                if not self._due or self._due[0][0] > now:
                    self._wake.wait(self._due[0][0] - now if self._due else None)
                    continue
                _, _, call, key = heapq.heappop(self._due)
                self._keys.discard(key)
            failed = attempt(call)
            if isinstance(failed, BaseException):  # what else waits is not to wait for ever
                tell_failure(failed)
