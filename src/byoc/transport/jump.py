"""A jump host: the user's own SSH server, through which instances without a public address are met.

It carries bytes and is trusted with nothing: the SSH connection to the instance runs end to end
inside, with the instance's own host key checked on this computer. The jump host proves its own key
as well; a host whose key was not known before is never connected to.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..clock import Clock
from ..errors import ConnectionLostError, HostKeyError, InstanceError, SettingsError
from . import library, ssh
from .keys import Identity
from .ssh import Connection
from .tunnel import Tunnel

SILENCE = 3.0
"""Seconds that a jump host which is connected already may take to answer; more than the longest
round trip on Earth, a satellite's included. Then a new connection is made."""
TRUST = 5.0
"""Seconds for which an answer proves that the connection lives: fifty instances that boot together
ask once."""
SORE = 15.0
"""Seconds for which a jump host that did not answer is not asked again: a climb with many offers
left must not wait for it at each of them."""
AGENT_KEYS = 4
"""Keys of the user's agent that are tried; OpenSSH's server ends a connection after six."""


class Jump(NamedTuple):
    """Where it is, the public key line that it must prove, and the user's private key file for it;
    without one, the user's SSH agent is asked, and then byoc's own key is tried."""

    user: str
    host: str
    port: int
    host_key: str
    identity: str = ""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


class _Seat:
    """What is known of one jump host."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Connection | None = None
        self.proved = 0.0
        self.failed: tuple[float, str] = (0.0, "")


class Jumper:
    """Connections to jump hosts, one for each, which all tunnels through it share. Safe from any
    thread. ``own``: byoc's own key."""

    def __init__(self, own: Callable[[], Identity], clock: Clock) -> None:
        self._own = own
        self._clock = clock
        self._lock = threading.Lock()
        self._seats: dict[Jump, _Seat] = {}

    def ready(self, jump: Jump, timeout: float) -> None:
        """Be connected, three round trips unless it is so already.

        Raises HostKeyError when another machine answers at its address, SettingsError when it takes
        no key of ours, ConnectionLostError when it does not answer within ``timeout`` seconds.
        """
        with self._seat(jump) as seat:
            self._connection(jump, seat, timeout)

    def open(self, jump: Jump, address: str, port: int, timeout: float) -> Tunnel:
        """Ask the jump host for a TCP connection to ``address``. Raises as :meth:`ready`."""
        with self._seat(jump) as seat:
            fresh = seat.connection is None or not seat.connection.alive
            connection = self._connection(jump, seat, timeout)
            tunnel = Tunnel(connection, address, port)
            if fresh or self._clock.mono() - seat.proved < TRUST:
                return tunnel
            if self._lives(connection, min(SILENCE, timeout)):
                seat.proved = self._clock.mono()
                return tunnel
            tunnel.socket.close()
            connection.close()  # it was cut, and nobody has noticed
            return Tunnel(self._connection(jump, seat, timeout), address, port)

    def close(self) -> None:
        """End all connections, and what runs through them."""
        with self._lock:
            seats, self._seats = list(self._seats.values()), {}
        for seat in seats:
            if seat.connection is not None:
                seat.connection.close()

    @contextlib.contextmanager
    def _seat(self, jump: Jump) -> Any:
        with self._lock:
            seat = self._seats.setdefault(jump, _Seat())
        with seat.lock:
            yield seat

    def _connection(self, jump: Jump, seat: _Seat, timeout: float) -> Connection:
        if seat.connection is None or not seat.connection.alive:
            until, why = seat.failed
            if self._clock.mono() < until:
                raise ConnectionLostError(why)
            try:
                seat.connection = self._connect(jump, timeout)
            except ConnectionLostError as error:
                seat.failed = (self._clock.mono() + SORE, error.message)
                raise
            seat.proved = self._clock.mono()
        return seat.connection

    @staticmethod
    def _lives(connection: Connection, timeout: float) -> bool:
        try:
            return connection.answers(timeout)
        except InstanceError:
            return False

    def _connect(self, jump: Jump, timeout: float) -> Connection:
        paramiko = library.load()
        agent = None if jump.identity else paramiko.Agent()
        try:
            keys = [*agent.get_keys()[:AGENT_KEYS], self._own().key()] if agent else [_read(jump)]
            return ssh.connect_as(
                jump.host, jump.port, jump.user, keys, jump.host_key, timeout, clock=self._clock
            )
        except HostKeyError as error:
            raise HostKeyError(
                f"another machine answers in place of the jump host {jump}: {error.message}",
                hints=("set jump_key when its key was changed on purpose",),
            ) from error
        except ConnectionLostError as error:
            raise ConnectionLostError(f"the jump host {jump}: {error.message}") from error
        except InstanceError as error:
            raise SettingsError(
                f"the jump host {jump} cannot be used: {error.message}",
                hints=(
                    "add the key to your SSH agent, or name its file in jump_identity",
                    f"or let byoc's own key in there: {self._own().public}",
                ),
            ) from error
        finally:
            if agent is not None:
                agent.close()


def _read(jump: Jump) -> Any:
    """The key of the setting. Raises SettingsError."""
    paramiko = library.load()
    path = Path(jump.identity).expanduser()
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
        raise SettingsError(
            f"the key {path} for the jump host {jump} cannot be read: {error}",
            hints=("one with a passphrase goes through your agent: ssh-add FILE, no setting",),
        ) from error
