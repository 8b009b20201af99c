"""A pool keeps every input in one place until it has one outcome, whatever containers do."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from byoc import limits
from byoc.engine.inputs import FAILURE, ITEM, VALUE, Input, Outcome
from byoc.engine.pool import MAX_LOSSES, READY, STARTING, STOPPING, Pool, Retry, Slot
from byoc.errors import ConnectionLostError, ContainerError, Error, FunctionTimeoutError
from tests.engine.specs import spec

REASONS = ("exit", "signal", "timeout", "lost", "ended", "cancelled", "stopped")
LOST = ConnectionLostError("the instance did not answer")


class Bench:
    """A pool, and what a session would do with its decisions."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.inputs: list[Input] = []
        self.outcomes: dict[int, Outcome] = {}
        self.items: Counter[int] = Counter()
        self.retries: list[Retry] = []
        self._streams = itertools.count(16)

    def submit(self, count: int) -> list[Input]:
        """Queue inputs."""
        first = len(self.inputs) + 1
        fresh = [Input(ident, (b"x",), self.sink) for ident in range(first, first + count)]
        self.inputs += fresh
        self.pool.pending.extend(fresh)
        return fresh

    def sink(self, item: Input, outcome: Outcome) -> None:
        """What a caller gets."""
        if outcome.kind == ITEM and outcome.error is None:
            self.items[item.id] += 1
            return
        assert item.id not in self.outcomes, "a second outcome"
        self.outcomes[item.id] = outcome

    def slot(self, host: object, state: str = READY) -> Slot:
        """A new container."""
        slot = Slot(host, next(self._streams), "ta", state=state)
        self.pool.slots[(id(host), slot.stream)] = slot
        return slot

    def feed(self) -> None:
        """Give every container what the pool says."""
        for slot in list(self.pool.slots.values()):
            while batch := self.pool.feed(slot):
                assert len(batch) <= limits.BATCH_MAX
                assert len(slot.inflight) <= slot.depth

    def settle(self, done: tuple[list[tuple[Input, Outcome]], list[Retry]]) -> None:
        """Deliver outcomes; keep what is to be tried again."""
        for item, outcome in done[0]:
            if outcome.kind == ITEM and outcome.error is None:
                if not item.done:
                    item.sink(item, outcome)
            else:
                item.finish(outcome)
        self.retries += done[1]

    def answer(self, slot: Slot, idents: list[int], kind: int = VALUE, took: float = 0.01) -> None:
        """Results from a container."""
        entries = [[ident, kind, 1, int(took * 1e6)] for ident in idents]
        self.settle(self.pool.results(slot, entries, [b"%d" % i for i in idents]))

    def exit(self, slot: Slot, reason: str, ident: int = 0, **word: Any) -> None:
        """A container's last word."""
        self.settle(self.pool.exited(slot, {"reason": reason, "input": ident, **word}))

    def again(self, retry: Retry) -> None:
        """A retry's pause is over."""
        self.retries.remove(retry)
        self.pool.waiting_retry -= 1
        if not retry.input.done:
            self.pool.pending.append(retry.input)


class Life(RuleBasedStateMachine):
    """Any order of submissions, containers' starts, results and deaths, losses and cancels."""

    @initialize(retries=st.integers(0, 2), single=st.booleans())
    def begin(self, retries: int, single: bool) -> None:
        self.most_failures = retries + 1
        self.bench = Bench(Pool(spec(retries, single_use=single)))
        self.hosts = [object(), object()]
        self.cancelled: set[int] = set()

    def pick(self, data: Any, *states: str, holding: bool = False) -> Slot | None:
        """One of the containers in such a state."""
        slots = [s for s in self.bench.pool.slots.values() if s.state in states]
        slots = [s for s in slots if s.inflight or not holding]
        return data.draw(st.sampled_from(slots)) if slots else None

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
            slot.state = READY

    @rule()
    def feed(self) -> None:
        self.bench.feed()

    @rule(data=st.data(), failed=st.booleans(), took=st.sampled_from([1e-6, 1e-3, 0.1, 60.0]))
    def answer(self, data: Any, failed: bool, took: float) -> None:
        slot = self.pick(data, READY, STOPPING, holding=True)
        if slot is not None:
            known = st.sampled_from([*slot.inflight, 4711])
            idents = data.draw(st.lists(known, min_size=1, max_size=5, unique=True))
            self.bench.answer(slot, idents, FAILURE if failed else VALUE, took)

    @rule(data=st.data())
    def item(self, data: Any) -> None:
        slot = self.pick(data, READY, holding=True)
        if slot is not None:
            self.bench.answer(slot, [data.draw(st.sampled_from([*slot.inflight]))], ITEM)

    @rule(data=st.data(), reason=st.sampled_from(REASONS))
    def die(self, data: Any, reason: str) -> None:
        slot = self.pick(data, STARTING, READY, STOPPING)
        if slot is not None:
            ident = data.draw(st.sampled_from([0, 4711, *slot.inflight]))
            self.bench.exit(slot, reason, ident, code=1, signal=9)

    @rule(host=st.integers(0, 1))
    def lose(self, host: int) -> None:
        mine = [s for s in self.bench.pool.slots.values() if s.host is self.hosts[host]]
        for slot in mine:
            self.bench.settle((self.bench.pool.lost(slot, LOST), []))

    @precondition(lambda self: self.bench.inputs)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.bench.inputs), max_size=4))
        slots = self.bench.pool.cancel(chosen)
        self.cancelled |= {item.id for item in chosen}
        held = [s for s in self.bench.pool.slots.values() if s in slots]
        assert all({item.id for item in chosen} & s.inflight.keys() for s in held)

    @precondition(lambda self: self.bench.retries)
    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        self.bench.again(data.draw(st.sampled_from(self.bench.retries)))

    @invariant()
    def one_place_each(self) -> None:
        """Every input waits, or is in one container, or waits for a retry, or has its outcome."""
        bench = self.bench
        places = Counter(item.id for item in bench.pool.pending)
        for slot in bench.pool.slots.values():
            places.update(slot.inflight.keys())
        places.update(retry.input.id for retry in bench.retries)
        assert all(count == 1 for count in places.values())
        for item in bench.inputs:
            if not item.done:
                assert places[item.id] == 1
                assert item.id not in bench.outcomes
            else:
                assert item.id in bench.outcomes or item.id in self.cancelled
        assert not any(item.done for item in bench.pool.pending)
        assert bench.pool.waiting_retry == len(bench.retries)

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
        """The pool asks for containers while inputs wait, and never for too many."""
        wanted = self.bench.pool.wanted(2.0)
        assert wanted <= self.bench.pool.most(2.0)
        if self.bench.pool.pending:
            assert wanted >= 1

    def teardown(self) -> None:
        """Whatever happened, ordinary containers finish the rest."""
        bench = self.bench
        for _ in range(10_000):
            for retry in list(bench.retries):
                bench.again(retry)
            if bench.pool.idle:
                break
            if not bench.pool.live:
                bench.slot(self.hosts[0])
            for slot in list(bench.pool.slots.values()):
                if slot.state == STARTING:
                    slot.state = READY
            bench.feed()
            for slot in list(bench.pool.slots.values()):
                bench.answer(slot, [*slot.inflight])
                if slot.state == STOPPING:
                    bench.exit(slot, "exit", code=0)
        assert bench.pool.idle, "something starved"
        for item in bench.inputs:
            assert item.done
            assert item.id in bench.outcomes or item.id in self.cancelled


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# --- single decisions -------------------------------------------------------------------------


@pytest.fixture
def bench() -> Bench:
    """A pool without retries."""
    return Bench(Pool(spec()))


def error_of(bench: Bench, item: Input) -> Error:
    """What an input failed with."""
    error = bench.outcomes[item.id].error
    assert isinstance(error, Error)
    return error


def test_the_queue_is_served_in_order(bench: Bench) -> None:
    """One container gets inputs first come, first served, and returned ones before all others."""
    items = bench.submit(5)
    slot = bench.slot("host")
    slot.depth = 3
    bench.feed()
    assert list(slot.inflight) == [1, 2, 3]
    bench.exit(slot, "lost")
    assert [item.id for item in bench.pool.pending] == [1, 2, 3, 4, 5]
    assert [item.losses for item in items] == [1, 1, 1, 0, 0]


def test_prefetch_grows_for_quick_inputs_only(bench: Bench) -> None:
    """A container of quick inputs holds many at a time, one of slow inputs holds one."""
    bench.submit(5000)
    slot = bench.slot("host")
    seen = []
    for _ in range(12):
        bench.feed()
        seen.append(len(slot.inflight))
        bench.answer(slot, [*slot.inflight], took=1e-6)
    assert seen[:4] == [1, 2, 4, 8]
    assert limits.PREFETCH_MAX / 2 <= max(seen) <= limits.PREFETCH_MAX
    for _ in range(60):
        bench.feed()
        bench.answer(slot, [next(iter(slot.inflight))], took=10.0)
    bench.answer(slot, [*slot.inflight], took=10.0)
    bench.feed()
    assert len(slot.inflight) == 1


def test_the_queue_is_shared_between_containers(bench: Bench) -> None:
    """No container takes all while another stands idle."""
    first, second = bench.slot("host"), bench.slot("host")
    first.depth = second.depth = 100
    bench.submit(10)
    bench.feed()
    assert (len(first.inflight), len(second.inflight)) == (5, 5)
    bench.answer(first, [*first.inflight], took=1e-5)
    bench.submit(7)
    bench.feed()
    assert (len(first.inflight), len(second.inflight)) == (6, 6)


def test_quick_functions_get_no_more_containers_than_cores() -> None:
    """Until inputs prove slow there is a container per core at most, then more."""
    bench = Bench(Pool(spec(cpu=0.125)))
    bench.submit(1000)
    assert bench.pool.wanted(2.0) == 2
    bench.slot("host", STARTING)
    bench.slot("host", STARTING)
    assert bench.pool.wanted(2.0) == 2
    bench.pool.took = 1.0
    assert bench.pool.wanted(2.0) == 8
    assert Bench(Pool(spec(max_containers=1))).pool.most(8.0) == 1
    assert Bench(Pool(spec(min_containers=2))).pool.wanted(8.0) == 2


@pytest.mark.parametrize(
    ("word", "kind", "text"),
    [
        ({"reason": "exit", "code": 7}, ContainerError, "exited with code 7 while it ran f"),
        ({"reason": "signal", "signal": 9}, ContainerError, "killed by SIGKILL while it ran f"),
        ({"reason": "signal", "signal": 11}, ContainerError, "killed by SIGSEGV"),
        ({"reason": "signal", "signal": 40}, ContainerError, "killed by signal 40"),
        ({"reason": "timeout"}, FunctionTimeoutError, "f ran longer than its timeout of 300 s"),
    ],
)
def test_a_death_is_explained_to_the_input_that_ran(
    bench: Bench, word: dict[str, Any], kind: type[Error], text: str
) -> None:
    """The input that ran fails with the reason; those that waited behind it are served again."""
    items = bench.submit(3)
    slot = bench.slot("host")
    slot.depth = 3
    bench.feed()
    bench.exit(slot, ident=2, **word)
    error = error_of(bench, items[1])
    assert type(error) is kind
    assert text in str(error)
    assert [item.id for item in bench.pool.pending] == [1, 3]
    assert not items[0].losses


@pytest.mark.parametrize(
    ("word", "kind", "text"),
    [
        ({"reason": "exit", "code": 3}, ContainerError, "code 3 while it was starting"),
        ({"reason": "timeout"}, FunctionTimeoutError, "was not ready within 300 s"),
        ({"reason": "start", "code": 127, "detail": "no fork"}, ContainerError, "no fork"),
    ],
)
def test_a_start_that_fails_fails_all_that_wait(
    bench: Bench, word: dict[str, Any], kind: type[Error], text: str
) -> None:
    """Starting again would fail again: everything that waits is told why, once."""
    items = bench.submit(3)
    slot = bench.slot("host", STARTING)
    bench.exit(slot, ident=0, **word)
    for item in items:
        error = error_of(bench, item)
        assert type(error) is kind
        assert text in str(error)
    assert bench.pool.idle


def test_a_start_that_was_lost_with_others_is_repeated(bench: Bench) -> None:
    """A container that went down with its zygote is no failed start, unless it goes on so."""
    (item,) = bench.submit(1)
    for _ in range(MAX_LOSSES - 1):
        bench.exit(bench.slot("host", STARTING), "lost")
        assert not item.done
    bench.exit(bench.slot("host", STARTING), "lost")
    assert "lost while it was starting" in str(error_of(bench, item))


def test_a_container_that_keeps_dying_between_inputs_is_given_up(bench: Bench) -> None:
    """Inputs that never run because their containers die first fail in the end, with the reason."""
    (item,) = bench.submit(1)
    for _ in range(MAX_LOSSES):
        assert not item.done
        slot = bench.slot("host")
        bench.feed()
        bench.exit(slot, "exit", ident=0, code=9)
    assert "code 9" in str(error_of(bench, item))
    assert bench.pool.idle


def test_a_bystander_of_a_cancelled_input_is_not_cancelled(bench: Bench) -> None:
    """Killing a container for one input's sake gives the one that ran there back."""
    first, second = bench.submit(2)
    slot = bench.slot("host")
    slot.depth = 2
    bench.feed()
    assert bench.pool.cancel([second]) == [slot]
    bench.exit(slot, "cancelled", ident=first.id)
    assert [item.id for item in bench.pool.pending] == [first.id]
    assert (first.losses, first.failures) == (0, 0)
    assert second.done
    assert not bench.outcomes


def test_retries_back_off_and_end() -> None:
    """A failing input is tried as often as its policy says, later each time."""
    bench = Bench(Pool(spec(retries=2)))
    (item,) = bench.submit(1)
    delays = []
    while not item.done:
        slot = bench.slot("host")
        bench.feed()
        bench.answer(slot, [item.id], FAILURE)
        bench.pool.slots.clear()
        if bench.retries:
            delays.append(bench.retries[0].delay)
            bench.again(bench.retries[0])
    assert delays == [2.0, 6.0]
    assert bench.outcomes[item.id].kind == FAILURE


def test_an_instance_that_is_lost_too_often_is_an_honest_failure(bench: Bench) -> None:
    """An input that loses one instance after the other fails with the instance's error."""
    (item,) = bench.submit(1)
    for _ in range(MAX_LOSSES):
        slot = bench.slot("host")
        bench.feed()
        bench.settle((bench.pool.lost(slot, LOST), []))
    assert error_of(bench, item) is LOST


def test_a_generator_that_has_yielded_is_not_begun_again(bench: Bench) -> None:
    """Items that were delivered are not delivered twice: the rest fails instead."""
    started, waiting = bench.submit(2)
    slot = bench.slot("host")
    slot.depth = 2
    bench.feed()
    bench.answer(slot, [started.id], ITEM)
    bench.settle((bench.pool.lost(slot, LOST), []))
    assert error_of(bench, started) is LOST
    assert bench.items[started.id] == 1
    assert [item.id for item in bench.pool.pending] == [waiting.id]


def test_late_words_of_a_lost_container_are_ignored(bench: Bench) -> None:
    """Results that come after an instance was given up do not answer an input twice."""
    (item,) = bench.submit(1)
    slot = bench.slot("host")
    bench.feed()
    bench.settle((bench.pool.lost(slot, LOST), []))
    bench.answer(slot, [item.id])
    assert not bench.outcomes
    other = bench.slot("other")
    bench.feed()
    bench.answer(other, [item.id])
    bench.exit(slot, "exit", ident=item.id, code=1)
    assert bench.outcomes[item.id].kind == VALUE
