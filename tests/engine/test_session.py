"""A session does what the decisions say: with instances, clock and ticker in memory."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from byoc.engine import dispatch
from byoc.engine.inputs import FAILURE
from byoc.engine.pool import Pool
from byoc.engine.spec import Concurrency, FunctionSpec
from byoc.errors import ConnectionLostError, NotFoundError
from byoc.resources import GpuRequest, Resources
from byoc.runtime_agent.payload import ITEM
from byoc.wire.link import FrameError
from tests.engine.hosts import Host, World
from tests.engine.specs import spec
from tests.helpers import until


def of(name: str, **changes: Any) -> FunctionSpec:
    """Another function."""
    return spec(name=name, **changes)


def test_containers_come_with_the_queue_and_go_after_the_window() -> None:
    """From zero to as many as help, and back to zero when nothing was to do for the window."""
    world, one = World(), spec(cpu=0.125, scaledown_window=30.0)
    world.submit(one, 10)
    assert len(world.slots(one)) == 2
    world.ready(one)
    for _ in range(12):
        for slot in world.slots(one):
            world.answer(slot, len(slot.inflight), took=1e-5)
    assert len(world.outcomes) == 10
    world.ticker.pass_time(29.0)
    assert not world.hosts[0].told("end")
    world.ticker.pass_time(2.0)
    assert len(world.hosts[0].told("end")) == 2
    for slot in world.slots(one):
        world.exit(slot)
    assert not world.slots(one)
    assert world.hosts[0].load.count == 0
    world.submit(one)
    assert len(world.slots(one)) == 1
    world.validate()


def test_slow_inputs_get_more_containers_after_a_moment() -> None:
    """Where nothing finishes soon there may be more containers than cores."""
    world, one = World(), spec(cpu=0.125)
    world.submit(one, 10)
    assert len(world.slots(one)) == 2
    world.ticker.pass_time(1.0)
    assert len(world.slots(one)) == 8


def test_kept_containers_start_with_the_first_call_of_anything() -> None:
    """``min_containers`` of one function are there once another one is called."""
    world, one, kept = World(), of("one"), of("kept", min_containers=2, cpu=0.125)
    world.session.kept = lambda: [one, kept]
    world.submit(one)
    world.ticker.pass_time(0.0)
    assert len(world.slots(kept)) == 2
    assert len(world.slots(one)) == 1
    world.ready(one, kept)
    world.ticker.pass_time(500.0)
    assert world.pool(kept).live == 2


def test_idle_alarms_do_not_poll() -> None:
    """When nothing runs and nobody is to leave, nothing wakes up any more."""
    world, kept = World(), spec(min_containers=1)
    world.submit(kept)
    world.ready(kept)
    world.answer(world.slots(kept)[0])
    world.ticker.pass_time(1000.0)
    assert not world.ticker.due
    assert world.pool(kept).live == 1


def test_the_number_of_containers_changes_at_once() -> None:
    """More come with a higher minimum; with a lower one those without work go after a new window
    that is shorter than the one they were waiting for."""
    world, one = World(), spec(cpu=0.125, scaledown_window=600.0)
    session = world.session
    assert session.stats_of(one) == (0, 0, 0, 0)
    world.submit(one, 3)
    world.ready(one)
    assert session.stats_of(one) == (1, 2, 2, 0)
    session.tune(one, {"min_containers": 4})
    world.ready(one)
    assert session.settings_of(one).min_containers == 4
    assert session.stats_of(one) == (0, 4, 3, 1)
    for slot in world.slots(one):
        world.answer(slot, len(slot.inflight))
    session.tune(one, {"min_containers": 1, "scaledown_window": 10.0})
    world.ticker.pass_time(9.0)
    assert session.stats_of(one) == (0, 4, 0, 4)
    world.ticker.pass_time(2.0)
    assert len(world.hosts[0].told("end")) == 3
    world.ticker.pass_time(600.0)
    assert world.pool(one).live == 1
    assert not world.ticker.due
    world.validate()


@pytest.mark.parametrize(("shared", "expected"), [(False, 2), (True, 1)])
def test_another_instance_only_where_it_is_another_machine(shared: bool, expected: int) -> None:
    """An explicit ``max_containers`` that one instance cannot hold rents another; not when all
    instances of the provider share one machine."""
    world = World(Host(shared=shared), extra=[Host(shared=shared)])
    one = spec(cpu=1.0, max_containers=4)
    world.submit(one, 8)
    world.ticker.pass_time(1.0)
    assert len(world.hosts) == expected
    assert len(world.slots(one)) == 2 * expected


def test_without_an_explicit_number_one_instance_is_enough() -> None:
    """A long queue alone rents nothing more."""
    world = World(Host(), extra=[Host()])
    world.submit(spec(cpu=1.0), 100)
    world.ticker.pass_time(10.0)
    assert len(world.hosts) == 1


def test_functions_take_turns_on_one_gpu() -> None:
    """Whoever holds the only GPU gives it up after its turn, although it has a queue."""
    world = World(Host(gpus=1))
    gpu = Resources(gpus=(GpuRequest("T4", 1),))
    first, second = of("first", resources=gpu), of("second", resources=gpu)
    world.submit(first, 5)
    world.ready(first)
    world.submit(second, 1)
    assert not world.slots(second)
    (holder,) = world.slots(first)
    world.ticker.pass_time(3.0)
    assert holder.state == "stopping"
    world.answer(holder, len(holder.inflight), took=1.0)
    assert world.hosts[0].told("end") == [None]
    world.exit(holder)
    assert len(world.slots(second)) == 1
    world.ready(second)
    world.answer(world.slots(second)[0])
    world.ticker.pass_time(3.0)
    (last,) = world.slots(second)
    assert last.state == "stopping"
    world.exit(last)
    assert len(world.slots(first)) == 1
    world.validate()


def test_a_hoard_is_taken_back_when_another_is_free() -> None:
    """A container that stands still gives what it has not started to one that is free."""
    world, one = World(), spec(cpu=1.0)
    world.submit(one, 2)
    world.ready(one)
    first, second = world.slots(one)
    world.answer(first, took=1e-5)
    world.answer(second, took=1e-5)
    world.submit(one, 40)
    assert (len(first.inflight), len(second.inflight)) == (20, 20)
    world.answer(second, 20, took=1e-5)
    world.ticker.pass_time(0.2)
    (told,) = world.hosts[0].told("steal")
    told(2)  # place 2: the first of the twenty
    assert len(first.inflight) == 1
    assert len(second.inflight) == 10
    world.say(first, {"t": "went", "started": 2})
    world.validate()
    while second.inflight:
        world.answer(second, 19, took=1e-5)
    world.answer(first)
    assert len(world.outcomes) == 42


def test_an_interrupted_input_is_told_again_while_it_runs() -> None:
    """A cancellation that came before the input began is repeated; a generator's container ends in
    the end."""
    world, one = World(), spec(generator=True)
    (item,) = world.submit(one)
    world.ready(one)
    world.session.cancel(one, [item])
    host = world.hosts[0]
    world.ticker.pass_time(1.0)
    assert 2 <= len(host.told("cancel")) <= 6
    assert not host.told("kill")
    world.ticker.pass_time(60.0)
    assert host.told("kill") == ["cancelled"]
    world.exit(world.slots(one)[0], "cancelled", inputs=[item.id])
    assert not world.outcomes
    assert world.pool(one).idle


def test_cancelled_inputs_that_wait_in_a_container_are_taken_back() -> None:
    """What a container has not started of a cancelled map is skipped, and nobody gets it."""
    world, one = World(), spec(max_containers=1)
    world.submit(one)
    world.ready(one)
    (slot,) = world.slots(one)
    world.answer(slot, took=1e-5)
    items = world.submit(one, 30)
    assert len(slot.inflight) == 30
    world.session.cancel(one, items)
    (told,) = world.hosts[0].told("steal")
    told(2)
    assert list(slot.inflight) == [items[0].id]
    world.say(slot, {"t": "went", "started": 2})
    world.answer(slot, kind=FAILURE)
    assert world.pool(one).idle
    assert len(world.outcomes) == 1
    world.validate()


def test_a_robbed_container_that_is_to_leave_leaves() -> None:
    """A container that gives everything back while it is to make room is told so, once."""
    world, one = World(), spec(max_containers=1)
    world.submit(one)
    world.ready(one)
    (slot,) = world.slots(one)
    world.answer(slot, took=1e-5)
    items = world.submit(one, 5)
    world.pool(one).set_state(slot, "stopping", world.clock.now)
    world.session.cancel(one, items[:1])
    world.session._steal(world.pool(one), slot)
    slot.flush()
    (told,) = world.hosts[0].told("steal")
    told(1)
    world.say(slot, {"t": "went", "started": 1})
    assert not slot.inflight
    assert world.hosts[0].told("end") == [None]
    world.exit(slot)
    world.ready(one)
    assert len(world.slots(one)) == 1
    world.validate()


def test_a_generator_is_allowed_more() -> None:
    """What its reader used reaches the container that runs it; after its end nobody is told."""
    world, one = World(), spec(generator=True)
    (item,) = world.submit(one)
    world.session.more(one, item, 5)
    world.ready(one)
    world.answer(world.slots(one)[0], kind=ITEM)
    world.session.more(one, item, 25)
    assert world.hosts[0].told("more") == [25]


def test_a_lost_instance_gives_everything_back() -> None:
    """Its inputs are served by the next instance, and its containers are gone."""
    world, one = World(Host(), extra=[Host()]), spec()
    world.submit(one, 4)
    world.ready(one)
    gone = world.hosts.pop(0)
    for slot in world.slots(one):
        world.exit(slot, "lost")
    assert gone.load.count == 0
    world.session._begin_bringing(world.pool(one))
    world.ready(one)
    while not world.pool(one).idle:
        for slot in world.slots(one):
            world.answer(slot, len(slot.inflight))
    assert len(world.outcomes) == 4


def test_input_numbers_of_two_runs_differ() -> None:
    """A call's id is made of its number, so another run's id is not found by accident."""
    one = World().submit(spec())[0].id
    other = World()
    other.session._next_input = 1
    assert one > 1 << 20


@pytest.mark.parametrize(
    "head",
    [
        {"t": "out", "b": 7},
        {"t": "out", "b": [[1, 2]]},
        {"t": "went"},
        {"t": "call", "tag": "f", "parameters": "", "variant": "", "b": [[1]], "waits": True},
        {"t": "call", "tag": 3},
        {"t": "drop", "ids": 1},
        {"t": "ask", "lid": "x", "call": "fc"},
        {"t": "more", "id": None, "n": 3},
    ],
)
def test_nonsense_from_a_container_is_its_end_only(head: dict[str, Any]) -> None:
    """A message that makes no sense is refused before it changes anything."""
    world, one = World(), spec()
    world.submit(one)
    world.ready(one)
    (slot,) = world.slots(one)
    with pytest.raises(FrameError):
        world.say(slot, head)
    world.validate()
    assert len(slot.inflight) == 1


# --- calls from containers --------------------------------------------------------------------


class Nested(World):
    """A container of one function that calls another, or itself."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.one, self.other = of("one", cpu=1.0, **changes), of("other", cpu=1.0)
        self.session.resolve = self._resolve
        self.session.known = lambda spec: True  # type: ignore[method-assign]
        self.submit(self.one)
        self.ready(self.one)
        (self.slot,) = self.slots(self.one)
        (self.parent,) = self.slot.inflight

    def _resolve(self, tag: str, parameters: str, variant: str) -> FunctionSpec:
        for known in (self.one, self.other):
            if known.name == tag:
                return known
        raise NotFoundError(f"no {tag}")

    def call(self, tag: str, *lids: int, waits: bool = True, name: str = "") -> None:
        """The container calls."""
        entries = [[lid, 1, name] if name else [lid, 1] for lid in lids]
        head = {
            "t": "call",
            "tag": tag,
            "parameters": "",
            "variant": "",
            "m": "",
            "b": entries,
            "parent": self.parent,
            "waits": waits,
        }
        self.say(self.slot, head, *[b"x"] * len(lids))


def test_nested_outcomes_are_passed_on_unopened() -> None:
    """Values and failures of nested calls go to the caller's container as they came."""
    world = Nested()
    world.call("other", 1, 2)
    assert world.slot.blocked
    world.ready(world.other)
    (slot, *_) = world.slots(world.other)
    world.answer(slot, 1, took=1e-5)
    world.answer(slot, 1, took=1e-5)
    for one in world.slots(world.other):
        if one.inflight:
            world.answer(one, 1)
    answers = [entry for head in world.hosts[0].told("ans") for entry in head["b"]]
    assert sorted(entry[0] for entry in answers) == [1, 2]
    assert not world.slot.blocked
    world.validate()


def test_a_nested_call_of_nothing_is_refused() -> None:
    """A function that the app does not have is byoc's own error in the container."""
    world = Nested()
    world.call("nobody", 7)
    (head,) = world.hosts[0].told("err")
    assert (head["lid"], head["error"]["code"]) == (7, "not-found")
    assert not world.slot.blocked


def test_blocked_containers_leave_room_and_give_back_what_they_hold() -> None:
    """While a container waits for another it is given nothing, gives back what it has not
    started, and its cores serve others: a recursion goes on."""
    world = Nested()
    world.submit(world.one, 2)
    for depth in range(6):
        world.call("one", depth + 1)
        fresh = [s for s in world.slots(world.one) if s.state == "starting"]
        world.ready(world.one)
        found = [s for s in world.slots(world.one) if s.inflight and not s.blocked]
        assert found or fresh
        world.slot = found[-1]
        world.parent = next(iter(world.slot.inflight))
    world.validate()


def test_the_end_of_the_caller_cancels_its_calls() -> None:
    """Whatever way the attempt ends, what it waits for is cancelled; what it spawned goes on."""
    world = Nested()
    world.call("other", 1)
    world.call("other", 2, waits=False, name="fc-kept")
    world.ready(world.other)
    world.exit(world.slot, "signal", signal=9, inputs=[world.parent])
    pool: Pool = world.pool(world.other)
    cancelled = [
        item.done for slot in pool.slots.values() for item in slot.inflight.values() if item.done
    ]
    assert len(cancelled) == 1
    assert world.session.calls["fc-kept"].input_count == 1
    live = [i for s in pool.slots.values() for i in s.inflight.values() if not i.done]
    assert len(live) + pool.waiting == 1
    world.validate()


def test_a_spawned_call_is_found_from_everywhere() -> None:
    """Its id, given by the container, answers the client and any other container."""
    world = Nested()
    world.call("other", 5, waits=False, name="fc-abc")
    assert not world.slot.blocked
    world.say(world.slot, {"t": "ask", "lid": 9, "call": "fc-abc"})
    world.say(world.slot, {"t": "ask", "lid": 10, "call": "fc-nobody"})
    assert [head["lid"] for head in world.hosts[0].told("err")] == [10]
    world.ready(world.other)
    (slot,) = world.slots(world.other)
    world.answer(slot)
    told = sorted(head["b"][0][0] for head in world.hosts[0].told("ans"))
    assert told == [5, 9]
    assert world.session.calls["fc-abc"].outcome(0).kind == 0


def test_a_dropped_call_is_cancelled() -> None:
    """What a container gives up is not begun any more."""
    world = Nested()
    world.call("other", 1, 2, 3)
    world.say(world.slot, {"t": "drop", "ids": [1, 2, 3, 99], "kill": False})
    assert world.pool(world.other).waiting == 0
    assert not world.slot.blocked
    world.validate()


def test_waiting_for_each_other_is_said_once() -> None:
    """A function whose only container waits for itself is told of; the timeout ends it."""
    world = Nested(max_containers=1)
    world.call("one", 1)
    world.call("one", 2)
    assert len(world.notices) == 1
    assert "max_containers=1" in world.notices[0]


def test_an_async_container_is_blocked_only_when_all_wait() -> None:
    """One that runs several inputs goes on while one of them waits for a call."""
    world = Nested(concurrency=Concurrency(3, 3))
    world.submit(world.one, 2)
    assert len(world.slot.inflight) == 3
    world.call("other", 1)
    assert not world.slot.blocked
    assert world.pool(world.one).blocked == 1


def test_a_lost_instance_is_not_replaced_for_nobody() -> None:
    """Containers that are only kept do not rent again and again: the next input does."""
    world, kept = World(), spec(min_containers=1)
    world.submit(kept)
    world.ready(kept)
    world.answer(world.slots(kept)[0])
    asked: list[Pool] = []
    world.session._begin_bringing = lambda pool, beyond=False: asked.append(pool)  # type: ignore[method-assign]
    world.session._leave = lambda host: None  # type: ignore[method-assign,assignment,return-value]
    host = world.hosts[0]
    world.session._prepared[id(host), id(world.pool(kept))]
    world.session._host_lost(host, ConnectionLostError("gone"))  # type: ignore[arg-type]
    assert not world.slots(kept)
    assert not asked
    world.submit(kept)
    assert asked == [world.pool(kept)]


def test_secrets_are_read_without_the_lock() -> None:
    """What reads a function's environment may take its time: other calls go on."""
    world, other = World(), of("other")

    def environ() -> dict[str, str]:
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(bool(world.submit(other))))
        thread.start()
        thread.join(10)
        assert found == [True]
        return {}

    world.submit(of("slow", environ=environ))
    assert len(world.slots(other)) == 1


def test_a_nested_call_of_a_new_function_holds_up_only_its_caller() -> None:
    """A function that containers call first may be slow to find its secrets: what its caller says
    next waits for that, in order; what others say does not."""
    world = Nested()
    del world.session.known
    gate = threading.Event()
    slow = of("slow", environ=lambda: {"A": "b"} if gate.wait(10) else {})
    world.session.resolve = lambda tag, parameters, variant: slow
    world.call("slow", 1)
    world.say(world.slot, {"t": "drop", "ids": [1]})
    assert not world.session.known(slow)
    world.answer(world.slot)  # its parent has ended
    gate.set()
    until(lambda: not world.slot.book.errands, what="the errands")
    until(lambda: world.session.known(slow) and world.pool(slow).idle, what="the call to be over")
    assert not world.slot.book.children
    world.validate()


def test_kept_containers_without_their_secret_hurt_nobody_else() -> None:
    """A function that is only kept and cannot have its environment is told of, once."""

    def environ() -> dict[str, str]:
        raise NotFoundError("no such secret")

    world, one = World(), of("one")
    kept = of("kept", min_containers=1, environ=environ)
    world.session.kept = lambda: [kept]
    world.submit(one)
    world.ticker.pass_time(0.0)
    assert world.notices == ["no containers are kept of kept: no such secret"]


def test_an_instance_without_work_goes_while_another_stays() -> None:
    """Of several instances those go on which nothing ran for the window; the last one stays."""
    first, second = Host(cores=1.0), Host(cores=1.0)
    world, one = World(first, second), spec(cpu=1.0, scaledown_window=30.0)
    left: list[Any] = []
    world.session._leave = left.append  # type: ignore[method-assign,assignment]
    world.submit(one, 2)
    world.ready(one)
    for slot in world.slots(one):
        world.answer(slot)
    world.ticker.pass_time(31.0)
    for slot in world.slots(one):
        world.exit(slot)
    world.ticker.pass_time(100.0)
    assert len(left) == 1
    assert len(world.hosts) == 1


def test_malformed_counts_are_refused() -> None:
    """Numbers that no container of ours sends are garbage of that container, not a bug of ours."""
    assert not dispatch.sound([[1, 0, 1, 1 << 80]], [b"x"])
    assert not dispatch.sound([[1, 0, -1, 5], [2, 0, 2, 5]], [b"x"])
    assert not dispatch.sound([[-1, 0, 1, 5]], [b"x"])
    assert dispatch.sound([[1, 0, 1, 5]], [b"x"])
