"""A client process: does what the production reducer commands, and tells it what came of it.

It stands where the production shell stands: threads there, the world's queue here. It decides
nothing about the life of an instance. A crash drops all but the data folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from byoc import limits
from byoc.errors import (
    CapacityError,
    Error,
    PlacementError,
    ProviderError,
    ThrottleError,
    TokenError,
    TransientError,
)
from byoc.fleet import events
from byoc.fleet import life as lives
from byoc.fleet.events import (
    BOOTING,
    DRAINING,
    ENDING,
    HELD,
    IDLE,
    INTENDED,
    OPEN,
    UNSURE,
    Life,
    Step,
)
from byoc.fleet.hours import Hours
from byoc.fleet.leases import NEVER, granted, lease_of
from byoc.fleet.ledger import seen_of
from byoc.fleet.listing import forged
from byoc.fleet.patrol import pause_after
from byoc.fleet.policy import Policy
from byoc.fleet.recall import Recall
from byoc.fleet.rent import Wish, launch_token
from byoc.fleet.sweep import RECENT
from byoc.placement.ladder import Snapshot, ladder
from byoc.providers.base import (
    EXPIRES_TAG,
    OWNER_TAG,
    RUN_TAG,
    TOKEN_TAG,
    HostKey,
    Instance,
    LaunchRequest,
)
from byoc.resources import Offer, Resources
from byoc.state import Intent

from .clouds import Cloud
from .faults import Knobs
from .laptop import Died, Laptop
from .machines import Machine
from .network import Network
from .work import Engine, Link, Task, Tasks
from .world import World

if TYPE_CHECKING:
    from .bugs import Bugs

NEEDS = Resources(cpu=1)
MOST = 3
"""Machines that one client wants at a time."""
TASK_TIMEOUT = 4000.0
AGENT_WAIT = 30.0
"""Seconds until a machine whose agent says nothing is given up."""
AGAIN = 30.0
"""Seconds until the user asks again after nothing could be had."""
EXIT_WAIT = 120.0
BUDGET = {"launch": 60, "list": 60, "get": 160, "terminate": 60, "mark": 20}
"""Requests of a kind that one client may make within a minute, at all clouds together."""
PATIENCE = 6
"""Acquires in a row that found nothing to try, after which the run fails."""
READ_TRIES = 3
"""Times that a request which changes nothing, or may be repeated, is tried, as by the SDKs."""
IN_VAIN = 120.0
"""Seconds for which an offer that was refused is not asked for again."""
_KEY = HostKey("", "ssh-ed25519 AAAA")
_NONE: Mapping[str, Instance] = MappingProxyType({})


class Hunt:
    """One acquire: the way up the ladder."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.tried: set[str] = set()
        self.token = ""


class Client:
    """One process."""

    def __init__(
        self,
        laptop: Laptop,
        clouds: dict[str, Cloud],
        net: Network,
        tasks: Tasks,
        bugs: Bugs,
        number: int,
    ) -> None:
        self.laptop, self.clouds, self.net, self.bugs = laptop, clouds, net, bugs
        self.world: World = laptop.world
        self.knobs: Knobs = laptop.knobs
        self.policy: Policy = bugs.policy
        self.name = f"{laptop.owner}.{number}"
        self.run = f"run-{self.name}"
        self.alive = True
        self.crashed = False
        self.leaving = False
        self.engine = Engine(self, tasks)
        self.links: dict[str, Link] = {}
        self.hunts: list[Hunt] = []
        self.memory: dict[str, Life] = {}
        self.pending: dict[str, int] = {}
        self._merged: dict[str, tuple[Life, Life, Life]] = {}
        self.errors: dict[str, ProviderError] = {}
        self.listed: dict[str, list[Instance]] = {}
        self.connecting: set[str] = set()
        self.swept = -1e9
        self.recall = Recall(laptop.disk, self)  # type: ignore[arg-type]  # the part it uses
        self._hours = Hours(laptop)  # type: ignore[arg-type]  # nobody sleeps here
        self._tasks = tasks
        self._nodes = self._vain = self._replaced = 0
        self._minute, self._spent = -1, dict[str, int]()
        self._full: set[str] = set()
        self._begun: dict[str, float] = {}
        self.offers: dict[str, Offer] = {}
        self._asked_at = 0.0

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

    def start(self) -> None:
        """Begin: look for what is there, then work."""
        self.world.log("START", self.name)
        self.laptop.clients.append(self)
        self._tasks.listeners.append(self._new_task)
        for task in self._tasks.open():
            self.engine.submit(task)
        self._guarded(self._sweep)()
        self._repeat(limits.LEASE_RENEW_EVERY, self._beat)
        self._later(pause_after(0), self._patrol, 1)
        self._repeat(5.0, self._work)

    def crash(self, why: str) -> None:
        """The process is gone, between two instructions."""
        if not self.alive:
            return
        self.world.log("CRASH", self.name, why)
        self.crashed = True
        self.engine.abandon()
        self._stop()

    def _stop(self) -> None:
        self.alive = False
        laptop = self.laptop
        laptop.locks = {token: one for token, one in laptop.locks.items() if one is not self}
        laptop.clients.remove(self)
        self._tasks.listeners.remove(self._new_task)
        for link in self.links.values():
            link.closed = True

    @property
    def working(self) -> bool:
        """It runs, and is connected to the world."""
        return self.alive and not self.laptop.asleep and not self.laptop.offline

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

    def _new_task(self, task: Task) -> None:
        if self.alive and not self.leaving:
            self.engine.submit(task)
            self.engine.feed()

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
        for leap in lives.leaps(ledger, done):
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
        for text in lives.validate({life.token: life}):
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
            self._refused(command)
        elif isinstance(command, events.Replace):
            self._replaced += 1
            if not self.leaving:
                self.hunts.append(self._hunt(command.node))
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
            request = self._request(life)
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
        booting = life is not None and life.state == BOOTING and token not in self.connecting
        if booting and found.address and self.laptop.locks.get(token) is self:
            self.connecting.add(token)
            self._later(self.world.rng.uniform(0.5, 2.0), self._connect, token)

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
        self.connecting.discard(token)

    # -- getting machines ---------------------------------------------------------------------

    def _hunt(self, node: int | None = None) -> Hunt:
        self._nodes += 1
        return Hunt(self._nodes if node is None else node)

    def _work(self) -> None:
        """As many machines as there is work for; none when there is no more."""
        if self.leaving or self.swept < 0:  # the sweep comes before the first launch
            return
        if not self.engine.open:
            self._leave()
            return
        have = len(self.links) + len(self.hunts)
        for _ in range(min(MOST, self.engine.wanted) - have):
            self.hunts.append(self._hunt())
        if self.world.now < self._asked_at:
            return
        for hunt in list(self.hunts):
            if not hunt.token:
                self._go_on(hunt)

    def _go_on(self, hunt: Hunt) -> None:
        """A warm one when there is one, else the next rung."""
        if self._adopt(hunt):
            return
        offer = self._rung(hunt)
        if offer is None:
            self.hunts.remove(hunt)
            self._asked_at = self.world.now + AGAIN
            self._vain += 1
            if self._vain >= PATIENCE and not self.links and not self.hunts:
                self._leave()  # the run fails; the user begins another one
            return
        self._vain = 0
        hunt.tried.add(offer.key())
        if self.world.now - self.laptop.disk.full.get(offer.key(), -1e9) < IN_VAIN:
            self.laptop.fail("in-vain", offer.key(), "was refused a moment ago")
        self.laptop.point(self, "before an attempt")
        self.laptop.disk.numbers += 1
        wish = Wish(NEEDS, self.run, hunt.node, True, _never)
        token = self.bugs.token(
            launch_token(self.laptop.owner, wish, self.laptop.disk.numbers, offer), self.run
        )
        if not self._lock(token):
            return
        hunt.token = token
        self.offers[token] = offer
        self._begun[token] = self.world.now
        now = self.wall()
        deadline = now + limits.BOOT_TIMEOUT
        known = token in self.laptop.disk.rows
        event = events.Wanted(token, offer.cloud, offer.region, self.run, hunt.node, deadline)
        if not known:
            self.laptop.disk.intend(
                Intent(token, offer.cloud, offer, {}, "", self.run, now, deadline)
            )
        self.tell(event)
        if token not in self.laptop.disk.lives:  # refused before it was written
            self.laptop.disk.rows.pop(token, None)

    def _rung(self, hunt: Hunt) -> Offer | None:
        sold = [offer for cloud in self.clouds.values() for offer in cloud.offers()]
        snapshot = Snapshot(
            sold,
            configured=True,
            known=tuple(self.clouds),
            memory=self.recall.of(self.run) if self.bugs.remembers else (),
            now=self.wall(),
        )
        try:
            rungs = ladder(NEEDS, snapshot).rungs
        except PlacementError:
            self.world.mark("ladder-empty")
            return None
        return next((one.offer for one in rungs if one.offer.key() not in hunt.tried), None)

    def _request(self, life: Life) -> LaunchRequest | None:
        offer = self.offers.get(life.token)
        if offer is None:
            return None
        now = self.wall()
        tags = {
            OWNER_TAG: self.laptop.owner,
            RUN_TAG: life.run,
            TOKEN_TAG: life.token,
            **granted(now, self.bugs.lifetime),
        }
        token = self.bugs.sent_token(life.token, self.world)
        return LaunchRequest(
            token, offer, tags, _KEY, "", limits.BOOT_LEASE, lifetime=self.bugs.lifetime
        )

    def _refused(self, command: events.Refuse) -> None:
        token = command.token
        self.world.mark(f"refused-{command.why}")
        begun = self._begun.get(token, -1e9)
        if command.why == "late" and self.world.now - begun < limits.BOOT_TIMEOUT - 5:
            if self.laptop.set_forward > begun:  # it is waited for by the wall clock
                self.world.mark("late-by-a-step")
            else:
                self.laptop.fail("hasty", token[:8], "was given up before its time")
        error, offer = self.errors.pop(token, None), self.offers.get(token)
        if error is not None and offer is not None:
            self.recall.add(self.run, error, offer)
            if isinstance(error, CapacityError):
                self.laptop.disk.full[offer.key()] = self.world.now
        for hunt in list(self.hunts):
            if hunt.token == token:
                hunt.token = ""
                if command.why in ("cap", "launches"):
                    self.hunts.remove(hunt)
                    self._asked_at = self.world.now + AGAIN
        self._free(token)

    def _adopt(self, hunt: Hunt) -> bool:
        """Take over a machine that nobody holds."""
        for instance in self._unheld():
            token = instance.tags[TOKEN_TAG]
            life = self.laptop.disk.lives.get(token)
            if life is None or life.state not in (BOOTING, HELD, IDLE) or life.id != instance.id:
                continue
            if life.state == IDLE and life.idle_until - self.wall() < 1.0:
                continue
            if not self._lock(token):
                continue
            hunt.token = token
            self.world.mark(f"adopt-{life.state}")
            if life.reached:
                self.connecting.add(token)
                self._later(self.world.rng.uniform(0.5, 2.0), self._connect, token)
            else:
                self._begun[token] = self.world.now
                deadline = self.wall() + limits.BOOT_TIMEOUT
                self.tell(events.Adopted(token, self.run, hunt.node, deadline))
            return True
        return False

    def _unheld(self) -> Iterable[Instance]:
        for found in self.listed.values():
            for one in found:
                token = one.tags.get(TOKEN_TAG, "")
                if one.state in ("pending", "running") and token not in self.laptop.locks:
                    yield one

    def _connect(self, token: str) -> None:
        """Try to reach it: a new one, or a warm one."""
        self.connecting.discard(token)
        life = self.view(token)
        if life is None or self.laptop.locks.get(token) is not self:
            return
        machine = self.clouds[life.provider].machines.get(life.id)
        warm = life.state in (HELD, IDLE) and bool(life.reached)
        if life.state != BOOTING and not warm:
            return
        way = machine is not None and machine.answers and self._way(machine)
        if machine is None or not way:
            if warm:  # passed over
                self._drop_hunt(token)
                self._unlock(token)
            return
        hunt = self._drop_hunt(token)
        if warm:
            node = hunt.node if hunt else 0
            self.tell(events.Adopted(token, self.run, node, self.wall() + limits.BOOT_TIMEOUT))
        else:
            self.tell(events.Reached(token))
        self._hold(token, machine)

    def _way(self, machine: Machine) -> bool:
        both = self.net.up(machine, out=True) and self.net.up(machine, out=False)
        return both and not self.laptop.offline

    def _drop_hunt(self, token: str) -> Hunt | None:
        found = next((hunt for hunt in self.hunts if hunt.token == token), None)
        if found is not None:
            self.hunts.remove(found)
        return found

    # -- holding ------------------------------------------------------------------------------

    def _hold(self, token: str, machine: Machine) -> None:
        link = self.links[token] = Link(self, token, machine)
        self.net.add(machine)
        broken = machine.agent in ("crashed", "hung")
        if machine.agent == "none" and self.world.chance(self.knobs.no_agent):
            self.world.mark("fault:no_agent")
            broken = True
        if broken:
            machine.agent = "crashed"
            self._later(AGENT_WAIT, self._give_up, link, "its agent did not start")
            return
        machine.serve(link, broken=False)
        machine.renew(link, limits.LEASE)
        self.engine.host(link)
        self.engine.feed()

    def _give_up(self, link: Link, why: str) -> None:
        if not link.closed:
            self._close(link)
            self.tell(events.GaveUp(link.token, why))

    def _close(self, link: Link) -> None:
        link.closed = True
        self.links.pop(link.token, None)

    def _beat(self) -> None:
        """Renew the leases, hear who is there."""
        for link in list(self.links.values()):
            machine, known = link.machine, link.slot.key in self.engine.pool.slots
            if not known:
                continue  # its agent is being waited for
            if link.up(out=True) and machine.renew(link, limits.LEASE) and link.up(out=False):
                link.good = self.world.now
                self._mark(link)
                machine.flush()
            silent = self.world.now - link.good
            if silent > limits.LEASE:
                self._lost(link, "it does not answer")
            elif silent > limits.SILENCE_LIMIT:
                self._look_at(link)

    def _mark(self, link: Link) -> None:
        """Move the lease in the tags on, long before it is over."""
        now, lease = self.laptop.wall(), lease_of(link.machine.tags)
        if self.bugs.marks and NEVER > now >= lease.due():
            fresh = {EXPIRES_TAG: str(int(lease.moved(now + limits.TAG_LEASE).expires))}
            self._call(link.machine.cloud, "mark", _nothing, link.machine.id, fresh)

    def _look_at(self, link: Link) -> None:
        """It is silent: is it gone?"""

        def told(found: Instance | None, error: Error | None) -> None:
            if found is not None and found.state in ("gone", "ending") and not link.closed:
                self._lost(link, f"its cloud says that it is {found.state}")

        self._call(link.machine.cloud, "get", self._guarded(told), link.machine.id)

    def _lost(self, link: Link, why: str) -> None:
        self.world.mark("lost")
        self._close(link)
        self.engine.move(link, lost=True)
        self.tell(events.Lost(link.token, why))

    def noticed(self, link: Link, seconds: float) -> None:
        """The agent passes a notice on."""
        self._guarded(self._noticed)(link, seconds)

    def _noticed(self, link: Link, seconds: float) -> None:
        if link.draining or link.closed:
            return
        link.draining = True
        self.engine.drain(link)
        asked = self._replaced
        self.tell(events.Noticed(link.token, seconds))
        if self._replaced == asked:
            self.laptop.fail("no-replacement", self.name, "has not asked for another machine")
        self._later(max(0.0, seconds - 10.0), self._leave_it, link)

    def _leave_it(self, link: Link) -> None:
        """No time is left: what it runs goes back to the queue."""
        if not link.closed:
            self._close(link)
            self.engine.move(link, lost=False)
            self.tell(events.Ended(link.token, "its cloud takes it away"))

    # -- sweeping -----------------------------------------------------------------------------

    def _patrol(self, rounds: int) -> None:
        """Again and again, at the production's pace."""
        self._sweep()
        self._later(pause_after(rounds), self._patrol, rounds + 1)

    def _sweep(self) -> None:
        if not self.bugs.nets.sweep:
            self.swept = self.world.now
            return
        since = self.wall() - RECENT
        places = [one for one in self.clouds.values() if self.laptop.disk.places(one.name, since)]
        left = [len(places)]
        if not places:
            self.swept = self.world.now
        for cloud in places:
            asked = self.wall()
            early = self.bugs.early_view(self)

            def told(
                found: list[Instance] | None,
                error: Error | None,
                cloud: Cloud = cloud,
                asked: float = asked,
                early: Any = early,
            ) -> None:
                left[0] -= 1
                if not left[0]:
                    self.swept = self.world.now
                if found is not None:
                    self._swept(cloud, found, asked, early)

            tags = {OWNER_TAG: self.bugs.sweeps_owner or self.laptop.owner}
            self._call(cloud, "list", self._guarded(told), tags)

    def _swept(self, cloud: Cloud, found: list[Instance], asked: float, early: Any) -> None:
        self.listed[cloud.name] = found
        self.laptop.disk.listed.add(cloud.name)
        event = events.Listed(
            cloud.name,
            (),
            tuple(seen_of(one) for one in found),
            asked,
            held=dict.fromkeys(self.laptop.locks),
            stays=cloud.self_end != "gone",
            origins=True,
        )
        shown = {
            one.tags[TOKEN_TAG]: one
            for one in found
            if one.tags.get(TOKEN_TAG)
            and not forged(seen_of(one), one.tags[TOKEN_TAG], origins=True)
        }
        event = self.bugs.listed(self, event, early)
        self.tell(event, shown)

    # -- leaving ------------------------------------------------------------------------------

    def cancel(self) -> None:
        """The user does not want to wait any more."""
        if not self.leaving:
            self._guarded(self._leave)()

    def _leave(self) -> None:
        """All is done: give back what is held, settle what is not sure, go."""
        self.leaving = True
        for link in list(self.links.values()):
            self._close(link)
            self.engine.move(link, lost=True)
            idle = limits.IDLE_WINDOW if link.up(out=True) and not link.draining else 0.0
            if idle and not link.machine.renew(link, idle):
                idle = 0.0
            self.tell(events.Released(link.token, self.wall() + idle if idle else 0.0))
            self._free(link.token)
        for hunt in self.hunts:
            if hunt.token:
                self.tell(events.GaveUp(hunt.token, "it is not needed any more"))
                self._free(hunt.token)
        self.hunts.clear()
        for life in list(self.laptop.disk.lives.values()):
            if life.run == self.run and life.state in (UNSURE, ENDING) and self._lock(life.token):
                self.tell(events.Closing(life.token))
        self._later(5.0, self._exit, self.world.now + EXIT_WAIT)

    def _exit(self, until: float) -> None:
        if self.world.now < until and any(count > 0 for count in self.pending.values()):
            self._later(5.0, self._exit, until)
            return
        self.world.log("EXIT", self.name)
        self._stop()


def _never() -> bool:
    return False


def _nothing(found: object, error: Error | None) -> None:
    """What came of it does not matter: the second proof protects."""
