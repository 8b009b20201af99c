"""From an intent to a machine that has proved to be ours: launch, wait, connect, or end it."""

from __future__ import annotations

from typing import NamedTuple

from .. import limits
from ..clock import Clock
from ..errors import (
    BootError,
    CancelledError,
    ConnectionLostError,
    HostKeyError,
    InstanceError,
    ProtocolError,
    ThrottleError,
    TransientError,
)
from ..providers.base import OWNER_TAG, TOKEN_TAG, Instance, LaunchRequest, Provider
from ..transport.ssh import Connection
from .ports import Dialer, Reporter, Stop, Target

LAUNCH_TRIES = 3
"""How often one launch is asked for, with the same token, while its answer does not come. Three
with doubling pauses is 0.6 s: then another rung serves the user sooner."""
LAUNCH_PAUSE = 0.2
"""Seconds before the second try; doubles."""
UNSEEN_GRACE = 10.0
"""Seconds after a launch in which a provider's unexplained "no such instance" may be a read that
lags behind the write (EC2 documents seconds)."""


class Patience(NamedTuple):
    """How long to wait, in seconds: for a reachable machine in all, for one connection."""

    boot: float
    connect: float
    stop: Stop


class Reached(NamedTuple):
    """A machine that proved its host key. ``connecting``: seconds spent on authenticating."""

    instance: Instance
    connection: Connection
    connecting: float


class Boot:
    """Launches one instance and waits for it; one object per rung."""

    def __init__(
        self, provider: Provider, dialer: Dialer, reporter: Reporter, clock: Clock
    ) -> None:
        self._provider = provider
        self._dialer = dialer
        self._reporter = reporter
        self._clock = clock
        self._greeted = False

    def launch(self, request: LaunchRequest, stop: Stop) -> Instance:
        """Ask for the instance; the same token again while the answer is lost, then look for it.

        Raises the provider's refusal. TransientError or ThrottleError means that the outcome is
        still unknown after :data:`LAUNCH_TRIES` and a look by tag.
        """
        tries, pause = 1, LAUNCH_PAUSE
        while True:
            try:
                return self._provider.launch(request)
            except (TransientError, ThrottleError) as error:
                if tries == LAUNCH_TRIES or stop():
                    return self._find(request, error)
            self._clock.sleep(pause)
            tries, pause = tries + 1, pause * 2

    def reach(self, instance: Instance, host_key: str, patience: Patience) -> Reached:
        """Wait until the instance runs and proves its host key.

        Raises BootError when that takes too long or the instance ends, HostKeyError when another
        machine answers, CancelledError when told to stop.
        """
        begun = self._clock.mono()
        pause, last = limits.BOOT_POLL, ""
        while True:
            self._go_on(instance, begun, last, patience)
            if instance.address:
                target = Target(instance.address, instance.port, instance.user, host_key)
                try:
                    greeted = self._enter(target, begun, patience)
                    if greeted is not None:
                        connection, seconds = greeted
                        return Reached(instance._replace(state="running"), connection, seconds)
                    last = f"nothing answers at {instance.address}:{instance.port}"
                except (HostKeyError, ProtocolError):
                    raise
                except (ConnectionLostError, InstanceError) as error:
                    last = error.message  # keys may be installed after sshd is up: ask again
            else:
                last = f"it is {instance.state} and has no address"
            self._clock.sleep(pause)
            pause = min(pause * 2, limits.BOOT_POLL_MAX)
            instance = self._look(instance, begun)

    def _go_on(self, instance: Instance, begun: float, last: str, patience: Patience) -> None:
        if patience.stop():
            raise CancelledError("cancelled while the instance was booting")
        waited = self._clock.mono() - begun
        if instance.state == "gone" and (instance.detail or waited > UNSEEN_GRACE):
            why = instance.detail or "the provider does not say why"
            raise BootError(f"instance {instance.id} ended while it was booting: {why}")
        if waited > patience.boot:
            raise BootError(
                f"instance {instance.id} was not reachable after {waited:.0f} s: {last}",
                hints=("allow more time with boot_timeout, or another type with --gpu or --cpu",),
            )

    def _enter(
        self, target: Target, begun: float, patience: Patience
    ) -> tuple[Connection, float] | None:
        door = self._dialer.knock(target, patience.connect, patience.stop)
        if door is None:
            return None
        answered = self._clock.mono()
        if not self._greeted:
            self._greeted = True
            self._reporter.stage("boot", "done", seconds=answered - begun)
            self._reporter.stage("connect", "start")
        connection = self._dialer.connect(target, patience.connect, door)
        return connection, self._clock.mono() - answered

    def _look(self, instance: Instance, begun: float) -> Instance:
        """The instance now; what was known of it when the provider cannot be asked."""
        try:
            now = self._provider.get(instance.id)
        except (TransientError, ThrottleError):
            return instance
        unseen = now.state == "gone" and not now.detail
        if unseen and self._clock.mono() - begun <= UNSEEN_GRACE:
            return instance
        return now

    def _find(self, request: LaunchRequest, error: TransientError | ThrottleError) -> Instance:
        """The instance whose launch answer was lost; raises ``error`` when there is none to see."""
        mark = {TOKEN_TAG: request.token}
        if OWNER_TAG in request.tags:
            mark[OWNER_TAG] = request.tags[OWNER_TAG]
        try:
            found = self._provider.list(mark)
        except (TransientError, ThrottleError):
            found = []
        if found:
            return found[0]
        raise error
