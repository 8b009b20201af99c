"""The time of day jumps, at the client or on the machine: nothing that byoc does hangs on it."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import f_work
import pytest

from byoc.clock import SystemClock
from byoc.runtime_agent import bundle
from tests.conftest import new_home
from tests.faults.world import LEASE, Puller, World, passed
from tests.gate import Gate
from tests.helpers import until
from tests.runtime_agent.machine import Machine

HOURS = 3600.0


class Stepped(SystemClock):
    """A clock whose time of day can jump."""

    def __init__(self, step: float = 0.0) -> None:
        self.step = step

    def wall(self) -> float:
        return super().wall() + self.step


@pytest.mark.parametrize("step", [5 * HOURS, -5 * HOURS, -60 * 365 * 24 * HOURS])
def test_step_in_a_run(world: World, gate: Gate, step: float) -> None:
    """Calls and leases go on over a step; the run ends its machine and closes its books."""
    clock = Stepped()
    with world.run(f_work.app, clock=clock):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        clock.step = step
        squares = Puller(f_work.numbered.map([gate.port] * 20, range(20)))
        gate.wait_for(3)
        gate.open()
        assert squares.all() == [n * n for n in range(20)]
        assert call.get(timeout=60) == "a done"
    assert (world.reporter.losses, world.ids()) == (0, [])
    assert len(gate.begun) == 21
    with closing(world.journal()) as journal:
        assert journal.intents() == []
        assert [row.state for row in journal.instances()] == []


@pytest.mark.parametrize("step", [5 * HOURS, -5 * HOURS])
def test_step_between_runs(world: World, gate: Gate, step: float) -> None:
    """A machine left warm before a step is used or not, and ends by its own clock all the same.

    After a step forward its time is over: a sweep asks for its end, and knows it as ending until
    the next one sees it gone.
    """
    gate.open()
    with world.run(f_work.app, keep=True):
        assert f_work.at_gate.remote(gate.port, "a") == "a done"
    first = world.ids()[0]
    with world.run(f_work.app, clock=Stepped(step)):
        assert f_work.at_gate.remote(gate.port, "b") == "b done"
        with closing(world.journal()) as journal:
            rows = [row for row in journal.instances() if row.state != "ending"]
            assert [row.id for row in rows] == world.ids()
    with world.run(f_work.app):
        assert f_work.at_gate.remote(gate.port, "c") == "c done"
    assert world.ids() in ([], [first])


@pytest.mark.slow
def test_lease_over_a_step(world: World, gate: Gate) -> None:
    """Leases are renewed through steps back and forth, for as long as a call takes."""
    clock = Stepped()
    with world.run(f_work.app, lease=4, clock=clock):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        for clock.step in (HOURS, -HOURS, 0.0):
            passed(3)
        gate.open()
        assert call.get(timeout=60) == "a done"
    assert (gate.begun, world.reporter.losses) == (["a"], 0)


SHIM = """#!/bin/sh
# Stands for a Python on a machine whose time of day jumps by a day with every look at it.
patch='
import time, datetime
_real, _looks = time.time, [0]
def _jump():
    _looks[0] += 1
    return _real() + (86400 if _looks[0] % 2 else -86400)
time.time = _jump
'
exec {python} -I -S -c "$patch
$4" "$5" "$6"
"""


def test_agent_without_a_time_of_day(tmp_path: Path) -> None:
    """The agent, its containers' limits and the machine's lease keep to the monotonic clock."""
    shim = tmp_path / "python"
    shim.write_text(SHIM.format(python=sys.executable))
    shim.chmod(0o755)
    machine = Machine(new_home(), bundle.build(), python=str(shim))
    try:
        client = machine.client(ttl=LEASE)
        assert client.ready("kinds.add").call(1, 2) == 3
        slow = client.ready("hostile.sleep", timeout=0.5)
        assert slow.call(0.1) == 0.1
        slow.put((60,))
        assert slow.wait()["reason"] == "timeout"
        client.send({"t": "lease", "ttl": 30.0})
        client.until(lambda: 25 < machine.lease() <= 30, "the lease")
        client.send({"t": "lease", "ttl": 1.0})
        client.until(lambda: machine.lease() < 2, "the shorter lease")
        until(lambda: machine.lease() <= 0, 10, "the end of the lease")
        assert "the lease ran out" in until(lambda: machine.log, 10)
    finally:
        machine.close()
