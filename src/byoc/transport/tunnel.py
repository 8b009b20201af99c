"""A TCP connection beyond an SSH server, as a socket of this process.

What is sent into the socket leaves through a ``direct-tcpip`` channel, so that another SSH
connection can be made over it, end to end: the server in between carries its bytes and reads none.
Two threads carry them; the channel's window is what holds a sender back.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from ..errors import InstanceError
from .channel import SLICE, ChannelStream
from .ssh import Connection

BUFFER = 1024 * 1024
"""Bytes that the socket takes ahead of the channel, so that neither thread waits for the other with
each packet; the system gives what it allows."""


class Tunnel:
    """One such connection; it is asked for at once. ``socket``: the caller's end, which it closes;
    it ends when the far end does, or cannot be reached."""

    def __init__(self, connection: Connection, address: str, port: int) -> None:
        self._channel: Any = connection.open_tcp(address, port)
        self._stream = ChannelStream(self._channel, connection.close)
        self.socket, self._inner = socket.socketpair()
        for end in (self.socket, self._inner):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        threading.Thread(target=self._inward, name="byoc-tunnel-in", daemon=True).start()

    @property
    def refused(self) -> str:
        """Why the far end was not reached, in the server's words; empty while nothing is known."""
        return str(self._channel.refused)

    @property
    def forbidden(self) -> bool:
        """The server lets nobody through to there: asking again cannot help."""
        return bool(self._channel.forbidden)

    @property
    def answered(self) -> bool:
        """Whether the server has said yes or no."""
        return bool(self._channel.answered.is_set())

    def wait(self, timeout: float) -> bool:
        """Wait for :attr:`answered`, ``timeout`` seconds at most."""
        return bool(self._channel.answered.wait(timeout))

    def _inward(self) -> None:
        """What comes from the far end, until either end is no more. A connection that breaks ends
        the socket, and whoever uses that asks why."""
        self._channel.answered.wait()
        try:
            if self._channel.refused or not self._channel.active:
                return
            threading.Thread(target=self._outward, name="byoc-tunnel-out", daemon=True).start()
            with contextlib.suppress(OSError, InstanceError):
                while data := self._stream.read(SLICE):
                    self._inner.sendall(data)
        finally:
            self._stream.close()
            with contextlib.suppress(OSError):
                self._inner.shutdown(socket.SHUT_RDWR)  # wakes the other thread
            self._inner.close()

    def _outward(self) -> None:
        """What goes to the far end."""
        with contextlib.suppress(OSError, InstanceError):
            while data := self._inner.recv(SLICE):
                self._stream.write(data)
        self._stream.close()  # wakes the other thread
