"""What the emulated clouds have in common: the scenario, machines, capacity, bills and events."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from ..pricing import catalog
from . import prices
from .faults import Call, CallLog, Faults, fault
from .happenings import Happenings
from .ledger import Entry, Ledger
from .machine.banner import BannerKeeper
from .machine.doors import Doors
from .machine.gpus import SOUND, Trouble
from .machine.keeper import RealKeeper
from .machine.kinds import Keeper, Key, Plan
from .ports import Events, Facade, Facts, Fault, Machine
from .scenario import ANY, NO_BOOT, Boot, Permit, Rule, Scenario, Stock
from .timers import Timers

BOOTS_AT_ONCE = 4
"""Machines that are started at one time; each takes some milliseconds of work."""
USUAL_SPOT = 0.4
"""Of the on-demand price; also what the emulated clouds say where the catalogue knows none."""
LOOK_AGAIN = 0.02
"""Seconds until an event looks again for an instance's machine, which is not there yet."""
_NOTHING = Boot()
_ALL_OF_IT = Permit()


class Shelf(NamedTuple):
    """What capacity is counted by."""

    cloud: str
    zone: str
    type: str
    market: str


class EmulatedWorld:
    """One emulator. ``folder``: private, on a disk; the caller removes it after :meth:`end`, and
    real machines do should this process be killed.

    ``machines``: ``real``, or ``banner`` for ones that only greet as an SSH server. ``seed``: of
    everything random; the scenario's own has precedence. Raises BootError when real machines are
    asked for and this host cannot have any.
    """

    def __init__(
        self,
        scenario: Scenario,
        folder: Path,
        *,
        machines: str = "real",
        seed: int = 0,
        egress: bool = False,
    ) -> None:
        self.scenario = scenario
        self.seed = seed if scenario.seed is None else scenario.seed
        self.log = CallLog()
        self._egress = egress
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._facades: dict[str, Facade] = {}
        self._faults = Faults(scenario.faults)
        self.ledger = Ledger(self.now, prices.price)
        self.timers = Timers()
        self.happenings = Happenings(
            scenario.events, self.later, self.ledger.alive, self._act, self.now
        )
        self._stock: Counter[Stock] = Counter()
        self._boots: Counter[str] = Counter()
        self._machines: dict[tuple[str, str], tuple[Machine, Events]] = {}
        self._addresses: dict[tuple[str, str], str] = {}
        self._doors = Doors()
        self.keeper = self._make_keeper(machines, folder)
        self._starters = ThreadPoolExecutor(BOOTS_AT_ONCE, thread_name_prefix="emulator-boot")

    def _make_keeper(self, machines: str, folder: Path) -> Keeper:
        if machines == "banner":
            return BannerKeeper(self._doors)
        try:
            return RealKeeper(self._doors, folder / "machines", self._lets_in, self._admits)
        except BaseException:
            self._doors.close()
            self.timers.end()
            raise

    # --- its life -------------------------------------------------------------------------
    def add(self, facade: Facade) -> None:
        """An account of this world; needed for events that the cloud itself announces."""
        self._facades[facade.cloud] = facade

    def facades(self) -> Sequence[Facade]:
        """The accounts."""
        return list(self._facades.values())

    def begin(self) -> None:
        """Times of the scenario and of the report count from now on."""
        self._begin = time.monotonic()
        self.happenings.start()

    def now(self) -> float:
        """Seconds since :meth:`begin`."""
        return time.monotonic() - self._begin

    def end(self) -> None:
        """End every machine and every thread. Bills are closed by what is :meth:`gone`."""
        if self._ended.is_set():
            return
        self._ended.set()
        self.timers.end()
        self._starters.shutdown(wait=True, cancel_futures=True)
        self.keeper.close()
        self._doors.close()

    def unused(self) -> list[Rule]:
        """Faults of the scenario that no request has met."""
        return self._faults.unused()

    def problems(self) -> list[str]:
        """What went wrong that no scenario asked for."""
        return [*self.timers.failures, *self.keeper.problems]

    # --- for façades ----------------------------------------------------------------------
    def wall(self) -> float:
        return time.time()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        self.timers.later(seconds, work)

    def judge(self, cloud: str, op: str, facts: Facts) -> Fault | None:
        rule = self._faults.take(cloud, op, facts)
        call = Call(self.now(), cloud, op, dict(facts))
        if rule is not None and rule.error:
            call = call._replace(refused=rule.error, message=rule.message, by="scenario")
        self.log.note(call)
        if rule is None:
            return None
        if rule.delay:
            self._ended.wait(rule.delay)
        return fault(rule) if rule.error else None

    def refused(self, cloud: str, op: str, facts: Facts, code: str, message: str) -> None:
        self.log.refuse(Call(self.now(), cloud, op, dict(facts), code, message, "cloud"))

    def room(self, cloud: str, zone: str, type: str, market: str) -> bool:
        stock = self._shelf(Shelf(cloud, zone, type, market))
        if stock is None:
            return True
        with self._lock:
            if self._stock[stock] >= stock.amount:
                return False
            self._stock[stock] += 1
            return True

    def spare(self, cloud: str, zone: str, type: str, market: str) -> int | None:
        stock = self._shelf(Shelf(cloud, zone, type, market))
        if stock is None:
            return None
        with self._lock:
            return max(0, stock.amount - self._stock[stock])

    def quota(self, cloud: str, region: str, bucket: str, usual: float) -> float:
        for limit in self.scenario.quotas:
            if (
                limit.cloud in (ANY, cloud)
                and fnmatchcase(region, limit.region)
                and fnmatchcase(bucket, limit.bucket)
            ):
                return limit.limit
        return usual

    def address(self, cloud: str) -> str:
        return self._doors.reserve(cloud)

    def made(self, cloud: str, id: str, facts: Facts) -> None:
        entry = self.ledger.made(cloud, id, facts)
        self._moment("launch", entry)

    def billing(self, cloud: str, id: str, on: bool) -> None:
        self.ledger.billing(cloud, id, on)

    def power_on(self, machine: Machine, events: Events) -> None:
        with self._lock:
            number = self._boots[machine.cloud]
            self._boots[machine.cloud] += 1
            self._machines[machine.cloud, machine.id] = machine, events
            self._addresses[machine.cloud, machine.id] = machine.address
        chance = random.Random(f"{self.seed}/{machine.cloud}/{number}")  # noqa: S311 - no secret
        boot = self._boot(machine.cloud)
        delay = boot.delay + boot.jitter * chance.random()
        dead = chance.random() < boot.never
        facts = {key: getattr(machine, key) for key in ("region", "zone", "type", "market")}
        facts |= {"id": machine.id, "name": machine.name}
        rule = self._faults.take_boot(machine.cloud, facts)
        broken = self._faults.take_gpu(machine.cloud, facts) if machine.gpu_count else None
        if rule is not None:
            delay += rule.delay
            dead = dead or rule.error == NO_BOOT
        spec = catalog.spec(machine.cloud, machine.type)
        plan = Plan(
            machine,
            dead=dead,
            console=rule.message if rule and rule.message else boot.console,
            egress=self._egress or boot.egress,
            gpu_memory=spec.gpu_memory if spec else 0,
            gpu_fault=Trouble(broken.gpu, broken.message, broken.delay) if broken else SOUND,
        )
        self.later(delay, lambda: self._submit(lambda: self._start(plan)))

    def power_off(self, cloud: str, id: str, gently: bool = False) -> None:
        with self._lock:
            found = self._machines.pop((cloud, id), None)
        if found is not None:
            self.keeper.end((cloud, id), gently)

    def gone(self, cloud: str, id: str) -> None:
        self.power_off(cloud, id)
        with self._lock:
            address = self._addresses.pop((cloud, id), "")
        if address:
            self._doors.release(address)
        entry = self.ledger.get(cloud, id)
        if entry is not None and self.ledger.gone(cloud, id):
            self._put_back(entry)

    def hidden(self, cloud: str, id: str) -> bool:
        entry = self.ledger.get(cloud, id)
        lag = self.scenario.lag.get(cloud, 0.0)
        return entry is not None and self.now() - entry.made < lag

    def address_known(self, cloud: str, id: str) -> bool:
        entry = self.ledger.get(cloud, id)
        if entry is None or "running" not in entry.moments:
            return False
        return self.now() - entry.moments["running"] >= self._boot(cloud).address_delay

    def console(self, cloud: str, id: str) -> str:
        return self.keeper.console((cloud, id))

    def permit(self, cloud: str) -> Permit:
        return self.scenario.policy.get(cloud, _ALL_OF_IT)

    # --- inside ---------------------------------------------------------------------------
    def _lets_in(self, source: Key, target: Key) -> bool:
        facade = self._facades.get(target[0])
        return facade is not None and facade.lets_in(source[1], target[1])

    def _admits(self, source: str, target: Key) -> bool:
        facade = self._facades.get(target[0])
        return facade is None or facade.admits(source, target[1])

    def _boot(self, cloud: str) -> Boot:
        return self.scenario.boot.get(cloud, _NOTHING)

    def _submit(self, work: Callable[[], None]) -> None:
        if not self._ended.is_set():
            self._starters.submit(self.timers.guard(work))

    def _start(self, plan: Plan) -> None:
        with self._lock:
            found = self._machines.get(plan.key)
        if found is None or found[0] is not plan.machine:
            return  # ended before it ran
        self.keeper.boot(plan, _Listener(self, plan.key))
        with self._lock:
            late = plan.key not in self._machines
        if late:
            self.keeper.end(plan.key, False)
            return
        found[1].up()
        self.moment(plan.key, "running")

    def moment(self, key: tuple[str, str], name: str) -> None:
        """A moment of an instance's life; only the first of a name counts."""
        entry = self.ledger.get(*key)
        if entry is not None:
            self._moment(name, entry)

    def _moment(self, name: str, entry: Entry) -> None:
        if self.ledger.moment(entry.cloud, entry.id, name):
            self.happenings.moment(name, entry)

    def off(self, key: tuple[str, str], reason: str) -> None:
        """A machine is off by itself: ``shutdown`` or ``crash``. Its cloud is told, later."""
        with self._lock:
            found = self._machines.pop(key, None)
        if found is not None:
            self.later(0.0, lambda: found[1].off(reason))

    def _act(self, entry: Entry, action: str, notice: float, lasts: float) -> None:
        key = (entry.cloud, entry.id)
        if action == "preempt":
            self._facades[entry.cloud].preempt(entry.id, notice)
        elif "running" not in entry.moments:  # it has no machine yet
            if entry.gone is None:
                self.later(LOOK_AGAIN, lambda: self._act(entry, action, notice, lasts))
        elif action == "kill":
            self.keeper.kill(key)
        else:
            change = self.keeper.freeze if action == "freeze" else self.keeper.cut
            change(key, True)
            if lasts:
                self.later(lasts, lambda: change(key, False))

    def _shelf(self, shelf: Shelf) -> Stock | None:
        """The first row of the scenario that counts instances of this kind."""
        for stock in self.scenario.capacity:
            pairs = zip(shelf, stock[:4], strict=True)
            if all(fnmatchcase(own, pattern) for own, pattern in pairs):
                return stock
        return None

    def _put_back(self, entry: Entry) -> None:
        """Free the capacity that an instance took. One that was refused took none: there are never
        more taken than there are instances."""
        stock = self._shelf(_shelf_of(entry))
        if stock is None:
            return
        others = sum(self._shelf(_shelf_of(one)) is stock for one in self.ledger.alive())
        with self._lock:
            if self._stock[stock] > others:
                self._stock[stock] -= 1


class _Listener:
    """What a keeper tells of one machine."""

    def __init__(self, world: EmulatedWorld, key: tuple[str, str]) -> None:
        self._world = world
        self._key = key

    def moment(self, name: str) -> None:
        self._world.moment(self._key, name)

    def off(self, reason: str) -> None:
        self._world.off(self._key, reason)


def _shelf_of(entry: Entry) -> Shelf:
    zone, type_, market = (entry.facts.get(key, "") for key in ("zone", "type", "market"))
    return Shelf(entry.cloud, zone, type_, market)
