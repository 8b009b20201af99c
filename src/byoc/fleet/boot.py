"""From an intent to a machine that has proved to be ours: launch, wait, connect."""

from __future__ import annotations

import copy
from typing import NamedTuple

from .. import limits
from ..clock import Clock, Ids
from ..errors import (
    BootError,
    CancelledError,
    ConnectionLostError,
    HostKeyError,
    InstanceError,
    ProtocolError,
    ProviderError,
    ThrottleError,
    TokenError,
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
THROTTLE_TRIES = 4
"""How often one launch is asked for while the cloud says "too often". The pauses are at most 1, 2
and 4 s: after those another region, whose requests are counted apart, serves the user sooner."""
THROTTLE_TRIES_ALONE = 8
"""The same when there is no other offer: up to 91 s, a minute being what clouds count in."""
THROTTLE_PAUSE = 1.0
"""Longest first pause after "too often"; doubles. Each is drawn between nothing and its longest, so
that fifty clients do not come back at the same moment."""
THROTTLE_PAUSE_MAX = 30.0
UNSEEN_GRACE = 60.0
"""Seconds after a launch in which a provider's unexplained "no such instance" may be a read that
lags behind the write: EC2 documents seconds, and others have been burnt by a minute."""
_SLICE = 0.25
"""Seconds of one sleep: how long it takes to notice that the caller gave up."""


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
    """Launches one instance and waits for it; one object per rung. ``seen``: the instance as the
    provider last showed it, None before that. ``unsure``: an answer to the launch was lost, so that
    there may be one although the launch failed."""

    def __init__(
        self, provider: Provider, dialer: Dialer, reporter: Reporter, clock: Clock, ids: Ids
    ) -> None:
        self._provider = provider
        self._dialer = dialer
        self._reporter = reporter
        self._clock = clock
        self._ids = ids
        self._greeted = False
        self._hop, self._shown = "", ""
        self.seen: Instance | None = None
        self.unsure = False

    # -- launching ----------------------------------------------------------------------------

    def launch(self, request: LaunchRequest, stop: Stop, alone: bool = False) -> Instance:
        """Ask for the instance; the same token again while the answer is lost, then look for it.

        ``alone``: there is no other offer, so that waiting is better than giving up. Raises the
        provider's refusal. TransientError or ThrottleError means that the outcome is still unknown
        after the last try and a look by tag; TokenError that the token stands for what is not ours
        or has ended.
        """
        lost, throttled = 0, 0
        while True:
            try:
                self.seen = self._provider.launch(request)
                return self.seen
            except TokenError as error:
                return self._find(request, error)
            except ThrottleError as error:
                throttled += 1
                most = THROTTLE_TRIES_ALONE if alone else THROTTLE_TRIES
                if throttled >= most or stop():
                    return self._find(request, error)
                longest = min(THROTTLE_PAUSE * 2.0 ** (throttled - 1), THROTTLE_PAUSE_MAX)
                pause = longest * self._share()
                self._wait_for("boot", f"the cloud, which asks for slower requests ({pause:.1f} s)")
            except TransientError as error:
                if error.scope == "region":  # nothing was asked for: nothing may have come of it
                    raise
                lost, self.unsure = lost + 1, True
                if lost >= LAUNCH_TRIES or stop():
                    return self._find(request, error)
                pause = LAUNCH_PAUSE * 2.0 ** (lost - 1)
            except ProviderError as error:
                if not self.unsure:
                    raise
                return self._find(request, error)  # an earlier try may have made it all the same
            self._sleep(pause, stop)

    def _share(self) -> float:
        """Between 0 and 1, by chance."""
        return int.from_bytes(self._ids.secret(2), "big") / 65535

    def _sleep(self, seconds: float, stop: Stop) -> None:
        until = self._clock.mono() + seconds
        while (left := until - self._clock.mono()) > 0 and not stop():
            self._clock.sleep(min(left, _SLICE))

    def _find(self, request: LaunchRequest, error: ProviderError) -> Instance:
        """The instance that the token stands for; raises ``error`` when there is none to see."""
        mark = {TOKEN_TAG: request.token}
        if OWNER_TAG in request.tags:
            mark[OWNER_TAG] = request.tags[OWNER_TAG]
        try:
            found = self._provider.list(mark, (request.offer.region,))
        except (TransientError, ThrottleError) as unheard:
            found = []
            if isinstance(error, TransientError) and isinstance(unheard, TransientError):
                error = copy.copy(error)  # it neither takes launches nor answers questions
                error.scope = "region"
        for one in found:
            if one.kind == "instance" and one.state in ("pending", "running"):
                self.seen = one
                return one
        raise error

    # -- waiting ------------------------------------------------------------------------------

    def reach(self, instance: Instance, host_key: str, patience: Patience) -> Reached:
        """Wait until the instance runs and proves its host key.

        Tells which hop is waited for. Raises BootError when that takes too long or the instance
        ends, the provider's own error when that says why the instance was not made or was taken
        away, HostKeyError when another machine answers, CancelledError when told to stop.
        """
        begun = self._clock.mono()
        pause = limits.BOOT_POLL
        self.seen = instance
        while True:
            self._go_on(instance, begun, patience)
            if instance.address:
                target = Target(instance.address, instance.port, instance.user, host_key)
                greeted = self._enter(target, begun, patience)
                if greeted is not None:
                    connection, seconds = greeted
                    return Reached(instance._replace(state="running"), connection, seconds)
            else:
                self._wait_for("boot", _before_address(instance))
            self._clock.sleep(pause)
            pause = min(pause * 2, limits.BOOT_POLL_MAX)
            instance = self._look(instance, begun)

    def _go_on(self, instance: Instance, begun: float, patience: Patience) -> None:
        if patience.stop():
            raise CancelledError("cancelled while the instance was booting")
        waited = self._clock.mono() - begun
        if instance.state in ("gone", "ending") and instance.failure is not None:
            raise instance.failure
        over = instance.state == "gone" and (instance.detail or waited > UNSEEN_GRACE)
        if over or instance.state == "ending":  # it has shut itself down, or somebody ends it
            why = instance.detail or "the provider does not say why"
            raise BootError(
                f"instance {instance.id} ended while it was booting: {why}", hop=self._hop
            )
        if waited > patience.boot:
            raise BootError(
                f"instance {instance.id} was not reachable after {waited:.0f} s, waiting for "
                f"{self._hop or 'its first sign of life'}",
                hop=self._hop,
                hints=("allow more time with boot_timeout, or another type with --gpu or --cpu",),
            )

    def _enter(
        self, target: Target, begun: float, patience: Patience
    ) -> tuple[Connection, float] | None:
        """A connection, or None when it is too early for one."""
        left = patience.boot - (self._clock.mono() - begun)
        door = self._dialer.knock(target, min(patience.connect, max(left, 0.1)), patience.stop)
        if door is None:
            self._wait_for("boot", f"its SSH server at {target.address}:{target.port}")
            return None
        answered = self._clock.mono()
        if not self._greeted:
            self._greeted = True
            self._reporter.stage("boot", "done", seconds=answered - begun)
            self._reporter.stage("connect", "start")
        try:
            connection = self._dialer.connect(target, patience.connect, door)
        except (HostKeyError, ProtocolError):
            raise
        except (ConnectionLostError, InstanceError) as error:
            # keys may be installed after sshd is up: ask again
            self._wait_for("connect", f"its keys ({error.message})")
            return None
        return connection, self._clock.mono() - answered

    def _wait_for(self, stage: str, hop: str) -> None:
        """Say what is waited for, when that is news."""
        self._hop = hop
        if hop != self._shown:
            self._shown = hop
            self._reporter.stage(stage, "wait", f"waiting for {hop}")

    def _look(self, instance: Instance, begun: float) -> Instance:
        """The instance now; what was known of it when the provider cannot be asked."""
        try:
            now = self._provider.get(instance.id)
        except (TransientError, ThrottleError):
            return instance
        unseen = now.state == "gone" and not now.detail and now.failure is None
        if unseen and self._clock.mono() - begun <= UNSEEN_GRACE:
            return instance
        self.seen = now
        return now


def _before_address(instance: Instance) -> str:
    """What an instance without an address lacks, in the provider's words when it has some."""
    what = "an address" if instance.state == "running" else "the cloud to start it"
    return f"{what} ({instance.detail})" if instance.detail else what
