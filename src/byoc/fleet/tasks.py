"""Doing some things side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_SLICE = 0.5
"""Seconds of one wait of the main thread: a signal is heard between two of them."""


class Task(Generic[T]):
    """Work in a daemon thread, begun when this is made."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="byoc-task", daemon=True)
        self._thread.start()

    def result(self) -> T:
        """What the work gave, when it is done; raises what it raised."""
        while self._thread.is_alive():
            self._thread.join(_SLICE)
        if self._error is not None:
            raise self._error
        return self._value[0]

    def _run(self) -> None:
        try:
            self._value.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error
