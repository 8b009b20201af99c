"""A pool keeps every input in one place until it has one outcome, whatever containers do."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from byoc.engine import dispatch, scaling
from byoc.engine.ends import MAX_LOSSES
from byoc.engine.inputs import FAILURE, ITEM, VALUE, Input
from byoc.engine.pool import Pool
from byoc.engine.slots import READY, STARTING, STOPPING, Slot
from byoc.engine.spec import Batching, Concurrency
from byoc.errors import ConnectionLostError
from tests.engine.bench import Bench, Machine
from tests.engine.specs import spec

REASONS = ("exit", "signal", "timeout", "memory", "lost", "ended", "cancelled", "stopped")
LOST = ConnectionLostError("the instance did not answer")


class Life(RuleBasedStateMachine):
    """Any order of submissions, starts, results, steals, deaths, losses and cancels, with
    containers that run what they were given in order."""

    @initialize(
        retries=st.integers(0, 2),
        single=st.booleans(),
        most=st.sampled_from([1, 1, 3]),
        batch=st.sampled_from([None, None, Batching(4, 0.1)]),
    )
    def begin(self, retries: int, single: bool, most: int, batch: Batching | None) -> None:
        self.most_failures = retries + 1
        shape = Concurrency(most, min(2, most))
        self.bench = Bench(
            Pool(spec(retries, single_use=single, concurrency=shape, batching=batch))
        )
        self.hosts = [object(), object()]
        self.cancelled: set[int] = set()
        self.begun: Counter[int] = Counter()
        self.excused: Counter[int] = Counter()

    def pick(self, data: Any, *states: str, holding: bool = False) -> Slot | None:
        """One of the containers in such a state."""
        slots = [s for s in self.bench.pool.slots.values() if s.state in states]
        slots = [s for s in slots if self.bench.machines[s].running or not holding]
        return data.draw(st.sampled_from(slots)) if slots else None

    def end_of(self, slot: Slot) -> list[int]:
        """A container dies: what ran there may run again."""
        machine = self.bench.machines[slot]
        self.excused.update(machine.running)
        return sorted(machine.running)

    @rule(count=st.integers(1, 30))
    def submit(self, count: int) -> None:
        self.bench.submit(count)

    @rule(host=st.integers(0, 1))
    def start(self, host: int) -> None:
        self.bench.slot(self.hosts[host], STARTING)

    @rule(data=st.data())
    def ready(self, data: Any) -> None:
        slot = self.pick(data, STARTING)
        if slot is not None:
            self.bench.pool.set_state(slot, READY, self.bench.now)
            slot.depth = dispatch.depth(self.bench.pool)

    @rule(data=st.data())
    def retire(self, data: Any) -> None:
        slot = self.pick(data, READY)
        if slot is not None:
            self.bench.pool.set_state(slot, STOPPING, self.bench.now)

    @rule()
    def feed(self) -> None:
        self.bench.feed()

    @rule(data=st.data(), steps=st.integers(1, 6))
    def run(self, data: Any, steps: int) -> None:
        machines = list(self.bench.machines.values())
        if machines:
            machine = data.draw(st.sampled_from(machines))
            for _ in range(steps):
                self._step(machine)

    def _step(self, machine: Machine) -> None:
        before = set(machine.running)
        machine.step()
        for ident in machine.running - before:
            self.begun[ident] += 1
            others = [m for m in self.bench.machines.values() if m is not machine]
            assert not any(ident in m.running for m in others), "it runs in two containers"
            assert self.begun[ident] <= 1 + self.excused[ident], "it ran again for no reason"

    @rule(data=st.data(), failed=st.booleans(), took=st.sampled_from([1e-6, 1e-3, 0.1, 60.0]))
    def answer(self, data: Any, failed: bool, took: float) -> None:
        slot = self.pick(data, READY, STOPPING, holding=True)
        if slot is None:
            return
        running = self.bench.machines[slot].running
        idents = data.draw(st.lists(st.sampled_from(sorted(running)), min_size=1, unique=True))
        running.difference_update(idents)
        if failed:
            self.excused.update(idents)
        self.bench.answer(slot, [*idents, 4711], FAILURE if failed else VALUE, took)

    @rule(data=st.data())
    def item(self, data: Any) -> None:
        slot = self.pick(data, READY, holding=True)
        if slot is not None:
            ident = data.draw(st.sampled_from(sorted(self.bench.machines[slot].running)))
            self.bench.answer(slot, [ident], ITEM)

    @rule(data=st.data())
    def steal(self, data: Any) -> None:
        slot = self.pick(data, READY, STOPPING)
        if slot is not None:
            self.bench.steal(slot)

    @rule()
    def stop(self) -> None:
        self.bench.agent_stops()

    @precondition(lambda self: self.bench.steals)
    @rule(data=st.data())
    def told(self, data: Any) -> None:
        self.bench.agent_stops()
        slot, theft = data.draw(st.sampled_from(self.bench.steals))
        machine = self.bench.machines.get(slot)
        if machine is not None and machine.looking is not None:
            self._step(machine)  # it had a millisecond to look
        self.bench.agent_tells(slot, theft)

    @rule(data=st.data())
    def hear(self, data: Any) -> None:
        slot = self.pick(data, READY, STOPPING)
        if slot is not None:
            self.bench.hear(slot)

    @rule(data=st.data(), reason=st.sampled_from(REASONS), named=st.booleans())
    def die(self, data: Any, reason: str, named: bool) -> None:
        slot = self.pick(data, STARTING, READY, STOPPING)
        if slot is not None:
            running = self.end_of(slot)
            self.bench.exit(slot, reason, *(running if named else [4711]), code=1, signal=9)

    @rule(host=st.integers(0, 1))
    def lose(self, host: int) -> None:
        slots = [s for s in self.bench.pool.slots.values() if s.host is self.hosts[host]]
        for slot in slots:
            self.end_of(slot)
            self.bench.lose(slot, LOST)

    @precondition(lambda self: self.bench.inputs)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.bench.inputs), max_size=4, unique=True))
        self.cancelled |= {item.id for item in chosen if not item.done}
        held = self.bench.pool.drop(chosen)
        for slot, items in held.items():
            assert {item.id for item in items} <= slot.inflight.keys()

    @rule(data=st.data())
    def wait(self, data: Any) -> None:
        slot = self.pick(data, READY, holding=True)
        if slot is not None:
            slot.waits = data.draw(st.integers(0, len(self.bench.machines[slot].running)))
            slot.waits = min(slot.waits, len(slot.inflight))
            self.bench.pool.count(slot)
            self.bench.pool.hungry[slot.key] = slot

    @precondition(lambda self: self.bench.retries)
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        self.bench.again(data.draw(st.sampled_from(self.bench.retries)))

    @invariant()
    def one_place_each(self) -> None:
        """Every input waits, or is in one container, or waits for a retry, or has its outcome."""
        bench = self.bench
        for slot in bench.pool.slots.values():  # the session counts waits when attempts end
            if slot.waits > len(slot.inflight):
                slot.waits = len(slot.inflight)
                bench.pool.count(slot)
        bench.pool.validate()
        places: Counter[int] = Counter(i.id for i in bench.pool.pending if not i.done)
        for slot in bench.pool.slots.values():
            places.update(slot.inflight.keys())
        places.update(retry.input.id for retry in bench.retries)
        for item in bench.inputs:
            if not item.done:
                assert places[item.id] == 1
                assert item.id not in bench.outcomes
            else:
                assert item.id in bench.outcomes or item.id in self.cancelled
        assert bench.pool.retrying == len(bench.retries)

    @invariant()
    def attempts_are_counted(self) -> None:
        """No input fails or is lost more often than it may."""
        for item in self.bench.inputs:
            assert item.failures <= self.most_failures
            assert item.losses <= MAX_LOSSES
            if not item.done:
                assert item.losses < MAX_LOSSES

    @invariant()
    def wanted_is_sane(self) -> None:
        """The pool asks for containers while inputs wait."""
        if self.bench.pool.waiting:
            assert scaling.wanted(self.bench.pool) >= 1

    def teardown(self) -> None:
        """Whatever happened, ordinary containers finish the rest, each input once."""
        for _ in range(10_000):
            if self._wind_up():
                break
        assert self.bench.pool.idle, "something starved"
        for item in self.bench.inputs:
            assert item.done
            assert item.id in self.bench.outcomes or item.id in self.cancelled

    def _wind_up(self) -> bool:
        """One round of ordinary work; True when all is done."""
        bench = self.bench
        for retry in list(bench.retries):
            bench.again(retry)
        if bench.pool.idle:
            return True
        if not bench.pool.live:
            bench.slot(self.hosts[0])
        bench.feed()
        bench.agent_stops()
        for slot, theft in list(bench.steals):
            machine = bench.machines.get(slot)
            if machine is not None and machine.looking is not None:
                self._step(machine)
            bench.agent_tells(slot, theft)
        for slot, machine in list(bench.machines.items()):
            if slot.state == STARTING:
                bench.pool.set_state(slot, READY, bench.now)
            for _ in range(len(machine.queue) + 4):
                self._step(machine)
            idents = sorted(machine.running)
            machine.running.clear()
            slot.waits = 0
            bench.answer(slot, idents)
            bench.pool.count(slot)
            bench.hear(slot)
            if slot.state == STOPPING and not slot.inflight and not machine.queue:
                bench.exit(slot, "exit", code=0)
        return False


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)


def test_a_hundred_thousand_waiting_inputs_are_cheap() -> None:
    """Queueing, cancelling and taking are linear: no step looks at the others."""
    bench = Bench(Pool(spec()))
    items = bench.submit(100_000)
    looked = 0

    class Watched(Input):
        """An input that counts how often its place is looked at."""

        __slots__ = ()

        def __getattribute__(self, name: str) -> Any:
            nonlocal looked
            if name == "done":
                looked += 1
            return super().__getattribute__(name)

    for item in items:
        item.__class__ = Watched
    for item in items[:50_000]:
        bench.pool.drop([item])
    slot = bench.slot("host")
    bench.pool.took = 1e-6
    while bench.pool.waiting:
        slot.depth = dispatch.depth(bench.pool)
        bench.feed()
        bench.answer(slot, [*slot.inflight], took=1e-6)
    assert looked < 100_000 * 5
    assert len(bench.outcomes) == 50_000
