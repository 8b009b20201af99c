"""A stream of bytes to and from a remote process: what the link layer speaks over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

Buffer = bytes | bytearray | memoryview

STDERR_TAIL = 64 * 1024
"""Bytes kept of what the remote wrote to stderr: enough for a Python traceback or two."""


class ByteStream(Protocol):
    """One remote process's stdin and stdout, or one remote socket.

    One thread may read while others write; :meth:`close` may come from any thread and wakes them.
    """

    def read(self, n: int) -> bytes:
        """1 to ``n`` bytes, as soon as there are any; ``b""`` when the remote has ended.

        Raises ConnectionLostError when the connection broke or the stream was closed here, and
        ProtocolError when it broke because what arrived was not SSH.
        """

    def readinto(self, into: memoryview) -> int:
        """As :meth:`read`, into ``into`` (bytes); how many, 0 when the remote has ended."""

    def write(self, data: Buffer) -> None:
        """All of ``data``; waits while the remote takes nothing. Raises as :meth:`read` does."""

    def listen(
        self,
        on_data: Callable[[memoryview], None],
        on_end: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        """Have what comes pushed from now on, instead of reading it; once.

        ``on_data`` gets it on the thread that reads the connection and takes it with its return;
        ``on_end`` is called there or on a closing thread, when nothing more comes; then
        :meth:`ending` says why. ``on_room``: :meth:`offer` may take more; on any thread, also when
        that is not so. None of them may wait for anything or raise.
        """

    def offer(self, data: Buffer, wait: bool = False) -> int:
        """Write the beginning of ``data`` that leaves without waiting: how many bytes, perhaps 0.

        ``wait``: for the socket, which all streams of the connection share, but not for the remote
        to take what this stream brings. Raises as :meth:`read` does.
        """

    def ending(self) -> str:
        """After the end: what to say of one that the remote meant. Raises as :meth:`read` does for
        any other."""

    def close(self) -> None:
        """End the stream; idempotent, never blocks for long. Readers and writers are woken."""

    def stderr(self) -> str:
        """The last 64 KiB of what the remote wrote to stderr so far."""

    def exit_status(self) -> int | None:
        """The remote's exit status (128 + n after signal n), or None while it is not known.

        After the end of the stream it waits up to a second for the status to arrive.
        """


class Inbox:
    """Bytes fed by one thread and read by another.

    Takes the place of :class:`paramiko.buffered_pipe.BufferedPipe` in a channel (same names):
    that one moves its whole buffer on every partial read. Its size is bounded by the channel's
    receive window.
    """

    def __init__(self) -> None:
        # SimpleQueue wakes its reader from C: 10 us less per message than a Condition
        self._queue: SimpleQueue[bytes | memoryview] = SimpleQueue()
        self._head = memoryview(b"")
        self._ended = False
        self._turning = threading.RLock()  # between reading and being pushed
        self._on_data: Callable[[memoryview], None] | None = None
        self._on_end: Callable[[], None] | None = None

    def feed(self, data: bytes | memoryview) -> bool:
        """Add ``data``, whose bytes do not change; True when a listener has taken it."""
        if self._on_data is None:
            with self._turning:
                if self._on_data is None:
                    if data:
                        self._queue.put(data)
                    return False
        self._on_data(memoryview(data))
        return True

    def close(self) -> None:
        """No more data: readers get ``b""`` once they have read all."""
        with self._turning:
            self._queue.put(b"")
            on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()

    def listen(self, on_data: Callable[[memoryview], None], on_end: Callable[[], None]) -> int:
        """Push all that was not read, and then whatever comes: how many bytes were there."""
        size = 0
        with self._turning:
            while self._ready():
                size += len(self._head)
                on_data(self._head)
                self._head = memoryview(b"")
            self._on_data = on_data
            if not self._ended:
                self._on_end = on_end
                return size
        on_end()
        return size

    def read(self, n: int, timeout: float | None = None) -> bytes:
        """1 to ``n`` bytes, or ``b""`` at the end.

        Raises the builtin TimeoutError after ``timeout`` seconds without any.
        """
        if not self._wait(timeout):
            return b""
        data = self._head
        self._head = data[n:]
        return bytes(data[:n])

    def readinto(self, into: memoryview, timeout: float | None = None) -> int:
        """Fill ``into`` with what is there; waits only for the first byte. 0 at the end."""
        done = 0
        while done < len(into) and (self._wait(timeout) if not done else self._ready()):
            part = self._head[: len(into) - done]
            into[done : done + len(part)] = part
            self._head = self._head[len(part) :]
            done += len(part)
        return done

    def __len__(self) -> int:
        """Not zero while something waits to be read."""
        return len(self._head) + self._queue.qsize()

    def _wait(self, timeout: float | None) -> bool:
        """Have a head; False at the end."""
        if self._head:
            return True
        if self._ended:
            return False
        try:
            return self._take(self._queue.get(timeout=timeout))
        except Empty:
            raise TimeoutError("nothing arrived in time") from None

    def _ready(self) -> bool:
        """Have a head without waiting."""
        if self._head:
            return True
        if self._ended:
            return False
        try:
            return self._take(self._queue.get_nowait())
        except Empty:
            return False

    def _take(self, data: bytes | memoryview) -> bool:
        self._head = memoryview(data)
        self._ended = not data
        return not self._ended


class Tail:
    """The last :data:`STDERR_TAIL` bytes of what was fed."""

    def __init__(self, limit: int = STDERR_TAIL) -> None:
        self._limit = limit
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Add ``data``, forget the oldest."""
        self._data += data
        if len(self._data) > self._limit:
            del self._data[: -self._limit]

    def text(self) -> str:
        """What is kept, undecodable bytes replaced."""
        return bytes(self._data).decode("utf-8", "replace")
