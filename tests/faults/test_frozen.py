"""A machine stands still, all of it, and goes on: calls are answered once, and leases hold."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import f_work
import pytest

from byoc.clock import SYSTEM
from tests.conftest import end_instances, new_home
from tests.faults.world import LEASE, Puller, World, freeze, passed, thaw
from tests.gate import Gate
from tests.helpers import gone, until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the parts of a machine are found by /proc"
)


@contextmanager
def frozen(world: World) -> Iterator[str]:
    """The machine stands still; its id."""
    machine = world.ids()[0]
    stopped = freeze(world.home, machine)
    try:
        yield machine
    finally:
        thaw(stopped)


@pytest.mark.slow
@pytest.mark.parametrize("order", [True, False])
def test_shorter_than_the_lease(world: World, gate: Gate, order: bool) -> None:
    """A machine that stood still for a part of its lease goes on; nothing ran twice."""
    with world.run(f_work.app, lease=3 * LEASE):
        arguments = ([gate.port] * 40, range(40))
        squares = Puller(f_work.numbered.map(*arguments, order_outputs=order))
        gate.wait_for(2)
        with frozen(world):
            gate.open()
            passed(LEASE)
        assert sorted(squares.all()) == [n * n for n in range(40)]
        assert squares.error is None
    assert sorted(gate.begun) == sorted(f"n{n}" for n in range(40))
    assert world.reporter.losses == 0


@pytest.mark.slow
@pytest.mark.parametrize("order", [True, False])
def test_longer_than_the_lease(world: World, gate: Gate, order: bool) -> None:
    """Calls of a machine that stood still for longer move on; thawed, it ends and answers none."""
    with world.run(f_work.app):
        arguments = ([gate.port] * 40, range(40))
        squares = Puller(f_work.numbered.map(*arguments, order_outputs=order))
        gate.wait_for(2)
        with frozen(world) as machine:
            until(lambda: world.reporter.losses, 6 * LEASE, "the loss to be seen")
            gate.open()
            assert sorted(squares.all()) == [n * n for n in range(40)]
        assert world.ended(machine)
        assert squares.error is None
    assert world.reporter.losses == 1
    assert {f"n{n}" for n in range(40)} == set(gate.begun)


@pytest.mark.slow
def test_end_of_a_run_whose_machine_stands_still(gate: Gate) -> None:
    """A run ends although its machine does not answer, and nothing of the machine is left."""
    world = World(new_home())
    begun = 0.0
    with world.run(f_work.app):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        call.cancel()
        freeze(world.home, world.ids()[0])
        begun = SYSTEM.mono()
    assert SYSTEM.mono() - begun < 60
    world.detour.close()
    end_instances(world.home)
    gone(str(world.home))
    shutil.rmtree(world.home)
