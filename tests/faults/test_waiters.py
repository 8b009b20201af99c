"""Whatever ends, nobody who waits for it waits for ever."""

from __future__ import annotations

import threading

import f_work
import pytest

from byoc.clock import SYSTEM
from byoc.engine import heart, threads
from byoc.errors import CancelledError
from tests.faults.world import Puller, World
from tests.gate import Gate
from tests.helpers import until


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """Failures of threads."""
    failures: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: failures.append(args.exc_value))
    return failures


def broken() -> None:
    """Something of ours that fails."""
    raise LookupError("a bug")


def test_ticker_outlives_a_failure(told: list[BaseException | None]) -> None:
    """What waits behind something that fails is called all the same, and the failure is told."""
    ticker, called = threads.Ticker(SYSTEM), threading.Event()
    ticker.after(0.0, broken)
    ticker.after(0.001, called.set)
    assert called.wait(10)
    assert [type(error) for error in told] == [LookupError]
    ticker.stop()


def test_heart_outlives_a_failure(told: list[BaseException | None]) -> None:
    """A beat that fails is told of and tried again; the others go on."""
    beats: list[str] = []

    def fails_first() -> float | None:
        beats.append("first")
        if beats.count("first") == 1:
            broken()
        return None

    def goes_on() -> float | None:
        beats.append("other")
        return None

    heart.add(fails_first, 0.0)
    heart.add(goes_on, 0.001)
    until(lambda: beats.count("first") == 2, 10, "the second try")
    assert "other" in beats
    assert [type(error) for error in told] == [LookupError]


def test_run_that_ends_while_a_call_waits_for_its_next_attempt(world: World, gate: Gate) -> None:
    """A call between two attempts is told of the end of its run like any other."""
    gate.open()
    with world.run(f_work.app):
        call = f_work.fails_once.spawn(gate.port, "a")
        others = Puller(f_work.fails_once.map([gate.port], ["b"]))
        gate.wait_for(2)
        assert f_work.at_gate.remote(gate.port, "c") == "c done"  # the failures are here by now
    with pytest.raises(CancelledError):
        call.get(timeout=10)
    others.all(10)
    assert isinstance(others.error, CancelledError)


def test_call_in_a_forked_process(world: World, gate: Gate) -> None:
    """A child that a function forked is told that it cannot call others, and ends nothing."""
    gate.open()
    with world.run(f_work.app):
        said = f_work.calls_in_a_fork.remote(gate.port)
        assert said.startswith("ExecutionError: functions cannot be called in a process")
        assert f_work.calls_in_a_fork.remote(gate.port) == said
    assert gate.begun == []
