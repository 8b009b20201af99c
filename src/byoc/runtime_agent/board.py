"""The memory that a container and the agent share: what runs now, and since when.

It lets the agent enforce a timeout, stop a container from starting what it holds, and say which
inputs a dead container was running, without a message per input. Both sides read and write single
words of eight bytes, which a processor does in one piece; nothing is locked.
"""

from __future__ import annotations

import mmap
import os
from typing import List, Tuple

STOPS, STARTED, CANCEL, USED = 0, 1, 2, 3
"""The header's words. ``STOPS``: how often the agent has asked the container to start nothing more
for now. ``STARTED``: the place, in the order of sending, of the last input that the container has
started. ``CANCEL``: the input that the agent wants cancelled. ``USED``: how many slots, from the
first, the container has ever used."""
HEADER = 4
SLOTS = 2046
"""Inputs that a container can run at once: two words each, 32 KiB with the header."""
SIZE = 8 * (HEADER + 2 * SLOTS)
STARTING = 2**64 - 1
"""Instead of an input in slot 0: the container is being set up."""
LEAVING = 2**64 - 2
"""Instead of an input in slot 0: it takes no more inputs and runs its exit hooks."""


class Board:
    """One end of it. ``words`` and ``times`` are the same memory as integers and as floats; the
    slot ``n`` is ``words[HEADER + 2 * n]`` (the input, 0: none) and the second of CLOCK_MONOTONIC
    at which it began, in ``times``, behind it."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        self._bytes = memoryview(self._map)
        self.words = self._bytes.cast("Q")
        self.times = self._bytes.cast("d")

    def close(self) -> None:
        """Unmap it."""
        for view in (self.words, self.times, self._bytes):
            view.release()
        self._map.close()

    # --- the container's side -------------------------------------------------------------

    def enter(self, slot: int, ident: int, since: float) -> None:
        """``ident`` runs in ``slot`` since then. The time first: a reader between the two writes
        sees either nothing or the new time beside what ran before."""
        place = HEADER + 2 * slot
        self.times[place + 1] = since
        self.words[place] = ident

    def use(self, slots: int) -> None:
        """The first so many slots are used. Of several threads only one may say so at a time."""
        self.words[USED] = max(self.words[USED], slots)

    def clear(self, slot: int) -> None:
        """Nothing runs in ``slot``."""
        self.words[HEADER + 2 * slot] = 0

    def mark(self, what: int, since: float) -> None:
        """The container is STARTING or LEAVING, or (0) neither, and runs no input."""
        for slot in range(1, self.words[USED]):
            self.clear(slot)
        self.use(1)
        self.enter(0, what, since)

    # --- the agent's side -----------------------------------------------------------------

    def running(self) -> List[Tuple[int, float]]:
        """(input, since) of each slot in use."""
        used = min(self.words[USED], SLOTS)
        found = []
        for place in range(HEADER, HEADER + 2 * used, 2):
            ident = self.words[place]
            if ident:
                found.append((ident, self.times[place + 1]))
        return found

    @property
    def started(self) -> int:
        """The place of the last input that was started."""
        return self.words[STARTED]

    def stop(self) -> None:
        """Start nothing more until the client's ``go`` has come."""
        self.words[STOPS] += 1

    def cancel(self, ident: int) -> None:
        """Cancel this input if it runs."""
        self.words[CANCEL] = ident


def new() -> int:
    """A nameless file of one board, shared by mapping it. On a disk its bytes exist: a full one
    must not show when the map is written to."""
    if hasattr(os, "memfd_create"):
        try:
            fd = os.memfd_create("board")
        except OSError:  # a kernel without it
            fd = _file()
        else:
            os.ftruncate(fd, SIZE)
            return fd
    else:
        fd = _file()
    os.write(fd, bytes(SIZE))
    return fd


def _file() -> int:
    path = "board.%d" % os.getpid()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    return fd
