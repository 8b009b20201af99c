"""How many containers there are, and who gives way when not all fit."""

from __future__ import annotations

from typing import Any

import pytest

from byoc.engine import scaling
from byoc.engine.pool import Pool
from byoc.engine.slots import READY, STARTING, STOPPING, Load, Slot
from byoc.engine.spec import Batching, Concurrency
from byoc.resources import GpuRequest, Resources
from tests.engine.bench import Bench
from tests.engine.specs import spec

HOST = "host"


def wanted(count: int, **changes: Any) -> int:
    """Containers that so many waiting inputs are worth."""
    bench = Bench(Pool(spec(**changes)))
    bench.submit(count)
    return scaling.wanted(bench.pool)


@pytest.mark.parametrize(
    ("count", "changes", "expected"),
    [
        (0, {}, 0),
        (5, {}, 5),
        (5, {"max_containers": 3}, 3),
        (0, {"min_containers": 2}, 2),
        (1, {"min_containers": 2}, 2),
        (0, {"buffer_containers": 2}, 0),
        (3, {"buffer_containers": 2}, 5),
        (3, {"buffer_containers": 2, "max_containers": 4}, 4),
        (10, {"concurrency": Concurrency(10, 4)}, 3),
        (10, {"batching": Batching(10, 0.1)}, 1),
        (11, {"batching": Batching(10, 0.1)}, 2),
        (21, {"batching": Batching(5, 0.1), "concurrency": Concurrency(2, 2)}, 3),
    ],
)
def test_the_queue_says_how_many(count: int, changes: dict[str, Any], expected: int) -> None:
    """From zero with the queue and back, between the bounds that were declared."""
    assert wanted(count, **changes) == expected


def test_quick_functions_get_no_more_containers_than_cores() -> None:
    """Until inputs prove slow there is a container per core at most, then more."""
    bench = Bench(Pool(spec(cpu=0.125)))
    load = Load(2.0, 8000)
    assert not scaling.enough(bench.pool, load, 1)
    assert scaling.enough(bench.pool, load, 2)
    bench.pool.took = 1.0
    assert not scaling.enough(bench.pool, load, 7)
    bench.pool.took = 0.001
    assert scaling.enough(bench.pool, load, 2)


def filled(bench: Bench) -> int:
    """How many containers fit on one machine of two cores."""
    count = 0
    while count < 100 and scaling.fits(bench.pool, bench.loads.setdefault(id(HOST), Load(2, 8000))):
        bench.slot(HOST, STARTING)
        count += 1
    return count


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(cpu=1.0), 2),
        (Resources(cpu=4.0), 1),
        (Resources(cpu=0.125), 8),
        (Resources(cpu=0.125, memory=3000), 2),
        (Resources(cpu=0.125, memory=90000), 1),
    ],
)
def test_containers_pack_by_cores_and_memory(resources: Resources, expected: int) -> None:
    """As many as their requests allow, four per core at most; one always."""
    assert filled(Bench(Pool(spec(resources=resources)))) == expected


def test_containers_that_wait_for_others_take_no_core() -> None:
    """A recursion can go on although each container of it asks for all cores."""
    bench = Bench(Pool(spec(cpu=2.0)))
    for depth in range(1, 20):
        assert scaling.fits(bench.pool, bench.loads.setdefault(id(HOST), Load(2, 8000)))
        slot = bench.slot(HOST)
        bench.submit(1)
        assert scaling.wanted(bench.pool) == depth
        bench.feed()
        slot.waits = 1
        bench.pool.count(slot)
    assert not scaling.deadlocked(bench.pool)


def test_containers_that_leave_take_no_core() -> None:
    """Nobody waits for the exit hooks of another container, but its memory is still taken."""
    bench = Bench(Pool(spec(resources=Resources(cpu=2.0, memory=5000))))
    slot = bench.slot(HOST)
    load = bench.loads[id(HOST)]
    other = Pool(spec(resources=Resources(cpu=2.0, memory=1000)))
    other.live = 1
    assert not scaling.fits(other, load)
    bench.pool.set_state(slot, STOPPING, 1.0)
    assert scaling.fits(other, load)
    assert not scaling.fits(Pool(spec(resources=Resources(memory=4000))), load)


def test_a_recursion_that_may_not_grow_is_seen() -> None:
    """All that are allowed wait, and inputs wait for them."""
    bench = Bench(Pool(spec(max_containers=1)))
    bench.submit(1)
    slot = bench.slot(HOST)
    bench.feed()
    slot.waits = 1
    bench.pool.count(slot)
    assert not scaling.deadlocked(bench.pool)
    bench.submit(1)
    assert scaling.deadlocked(bench.pool)


def test_containers_without_work_leave_after_their_window() -> None:
    """Those that have been idle for the window end, the longest first, down to the minimum."""
    bench = Bench(Pool(spec(scaledown_window=20.0, min_containers=1)))
    first = bench.slot(HOST)
    bench.now = 5.0
    second, third = bench.slot(HOST), bench.slot(HOST)
    assert scaling.expired(bench.pool, 5.0) == ([], pytest.approx(15.0))
    assert scaling.expired(bench.pool, 20.0) == ([first], pytest.approx(5.0))
    bench.pool.set_state(first, STOPPING, 20.0)
    assert scaling.expired(bench.pool, 25.0) == ([second], None)
    bench.pool.set_state(second, STOPPING, 25.0)
    assert scaling.expired(bench.pool, 1000.0) == ([], None)
    assert third.state == READY


def test_spare_containers_stay_while_others_work() -> None:
    """``buffer_containers`` are kept without work for as long as there is some elsewhere."""
    bench = Bench(Pool(spec(buffer_containers=1)))
    busy, spare, extra = (bench.slot(HOST) for _ in range(3))
    bench.submit(1)
    bench.feed()
    assert busy.inflight
    leaving, again = scaling.expired(bench.pool, 1000.0)
    assert leaving == [spare]
    assert again is not None
    bench.pool.set_state(spare, STOPPING, 1000.0)
    assert scaling.expired(bench.pool, 2000.0)[0] == []
    bench.answer(busy, [1])
    assert extra in scaling.expired(bench.pool, 3000.0)[0]


# --- giving way -------------------------------------------------------------------------------


class Two:
    """A function that has containers, and one that waits for room."""

    def __init__(self, **changes: Any) -> None:
        self.rich, self.poor = Bench(Pool(spec(**changes))), Bench(Pool(spec(**changes)))
        self.poor.submit(1)

    def gives(self, now: float = 0.0) -> Slot | None:
        """The container that leaves."""
        pools = [self.rich.pool, self.poor.pool]
        found = scaling.gives_way(self.poor.pool, pools, HOST, now)
        return found[1] if found is not None else None


def test_a_container_without_work_gives_way_first() -> None:
    """Of a function without queue; one that is kept by ``min_containers`` only as the last."""
    two = Two()
    slot = two.rich.slot(HOST)
    assert two.gives() is slot
    assert Two(min_containers=1).gives() is None


def test_the_busiest_gives_back_one_at_a_time() -> None:
    """Of a long queue one container leaves when it is done, and no second one meanwhile."""
    two = Two()
    slots = [two.rich.slot(HOST) for _ in range(3)]
    two.rich.submit(50)
    two.rich.feed()
    leaving = two.gives()
    assert leaving in slots
    assert leaving is not None
    two.rich.pool.set_state(leaving, STOPPING, 0.0)
    assert two.gives() is None


def test_the_only_container_goes_after_its_turn() -> None:
    """Two functions that have room for one container share it in time."""
    two = Two()
    slot = two.rich.slot(HOST)
    two.rich.submit(50)
    two.rich.feed()
    assert two.gives(scaling.TURN / 2) is None
    assert two.gives(scaling.TURN) is slot


def test_who_has_a_container_takes_none_from_who_works() -> None:
    """Growing is only for room that nobody uses."""
    two = Two()
    two.poor.slot(HOST)
    for _ in range(3):
        two.rich.slot(HOST)
    two.rich.submit(50)
    two.rich.feed()
    assert two.gives(100.0) is None


def test_only_those_with_gpus_make_room_for_gpus() -> None:
    """A function that waits for a GPU is not helped by cores."""
    two = Two(resources=Resources(gpus=(GpuRequest("T4", 1),)))
    two.rich.slot(HOST)
    assert two.gives() is None
    holder = two.rich.slot(HOST, gpus=(0,))
    assert two.gives() is holder
