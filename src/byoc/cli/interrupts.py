"""Ctrl-C once cancels and tears down, twice quits at once and leaves the rest to the lease."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ..clock import SYSTEM, Clock

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
ECHO = 0.3
"""Seconds within which the same signal again is an echo of the first one: who signals a process
group (``timeout``, a CI job) reaches byoc directly and again through a parent that hands it on.
Nobody presses Ctrl-C twice so quickly and means it."""
QUIT = 130
"""Exit code after Ctrl-C: 128 + SIGINT, what shells use."""


class Interrupts:
    """The process's answer to SIGINT, SIGTERM and SIGHUP while a run is under way.

    The first raises :class:`KeyboardInterrupt` in the main thread, unless the end has already
    begun (:meth:`ending`), when it only says so. The second, unless it is an echo (:data:`ECHO`),
    ends the process on the spot; the instance then ends by its own lease. A context manager, of the
    main thread.
    """

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._first: tuple[int, float] | None = None
        self._ending = False
        self._silent = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:  # noqa: PYI034 - Self needs 3.11
        for number in SIGNALS:
            # A signal that the caller ignores (nohup) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ending(self) -> None:
        """From here on the run ends by itself: one signal must not cut the tear-down short."""
        self._ending = True

    def leave(self) -> None:
        """Cancel from any thread without a word: whoever read stdout has gone."""
        self._silent = True
        main = threading.main_thread().ident
        assert main is not None
        # A real signal, to that thread: it wakes a wait, which _thread.interrupt_main() does not.
        signal.pthread_kill(main, signal.SIGINT)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._silent:
            self._silent = False
            if not self._ending:
                self._ending = True
                raise KeyboardInterrupt
            return
        now = self._clock.mono()
        if self._first is not None:
            if self._first[0] == number and now - self._first[1] < ECHO:
                return
            _tell(b"byoc: quit; what still runs ends by its own lease\n")
            os._exit(QUIT)
        self._first = (number, now)
        if self._ending:
            _tell(b"byoc: already ending; press Ctrl-C again to quit at once\n")
            return
        _tell(b"byoc: cancelling; press Ctrl-C again to quit at once\n")
        self._ending = True
        raise KeyboardInterrupt


def _tell(line: bytes) -> None:
    # With os.write: the handler may have interrupted a buffered write.
    try:
        os.write(2, b"\n" + line if os.isatty(2) else line)
    except OSError:  # stderr is closed: there is nobody to tell
        return
