"""A process: leads lives by the production reducer, and does what it commands.

It stands where the production shell stands: threads there, the world's queue here. It decides
nothing about the life of an instance. A crash drops all but the data folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from byoc.errors import (
    CapacityError,
    Error,
    ProviderError,
    ThrottleError,
    TokenError,
    TransientError,
)
from byoc.fleet import events, laws
from byoc.fleet import life as lives
from byoc.fleet.events import (
    BOOTING,
    DRAINING,
    ENDING,
    HELD,
    IDLE,
    INTENDED,
    OPEN,
    Life,
    Step,
)
from byoc.fleet.hours import Hours
from byoc.fleet.ledger import seen_of
from byoc.fleet.policy import Policy
from byoc.providers.base import (
    OWNER_TAG,
    TOKEN_TAG,
    Instance,
    LaunchRequest,
)
from byoc.resources import Offer

from .clouds import Cloud
from .faults import Knobs
from .laptop import Died, Laptop
from .world import World

if TYPE_CHECKING:
    from .bugs import Bugs

BUDGET = {"launch": 60, "list": 60, "get": 160, "terminate": 60, "mark": 20}
"""Requests of a kind that one client may make within a minute, at all clouds together."""
READ_TRIES = 3
"""Times that a request which changes nothing, or may be repeated, is tried, as by the SDKs."""
_NONE: Mapping[str, Instance] = MappingProxyType({})


class Process:
    """One process of a data folder. ``pending``: requests under way, by token; ``errors``: the last
    refusal of a launch; ``offers``: what was asked for."""

    def __init__(self, laptop: Laptop, clouds: dict[str, Cloud], bugs: Bugs, number: int) -> None:
        self.laptop, self.clouds, self.bugs = laptop, clouds, bugs
        self.world: World = laptop.world
        self.knobs: Knobs = laptop.knobs
        self.policy: Policy = bugs.policy
        self.name = f"{laptop.owner}.{number}"
        self.run = f"run-{self.name}"
        self.alive = True
        self.crashed = False
        self.leaving = False
        self.memory: dict[str, Life] = {}
        self.pending: dict[str, int] = {}
        self.errors: dict[str, ProviderError] = {}
        self.offers: dict[str, Offer] = {}
        self._merged: dict[str, tuple[Life, Life, Life]] = {}
        self._hours = Hours(laptop)  # type: ignore[arg-type]  # nobody sleeps here
        self._minute, self._spent = -1, dict[str, int]()
        self._full: set[str] = set()

    # -- what a client makes of it ------------------------------------------------------------

    def request(self, life: Life) -> LaunchRequest | None:
        """What is sent to launch it; None where only another process could."""
        raise NotImplementedError

    def refused(self, command: events.Refuse) -> None:
        """There will be none."""
        raise NotImplementedError

    def replace(self, command: events.Replace) -> None:
        """Another one is wanted."""
        raise NotImplementedError

    def reachable(self, token: str) -> None:
        """A booting instance of ours has an address."""
        raise NotImplementedError

    # -- its own clock: the production one, which never goes back -------------------------------

    def wall(self) -> float:
        """Seconds since the epoch, as this process counts them."""
        return self.laptop.wall() if self.bugs.naive_clock else self._hours.now()

    def mono(self) -> float:
        """Seconds that never step."""
        return self.laptop.mono()

    def sleep(self, seconds: float) -> None:
        """Nobody sleeps here."""
        raise AssertionError(f"a decision wants to sleep for {seconds} s")

    # -- its life -----------------------------------------------------------------------------

    def crash(self, why: str) -> None:
        """The process is gone, between two instructions."""
        if not self.alive:
            return
        self.world.log("CRASH", self.name, why)
        self.crashed = True
        self._stop()

    def _stop(self) -> None:
        self.alive = False
        locks = self.laptop.locks
        self.laptop.locks = {token: one for token, one in locks.items() if one is not self}

    def _guarded(self, act: Callable[..., None]) -> Callable[..., None]:
        """An act of this process: not after its death, and not while its computer sleeps."""

        def go(*args: Any) -> None:
            if not self.alive:
                return
            if self.laptop.asleep:
                self.laptop.put_off.append((go, args))
                return
            try:
                act(*args)
            except Died:
                return

        return go

    def _later(self, delay: float, act: Callable[..., None], *args: Any) -> None:
        self.world.after(max(0.0, delay), self._guarded(act), *args)

    def _repeat(self, every: float, act: Callable[[], None]) -> None:
        def again() -> None:
            act()
            self._later(every, again)

        self._later(self.world.rng.uniform(0, every), again)

    # -- the reducer --------------------------------------------------------------------------

    def view(self, token: str) -> Life | None:
        """A life as this process knows it: the disk's, with what only this process knows."""
        disk = self.laptop.disk.lives.get(token)
        return self.memory.get(token) if disk is None else self._recalled(disk)  # it was lost

    def _recalled(self, disk: Life) -> Life:
        """The same, made once for as long as neither changes."""
        memory = self.memory.get(disk.token)
        if memory is None:
            return disk
        known = self._merged.get(disk.token)
        if known is None or known[0] is not disk or known[1] is not memory:
            known = (disk, memory, lives.recalled(disk, memory))
            self._merged[disk.token] = known
        return known[2]

    def _ledger(self, event: events.Wanted | events.Listed) -> dict[str, Life]:
        """What the journal is asked for: what is open, and what the event is about."""
        more = {event.token} if isinstance(event, events.Wanted) else {s.token for s in event.seen}
        run = event.run if isinstance(event, events.Wanted) else ""
        return {
            token: self._recalled(life)
            for token, life in self.laptop.disk.lives.items()
            if life.state in OPEN or token in more or (run and life.run == run)
        }

    def tell(self, event: events.Event, shown: Mapping[str, Instance] = _NONE) -> None:
        """An event, to the reducer; what it says is written, then done. ``shown``: by token, the
        instances that were just seen."""
        if isinstance(event, (events.Wanted, events.Listed)):
            ledger = self._ledger(event)
        else:
            life = self.view(event.token)
            ledger = {} if life is None else {event.token: life}
        done = self.bugs.step(ledger, event, self.wall(), self.policy)
        for leap in laws.leaps(ledger, done):
            self.laptop.fail("edge", leap)
        self._note(ledger, event, done)
        if isinstance(event, events.Listed):
            self._judge(ledger, done)
        for life in done.changes:
            self._write(life, shown.get(life.token))
        for command in done.commands:
            self._do(command)

    def _judge(self, ledger: Mapping[str, Life], done: Step) -> None:
        """Does a sweep mean to end what somebody wants?"""
        for life in done.changes:
            old = ledger.get(life.token)
            if old is None or life.state != ENDING or old.state == ENDING:
                continue
            holder = self.laptop.locks.get(life.token)
            if holder is not None and old.state in (INTENDED, BOOTING, HELD, DRAINING):
                self.laptop.fail("wrongful", life.id, "is held, and to be ended by", self.name)
            if old.state == IDLE and self.wall() < old.idle_until - 1 and "run" not in life.why:
                shown = self.clouds[life.provider].machines.get(life.id)
                if shown is not None and shown.state == "running":
                    self.laptop.fail("wrongful", life.id, "is warm, and to be ended by", self.name)

    def _note(self, ledger: dict[str, Life], event: events.Event, done: Step) -> None:
        """A mark for each way through the reducer."""
        kind = type(event).__name__
        if not done.changes and not done.commands:
            self.world.mark(f"life:{kind}:nothing")
        for life in done.changes:
            old = ledger[life.token].state if life.token in ledger else "new"
            if old != life.state:
                self.world.mark(f"life:{kind}:{old}>{life.state}")
        for command in done.commands:
            why = f"-{command.why}" if isinstance(command, events.Refuse) else ""
            why = f"-{command.what}" if isinstance(command, events.Tell) else why
            self.world.mark(f"do:{kind}:{type(command).__name__}{why}")

    def _write(self, life: Life, instance: Instance | None) -> None:
        self.memory[life.token] = life
        disk = self.laptop.disk
        known = disk.lives.get(life.token)
        mine = instance is not None and instance.id == life.id
        rows = disk.would(life, instance if mine else None)
        if rows == disk.rows.get(life.token):
            return
        if known is None or known.state != life.state:
            self.world.log(self.name, life.token[:8], life.state, life.id, life.why)
        self.laptop.point(self, "before a write")
        if self.world.chance(self.knobs.write_failure):
            self.world.mark("fault:write_failure")
            self.crash("the journal cannot be written")
            raise Died
        if self.bugs.writes(life):
            disk.put(life.token, rows)
        for text in laws.validate({life.token: life}):
            self.laptop.fail("law", text)
        kept = disk.lives.get(life.token)
        if kept is not None and kept.state != life.state and self.bugs.writes(life):
            self.laptop.fail("ledger", life.token, f"is {kept.state} on disk, meant {life.state}")
        self.laptop.point(self, "after a write")

    # -- commands -----------------------------------------------------------------------------

    def _do(self, command: events.Command) -> None:
        if isinstance(command, (events.Launch, events.Find, events.Look, events.End)):
            if isinstance(command, events.End) and not self._lock(command.token):
                return
            self.pending[command.token] = self.pending.get(command.token, 0) + 1
            wait = command.at - self.wall()
            if wait > 0:
                self._later(wait, self._ask, command)
            else:
                self._ask(command)
        elif isinstance(command, events.Refuse):
            self.refused(command)
        elif isinstance(command, events.Replace):
            self.replace(command)
        else:
            self.world.log(self.name, "TELL", command.what, *command.ids)

    def _ask(self, command: Any) -> None:
        token = command.token
        life = self.view(token)
        if life is None:  # the journal was lost meanwhile
            return
        cloud = self.clouds[life.provider]
        reply = self._guarded(self._answered)
        self.laptop.point(self, "before a request")
        if isinstance(command, events.Launch):
            request = self.request(life)
            if request is None:  # another climb's: not of this process
                return
            if token in self._full:
                self.laptop.fail("retry-full", token[:8], "is asked for again though none is left")
            self._call(cloud, "launch", lambda f, e: reply(command, f, e), request)
        elif isinstance(command, events.Find):
            tags = {OWNER_TAG: self.laptop.owner, TOKEN_TAG: token}
            self._call(cloud, "list", lambda f, e: reply(command, f, e), tags)
        elif isinstance(command, events.Look):
            self._call(cloud, "get", lambda f, e: reply(command, f, e), command.id)
        else:
            self._call(cloud, "terminate", lambda f, e: reply(command, f, e), command.id)
        self.laptop.point(self, "after a request")

    def _call(self, cloud: Cloud, op: str, reply: Any, *args: Any) -> None:
        """A request, counted against the budget of a minute."""
        minute = int(self.world.now // 60)
        if minute != self._minute:
            self._minute, self._spent = minute, {}
        self._spent[op] = spent = self._spent.get(op, 0) + 1
        if spent > BUDGET[op]:
            self.laptop.fail("api-budget", self.name, op, f"{spent} in a minute")
        if op == "launch":
            cloud.ask(self.laptop, op, reply, *args)
        else:
            self._patiently(READ_TRIES, cloud, op, reply, args)

    def _patiently(
        self, tries: int, cloud: Cloud, op: str, reply: Any, args: tuple[Any, ...]
    ) -> None:
        """As an SDK does with what may be repeated: a few times, with pauses. Never a launch."""

        def told(found: Any, error: ProviderError | None) -> None:
            if tries > 1 and isinstance(error, (TransientError, ThrottleError)):
                pause = self.world.rng.uniform(0.5, 4.0)
                self._later(pause, self._patiently, tries - 1, cloud, op, reply, args)
            else:
                reply(found, error)

        cloud.ask(self.laptop, op, self._guarded(told), *args)

    def _answered(self, command: Any, found: Any, error: ProviderError | None) -> None:
        token = command.token
        self.laptop.point(self, "before an answer")
        self.pending[token] = self.pending.get(token, 1) - 1
        if isinstance(command, events.Launch):
            if error is None:
                self.laptop.disk.full.pop(self.offers[token].key(), None)
                self.tell(events.Launched(token, found.id), {token: found})
            else:
                self.errors[token] = error
                if isinstance(error, CapacityError):
                    self._full.add(token)
                self.tell(self._launch_failed(token, error))
        elif isinstance(command, events.Find):
            one = next((i for i in found or () if i.state in ("pending", "running")), None)
            if one is None:
                self.tell(events.Found(token, None))
            else:
                self.tell(events.Found(token, seen_of(one)), {token: one})
        elif isinstance(command, events.Look):
            self._looked(token, found, error)
        elif error is None:
            self.tell(events.EndAccepted(token))
        else:
            again = isinstance(error, (TransientError, ThrottleError))
            self.tell(events.EndFailed(token, again))
        self._free(token)

    def _launch_failed(self, token: str, error: ProviderError) -> events.LaunchFailed:
        kind = "refused"
        if isinstance(error, ThrottleError):
            kind = "throttle"
        elif isinstance(error, TokenError):
            kind = "token"
        elif isinstance(error, TransientError):
            kind = "region" if error.scope == "region" else "transient"
        return events.LaunchFailed(token, kind, self.world.rng.random(), self.leaving)

    def _looked(self, token: str, found: Instance | None, error: Error | None) -> None:
        if found is None:
            self.tell(events.LookFailed(token))
            return
        seen = seen_of(found)
        self.tell(
            events.Looked(token, seen if seen.token else seen._replace(token=token)), {token: found}
        )
        life = self.view(token)
        mine = life is not None and self.laptop.locks.get(token) is self
        if life is not None and mine and life.state == BOOTING and found.address:
            self.reachable(token)

    # -- locks --------------------------------------------------------------------------------

    def _lock(self, token: str) -> bool:
        """Have the lock of a token; False when another process has it."""
        return self.laptop.locks.setdefault(token, self) is self

    def _free(self, token: str) -> None:
        """Let others have a token that this process has nothing more to do with."""
        if self.laptop.locks.get(token) is not self or self.pending.get(token, 0) > 0:
            return
        life = self.view(token)
        if life is None or life.state not in (INTENDED, BOOTING, HELD, DRAINING):
            self._unlock(token)

    def _unlock(self, token: str) -> None:
        if self.laptop.locks.get(token) is self:
            del self.laptop.locks[token]
