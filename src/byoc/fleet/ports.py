"""What the fleet needs from its surroundings: someone to tell, and a way to reach a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..clock import Clock
from ..providers.base import HostKey, Instance

if TYPE_CHECKING:  # `byoc ps` connects to nothing and need not load what does
    import socket

    from ..transport.ssh import Connection

Stop = Callable[[], bool]
"""Says True once the caller wants to give up."""


SLICE = 0.25
"""Seconds of one wait: how long it takes to notice that the caller gave up."""


def never() -> bool:
    """A :data:`Stop` that does not stop."""
    return False


def pause(clock: Clock, seconds: float, stop: Stop) -> None:
    """Sleep so long, or until told to stop."""
    until = clock.mono() + seconds
    while (left := until - clock.mono()) > 0 and not stop():
        clock.sleep(min(left, SLICE))


class Reporter(Protocol):
    """The part of the engine's reporter that the fleet uses."""

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        """A stage (``place``, ``boot``, ``connect``) starts, is done, has failed."""

    def notice(self, message: str) -> None:
        """One sentence that the user should see once."""


class Target(NamedTuple):
    """Where a machine answers, and the public host key it must prove to hold. ``cloud`` and
    ``region``: whose it is, which says by what way and through which firewall it is met."""

    address: str
    port: int
    user: str
    host_key: str
    cloud: str = ""
    region: str = ""


def target_of(instance: Instance, host_key: str) -> Target:
    """How an instance is met."""
    where = (instance.address, instance.port, instance.user)
    return Target(*where, host_key, instance.provider, instance.offer.region)


class Dialer(Protocol):
    """Reaches machines. The client's identity is its own matter."""

    def authorized_key(self) -> str:
        """The public key line that a new instance has to accept."""

    def new_host_key(self) -> HostKey:
        """A fresh host key for a new instance."""

    def ready(self, cloud: str) -> None:
        """See that machines of this cloud can be reached from here, as far as that is known before
        there is one: its jump host lets us in. For before a launch.

        Raises SettingsError when a setting is missing or wrong, HostKeyError when another machine
        answers in the jump host's place, TransientError of the whole cloud when it does not answer.
        """

    def preload(self) -> None:
        """Load what the first connection needs, while there is something else to wait for."""

    def knock(self, target: Target, timeout: float, stop: Stop) -> socket.socket | None:
        """A socket on which an SSH server has greeted, or None when none did in time."""

    def connect(
        self, target: Target, timeout: float, door: socket.socket | None = None
    ) -> Connection:
        """An authenticated connection, over ``door`` when given. Raises as ``ssh.connect``."""
