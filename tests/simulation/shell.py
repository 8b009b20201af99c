"""A client: gets machines, works with them, sweeps, and gives them back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from byoc import limits
from byoc.errors import (
    CapacityError,
    Error,
    PlacementError,
)
from byoc.fleet import events
from byoc.fleet.events import (
    BOOTING,
    ENDING,
    HELD,
    IDLE,
    UNSURE,
    Life,
)
from byoc.fleet.leases import NEVER, granted, lease_of
from byoc.fleet.ledger import seen_of
from byoc.fleet.listing import forged
from byoc.fleet.patrol import pause_after
from byoc.fleet.recall import Recall
from byoc.fleet.rent import launch_token
from byoc.fleet.sweep import RECENT
from byoc.fleet.workshop import Wish
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
from .laptop import Laptop
from .machines import Machine
from .network import Network
from .process import Process
from .work import Engine, Link, Task, Tasks

if TYPE_CHECKING:
    from .bugs import Bugs

NEEDS = Resources(cpu=1)
MOST = 3
"""Machines that one client wants at a time."""
AGENT_WAIT = 30.0
"""Seconds until a machine whose agent says nothing is given up."""
AGAIN = 30.0
"""Seconds until the user asks again after nothing could be had."""
EXIT_WAIT = 120.0
"""Seconds that a client waits at its end for what it has asked for."""
PATIENCE = 6
"""Acquires in a row that found nothing to try, after which the run fails."""
IN_VAIN = 120.0
"""Seconds for which an offer that was refused is not asked for again."""
_KEY = HostKey("", "ssh-ed25519 AAAA")


class Hunt:
    """One acquire: the way up the ladder."""

    def __init__(self, node: int) -> None:
        self.node = node
        self.tried: set[str] = set()
        self.token = ""


class Client(Process):
    """One process, with work to be done."""

    def __init__(
        self,
        laptop: Laptop,
        clouds: dict[str, Cloud],
        net: Network,
        tasks: Tasks,
        bugs: Bugs,
        number: int,
    ) -> None:
        super().__init__(laptop, clouds, bugs, number)
        self.net = net
        self.engine = Engine(self, tasks)
        self.links: dict[str, Link] = {}
        self.hunts: list[Hunt] = []
        self.listed: dict[str, list[Instance]] = {}
        self.connecting: set[str] = set()
        self.swept = -1e9
        self.recall = Recall(laptop.disk, self)  # type: ignore[arg-type]  # the part it uses
        self._tasks = tasks
        self._nodes = self._vain = self._replaced = 0
        self._begun: dict[str, float] = {}
        self._asked_at = 0.0

    # -- beginning and end --------------------------------------------------------------------

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
        if self.alive:
            self.engine.abandon()
        super().crash(why)

    def _stop(self) -> None:
        super()._stop()
        self.laptop.clients.remove(self)
        self._tasks.listeners.remove(self._new_task)
        for link in self.links.values():
            link.closed = True

    def _unlock(self, token: str) -> None:
        super()._unlock(token)
        self.connecting.discard(token)

    def replace(self, command: events.Replace) -> None:
        """See :class:`Process`."""
        self._replaced += 1
        if not self.leaving:
            self.hunts.append(self._hunt(command.node))

    def reachable(self, token: str) -> None:
        """See :class:`Process`."""
        if token not in self.connecting:
            self.connecting.add(token)
            self._later(self.world.rng.uniform(0.5, 2.0), self._connect, token)

    @property
    def working(self) -> bool:
        """It runs, and is connected to the world."""
        return self.alive and not self.laptop.asleep and not self.laptop.offline

    def _new_task(self, task: Task) -> None:
        if self.alive and not self.leaving:
            self.engine.submit(task)
            self.engine.feed()

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
        told, clock = self.laptop.disk.full.get(offer.key(), (-1e9, 0.0))
        sane = abs(self.wall() - self.world.wall - clock) < IN_VAIN / 2  # both by one clock
        if sane and self.world.now - told < IN_VAIN:
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

    def request(self, life: Life) -> LaunchRequest | None:
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

    def refused(self, command: events.Refuse) -> None:
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
                clock = self.wall() - self.world.wall
                self.laptop.disk.full[offer.key()] = (self.world.now, clock)
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
        if all(token in self.laptop.disk.lives for token in shown):
            self.laptop.disk.listed.add(cloud.name)

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
