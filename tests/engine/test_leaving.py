"""An instance that is preempted soon: what runs there may finish, the rest goes elsewhere."""

from __future__ import annotations

import pytest

from byoc.engine import ends
from byoc.engine.inputs import ITEM
from byoc.engine.slots import Slot
from byoc.engine.spec import FunctionSpec
from byoc.errors import InstanceError
from tests.engine.hosts import Host, World
from tests.engine.specs import spec


def leave(world: World, host: Host, seconds: float = 120.0) -> None:
    """The notice has come."""
    host.leaving = host.taken = True
    host.until = world.clock.now + seconds
    world.session._host_leaving(host)  # type: ignore[arg-type]


def lose(world: World, host: Host) -> None:
    """Its cloud has taken it."""
    host.taken = True
    host.lost = InstanceError("its cloud has taken it")  # type: ignore[assignment]
    world.session._host_lost(host, host.lost)  # type: ignore[arg-type]


def on(world: World, one: FunctionSpec, host: Host) -> list[Slot]:
    """A function's containers on an instance."""
    return [slot for slot in world.slots(one) if slot.host is host]


def test_what_runs_finishes_and_the_queue_goes_elsewhere() -> None:
    """The container gets no more inputs, gives back those that it has not begun, and ends."""
    old, new = Host(cores=1.0), Host(cores=1.0)
    world, one = World(old, extra=[new]), spec()
    world.submit(one)
    world.ready(one)
    (slot,) = on(world, one, old)
    world.answer(slot, took=0.001)
    world.submit(one, 6)
    assert len(slot.inflight) > 1
    leave(world, old)
    assert len(old.told("preempt")) == 1
    (told,) = old.told("steal")
    told(slot.served + 1)  # one is running
    assert len(slot.inflight) == 1 and not old.told("end")
    world.say(slot, {"t": "went", "started": slot.served + 1})
    world.answer(slot)
    assert len(old.told("end")) == 1
    world.ready(one)
    (other,) = on(world, one, new)
    while other.inflight:
        world.answer(other)
    assert len(world.outcomes) == 7
    assert len(old.started) == 1
    world.validate()


def test_one_without_work_ends_at_once() -> None:
    """Its hook is run before; nothing is started there any more, and the instance goes with the
    last container."""
    host = Host()
    world, one = World(host), spec()
    world.submit(one)
    world.ready(one)
    world.answer(world.slots(one)[0])
    leave(world, host)
    assert [word for word, _, _ in host.words] == ["preempt", "end"] and not world.parted
    world.exit(world.slots(one)[0])
    assert world.parted == [host]
    world.submit(one)
    assert len(host.started) == 1
    world.validate()


def test_one_that_is_starting_is_ended() -> None:
    """Its set-up is broken off, its replacement starts at once, and nothing is counted as lost."""
    old, new = Host(cores=1.0), Host(cores=1.0)
    world, one = World(old, extra=[new]), spec()
    world.submit(one)
    leave(world, old)
    (slot,), (other,) = on(world, one, old), on(world, one, new)
    assert old.told("kill") == ["stopped"] and not old.told("preempt")
    world.say(slot, {"t": "ready"})  # it was faster
    assert not slot.inflight
    world.exit(slot, "stopped")
    assert world.parted == [old]
    world.say(other, {"t": "ready"})
    world.answer(other)
    assert len(world.outcomes) == 1 and world.pool(one).lost_starts == 0
    world.validate()


@pytest.mark.parametrize(("took", "brought"), [(None, 1), (100.0, 1), (1.0, 0)])
def test_a_replacement_comes_at_the_notice(took: float | None, brought: int) -> None:
    """What runs and may not be done in time has another machine waiting for it when this one goes;
    for what will be done soon nothing is rented."""
    old = Host(cores=1.0)
    world, one = World(old, extra=[Host(cores=1.0)]), spec()
    world.submit(one)
    world.ready(one)
    if took is not None:
        world.answer(world.slots(one)[0], took=took)
        world.submit(one)
    (slot,) = on(world, one, old)
    leave(world, old)
    assert len(world.brought) == brought
    lose(world, old)
    assert len(world.brought) == 1
    world.ready(one)
    (other,) = world.slots(one)
    assert list(other.inflight) and other.host is not old and slot.gone
    world.answer(other)
    assert len(world.outcomes) == (1 if took is None else 2)
    world.validate()


def test_one_of_three_is_replaced() -> None:
    """The two others go on, and a third one is rented beside them."""
    hosts = [Host(cores=1.0) for _ in range(3)]
    new = Host(cores=1.0)
    world, one = World(*hosts, extra=[new]), spec(max_containers=3, cpu=1.0)
    world.submit(one, 12)
    world.ready(one)
    assert [len(on(world, one, host)) for host in hosts] == [1, 1, 1]
    world.answer(world.slots(one)[0], took=10.0)
    assert not world.brought
    leave(world, hosts[1])
    assert world.brought == [True]
    assert [len(on(world, one, host)) for host in (*hosts, new)] == [1, 1, 1, 1]
    world.ready(one)
    while any(slot.inflight for slot in world.slots(one)):
        for slot in world.slots(one):
            world.answer(slot, took=10.0)
    assert len(world.outcomes) == 12 and world.brought == [True]
    world.validate()


def test_an_input_is_begun_again_however_often_its_machine_is_taken() -> None:
    """A preemption is no fault of the input's: it is not given up like one that kills instances."""
    hosts = [Host(cores=1.0) for _ in range(6)]
    world, one = World(hosts[0], extra=hosts[1:]), spec()
    world.submit(one)
    for _ in range(5):
        world.ready(one)
        (slot,) = world.slots(one)
        lose(world, slot.host)
    world.ready(one)
    world.answer(world.slots(one)[0])
    assert [outcome.error for outcome in world.outcomes.values()] == [None]
    world.validate()


def test_machines_that_are_taken_before_anything_runs_are_not_rented_for_ever() -> None:
    """After so many in a row those who wait are told why."""
    hosts = [Host(cores=1.0) for _ in range(20)]
    world, one = World(hosts[0], extra=hosts[1:]), spec()
    world.submit(one)
    while not world.outcomes:
        lose(world, world.slots(one)[0].host)
    (outcome,) = world.outcomes.values()
    assert f"{ends.MAX_TAKEN} instances in a row were taken back" in str(outcome.error)
    assert "--on-demand" in outcome.error.hints[0]
    assert len(world.brought) == ends.MAX_TAKEN - 1
    world.validate()


def test_a_generator_goes_on_and_is_told_when_it_cannot() -> None:
    """While there is time it yields; its items were used, so it cannot be begun again elsewhere."""
    old = Host(cores=1.0)
    world, one = World(old, extra=[Host(cores=1.0)]), spec(generator=True)
    (item,) = world.submit(one)
    world.ready(one)
    (slot,) = on(world, one, old)
    world.say(slot, {"t": "out", "b": [[item.id, ITEM, 1, 0]]}, b"x")
    leave(world, old)
    world.say(slot, {"t": "out", "b": [[item.id, ITEM, 1, 0]]}, b"y")
    assert len(world.yielded) == 2 and item.id not in world.outcomes
    lose(world, old)
    assert "taken" in str(world.outcomes[item.id].error)
    world.validate()
