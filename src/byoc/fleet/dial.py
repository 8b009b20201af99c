"""Reaching machines by SSH."""

from __future__ import annotations

import errno
import select
import socket
from pathlib import Path

from ..clock import SYSTEM, Clock
from ..limits import SILENCE_LIMIT
from ..providers.base import HostKey
from ..transport import keys, ssh
from ..transport.keys import Identity
from ..transport.ssh import Connection
from .ports import Stop, Target

_SLICE = 0.25
"""Seconds after which a wait for a socket looks whether it should stop: how long Ctrl-C takes."""


class SshDialer:
    """The real one: ed25519 keys under ``home``, connections by :mod:`byoc.transport.ssh`."""

    def __init__(self, home: Path, clock: Clock = SYSTEM) -> None:
        self._home = home
        self._clock = clock
        self._known: Identity | None = None

    def authorized_key(self) -> str:
        """See :class:`Dialer`."""
        return self._identity().public

    def new_host_key(self) -> HostKey:
        """See :class:`Dialer`."""
        return keys.new_host_key()

    def preload(self) -> None:
        """See :class:`Dialer`; parsing our own key loads paramiko."""
        self._identity().key()

    def knock(self, target: Target, timeout: float, stop: Stop) -> socket.socket | None:
        """See :class:`Dialer`. The greeting is only looked at, so ``connect`` reads it again."""
        deadline = self._clock.mono() + timeout
        family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        try:
            if self._greeted(door, target, deadline, stop):
                door.setblocking(True)
                _hurry(door)
                return door
        except OSError:
            pass  # nobody there yet: the caller asks again
        door.close()
        return None

    def connect(
        self, target: Target, timeout: float, door: socket.socket | None = None
    ) -> Connection:
        """See :class:`Dialer`."""
        return ssh.connect(
            target.address,
            target.port,
            target.user,
            self._identity(),
            target.host_key,
            timeout,
            sock=door,
            clock=self._clock,
        )

    def _identity(self) -> Identity:
        if self._known is None:
            self._known = keys.ensure_identity(self._home)
        return self._known

    def _greeted(self, door: socket.socket, target: Target, deadline: float, stop: Stop) -> bool:
        door.setblocking(False)
        _hurry(door)
        code = door.connect_ex((target.address, target.port))
        if code not in (0, errno.EINPROGRESS):
            return False
        if not self._ready(door, select.POLLOUT, deadline, stop):
            return False
        if door.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return False
        return self._ready(door, select.POLLIN, deadline, stop) and (
            door.recv(1, socket.MSG_PEEK) != b""
        )

    def _ready(self, door: socket.socket, event: int, deadline: float, stop: Stop) -> bool:
        poll = select.poll()
        poll.register(door, event)
        while (left := deadline - self._clock.mono()) > 0 and not stop():
            if poll.poll(max(1.0, 1000 * min(left, _SLICE))):
                return True
        return False


def _hurry(door: socket.socket) -> None:
    """Send and acknowledge at once: a greeting acknowledged late costs 40 ms (docs/performance.md).

    And give up sending into a dead network, as the transport's own sockets do (both Linux only).
    """
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_QUICKACK", 1), ("TCP_USER_TIMEOUT", int(SILENCE_LIMIT * 1000))):
        option = getattr(socket, name, None)
        if option is not None:
            door.setsockopt(socket.IPPROTO_TCP, option, value)
