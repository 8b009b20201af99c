"""Containers come with the queue and go, share the cores, and nobody starves, on an instance."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import e2e_scaling
import pytest

from byoc import exception
from tests.gate import Gate
from tests.helpers import until


@pytest.fixture(scope="module")
def scaling(warm_home: Path) -> Iterator[Any]:
    """The functions of ``e2e_scaling``, in one run for the whole module."""
    with e2e_scaling.app.run():
        yield e2e_scaling


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Where functions report and wait."""
    gate = Gate()
    yield gate
    gate.close()


def test_containers_come_with_the_queue_and_go(scaling: Any, gate: Gate) -> None:
    """Behaviour 25: up to ``max_containers`` work; without work they end, with their exit hooks."""
    calls = [scaling.Counted().pid.spawn(gate.port) for _ in range(3)]
    gate.wait_for(2)
    assert len(gate.inside()) == 2
    gate.open()
    pids = {call.get() for call in calls}
    assert len(pids) == 2
    for pid in pids:
        gate.wait_for(1, name=f"left {pid}")


def test_the_kept_container_stays(scaling: Any, gate: Gate) -> None:
    """Behaviour 25: ``min_containers`` outlives the window, so later calls find it."""
    first = scaling.kept.remote(gate.port)
    assert scaling.sleeps.remote(3.0) == 3.0
    assert scaling.kept.remote(gate.port) == first


def test_many_inputs_share_a_container(scaling: Any, gate: Gate) -> None:
    """Behaviour 19: with ``concurrent`` eight inputs run at once in one container."""
    calls = [scaling.together.spawn(gate.port, i) for i in range(8)]
    gate.wait_for(8)
    gate.open()
    assert len({call.get() for call in calls}) == 1


def test_batches_are_filled(scaling: Any) -> None:
    """Behaviour 29: inputs that come within the wait are run together, up to the size."""
    calls = [scaling.batch.spawn(i) for i in range(8)]
    assert [call.get() for call in calls] == [4] * 8


def test_a_single_use_container_serves_once(scaling: Any) -> None:
    """Each input has a container of its own."""
    assert len(set(scaling.once.map(range(4)))) == 4


def test_a_full_machine_is_shared_in_turn(scaling: Any, gate: Gate) -> None:
    """A function whose containers take all cores gives one back to a function that has none."""
    calls = [scaling.greedy.spawn(gate.port, f"g{i}") for i in range(50)]
    gate.wait_for(1)
    waiting = scaling.other.spawn(5)
    gate.open()
    assert waiting.get(timeout=30) == 5
    assert sorted(call.get() for call in calls) == sorted(f"g{i}" for i in range(50))


def test_a_long_queue_does_not_starve_others(scaling: Any) -> None:
    """While one function has ten thousand inputs another one's calls are answered."""
    queue = [scaling.sleeps.spawn(0.02) for _ in range(200)]
    for i in range(5):
        assert scaling.other.spawn(i).get(timeout=20) == i
    for call in queue:
        call.cancel()


def test_a_slow_input_holds_nobody_up(scaling: Any, gate: Gate) -> None:
    """What a container holds behind a slow input is taken back by one that has nothing to do."""
    list(scaling.quick.map(range(2000)))
    given = [(gate.port, i, -1) for i in range(600)]
    assert list(scaling.sometimes.starmap(given)) == list(range(600))
    slow = [(gate.port, i, 300) for i in range(600)]

    def one_is_left() -> bool:
        return len(seen) == 599

    seen: list[int] = []

    def collect() -> None:
        seen.extend(scaling.sometimes.starmap(slow, order_outputs=False))

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    gate.wait_for(1)
    until(one_is_left, 20, "all but the slow one")
    gate.open()
    thread.join(30)
    assert sorted(seen) == list(range(600))
    assert gate.count() == 1


def test_a_cancelled_call_is_interrupted_where_it_runs(scaling: Any, gate: Gate) -> None:
    """Behaviour 14: cancelling ends what runs, drops what waits, and the container goes on."""
    calls = [scaling.at_gate.spawn(gate.port, f"c{i}") for i in range(40)]
    gate.wait_for(1)
    for call in calls:
        call.cancel()
    until(lambda: not gate.inside(), 30, "the end of those that ran")
    for call in calls:
        with pytest.raises(exception.RemoteError):
            call.get(timeout=0)
    assert gate.count() < 20
    gate.open()
    assert scaling.at_gate.remote(gate.port, "after") == "after"


def test_leaving_a_map_cancels_the_rest(scaling: Any, gate: Gate) -> None:
    """Breaking out of a loop over a map stops what runs and never begins what waits."""
    list(scaling.quick.map(range(10)))
    run = iter(scaling.at_gate.starmap([(gate.port, f"m{i}") for i in range(100)]))
    reader = threading.Thread(target=lambda: next(run), daemon=True)
    reader.start()
    gate.wait_for(2)
    gate.let_go()
    reader.join(30)
    run.close()
    until(lambda: not gate.inside(), 30, "the end of those that ran")
    assert gate.count() < 40


def test_a_generator_is_not_far_ahead_of_its_reader(scaling: Any) -> None:
    """Behaviour 23: a reader that stands still stops the generator soon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        run = scaling.ahead.remote_gen(listener.getsockname()[1], 100_000)
        assert next(run) == 0
        line, _ = listener.accept()
        line.settimeout(1.0)
        made = 0
        try:
            while part := line.recv(65536):
                made += len(part)
        except TimeoutError:
            pass
        assert 1 < made < 300
        assert [next(run) for _ in range(500)] == list(range(1, 501))
        run.close()
        line.close()
