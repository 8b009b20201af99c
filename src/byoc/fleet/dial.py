"""Reaching machines by SSH."""

from __future__ import annotations

import errno
import select
import socket
from functools import partial
from pathlib import Path

from ..clock import SYSTEM, Clock
from ..errors import ConnectionLostError, SettingsError, TransientError
from ..limits import CONNECT_TIMEOUT, SILENCE_LIMIT
from ..providers.base import HostKey
from ..transport import keys, ssh
from ..transport.jump import Jump, Jumper
from ..transport.keys import Identity
from ..transport.ssh import Connection
from ..transport.tunnel import Tunnel
from .ports import SLICE, Stop, Target
from .ways import Way, WayOf


class SshDialer:
    """The real one: ed25519 keys under ``home``, connections by :mod:`byoc.transport.ssh`.

    ``way_of``: the way to a cloud's machines; straight unless given.
    """

    def __init__(
        self, home: Path, clock: Clock = SYSTEM, way_of: WayOf = lambda cloud: Way()
    ) -> None:
        self._home = home
        self._clock = clock
        self._way_of = way_of
        self._known: Identity | None = None
        self._jumper = Jumper(self._identity, clock)

    def authorized_key(self) -> str:
        """See :class:`Dialer`."""
        return self._identity().public

    def new_host_key(self) -> HostKey:
        """See :class:`Dialer`."""
        return keys.new_host_key()

    def ready(self, cloud: str) -> None:
        """See :class:`Dialer`; no request where machines are met straight."""
        jump = self._way_of(cloud).jump
        if jump is None:
            return
        try:
            self._jumper.ready(jump, CONNECT_TIMEOUT)
        except ConnectionLostError as error:  # of no offer more than of any other one of the cloud
            hints = ("see that it is up and that this computer reaches it, or set jump anew",)
            raise TransientError(
                error.message, provider=cloud, scope="cloud", hints=hints
            ) from error

    def close(self) -> None:
        """End the connections to jump hosts."""
        self._jumper.close()

    def preload(self) -> None:
        """See :class:`Dialer`; parsing our own key loads paramiko."""
        self._identity().key()

    def knock(self, target: Target, timeout: float, stop: Stop) -> socket.socket | None:
        """See :class:`Dialer`. The greeting is only looked at, so ``connect`` reads it again."""
        deadline = self._clock.mono() + timeout
        jump = self._way_of(target.cloud).jump
        if jump is not None:
            return self._knock_through(jump, target, deadline, stop)
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
        deadline = self._clock.mono() + timeout
        jump = self._way_of(target.cloud).jump
        again = None if jump is None else partial(self._dial_through, jump, target, deadline)
        return ssh.connect(
            target.address,
            target.port,
            target.user,
            self._identity(),
            target.host_key,
            timeout,
            sock=door,
            again=again,
            clock=self._clock,
        )

    # -- through a jump host ------------------------------------------------------------------

    def _knock_through(
        self, jump: Jump, target: Target, deadline: float, stop: Stop
    ) -> socket.socket | None:
        try:
            tunnel = self._tunnel(jump, target, deadline)
        except ConnectionLostError:
            return None  # the jump host itself: the caller asks again
        door = tunnel.socket
        try:
            if self._ready(door, select.POLLIN, deadline, stop) and (
                door.recv(1, socket.MSG_PEEK) != b""
            ):
                return door
        except OSError:
            pass  # nobody there yet, as below
        door.close()
        _check(tunnel, jump, target)
        return None

    def _dial_through(self, jump: Jump, target: Target, deadline: float) -> socket.socket:
        """A socket that is connected with the target, by way of the jump host."""
        tunnel = self._tunnel(jump, target, deadline)
        reached = tunnel.wait(max(0.0, deadline - self._clock.mono()))
        if reached and not tunnel.refused:
            return tunnel.socket
        tunnel.socket.close()
        _check(tunnel, jump, target)
        why = tunnel.refused or "it does not answer"
        raise ConnectionLostError(
            f"cannot connect to {target.address}:{target.port} through {jump}: {why}"
        )

    def _tunnel(self, jump: Jump, target: Target, deadline: float) -> Tunnel:
        left = max(0.1, deadline - self._clock.mono())
        return self._jumper.open(jump, target.address, target.port, left)

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
            if poll.poll(max(1.0, 1000 * min(left, SLICE))):
                return True
        return False


def _check(tunnel: Tunnel, jump: Jump, target: Target) -> None:
    """Raises SettingsError when the jump host lets nobody through, which no waiting changes."""
    if tunnel.forbidden:
        raise SettingsError(
            f"the jump host {jump} forbids the way to {target.address}: {tunnel.refused}",
            hints=(
                "set AllowTcpForwarding (and PermitOpen) in its sshd_config",
                "or log in as its image's own user: cloud images let root forward nothing",
            ),
        )


def _hurry(door: socket.socket) -> None:
    """Send and acknowledge at once: a greeting acknowledged late costs 40 ms (docs/performance.md).

    And give up sending into a dead network, as the transport's own sockets do (both Linux only).
    """
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (("TCP_QUICKACK", 1), ("TCP_USER_TIMEOUT", int(SILENCE_LIMIT * 1000))):
        option = getattr(socket, name, None)
        if option is not None:
            door.setsockopt(socket.IPPROTO_TCP, option, value)
