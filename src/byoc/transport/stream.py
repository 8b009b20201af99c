"""A stream of bytes to and from a remote process: what the link layer speaks over."""

from __future__ import annotations

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
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._head = memoryview(b"")
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Add ``data``."""
        if data:
            self._queue.put(data)

    def close(self) -> None:
        """No more data: readers get ``b""`` once they have read all."""
        self._queue.put(b"")

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

    def _take(self, data: bytes) -> bool:
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
