"""A :class:`~byoc.transport.stream.ByteStream` over one SSH channel."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from ..errors import ConnectionLostError, Error, InstanceError, ProtocolError
from .stream import Buffer

SLICE = 32 * 1024 - 64
"""Bytes of a data message: what a 32 KiB packet holds beside its headers (docs/performance.md)."""
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
        """See the protocol."""
        view = memoryview(data).cast("B")
        at, size = 0, len(view)
        while at < size:
            try:
                sent = self._channel.send_some(bytes(view[at : at + SLICE]))
            except (OSError, EOFError) as error:
                raise self._broken() from error
            if not sent or not self._channel.transport.active:
                raise self._broken()
            at += sent

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
        # in a thread of its own, as it waits for whoever is stuck in the socket
        closer = threading.Thread(target=self._send_close, name="byoc-close", daemon=True)
        closer.start()
        closer.join(CLOSE_GRACE)
        if closer.is_alive():
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

    def _send_close(self) -> None:
        # a connection that breaks meanwhile has closed the channel as well
        with contextlib.suppress(OSError, EOFError):
            self._channel.close()

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
    transport.join(CLOSE_GRACE)  # whoever waits on it is woken just before the reason is known
    cause = transport.saved_exception
    if isinstance(cause, Error):
        return type(cause)(cause.message, hints=cause.hints)  # each thread raises its own
    if cause is None or isinstance(cause, (OSError, EOFError)):
        reason = f": {cause}" if cause and str(cause) else ""
        return ConnectionLostError(f"the connection was lost{reason}")
    return ProtocolError(f"the server broke the SSH protocol: {cause or type(cause).__name__}")
