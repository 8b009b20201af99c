"""Which container gets how much, and what is taken back from one that is slow."""

from __future__ import annotations

from typing import Any

import pytest

from byoc import limits
from byoc.engine import dispatch
from byoc.engine.inputs import FAILURE, VALUE, Input
from byoc.engine.pool import Pool
from byoc.engine.slots import READY, STOPPING
from byoc.engine.spec import Batching, Concurrency
from byoc.runtime_agent.payload import ITEM
from tests.engine.bench import Bench
from tests.engine.specs import spec


@pytest.fixture
def bench() -> Bench:
    """A pool without retries."""
    return Bench(Pool(spec()))


def test_the_queue_is_served_in_order(bench: Bench) -> None:
    """One container gets inputs first come, first served, and returned ones before all others."""
    items = bench.submit(5)
    slot = bench.slot()
    slot.depth = 3
    bench.feed()
    assert list(slot.inflight) == [1, 2, 3]
    bench.exit(slot, "lost")
    assert [item.id for item in bench.pool.pending] == [1, 2, 3, 4, 5]
    assert [item.losses for item in items] == [1, 1, 1, 0, 0]


def test_prefetch_grows_at_once_for_quick_inputs_only(bench: Bench) -> None:
    """A container of quick inputs holds many from the second message on, one of slow ones one."""
    bench.submit(5000)
    slot = bench.slot()
    bench.feed()
    assert len(slot.inflight) == 1
    bench.answer(slot, [*slot.inflight], took=1e-6)
    bench.feed()
    assert len(slot.inflight) == limits.PREFETCH_MAX
    for _ in range(60):
        bench.feed()
        bench.answer(slot, [next(iter(slot.inflight))], took=10.0)
    bench.answer(slot, [*slot.inflight], took=10.0)
    bench.feed()
    assert len(slot.inflight) == 1


def test_prefetch_covers_a_long_way(bench: Bench) -> None:
    """Far away, a container holds work for two round trips, and for slow inputs one more."""
    bench.pool.took = 0.01
    near = dispatch.depth(bench.pool)
    bench.pool.rtt = 0.1
    assert dispatch.depth(bench.pool) >= 20 > near
    bench.pool.took = 1.0
    assert dispatch.depth(bench.pool) == 2
    bench.pool.took = 60.0
    assert dispatch.depth(bench.pool) == 1


def test_the_queue_is_shared_between_containers(bench: Bench) -> None:
    """No container takes all while another stands idle."""
    first, second = bench.slot(), bench.slot()
    first.depth = second.depth = 100
    bench.submit(10)
    bench.feed()
    assert (len(first.inflight), len(second.inflight)) == (5, 5)
    bench.answer(first, [*first.inflight], took=1e-5)
    bench.submit(7)
    bench.feed()
    assert (len(first.inflight), len(second.inflight)) == (6, 6)


def test_batches_are_filled_before_they_are_many() -> None:
    """With batching ten inputs go to one container of two, not five to each."""
    bench = Bench(Pool(spec(batching=Batching(10, 0.1))))
    first, second = bench.slot(), bench.slot()
    for slot in (first, second):
        slot.depth = dispatch.depth(bench.pool)
    bench.submit(10)
    bench.feed()
    assert (len(first.inflight), len(second.inflight)) == (10, 0)


def test_a_container_runs_as_many_as_it_may_at_once() -> None:
    """With concurrency a container is given that many, slow as they may be."""
    bench = Bench(Pool(spec(concurrency=Concurrency(5, 3))))
    slot = bench.slot()
    slot.depth = dispatch.depth(bench.pool)
    bench.submit(9)
    bench.feed()
    assert len(slot.inflight) == 5
    bench.answer(slot, [1], took=30.0)
    bench.feed()
    assert len(slot.inflight) == 5


def test_a_container_for_one_input_gets_one() -> None:
    """A single-use container takes one input, and is done with it."""
    bench = Bench(Pool(spec(single_use=True)))
    bench.submit(3)
    slot = bench.slot()
    bench.feed()
    assert len(slot.inflight) == 1
    bench.answer(slot, [1])
    assert slot.state == STOPPING
    bench.feed()
    assert not slot.inflight


def test_a_container_that_waits_for_others_is_given_nothing(bench: Bench) -> None:
    """An input behind one that waits for a call could be that very call."""
    slot = bench.slot()
    slot.depth = 5
    bench.submit(1)
    bench.feed()
    slot.waits = 1
    bench.pool.count(slot)
    bench.submit(3)
    bench.feed()
    assert len(slot.inflight) == 1
    assert (bench.pool.stuck, bench.pool.blocked, bench.pool.ready) == (1, 1, 0)
    assert bench.loads[id(slot.host)].running == 0


def test_a_cancelled_input_that_runs_keeps_its_place(bench: Bench) -> None:
    """A container is not fed as if it were free while it runs what nobody waits for."""
    first, second = bench.submit(2)
    slot = bench.slot()
    bench.feed()
    assert bench.pool.drop([first]) == {slot: [first]}
    bench.feed()
    assert list(slot.inflight) == [first.id]
    bench.answer(slot, [first.id], FAILURE)
    assert not bench.outcomes
    bench.feed()
    assert list(slot.inflight) == [second.id]


def test_a_result_comes_once(bench: Bench) -> None:
    """Results of inputs that the container does not hold are passed over."""
    (item,) = bench.submit(1)
    slot = bench.slot()
    bench.feed()
    bench.answer(slot, [item.id, item.id, 99])
    bench.answer(slot, [item.id])
    assert bench.outcomes[item.id].kind == VALUE


def test_items_come_before_the_end(bench: Bench) -> None:
    """Yields are passed on while the generator still runs."""
    (item,) = bench.submit(1)
    slot = bench.slot()
    bench.feed()
    for _ in range(3):
        bench.answer(slot, [item.id], ITEM)
    assert (bench.items[item.id], item.done, item.started) == (3, False, True)


def test_retries_back_off_and_end() -> None:
    """A failing input is tried as often as its policy says, later each time."""
    bench = Bench(Pool(spec(retries=2)))
    (item,) = bench.submit(1)
    slot = bench.slot()
    delays = []
    while not item.done:
        bench.feed()
        bench.answer(slot, [item.id], FAILURE)
        if bench.retries:
            delays.append(bench.retries[0].delay)
            bench.again(bench.retries[0])
    assert delays == [2.0, 6.0]
    assert bench.outcomes[item.id].kind == FAILURE


@pytest.mark.parametrize(
    ("entries", "count"),
    [
        (None, 0),
        ([3], 0),
        ([[1, 0, 1]], 1),
        ([[1, 0, 1, "x"]], 1),
        ([[[], 0, 1, 5]], 1),
        ([[1, 0, 2, 5]], 1),
        ([[1, 0, -1, 5], [2, 0, 2, 5]], 1),
    ],
)
def test_results_that_are_none_are_refused(entries: Any, count: int) -> None:
    """What is not a list of results with their buffers changes nothing."""
    assert not dispatch.sound(entries, [b""] * count)


# --- stealing back ----------------------------------------------------------------------------


def hoarding(bench: Bench, held: int = 5) -> tuple[Any, list[Input]]:
    """A container that holds inputs while another one is free."""
    items = bench.submit(held)
    slot = bench.slot()
    slot.depth = held
    bench.feed()
    bench.slot()
    return slot, items


def test_what_a_slow_container_holds_is_taken_back(bench: Bench) -> None:
    """Inputs that were not started go to the container that has nothing to do, in order."""
    slot, items = hoarding(bench)
    bench.machines[slot].step()
    bench.machines[slot].step()  # the first one runs
    late, soon = dispatch.overdue(bench.pool, bench.now)
    assert (late, soon) == ([], pytest.approx(dispatch.OVERDUE))
    bench.now += dispatch.OVERDUE
    late, _ = dispatch.overdue(bench.pool, bench.now)
    assert late == [slot]
    bench.steal(slot)
    bench.agent_stops()
    bench.agent_tells(*bench.steals[0])
    assert list(slot.inflight) == [1]
    assert [item.id for item in bench.pool.pending] == [2, 3, 4, 5]
    assert not any(item.losses for item in items)
    assert slot.depth == 1


def test_what_the_container_did_not_start_after_all_is_taken_back_too(bench: Bench) -> None:
    """A container that saw the steal at the last moment gives back what it was about to start."""
    slot, _ = hoarding(bench, 3)
    machine = bench.machines[slot]
    machine.step()  # it says that it starts the first
    bench.steal(slot)
    bench.agent_stops()
    bench.agent_tells(*bench.steals[0])
    assert list(slot.inflight) == [1]
    machine.step()  # and sees that it must not
    while not machine.says:
        machine.step()
    bench.hear(slot)
    assert not slot.inflight
    assert [item.id for item in bench.pool.pending] == [1, 2, 3]
    bench.pool.validate()


def test_nothing_is_taken_while_none_is_free(bench: Bench) -> None:
    """Stealing needs somebody who would do the work."""
    slot, _ = hoarding(bench)
    other = next(s for s in bench.pool.slots.values() if s is not slot)
    bench.submit(1)
    bench.feed()
    assert other.inflight
    bench.now += 100.0
    assert dispatch.overdue(bench.pool, bench.now) == ([], None)


def test_patience_grows_with_what_inputs_take(bench: Bench) -> None:
    """A container of slow inputs is not robbed of the next one at once."""
    bench.pool.took = 1.0
    assert dispatch.patience(bench.pool) == pytest.approx(4.0)
    bench.pool.took = 1e-6
    assert dispatch.patience(bench.pool) == dispatch.OVERDUE


def test_a_robbed_container_is_fed_again_after_its_word(bench: Bench) -> None:
    """Between the steal and the container's own word it gets nothing; then it does."""
    slot, _ = hoarding(bench, 2)
    other = next(s for s in bench.pool.slots.values() if s is not slot)
    bench.pool.set_state(other, STOPPING, bench.now)
    bench.steal(slot)
    bench.agent_stops()
    bench.agent_tells(*bench.steals[0])
    bench.feed()
    assert not slot.inflight
    while not bench.machines[slot].says:
        bench.machines[slot].step()
    bench.hear(slot)
    bench.feed()
    assert slot.inflight
    assert slot.state == READY
