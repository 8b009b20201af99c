"""Doing things side by side, in threads that keep no program from ending.

A thread pool of the standard library is waited for when the interpreter ends: one region that does
not answer would hold a command that has long had its result. Travels to containers, so it runs on
CPython 3.8.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

SLICE = 0.5
"""Seconds of one wait of the main thread. A signal that arrives between Python's last look and the
system's wait is seen only when that wait ends."""


def attempt(work: Callable[[], T]) -> T | BaseException:
    """What ``work`` gives, or the exception that it ended by: for threads on which others depend,
    and for who has to tell others."""
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - returned to who has to deal with it
        return error


class Task(Generic[T]):
    """Work in a daemon thread, begun when this is made, whose outcome is asked for later."""

    def __init__(self, name: str, work: Callable[[], T]) -> None:
        self._work = work
        self._found: list[tuple[T] | BaseException] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def result(self) -> T:
        """What the work gave, when it is done; raises what it raised."""
        while self._thread.is_alive():
            self._thread.join(SLICE)
        return _given(self._found[0])

    def _run(self) -> None:
        self._found.append(attempt(lambda: (self._work(),)))


def _given(found: tuple[T] | BaseException) -> T:
    """In a tuple, since work may also give an exception as its value."""
    if isinstance(found, BaseException):
        raise found
    return found[0]


def side_by_side(works: Sequence[Callable[[], T]], most: int) -> list[T]:
    """What each of these gives, in their order; no more than ``most`` run at the same time. Raises
    what the first of them raised, when all have ended."""
    left = list(enumerate(works))[::-1]
    found: dict[int, tuple[T] | BaseException] = {}
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                if not left:
                    return
                number, work = left.pop()
            found[number] = attempt(lambda work=work: (work(),))  # type: ignore[misc]

    for task in [Task("byoc-aside", run) for _ in range(min(most, len(works)))]:
        task.result()
    return [_given(found[number]) for number in range(len(works))]
