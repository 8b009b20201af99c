"""Remote output on its way to the reporter: in a thread of its own, so that a terminal that stands
still (a pager, a frozen window) holds up nothing but the output.

What is not shown yet is not consumed, so its stream's window bounds it, and then the remote
``print`` waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ..tasks import SLICE, attempt
from . import threads

IDLE = 5.0
"""Seconds for which the thread waits for more."""
PATIENCE = 0.2
"""Seconds for which the thread that reads waits until output is shown, so that it stands before
the results that came behind it. Who takes longer is not waited for until he has caught up."""


class Shown:
    """Things to be shown, in order. ``used``: called with the bytes of what was."""

    def __init__(self, used: Callable[[int], None]) -> None:
        self._used = used
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Callable[[], None], int]] = deque()
        self._running = False
        self._behind = False

    def put(self, show: Callable[[], None], size: int) -> None:
        """Have ``show`` called, which stands for so many bytes."""
        with self._changed:
            self._waiting.append((show, size))
            self._changed.notify_all()
            if not self._running:
                self._running = True
                threads.start("byoc-output", self._run)

    def wait(self) -> None:
        """Until all of it is shown, however long that takes; signals are heard meanwhile."""
        with self._changed:
            while self._waiting:
                self._changed.wait(SLICE)

    def catch_up(self) -> None:
        """Wait for what is to be shown; a moment, and not at all for one who is behind."""
        with self._changed:
            if self._waiting and not self._behind:
                self._behind = not self._changed.wait_for(lambda: not self._waiting, PATIENCE)

    def _run(self) -> None:
        """While there is something, and a while longer. What is shown stays in line till then."""
        while True:
            show, size = self._waiting[0]
            failed = attempt(show)
            if isinstance(failed, BaseException):  # what is behind it is shown
                threads.tell_failure(failed)
            self._used(size)
            with self._changed:
                self._waiting.popleft()
                if self._waiting:
                    continue
                self._behind = False
                self._changed.notify_all()
                if not self._changed.wait_for(lambda: self._waiting, IDLE):
                    self._running = False
                    return
