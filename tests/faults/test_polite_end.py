"""A machine ends in good order while containers run: their hooks run, their calls move on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import f_work
import pytest

from byoc.clock import SYSTEM
from byoc.engine.ends import MAX_LOSSES
from byoc.limits import END_GRACE
from tests.faults.world import Puller, World, agent_of, guardian_of
from tests.gate import Gate
from tests.helpers import gone, until

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the parts of a machine are found by /proc"
)


def shut_down(world: World, machine: str) -> None:
    """As ``shutdown`` inside does it."""
    (world.home / "local" / machine / "control").write_bytes(b"shutdown\n")


def end_from_outside(world: World, machine: str) -> None:
    """As a provider does it that takes its machine back."""
    os.kill(guardian_of(world.home, machine), signal.SIGTERM)


def end_agent(world: World, machine: str) -> None:
    """As the system of a machine does it that ends its services one by one."""
    os.kill(agent_of(machine), signal.SIGTERM)


EVERY = pytest.mark.parametrize("end", [shut_down, end_from_outside, end_agent])


@EVERY
def test_hooks_run_and_calls_move(
    world: World, gate: Gate, end: Callable[[World, str], None]
) -> None:
    """Behaviour 27: exit hooks run, the running input begins again elsewhere, uncounted."""
    with world.run(f_work.app):
        calls = [f_work.with_hook.spawn(gate.port, name, "") for name in "ab"]
        gate.wait_for(2)
        first = world.ids()[0]
        end(world, first)
        until(lambda: {"bye a", "bye b"} <= set(gate.begun), 20, "the hooks")
        until(lambda: gate.count("a") == gate.count("b") == 2, 30, "the second attempts")
        gate.open()
        assert [call.get(timeout=60) for call in calls] == ["a done", "b done"]
        assert world.ended(first)
        gone(first)
    assert world.reporter.losses == 1


@EVERY
def test_end_in_a_map(world: World, gate: Gate, end: Callable[[World, str], None]) -> None:
    """A map over a machine's end gives every result once."""
    with world.run(f_work.app):
        squares = Puller(f_work.numbered.map([gate.port] * 40, range(40), order_outputs=False))
        gate.wait_for(2)
        gate.let_go()
        gate.wait_for(4)
        end(world, world.ids()[0])
        gate.open()
        assert sorted(squares.all()) == [n * n for n in range(40)]
        assert squares.error is None


@pytest.mark.slow
def test_hook_that_hangs(world: World, gate: Gate) -> None:
    """A machine gives hooks a few seconds, not more."""
    with world.run(f_work.app):
        call = f_work.with_hook.spawn(gate.port, "a", "wait")
        gate.wait_for(1)
        first = world.ids()[0]
        begun = SYSTEM.mono()
        shut_down(world, first)
        until(lambda: gate.count("bye a"), 20, "the hook")
        until(lambda: gate.count("a") == 2, 30, "the second attempt")
        assert world.ended(first)
        assert END_GRACE - 1 < SYSTEM.mono() - begun < 30
        gone(first)
        gate.open()
        assert call.get(timeout=60) == "a done"


@pytest.mark.slow
def test_many_ends(world: World, gate: Gate) -> None:
    """However often its machine ends politely, a call is not given up for it."""
    with world.run(f_work.app):
        call = f_work.with_hook.spawn(gate.port, "a", "")
        for n in range(MAX_LOSSES + 1):
            until(lambda n=n: gate.count("a") == n + 1, 30, f"attempt {n + 1}")
            end_agent(world, next(iter(set(world.ids()))))
            until(lambda n=n: gate.count("bye a") == n + 1, 30, f"hook {n + 1}")
        gate.open()
        assert call.get(timeout=60) == "a done"
