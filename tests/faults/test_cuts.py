"""The line between client and machine breaks: for a moment, for long, for good."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import f_work
import pytest

import byoc
from byoc.clock import SYSTEM
from byoc.errors import CancelledError, ConnectionLostError
from byoc.limits import LEASE as FULL_LEASE
from tests.conftest import end_instances, new_home
from tests.faults.world import LEASE, Puller, World, passed
from tests.gate import Gate
from tests.helpers import gone, until
from tests.relay import Relay

MIB = 1024 * 1024


def cut(relay: Relay, how: str, seconds: float) -> None:
    """Break the line for so long. ``silent``: without a sign to either side."""
    relay.freeze()
    if how != "silent":
        (relay.cut if how == "end" else relay.reset)()
    passed(seconds)
    relay.heal()


@pytest.mark.parametrize("how", ["end", "reset", "silent"])
def test_short_cut_in_a_call(world: World, gate: Gate, how: str) -> None:
    """A second without a line: the call goes on over there and its result arrives, once run."""
    with world.run(f_work.app):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        cut(world.relay, how, 1)
        gate.open()
        assert call.get(timeout=60) == "a done"
    assert (gate.begun, world.reporter.losses) == (["a"], 0)


def test_result_made_during_a_cut(world: World, gate: Gate) -> None:
    """A call that ends while there is no line keeps its result until there is one."""
    with world.run(f_work.app):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        world.relay.freeze()
        world.relay.cut()
        gate.open()
        with pytest.raises(TimeoutError):
            call.get(timeout=0.5)
        world.relay.heal()
        assert call.get(timeout=60) == "a done"
    assert (gate.begun, world.reporter.losses) == (["a"], 0)


@pytest.mark.parametrize("order", [True, False])
@pytest.mark.parametrize("how", ["end", "reset", "silent"])
def test_short_cut_in_a_map(world: World, gate: Gate, how: str, order: bool) -> None:
    """A map over a cut gives every result once, in order if asked, and runs each input once."""
    gate.open()
    with world.run(f_work.app):
        arguments = ([gate.port] * 300, range(300))
        found = iter(f_work.numbered.map(*arguments, order_outputs=order))
        first = [next(found) for _ in range(5)]
        cut(world.relay, how, 1)
        results = [*first, *found]
        assert (results if order else sorted(results)) == [n * n for n in range(300)]
    assert sorted(gate.begun) == sorted(f"n{n}" for n in range(300))
    assert world.reporter.losses == 0


def test_short_cut_in_a_generator(world: World, gate: Gate) -> None:
    """A generator over a cut yields each value once and is not begun again."""
    with world.run(f_work.app):
        values = Puller(f_work.ticks.remote_gen(gate.port, 6))
        for i in range(6):
            gate.wait_for(i + 1)
            if i in (2, 4):
                world.relay.cut()
            gate.let_go()
        assert values.all() == list(range(6))
        assert values.error is None
    assert gate.begun == [f"t{i}" for i in range(6)]
    assert world.detour.connections >= 2


def test_line_that_keeps_breaking(world: World, gate: Gate) -> None:
    """Cut again and again while a map runs, nothing is lost and nothing comes twice."""
    gate.open()
    with world.run(f_work.app):
        found = iter(f_work.numbered.map([gate.port] * 400, range(400)))
        first = [next(found)]
        for _ in range(5):
            known = world.detour.connections
            world.relay.reset()
            until(lambda known=known: world.detour.connections > known, 30, "a new connection")
            first.append(next(found))
        assert [*first, *found] == [n * n for n in range(400)]
    assert sorted(gate.begun) == sorted(f"n{n}" for n in range(400))
    assert world.reporter.losses == 0


def test_cut_in_the_middle_of_large_values(world: World, gate: Gate) -> None:
    """Tens of MiB under way in both directions survive cuts unchanged."""
    data = bytes(range(256)) * (4096 * 24)
    with world.run(f_work.app):
        call = f_work.echo.spawn(gate.port, data)
        until(lambda: world.relay.up > 8 * MIB, 60, "a third of the argument")
        world.relay.reset()
        gate.wait_for(1, 60)
        gate.open()
        until(lambda: world.relay.down > 8 * MIB, 60, "a third of the result")
        world.relay.cut()
        assert call.get(timeout=60) == data
    assert (gate.begun, world.reporter.losses) == (["echo"], 0)


@pytest.mark.parametrize("stage", ["connect", "image"])
def test_cut_before_the_first_call(world: World, gate: Gate, stage: str) -> None:
    """A line that breaks while the instance is being set up is made again as well."""
    gate.open()
    broken = threading.Event()

    def watch(name: str, status: str) -> None:
        if (name, status) == (stage, "start") and not broken.is_set():
            broken.set()
            world.relay.cut()

    world.reporter.watch = watch
    with world.run(f_work.app):
        assert f_work.at_gate.remote(gate.port, "a") == "a done"
    assert broken.is_set()
    assert (gate.begun, world.reporter.losses) == (["a"], 0)


@pytest.mark.slow
def test_silence_is_noticed(world: World, gate: Gate) -> None:
    """A line that swallows everything is given up and made anew well within the lease."""
    with world.run(f_work.app, 2 * LEASE):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        known = world.relay.accepted
        world.relay.freeze()
        until(lambda: world.relay.accepted > known, 2 * LEASE, "another try to connect")
        world.relay.heal()
        gate.open()
        assert call.get(timeout=60) == "a done"
    assert (gate.begun, world.reporter.losses) == (["a"], 0)


def test_lease_is_renewed(world: World, gate: Gate) -> None:
    """A call that takes many leases keeps its instance while the line is well."""
    with world.run(f_work.app, lease=4):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        passed(9)
        gate.open()
        assert call.get(timeout=60) == "a done"
    assert (gate.begun, world.reporter.losses) == (["a"], 0)


@pytest.mark.parametrize("how", ["end", "silent"])
def test_cut_for_good(world: World, gate: Gate, how: str) -> None:
    """Without a line for a whole lease the calls move to another instance, and the old one ends."""
    with world.run(f_work.app, LEASE):
        calls = [f_work.at_gate.spawn(gate.port, name) for name in "ab"]
        gate.wait_for(2)
        old = world.ids()[0]
        world.relay.freeze()
        if how == "end":
            world.relay.cut()
        until(lambda: gate.count("a") == gate.count("b") == 2, 6 * LEASE, "the second attempts")
        assert sorted(gate.inside()) == ["a", "b"]  # the first executions have ended
        gate.open()
        assert [call.get(timeout=60) for call in calls] == ["a done", "b done"]
        assert world.ended(old)
    assert world.reporter.losses == 1


@pytest.mark.parametrize("order", [True, False])
def test_cut_for_good_in_a_map(world: World, gate: Gate, order: bool) -> None:
    """A map over the loss of its instance answers each input once; the old executions end."""
    with world.run(f_work.app, LEASE):
        arguments = ([gate.port] * 40, range(40))
        squares = Puller(f_work.numbered.map(*arguments, order_outputs=order))
        gate.wait_for(2)
        gate.let_go()
        gate.wait_for(4)
        old = world.ids()[0]
        world.relay.freeze()
        until(lambda: world.reporter.losses, 6 * LEASE, "the loss")
        assert world.ended(old)
        gone(old)
        gate.open()
        found = squares.all()
        assert squares.error is None
        assert (found if order else sorted(found)) == [n * n for n in range(40)]
    assert {f"n{n}" for n in range(40)} == set(gate.begun)
    assert world.reporter.losses == 1


def test_generator_cut_for_good(world: World, gate: Gate) -> None:
    """A generator that has yielded is not begun anew elsewhere: its caller is told."""
    with world.run(f_work.app, LEASE):
        values = Puller(f_work.ticks.remote_gen(gate.port, 3))
        gate.wait_for(1)
        gate.let_go()
        until(lambda: values.found == [0], 30, "the first value")
        world.relay.freeze()
        world.relay.cut()
        gate.wait_for(2)
        gate.open()
        assert values.all() == [0]
        assert isinstance(values.error, ConnectionLostError)
    assert gate.count("t0") == 1


@pytest.mark.parametrize("keep", [False, True])
def test_run_left_while_its_machine_boots(world: World, gate: Gate, keep: bool) -> None:
    """A run that is left at once leaves nothing, or a machine that its idle clock ends."""
    with world.run(f_work.app, keep=keep):
        call = f_work.at_gate.spawn(gate.port, "a")
        until(lambda: ("boot", "start") in [s[:2] for s in world.reporter.stages], 30, "the boot")
    with pytest.raises(CancelledError):
        call.get(timeout=0)
    assert len(world.ids()) <= keep
    with closing(world.journal()) as journal:
        assert journal.intents() == []
        assert [row.state for row in journal.instances()] == ["idle"] * len(world.ids())


def test_end_of_a_run_without_a_line(world: World, gate: Gate) -> None:
    """A run that ends while there is no line leaves no instance behind it."""
    with world.run(f_work.app, keep=True):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        world.relay.freeze()
        world.relay.cut()
        assert len(world.ids()) == 1
    assert world.ids() == []
    with pytest.raises((CancelledError, ConnectionLostError)):
        call.get(timeout=0)


# --- half a minute --------------------------------------------------------------------------


HALF_A_MINUTE = 30.0


class LongCut:
    """A run with a call and a map under way, whose line is broken for half a minute from now on,
    whatever the tests do meanwhile. ``lasted``: seconds, once it is over."""

    def __init__(self, world: World, gate: Gate, call: Any, squares: Puller) -> None:
        self.world = world
        self.gate = gate
        self.call = call
        self.squares = squares
        self.lasted = 0.0
        world.relay.freeze()
        world.relay.cut()
        self._begun = SYSTEM.mono()
        self._enough = threading.Event()
        self._healer = threading.Thread(target=self._heal, daemon=True)
        self._healer.start()

    def _heal(self) -> None:
        self._enough.wait(HALF_A_MINUTE)
        self.world.relay.heal()
        self.lasted = SYSTEM.mono() - self._begun

    def over(self) -> None:
        """Wait for its end."""
        self._healer.join(2 * HALF_A_MINUTE)
        assert not self._healer.is_alive()

    def end(self) -> None:
        """Now, whoever asked for it or not."""
        self._enough.set()
        self.over()


@pytest.fixture(scope="module", autouse=True)
def long_cut() -> Iterator[LongCut]:
    """A long cut that begins before the module's first test, so that they all share the wait."""
    world, gate = World(new_home()), Gate()
    app = byoc.App("long")
    at_gate = app.function()(f_work.at_gate.raw_f)
    numbered = app.function(max_containers=2)(f_work.numbered.raw_f)
    with world.run(app, FULL_LEASE):
        call = at_gate.spawn(gate.port, "call")
        squares = Puller(numbered.map([gate.port] * 20, range(20)))
        gate.wait_for(3)
        long = LongCut(world, gate, call, squares)
        yield long
        long.end()
        gate.open()
    world.detour.close()
    gate.close()
    end_instances(world.home)
    gone(str(world.home))
    shutil.rmtree(world.home)


@pytest.mark.slow
def test_half_a_minute_without_a_line(long_cut: LongCut) -> None:
    """With the lease that users have, 30 s without any line cost nothing but those 30 s."""
    world, gate = long_cut.world, long_cut.gate
    long_cut.over()
    assert HALF_A_MINUTE <= long_cut.lasted < FULL_LEASE / 2
    gate.open()
    assert long_cut.call.get(timeout=60) == "call done"
    assert long_cut.squares.all() == [n * n for n in range(20)]
    assert sorted(gate.begun) == sorted(["call", *(f"n{n}" for n in range(20))])
    assert world.reporter.losses == 0
