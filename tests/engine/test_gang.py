"""Gangs in a session: one input on all ranks, rank 0's value, any rank's failure, lost nodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from byoc.engine import ranks
from byoc.engine.bringup import _Baggage
from byoc.engine.inputs import FAILURE, VALUE
from byoc.engine.slots import Slot
from byoc.engine.spec import FunctionSpec
from byoc.errors import CapacityError, ConnectionLostError, ContainerError
from byoc.resources import Offer, Resources, parse_gpus
from byoc.wire.messages import Message
from tests.engine.hosts import Host, World
from tests.engine.specs import spec

_NUMBERS = itertools.count(1)
_PLAN: Any = SimpleNamespace(digest="plan", key="plan", steps=())


class Node(Host):
    """An instance of a gang. ``free``: which of the ports that it is asked for is free."""

    def __init__(self, gpus: int = 0) -> None:
        super().__init__(gpus=gpus)
        self.number = next(_NUMBERS)
        kind = "T4" if gpus else ""
        self.offer = Offer("sim", "r", "a", "small", "spot", 1.0, 2.0, 8000, 10_000, kind, gpus)
        instance = SimpleNamespace(id=f"i-{self.number}", inside=f"10.0.0.{self.number}")
        self.held.instance = instance
        self.free = 2
        self.ports: list[int] = []
        self.environ: dict[Slot, dict[str, str]] = {}
        self.probe = True
        self.answer: Callable[[], None] = lambda: None
        self.preemption: dict[str, Any] = {}

    def prepare(self, files: Any, plan: Any) -> dict[str, Any]:
        """Files and environment are there."""
        return {"python": "python3", "env": {}, "built": False}

    def start_command(
        self, slot: Slot, argv: Sequence[str], env: Any, variables: Any, cwd: str, timeout: float,
        ended: Any,
    ) -> None:  # fmt: skip
        """The search for a port; answered at once where ``probe`` says so."""
        self.ports = [int(word) for word in argv[3:]]
        self.answer = lambda: ended(slot, {"reason": "exit", "code": self.free})
        if self.probe:
            self.answer()

    def start_function(
        self, slot: Slot, spec: FunctionSpec, env: Any, plan: Any, code: Any, said: Any, ended: Any
    ) -> None:
        """As the other hosts', with what the container finds in its environment."""
        super().start_function(slot, spec, env, plan, code, said, ended)
        self.environ[slot] = spec.environ()


class Gangs(World):
    """A session whose gangs come from ``stock``, refused by ``refused`` where that is not None."""

    def __init__(self, stock: Sequence[Node], **changes: Any) -> None:
        super().__init__(Node())
        session: Any = self.session
        for name in ("_hosts_for", "_begin_bringing"):
            del session.__dict__[name]
        session._prepared = {}
        self.hosts = session._hosts = []
        self.stock = list(stock)
        self.asked: list[tuple[int, str]] = []
        self.refused: Any = None
        self.parted: list[Any] = []
        session._reporter._reporter.stage = lambda *said: None
        session._gather = lambda spec: _Baggage([], _PLAN, [])
        session._muster = self._muster
        session._leave = self.parted.append
        bring_up = session._bring_up
        starts = session._begin_bringing

        def begin(pool: Any, beyond: bool = False) -> None:
            under_way = session._bringing.setdefault(id(pool), [])
            if not [one for one in under_way if one is None or one.usable]:
                under_way.append(None)
                self.ticker.after(0.0, lambda: bring_up(pool))

        assert starts is not None
        session._begin_bringing = begin
        self.spec = spec(**{"nodes": 3, **changes})

    def _muster(self, resources: Any, count: int, place: str = "", key: int = 0) -> list[Any]:
        self.asked.append((count, place))
        if self.refused is not None and self.refused(place):
            raise CapacityError("none left", provider="sim")
        fresh = [self.stock.pop(0) for _ in range(count)]
        self.hosts += fresh
        return fresh

    def begin(self, count: int = 1) -> list[Node]:
        """Submit inputs and have the gang start; its nodes by rank."""
        self.submit(self.spec, count)
        self.ticker.pass_time(0.0)
        return self.nodes()

    def nodes(self) -> list[Node]:
        """Those of the latest gang."""
        return list(self.session._gangs[-1].hosts)  # type: ignore[arg-type]

    def containers(self) -> list[tuple[Node, Slot]]:
        """The latest container of each rank."""
        return [(node, node.started[-1]) for node in self.nodes()]

    def each(self, head: dict[str, Any], *buffers: bytes, ranks: Sequence[int] = ()) -> None:
        """Containers say something."""
        for rank, (node, slot) in enumerate(self.containers()):
            if not ranks or rank in ranks:
                node.speak[slot][0](slot, Message(head, list(buffers)))

    def all_ready(self) -> None:
        """Every rank is."""
        self.each({"t": "ready"})

    def result(self, rank: int, kind: int = VALUE, ident: int = 0) -> None:
        """A rank has an outcome of the input that it works on."""
        node, slot = self.containers()[rank]
        ident = ident or node.inputs[slot][-1].id
        said = {"t": "out", "b": [[ident, kind, 1, 1000]]}
        node.speak[slot][0](slot, Message(said, [b"%d from %d" % (ident, rank)]))

    def ends(self, rank: int, **word: Any) -> None:
        """A rank's container ends."""
        node, slot = self.containers()[rank]
        node.speak[slot][1](slot, {"reason": "exit", "code": 0, **word})

    def all_end(self, but: Sequence[int] = ()) -> None:
        """Those that were killed end."""
        for rank in range(len(self.nodes())):
            if rank not in but:
                self.ends(rank, reason="cancelled")

    def validate(self) -> None:
        """And no node has more containers than it has."""
        super().validate()
        for node in self.hosts:
            assert len(set(node.free_gpus)) == len(node.free_gpus)


def made(count: int = 3, gpus: int = 0) -> list[Node]:
    return [Node(gpus) for _ in range(count)]


def test_each_input_runs_on_all_ranks_and_its_value_is_rank_0s() -> None:
    """All ranks get the input, the next one only when all are done with it, and what rank 0
    returned is the value, whoever was last."""
    world = Gangs(made())
    nodes = world.begin(2)
    assert world.asked == [(3, "")]
    assert [len(node.started) for node in nodes] == [1, 1, 1]
    world.each({"t": "ready"}, ranks=(0, 1))
    assert not any(node.inputs for node in nodes)
    world.each({"t": "ready"}, ranks=(2,))
    first, second = (item.id for item in _ids(world))
    world.result(0)
    world.result(2)
    assert not world.outcomes
    assert all(len(node.inputs[slot]) == 1 for node, slot in world.containers())
    world.result(1)
    assert bytes(world.outcomes[first].buffers[0]) == b"%d from 0" % first
    assert [node.inputs[slot][-1].id for node, slot in world.containers()] == [second] * 3
    for rank in (1, 0, 2):
        world.result(rank)
    assert bytes(world.outcomes[second].buffers[0]) == b"%d from 0" % second
    assert [len(node.started) for node in nodes] == [1, 1, 1]
    world.validate()


def _ids(world: Gangs) -> list[Any]:
    pool = world.pool(world.spec)
    held = [item for slot in pool.slots.values() for item in slot.inflight.values()]
    return [*held, *pool.pending]


def test_ranks_know_of_each_other() -> None:
    """Addresses, ranks and one port that was free on the first node are the same for all."""
    world = Gangs(made(gpus=0))
    nodes = world.begin()
    found = [node.environ[node.started[0]] for node in nodes]
    ips = ",".join(node.held.instance.inside for node in nodes)
    assert {one["BYOC_NODE_IPS"] for one in found} == {ips}
    assert [one["NODE_RANK"] for one in found] == ["0", "1", "2"]
    assert {one["MASTER_ADDR"] for one in found} == {nodes[0].held.instance.inside}
    assert {one["MASTER_PORT"] for one in found} == {str(nodes[0].ports[2])}
    assert {(one["NNODES"], one["WORLD_SIZE"], one["NPROC_PER_NODE"]) for one in found} == {
        ("3", "3", "1")
    }
    assert all(port in ranks.PORTS for port in nodes[0].ports)


@pytest.mark.parametrize("rank", range(3))
def test_a_failure_of_any_rank_ends_the_others_and_starts_anew(rank: int) -> None:
    """The others are killed, the call fails with that rank named, and the next input runs in new
    containers, once the old ones are gone."""
    world = Gangs(made())
    nodes = world.begin(2)
    world.all_ready()
    first = nodes[0].inputs[nodes[0].started[0]][0].id
    world.result(rank, FAILURE)
    assert [len(node.told("kill")) for node in nodes] == [1, 1, 1]
    world.ticker.pass_time(5.0)
    assert [len(node.started) for node in nodes] == [1, 1, 1]
    world.all_end()
    assert world.outcomes[first].kind == FAILURE
    assert world.outcomes[first].where.endswith(f", rank {rank} of 3")
    world.ticker.pass_time(1.5)
    assert [len(node.started) for node in nodes] == [2, 2, 2]
    world.all_ready()
    for number in range(3):
        world.result(number)
    assert len(world.outcomes) == 2
    world.validate()


def test_retries_are_of_the_whole_call() -> None:
    """An attempt that fails on one rank is made again on all, as often as the function says."""
    world = Gangs(made(), retries=1)
    nodes = world.begin()
    for attempt in range(2):
        assert not world.outcomes
        world.all_ready()
        assert [len(node.started) for node in nodes] == [attempt + 1] * 3
        world.result(1, FAILURE)
        world.all_end()
        world.ticker.pass_time(2.5)
    assert len(world.outcomes) == 1
    world.validate()


def test_a_container_that_dies_names_its_rank() -> None:
    """The exit of one rank's container is an error that says which, and the others end."""
    world = Gangs(made())
    nodes = world.begin()
    world.all_ready()
    ident = nodes[0].inputs[nodes[0].started[0]][0].id
    world.ends(2, reason="signal", signal=11, inputs=[ident])
    assert len(nodes[0].told("kill")) == 1
    world.ends(0, reason="cancelled")
    world.ends(1, reason="cancelled")
    (outcome,) = world.outcomes.values()
    assert isinstance(outcome.error, ContainerError)
    assert "SIGSEGV" in outcome.error.message
    assert "(rank 2)" in outcome.error.message
    world.validate()


def test_a_rank_that_cannot_start_fails_the_call() -> None:
    """What its import raised is the outcome, from the rank where it happened."""
    world = Gangs(made())
    world.begin(2)
    info = b'{"type": "ImportError", "message": "no", "module": "builtins", "frames": []}'
    world.each({"t": "failed"}, info, ranks=(1,))
    world.ends(1, reason="start", code=1)
    world.all_end(but=(1,))
    assert len(world.outcomes) == 2
    assert all(one.where.endswith("rank 1 of 3") for one in world.outcomes.values())
    world.validate()


def test_a_lost_node_is_replaced_alone_and_the_call_begins_again() -> None:
    """The survivors stay, one instance is had in their place, and the input runs on all again in
    new containers."""
    world = Gangs(made(4))
    old = world.begin()
    world.all_ready()
    (one,) = {item.id for item in old[0].inputs[old[0].started[0]]}
    _lose(world, old[1])
    assert [len(node.told("kill")) for node in (old[0], old[2])] == [1, 1]
    _end(old[0])
    _end(old[2])
    world.ticker.pass_time(1.5)
    assert world.asked == [(3, ""), (1, "sim/r/a/small/spot")]
    nodes = world.nodes()
    assert [nodes[0], nodes[2]] == [old[0], old[2]]
    assert nodes[1] not in old
    world.all_ready()
    for rank in range(3):
        world.result(rank)
    assert bytes(world.outcomes[one].buffers[0]) == b"%d from 0" % one
    assert world.parted == [old[1]]
    world.validate()


def _lose(world: Gangs, node: Node, error: Exception | None = None) -> None:
    node.lost = error or ConnectionLostError("it is gone")  # type: ignore[assignment]
    world.session._member_lost(node, node.lost)  # type: ignore[arg-type]


def _end(node: Node) -> None:
    slot = node.started[-1]
    node.speak[slot][1](slot, {"reason": "cancelled"})


def test_the_whole_gang_moves_where_its_place_has_no_more() -> None:
    """The replacement is refused: the survivors are given back and all nodes are had elsewhere."""
    world = Gangs(made(6))
    old = world.begin()
    world.all_ready()
    world.refused = bool
    _lose(world, old[2])
    _end(old[0])
    _end(old[1])
    world.ticker.pass_time(1.5)
    assert world.asked == [(3, ""), (1, "sim/r/a/small/spot"), (3, "")]
    assert not set(map(id, world.nodes())) & set(map(id, old))
    assert {id(node) for node in world.parted} == set(map(id, old))
    world.all_ready()
    for rank in range(3):
        world.result(rank)
    assert len(world.outcomes) == 1
    world.validate()


def test_a_call_that_is_lost_too_often_is_given_up() -> None:
    """Three losses of nodes while it ran, each with a replacement, are enough for one input."""
    world = Gangs(made(6))
    world.begin()
    for _ in range(3):
        world.all_ready()
        nodes = world.nodes()
        _lose(world, nodes[1])
        _end(nodes[0])
        _end(nodes[2])
        world.ticker.pass_time(1.5)
    (outcome,) = world.outcomes.values()
    assert isinstance(outcome.error, ConnectionLostError)
    world.validate()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_that_is_lost_before_anything_ran(rank: int) -> None:
    """While a port is looked for, or before all are ready: no GPU is lost count of."""
    world = Gangs(made(4, gpus=1), resources=Resources(gpus=parse_gpus("T4")))
    for node in world.stock:
        node.probe = False
    old = world.begin()
    assert not any(node.started for node in old)
    _lose(world, old[rank])
    for node in world.stock:
        node.probe = True
    for node in old:
        node.probe = True
    if rank:
        old[0].answer()
    world.ticker.pass_time(1.5)
    assert [len(node.started) for node in world.nodes()] == [1, 1, 1]
    assert all(not node.free_gpus for node in world.nodes())
    world.validate()


def test_a_notice_has_the_replacement_there_before_the_end() -> None:
    """A node that is preempted in a moment: the call may finish, the hook of all ranks is told, and
    what comes next runs on the new gang."""
    world = Gangs(made(4))
    old = world.begin(2)
    world.all_ready()
    old[1].leaving, old[1].until, old[1].preemption = True, world.clock.now + 100.0, {"at": 1.0}
    world.session._member_leaving(old[1])  # type: ignore[arg-type]
    assert [len(node.told("preempt")) for node in old] == [1, 1, 1]
    world.ticker.pass_time(0.0)
    assert world.asked[1:] == [(1, "sim/r/a/small/spot")]
    for rank, node in enumerate(old):
        slot = node.started[0]
        said = {"t": "out", "b": [[node.inputs[slot][0].id, VALUE, 1, 1000]]}
        node.speak[slot][0](slot, Message(said, [b"%d" % rank]))
    assert len(world.outcomes) == 1
    assert all(node.words[-1][:2] == ("end", node.started[0]) for node in old)
    for node in old:
        node.speak[node.started[0]][1](node.started[0], {"reason": "exit", "code": 0})
    world.ticker.pass_time(1.5)
    assert old[1] not in world.nodes()
    assert [len(node.started) for node in world.nodes()] == [2, 1, 2]
    world.all_ready()
    for rank in range(3):
        world.result(rank)
    assert len(world.outcomes) == 2
    world.validate()


def test_a_cancelled_call_is_told_to_all_and_the_next_one_runs() -> None:
    """Cancelling interrupts every rank; their containers are not used again."""
    world = Gangs(made())
    items = world.submit(world.spec, 2)
    world.ticker.pass_time(0.0)
    nodes = world.nodes()
    world.all_ready()
    world.session.cancel(world.spec, items[:1])
    assert [node.told("cancel")[0] for node in nodes] == [[items[0].id]] * 3
    world.result(1, FAILURE)
    world.all_end()
    world.ticker.pass_time(1.5)
    world.all_ready()
    for rank in range(3):
        world.result(rank)
    assert set(world.outcomes) == {items[1].id}
    world.validate()


def test_idle_gangs_end_their_containers_and_keep_their_instances() -> None:
    """After the window the containers leave; the instances stay, as the run has no others."""
    world = Gangs(made(), scaledown_window=10.0)
    nodes = world.begin()
    world.all_ready()
    for rank in range(3):
        world.result(rank)
    world.ticker.pass_time(11.0)
    assert all(node.words[-1][:2] == ("end", node.started[0]) for node in nodes)
    world.all_end()
    world.ticker.pass_time(11.0)
    assert world.parted == []
    world.begin()
    assert world.asked == [(3, "")]
    assert [len(node.started) for node in nodes] == [2, 2, 2]
    world.validate()


def test_lines_of_ranks_say_so() -> None:
    """Whole lines have their rank before them; an unfinished one comes with its end, or at last."""
    shown: list[tuple[int, bytes]] = []
    lines = ranks.RankLines(lambda fd, data, where: shown.append((fd, data)))
    lines.add("ta-1", 0)
    lines.add("ta-2", 1)
    assert not lines.took(1, b"plain\n", "ta-9")
    assert lines.took(1, b"one\ntw", "ta-1")
    assert lines.took(2, b"err\n", "ta-2")
    assert lines.took(1, b"o\n\nrest", "ta-1")
    lines.flush()
    assert shown == [
        (1, b"[rank 0] one\n"),
        (2, b"[rank 1] err\n"),
        (1, b"[rank 0] two\n[rank 0] \n"),
        (1, b"[rank 0] rest\n"),
    ]


@pytest.mark.parametrize("how", ["raises", "exits"])
def test_a_rank_that_fails_for_the_loss_of_another_is_no_failure(how: str) -> None:
    """The survivor hears of its peer's end first, and fails; what counts is the loss, known a
    moment later: the call runs again."""
    world = Gangs(made(4))
    old = world.begin()
    world.all_ready()
    if how == "raises":
        world.result(0, FAILURE)
    else:
        world.ends(0, reason="exit", code=1)
    _end(old[2])
    if how == "raises":
        _end(old[0])
    assert not world.outcomes
    _lose(world, old[1])
    world.ticker.pass_time(1.5)
    assert world.asked[1:] == [(1, "sim/r/a/small/spot")]
    world.all_ready()
    for rank in range(3):
        world.result(rank)
    (outcome,) = world.outcomes.values()
    assert outcome.kind == VALUE
    world.validate()


@pytest.mark.parametrize("gpus", [0, 2])
def test_functions_with_as_many_nodes_take_turns_on_one_gang(gpus: int) -> None:
    """A second function rents nothing: it gets the nodes when the first one has nothing to do, and
    one that needs another number of nodes has a gang of its own."""
    asked = Resources(gpus=parse_gpus(f"T4:{gpus}") if gpus else ())
    world = Gangs(made(5, gpus), resources=asked)
    nodes = world.begin()
    world.all_ready()
    other = spec(name="other", nodes=3, resources=asked)
    pair = spec(name="pair", nodes=2, resources=asked)
    world.submit(other)
    world.ticker.pass_time(0.0)
    assert world.asked == [(3, "")]
    assert [len(node.started) for node in nodes] == [1, 1, 1]
    for rank in range(3):
        world.result(rank)
    world.ticker.pass_time(1.5)
    assert all(("end", node.started[0], None) in node.words for node in nodes)
    world.all_end()
    world.ticker.pass_time(1.5)
    assert [len(node.started) for node in nodes] == [2, 2, 2]
    world.all_ready()
    for rank in range(3):
        world.result(rank)
    assert len(world.outcomes) == 2
    world.submit(pair)
    world.ticker.pass_time(0.0)
    assert world.asked == [(3, ""), (2, "")]
    world.validate()
