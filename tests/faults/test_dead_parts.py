"""A part of the machine dies while calls run: each call is answered once, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import f_work
import pytest

from byoc.engine.ends import MAX_LOSSES
from byoc.errors import ConnectionLostError, ContainerError, InstanceError
from tests.faults.world import (
    Puller,
    World,
    agent_of,
    containers_of,
    guardian_of,
    kill,
    servers_of,
    zygotes_of,
)
from tests.gate import Gate
from tests.helpers import alive, processes_with, until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the parts of a machine are found by /proc"
)
INPUTS = 40


class MapUnderWay:
    """A map of which two inputs wait at the gate; results or exceptions, each in its place."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        arguments = ([gate.port] * INPUTS, range(INPUTS))
        self._puller = Puller(f_work.numbered.map(*arguments, return_exceptions=True))
        gate.wait_for(2)
        gate.let_go()
        gate.wait_for(4)

    def finish(self) -> list[Any]:
        """Let the rest run; one answer per input, in order."""
        self._gate.open()
        found = self._puller.all()
        assert self._puller.error is None
        assert len(found) == INPUTS
        return found


@pytest.mark.parametrize("part", [agent_of, lambda i: zygotes_of(i)[0]], ids=["agent", "zygote"])
def test_processes_of_a_part_die_with_it(
    world: World, gate: Gate, part: Callable[[str], int]
) -> None:
    """No container outlives its zygote, and no zygote its agent."""
    with world.run(f_work.app):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        machine = world.ids()[0]
        below = containers_of(machine)
        assert below
        kill(part(machine))
        until(lambda: not any(map(alive, below)), what="the end of the containers")
        call.cancel()


def test_agent_killed_in_a_map(world: World, gate: Gate) -> None:
    """Without its agent an instance is lost: its inputs run on another one, each answered once."""
    with world.run(f_work.app):
        under_way = MapUnderWay(gate)
        machine = world.ids()[0]
        kill(agent_of(machine))
        assert under_way.finish() == [n * n for n in range(INPUTS)]
        assert world.ended(machine)
    assert world.reporter.losses == 1


def test_zygote_killed_in_a_map(world: World, gate: Gate) -> None:
    """Containers that die with their zygote fail what they ran; the rest runs in new ones."""
    with world.run(f_work.app):
        under_way = MapUnderWay(gate)
        machine = world.ids()[0]
        kill(*zygotes_of(machine))
        found = under_way.finish()
        assert world.ids() == [machine]
    failed = [n for n, value in enumerate(found) if isinstance(value, ContainerError)]
    assert [n * n if n not in failed else found[n] for n in range(INPUTS)] == found
    assert len(failed) <= 2
    assert all("lost" in found[n].message for n in failed)
    assert world.reporter.losses == 0


def test_container_killed_in_a_map(world: World, gate: Gate) -> None:
    """One container's death fails the one input that it ran."""
    with world.run(f_work.app):
        under_way = MapUnderWay(gate)
        kill(containers_of(world.ids()[0])[0])
        found = under_way.finish()
    failed = [n for n, value in enumerate(found) if isinstance(value, ContainerError)]
    assert len(failed) == 1
    assert "SIGKILL" in found[failed[0]].message
    assert [value for value in found if isinstance(value, int)] == [
        n * n for n in range(INPUTS) if n not in failed
    ]


def test_container_over_its_memory_in_a_map(world: World, gate: Gate) -> None:
    """The input that takes more memory than allowed fails alone, with the limit's error."""
    gate.open()
    with world.run(f_work.app):
        arguments = ([gate.port] * INPUTS, range(INPUTS))
        found = list(f_work.weighs.map(*arguments, return_exceptions=True))
    failed = [n for n, value in enumerate(found) if isinstance(value, Exception)]
    assert failed == [7]
    assert isinstance(found[7], ContainerError)
    assert (found[7].reason, "250 MiB" in str(found[7])) == ("oom", True)
    assert [v for v in found if isinstance(v, int)] == [n * n for n in range(INPUTS) if n != 7]
    assert gate.count("w7") == 1
    assert world.reporter.losses == 0


def test_guardian_killed_in_a_map(world: World, gate: Gate) -> None:
    """A machine dies with its guardian; its inputs run on another one, each answered once."""
    with world.run(f_work.app):
        under_way = MapUnderWay(gate)
        machine = world.ids()[0]
        kill(guardian_of(world.home, machine))
        until(lambda: not processes_with(machine), what="the end of all of the machine")
        assert under_way.finish() == [n * n for n in range(INPUTS)]
    assert world.reporter.losses == 1


def test_connection_killed_in_a_map(world: World, gate: Gate) -> None:
    """The SSH server's process for a connection dies: a cut like any other, nothing runs twice."""
    with world.run(f_work.app):
        under_way = MapUnderWay(gate)
        machine = world.ids()[0]
        servers = servers_of(world.home, machine)
        if not servers:
            pytest.skip("one server process serves all connections of this host's machines")
        kill(*servers)
        assert under_way.finish() == [n * n for n in range(INPUTS)]
    assert sorted(gate.begun) == sorted(f"n{n}" for n in range(INPUTS))
    assert world.reporter.losses == 0


def test_machine_shut_down_by_user_code(world: World, gate: Gate) -> None:
    """Code that shuts its machine down fails its own call, after a few machines, and no other."""
    gate.open()
    with world.run(f_work.app):
        call = f_work.ends_machine.spawn(gate.port, "first")
        # its container may be seen to die before the machine is
        with pytest.raises((ConnectionLostError, ContainerError)):
            call.get(timeout=120)
        assert f_work.ends_machine.remote(gate.port, "second") == "second done"
    assert 1 <= gate.count("first") <= MAX_LOSSES
    assert gate.count("second") == 1


def test_generator_whose_container_dies(world: World, gate: Gate) -> None:
    """What a generator gave stays, and its container's death is told, once."""
    with world.run(f_work.app):
        values = Puller(f_work.ticks.remote_gen(gate.port, 3))
        gate.wait_for(1)
        gate.let_go()
        until(lambda: values.found == [0], 30, "the first value")
        gate.wait_for(2)
        kill(*containers_of(world.ids()[0]))
        assert values.all() == [0]
    assert isinstance(values.error, ContainerError)
    assert gate.begun == ["t0", "t1"]


@pytest.mark.parametrize("stage", ["connect", "image", "run"])
def test_machine_that_dies_while_it_is_set_up(world: World, gate: Gate, stage: str) -> None:
    """A machine that is lost before its first call ran is replaced by another one, or told of."""
    gate.open()
    first: list[str] = []

    def watch(name: str, status: str) -> None:
        if (name, status) == (stage, "start") and not first:
            first.extend(world.ids())
            kill(guardian_of(world.home, first[0]))

    world.reporter.watch = watch
    with world.run(f_work.app):
        if stage == "connect":  # it was never reached: the climb ends with what became of it
            with pytest.raises(InstanceError):
                f_work.at_gate.remote(gate.port, "a")
        else:
            assert f_work.at_gate.remote(gate.port, "a") == "a done"
            assert not set(first) & set(world.ids())


def test_agent_killed_while_nothing_runs(world: World, gate: Gate) -> None:
    """A warm machine whose agent died serves the next run by a new one."""
    gate.open()
    with world.run(f_work.app, keep=True):
        assert f_work.at_gate.remote(gate.port, "a") == "a done"
    machine = world.ids()[0]
    kill(agent_of(machine))
    with world.run(f_work.app):
        assert f_work.at_gate.remote(gate.port, "b") == "b done"
        assert world.ids() == [machine]
