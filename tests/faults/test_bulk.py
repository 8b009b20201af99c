"""Large values travel beside the agent, over lines that break and containers that die."""

from __future__ import annotations

import threading
from typing import Any

import f_work
import pytest

from byoc.engine.agentlink import AgentLink
from tests.faults.world import Tap, Taps, World, containers_of, kill
from tests.gate import Gate
from tests.helpers import until

MIB = 1024 * 1024
DATA = bytes(range(256)) * (4096 * 32)


class Counting(Taps):
    """Counts the bytes that come from the agents."""

    def __init__(self) -> None:
        super().__init__(self._watch)
        self.bytes = 0

    def _watch(self, tap: Tap) -> None:
        def turn(data: bytes) -> bytes:
            self.bytes += len(data)
            return data

        tap.turn = turn


def test_large_values_do_not_pass_the_agent(world: World, gate: Gate) -> None:
    """An argument and a result of 32 MiB go to and from the container itself."""
    gate.open()
    taps = world.detour.forge = Counting()
    with world.run(f_work.app):
        assert f_work.echo.remote(gate.port, DATA) == DATA
    assert world.relay.down > len(DATA)
    assert taps.bytes < MIB


def test_without_forwarding_all_goes_through_the_agent(
    world: World, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the instance refuses connections to its sockets values travel in the messages."""
    gate.open()
    monkeypatch.setattr(AgentLink, "reaches_sockets", False)
    taps = world.detour.forge = Counting()
    with world.run(f_work.app):
        assert f_work.echo.remote(gate.port, DATA) == DATA
    assert taps.bytes > len(DATA)


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_line_that_keeps_breaking_under_large_values(world: World, gate: Gate, how: str) -> None:
    """Cut every few MiB, each value arrives whole and each call is run once."""
    gate.open()
    with world.run(f_work.app):
        calls = [f_work.echo.spawn(gate.port, DATA[n:]) for n in range(2)]
        relay = world.relay
        done = threading.Event()

        def cuts() -> None:
            for n in range(1, 6):
                mark = n * 8 * MIB
                until(lambda mark=mark: done.is_set() or relay.up + relay.down > mark, 60)
                getattr(relay, how)()

        breaker = threading.Thread(target=cuts, daemon=True)
        breaker.start()
        assert [call.get(timeout=60) for call in calls] == [DATA, DATA[1:]]
        done.set()
        breaker.join(60)
    assert (gate.begun, world.reporter.losses) == (["echo", "echo"], 0)


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_container_that_dies_under_a_large_value(world: World, gate: Gate, way: str) -> None:
    """The transfer ends at once with it, and the call is answered by another container."""
    with world.run(f_work.app):
        call = f_work.echo.spawn(gate.port, DATA)
        if way == "down":
            gate.wait_for(1, 60)
        relay = world.relay
        before = getattr(relay, way)
        gate.open()
        until(lambda: getattr(relay, way) > before + 4 * MIB, 60, "a part of the value")
        relay.freeze()
        kill(*until(lambda: containers_of(world.ids()[0]), 30, "the container"))
        relay.heal()
        assert call.get(timeout=60) == DATA
    assert world.reporter.losses == 0


def test_many_large_values_at_once(world: World, gate: Gate) -> None:
    """A map whose items are large both ways gives every one of them, in order."""
    gate.open()
    items: list[Any] = [DATA[n : n + 3 * MIB] for n in range(40)]
    with world.run(f_work.app):
        assert list(f_work.echo.map([gate.port] * 40, items)) == items
    assert world.reporter.losses == 0
