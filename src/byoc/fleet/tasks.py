"""Doing some things side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

_SLICE = 0.5
"""Seconds of one wait of the main thread: a signal is heard between two of them."""


def attempt(work: Callable[[], T]) -> T | BaseException:
    """What the work gives, or the exception that it ended by: for threads that others wait for."""
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - returned to who waits, and dealt with there
        return error


class Task(Generic[T]):
    """Work in a daemon thread, begun when this is made."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._found: list[T | BaseException] = []
        self._thread = threading.Thread(target=self._run, name="byoc-task", daemon=True)
        self._thread.start()

    def result(self) -> T:
        """What the work gave, when it is done; raises what it raised."""
        while self._thread.is_alive():
            self._thread.join(_SLICE)
        (found,) = self._found
        if isinstance(found, BaseException):
            raise found
        return found

    def _run(self) -> None:
        self._found.append(attempt(self._work))


def side_by_side(works: Sequence[Callable[[], T]], most: int) -> list[T]:
    """What each of these gives, in their order; no more than ``most`` run at the same time. Raises
    what the first of them raised, when all have ended."""
    queue: SimpleQueue[int] = SimpleQueue()
    for number in range(len(works)):
        queue.put(number)
    found: dict[int, T | BaseException] = {}

    def run() -> None:
        while True:
            try:
                number = queue.get_nowait()
            except Empty:
                return
            found[number] = attempt(works[number])

    for task in [Task(run) for _ in range(min(most, len(works)))]:
        task.result()
    results = []
    for number in range(len(works)):
        one = found[number]
        if isinstance(one, BaseException):
            raise one
        results.append(one)
    return results
