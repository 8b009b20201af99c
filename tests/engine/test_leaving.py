"""An instance that is preempted soon: what runs there may finish, the rest goes elsewhere."""

from __future__ import annotations

from byoc.engine.slots import Slot
from byoc.engine.spec import FunctionSpec
from tests.engine.hosts import Host, World
from tests.engine.specs import spec


def leave(world: World, host: Host) -> None:
    """The notice has come."""
    host.leaving = True
    world.session._host_leaving(host)  # type: ignore[arg-type]


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
    """Nothing is started there any more, and nobody waits for what is idle."""
    host = Host()
    world, one = World(host), spec()
    world.submit(one)
    world.ready(one)
    world.answer(world.slots(one)[0])
    leave(world, host)
    assert len(host.told("end")) == 1
    world.exit(world.slots(one)[0])
    world.submit(one)
    assert len(host.started) == 1
    world.validate()


def test_one_that_is_starting_gets_nothing() -> None:
    """A container that becomes ready after the notice is ended, and its inputs go elsewhere."""
    old, new = Host(cores=1.0), Host(cores=1.0)
    world, one = World(old, extra=[new]), spec()
    world.submit(one)
    leave(world, old)
    (slot,) = world.slots(one)
    world.say(slot, {"t": "ready"})
    assert len(old.told("end")) == 1 and not slot.inflight
    world.exit(slot)
    world.ready(one)
    (other,) = on(world, one, new)
    world.answer(other)
    assert len(world.outcomes) == 1
    world.validate()
