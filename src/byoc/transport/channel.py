"""A :class:`~byoc.transport.stream.ByteStream` over one SSH channel."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from ..errors import ConnectionLostError, Error, InstanceError, ProtocolError
from .stream import Buffer

SLICE = 8 * (32 * 1024 - 64)
"""Bytes sent at once: eight packets, of what each holds beside its headers, cost one system call
(docs/performance.md)."""
CLOSE_GRACE = 0.5
"""Seconds that a close may wait for the socket to take its message, before the connection is cut:
a socket that takes nothing for so long is dead or will not matter to who is closing."""
STATUS_GRACE = 1.0
"""Seconds to wait for the exit status after the end of the output; sshd sends it right behind."""


class ChannelStream:
    """A :class:`~byoc.transport.stream.ByteStream`; made by :class:`.ssh.Connection`.

    ``cut``: ends the whole connection at once; for a close that the socket does not take.
    """

    def __init__(self, channel: Any, cut: Callable[[], None]) -> None:
        self._channel = channel
        self._cut = cut
        self._closed = threading.Event()

    def read(self, n: int, timeout: float | None = None) -> bytes:
        """See the protocol. ``timeout``: seconds to the builtin TimeoutError."""
        data: bytes = self._channel.in_buffer.read(n, timeout)
        if not data:
            self._ended()
        self._acknowledge(len(data))
        return data

    def readinto(self, into: memoryview, timeout: float | None = None) -> int:
        """See the protocol. ``timeout``: seconds to the builtin TimeoutError."""
        got: int = self._channel.in_buffer.readinto(into, timeout)
        if not got and len(into):
            self._ended()
        self._acknowledge(got)
        return got

    def write(self, data: Buffer) -> None:
        """See the protocol. Not for the thread that reads the connection."""
        channel = self._channel
        packetizer = channel.transport.packetizer
        view = memoryview(data).cast("B")
        at, size = 0, len(view)
        try:
            while at < size:
                sent = channel.send_now(view[at : at + SLICE])
                if sent > 0:
                    at += sent
                    packetizer.drain()
                elif sent < 0 or not channel.transport.active:
                    raise self._broken()
                else:
                    channel.wait_for_room()
        except (OSError, EOFError) as error:
            raise self._broken() from error

    def offer(self, data: Buffer, wait: bool = False) -> int:
        """See the protocol. ``wait``: for the socket, which all streams share, but not for this
        stream's window; not on the thread that reads the connection."""
        channel = self._channel
        packetizer = channel.transport.packetizer
        view = memoryview(data).cast("B")
        at, size = 0, len(view)
        try:
            while at < size and (not packetizer.full or wait):
                sent = channel.send_now(view[at : at + SLICE])
                if sent < 0:
                    raise self._broken()
                if not sent:
                    break
                at += sent
                if wait:
                    packetizer.drain()
        except (OSError, EOFError) as error:
            raise self._broken() from error
        packetizer.settle()
        return at

    def listen(
        self,
        on_data: Callable[[memoryview], None],
        on_end: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        """See the protocol."""
        self._channel.on_room = on_room
        taken = self._channel.in_buffer.listen(on_data, on_end)
        self._acknowledge(taken)

    def ending(self) -> str:
        """See the protocol. Waits up to half a second for the reason of a break; not for the thread
        that reads the connection."""
        self._ended()
        return self.stderr()

    def write_eof(self) -> None:
        """Tell the remote that no more comes; reading goes on."""
        try:
            self._channel.send_eof()
        except (OSError, EOFError) as error:
            raise self._broken() from error

    def close(self) -> None:
        """See the protocol. Cuts the connection when the socket takes nothing for half a second."""
        if self._closed.is_set():
            return
        self._closed.set()
        packetizer = self._channel.transport.packetizer
        # a connection that breaks meanwhile has closed the channel as well
        with contextlib.suppress(OSError, EOFError):
            self._channel.close()
            may_wait = threading.current_thread() is not self._channel.transport
            if may_wait and not packetizer.drain(CLOSE_GRACE):
                self._cut()

    def stderr(self) -> str:
        """See the protocol."""
        return str(self._channel.tail.text())

    def exit_status(self) -> int | None:
        """See the protocol."""
        channel = self._channel
        if channel.eof_received or channel.closed:
            channel.status_event.wait(STATUS_GRACE)
        status: int = channel.exit_status
        return None if status < 0 else status

    def _acknowledge(self, n: int) -> None:
        # what was read is given out even if the connection breaks now; the next read will say so
        with contextlib.suppress(OSError, EOFError, ConnectionLostError):
            self._channel.acknowledge(n)

    def _ended(self) -> None:
        """The inbox has ended: return when the remote said so, raise otherwise."""
        channel = self._channel
        if channel.request_refused:
            raise InstanceError("the instance refused to run the command")
        if not (channel.eof_received or channel.remote_closed):
            raise self._broken()

    def _broken(self) -> Error:
        if self._closed.is_set():
            return ConnectionLostError("the stream was closed while it was in use")
        if self._channel.request_refused:
            return InstanceError("the instance refused to run the command")
        if self._channel.remote_closed:
            return ConnectionLostError("the remote end closed the stream")
        return lost(self._channel.transport)


def lost(transport: Any) -> Error:
    """Why the connection of ``transport`` is no more, as an error to raise."""
    if threading.current_thread() is not transport:
        transport.join(CLOSE_GRACE)  # who waits on it is woken just before the reason is known
    cause = transport.saved_exception
    if isinstance(cause, Error):
        return type(cause)(cause.message, hints=cause.hints)  # each thread raises its own
    if cause is None or isinstance(cause, (OSError, EOFError)):
        reason = f": {cause}" if cause and str(cause) else ""
        return ConnectionLostError(f"the connection was lost{reason}")
    return ProtocolError(f"the server broke the SSH protocol: {cause or type(cause).__name__}")
