"""From an intent to a machine that has proved to be ours: launch, wait, connect.

Does what the reducer asks for (:mod:`byoc.fleet.life`) and tells it what came of it; how often, how
long and when to stop is decided there.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

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
from .book import Teller
from .ending import passing
from .events import (
    Adopted,
    Command,
    Find,
    Found,
    Launch,
    Launched,
    LaunchFailed,
    Look,
    Looked,
    LookFailed,
    Refuse,
)
from .ledger import seen_of
from .pace import Pace
from .ports import Dialer, Reporter, Stop, Target, pause, target_of


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


class Tools(NamedTuple):
    """What boots work with; one set per fleet."""

    dialer: Dialer
    reporter: Reporter
    clock: Clock
    ids: Ids
    teller: Teller
    pace: Pace


class Boot:
    """Launches one instance and waits for it; one object per rung. ``seen``: the instance as the
    provider last showed it, None before that. ``todo``: what is to be done next."""

    def __init__(self, provider: Provider, tools: Tools) -> None:
        self._provider = provider
        self._dialer = tools.dialer
        self._reporter = tools.reporter
        self._clock = tools.clock
        self._ids = tools.ids
        self._teller = tools.teller
        self._pace = tools.pace
        self._greeted = False
        self._hop, self._shown = "", ""
        self.seen: Instance | None = None
        self.todo: tuple[Command, ...] = ()

    # -- launching ----------------------------------------------------------------------------

    def launch(self, request: LaunchRequest, stop: Stop) -> Instance:
        """Ask for the instance, and look for it when no answer comes, as :attr:`todo` says.

        Raises the provider's refusal. TransientError or ThrottleError may mean that the outcome is
        still unknown after the last try and a look by tag; TokenError that the token stands for
        what is not ours or has ended; CancelledError when told to stop before a try.
        """
        error: ProviderError = TransientError("the launch was not begun")
        while True:
            todo = next(one for one in self.todo if isinstance(one, (Launch, Find, Refuse)))
            if isinstance(todo, Refuse):
                raise error
            if isinstance(todo, Find):
                return self._find(request, error)
            self._wait_until(todo.at, error, stop)
            if stop():  # given up while it waited for its turn: it is not asked for any more
                why = "cancelled before it was asked for"
                self.todo = self._teller.tell(LaunchFailed(request.token, "region", why=why))
                raise CancelledError("cancelled before an instance was asked for")
            try:
                found = self._provider.launch(request)
            except ProviderError as refused:
                error = refused
                self._refused(request, refused, stop)
            else:
                self.seen = found
                self.todo = self._teller.tell(Launched(request.token, found.id), found)
                return found

    def _refused(self, request: LaunchRequest, error: ProviderError, stop: Stop) -> None:
        kind = "refused"
        if isinstance(error, TokenError):
            kind = "token"
        elif isinstance(error, ThrottleError):
            kind = "throttle"
        elif isinstance(error, TransientError):
            kind = "region" if error.scope == "region" else "transient"
        failed = LaunchFailed(request.token, kind, self._share(), stop(), error.message)
        self.todo = self._teller.tell(failed)

    def _wait_until(self, at: float, error: ProviderError, stop: Stop) -> None:
        seconds = at - self._teller.now()
        if isinstance(error, ThrottleError):
            self._wait_for("boot", f"the cloud, which asks for slower requests ({seconds:.1f} s)")
        pause(self._clock, seconds, stop)
        self._pace.wait(self._provider.name, stop)

    def _share(self) -> float:
        """Between 0 and 1, by chance."""
        return int.from_bytes(self._ids.secret(2), "big") / 65535

    def _find(self, request: LaunchRequest, error: ProviderError) -> Instance:
        """The instance that the token stands for; raises ``error`` when there is none to see."""
        mark = {TOKEN_TAG: request.token}
        if OWNER_TAG in request.tags:
            mark[OWNER_TAG] = request.tags[OWNER_TAG]
        try:
            listed = self._provider.list(mark, (request.offer.region,))
        except ProviderError as unheard:
            listed, error = [], _unheard(error, unheard)
        there = [
            one for one in listed if one.kind == "instance" and one.state in ("pending", "running")
        ]
        seen = seen_of(there[0]) if there else None
        self.todo = self._teller.tell(Found(request.token, seen), there[0] if there else None)
        if not any(isinstance(one, Look) for one in self.todo):
            raise error
        self.seen = there[0]
        return there[0]

    # -- waiting ------------------------------------------------------------------------------

    def adopt(self, event: Adopted) -> None:
        """Take over an instance that nobody has reached; :meth:`reach` comes next."""
        self.todo = self._teller.tell(event)

    def reach(self, instance: Instance, host_key: str, patience: Patience) -> Reached:
        """Wait until the instance runs and proves its host key.

        Tells which hop is waited for. Raises BootError when that takes too long or the instance
        ends, the provider's own error when that says why the instance was not made or was taken
        away, HostKeyError when another machine answers, CancelledError when told to stop.
        """
        begun, token = self._clock.mono(), instance.tags.get(TOKEN_TAG, "")
        self.seen = instance
        while True:
            if patience.stop():
                raise CancelledError("cancelled while the instance was booting")
            look = self._go_on(token, instance, self._clock.mono() - begun)
            if instance.address:
                target = target_of(instance, host_key)
                greeted = self._enter(target, begun, patience)
                if greeted is not None:
                    connection, seconds = greeted
                    return Reached(instance._replace(state="running"), connection, seconds)
            else:
                self._wait_for("boot", _before_address(instance))
            self._clock.sleep(max(0.0, look.at - self._teller.now()))
            instance = self._look(look, instance)

    def _go_on(self, token: str, instance: Instance, waited: float) -> Look:
        """The next look; raises when there is none any more."""
        for one in self.todo:
            if isinstance(one, Look):
                return one
        if instance.state in ("gone", "ending") and instance.failure is not None:
            raise instance.failure
        if Refuse(token, "late") in self.todo:
            raise BootError(
                f"instance {instance.id} was not reachable after {waited:.0f} s, waiting for "
                f"{self._hop or 'its first sign of life'}",
                hop=self._hop,
                hints=("allow more time with boot_timeout, or another type with --gpu or --cpu",),
            )
        why = instance.detail or "the provider does not say why"
        raise BootError(f"instance {instance.id} ended while it was booting: {why}", hop=self._hop)

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

    def _look(self, look: Look, instance: Instance) -> Instance:
        """The instance now; what was known of it when the provider cannot be asked, or does not
        know it yet."""
        try:
            now = self._provider.get(look.id)
        except ProviderError as error:
            if not passing(error):
                raise
            self.todo = self._teller.tell(LookFailed(look.token))
            return instance
        self.todo = self._teller.tell(Looked(look.token, seen_of(now)), now)
        if now.state == "gone":
            if any(isinstance(one, Look) for one in self.todo):  # a read that lags
                return instance
            now = now._replace(tags=instance.tags)  # of what is gone some clouds tell no more
        self.seen = now
        return now


def _before_address(instance: Instance) -> str:
    """What an instance without an address lacks, in the provider's words when it has some."""
    what = "an address" if instance.state == "running" else "the cloud to start it"
    return f"{what} ({instance.detail})" if instance.detail else what


def _unheard(error: ProviderError, unheard: ProviderError) -> ProviderError:
    """What a launch failed on whose instance could not be looked for either."""
    if not passing(unheard):
        return unheard
    if isinstance(error, TransientError) and isinstance(unheard, TransientError):
        deaf = copy.copy(error)  # the region neither takes launches nor answers questions
        deaf.scope = "region"
        return deaf
    return error
