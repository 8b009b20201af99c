"""The end of a session: what was had is given back, whatever else goes wrong."""

from __future__ import annotations

import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from byoc.engine.live import LiveInstance
from byoc.engine.muster import Mustering
from byoc.engine.ranks import Roster
from byoc.engine.slots import Slot
from byoc.engine.squad import Node, Order, Squads, _Squad
from byoc.errors import ConnectionLostError, StateError
from tests.engine.hosts import Host, World
from tests.helpers import until

FULL = StateError("the journal cannot be used: database or disk is full")


def left_behind(error: BaseException | None = None) -> Any:
    """An instance whose release may fail."""

    def release(idle: float, keep: bool) -> None:
        if error is not None:
            raise error

    instance = SimpleNamespace(id="i-1", provider="sim", offer=SimpleNamespace(key=lambda: "offer"))
    held = SimpleNamespace(instance=instance, warm=False)
    return SimpleNamespace(
        held=held, lost=None, leaving=False, flush_logs=lambda wait: None, release=release
    )


def test_one_instance_that_cannot_be_noted_does_not_keep_the_others() -> None:
    """Its trouble is told, and not raised where the others are waited for."""
    session: Any = World().session
    session._kept, session.settings = [], SimpleNamespace(idle=60.0)
    session._release(left_behind(FULL))
    session._release(left_behind())
    assert [one["left"] for one in session._kept] == ["unknown", "kept"]


def test_a_run_whose_end_cannot_be_noted_closes_the_fleet() -> None:
    """What was given up is seen to end, and firewalls close, although the journal is full."""
    session: Any = World().session
    closed: list[bool] = []

    def full(error: BaseException | None) -> None:
        raise FULL

    session._tear_down = lambda error: None
    session._note_end = full
    session._stack.callback(closed.append, True)
    with pytest.raises(StateError):
        session.__exit__(None, None, None)
    assert closed


def test_an_interrupt_while_agents_start_gives_all_of_a_gang_up() -> None:
    """Ctrl-C reaches the main thread only; what the others are at is nobody's any more."""
    lost = {"a": threading.Event(), "b": threading.Event()}

    class Pressed(Mustering):
        def __init__(self) -> None:
            pass

        def _opened(self, held: Any) -> Any:
            if held is found[0]:
                signal.raise_signal(signal.SIGINT)
            lost[held.name].wait(20.0)
            raise ConnectionLostError("it is ended")

    found: list[Any] = [
        SimpleNamespace(name=name, lost=lambda why, name=name: lost[name].set()) for name in lost
    ]
    with pytest.raises(KeyboardInterrupt):
        Pressed()._enlist(found)
    assert all(one.is_set() for one in lost.values())


def test_only_what_was_started_is_waited_for() -> None:
    """An instance that is lost while programs start: those behind it never ran."""
    hosts: list[Any] = [Host() for _ in range(3)]
    nodes = [Node(host, {"python": "python3"}) for host in hosts]
    started: list[Slot] = []

    def start(slot: Slot, *words: Any) -> None:
        if started:
            raise ConnectionLostError("it is gone")
        started.append(slot)

    for host in hosts:
        host.start_command, host.end_input = start, lambda slot: None
    squad = _Squad([Slot(host, 16, f"ta-{n}") for n, host in enumerate(hosts)])
    told: Any = SimpleNamespace(
        options=SimpleNamespace(timeout=None), _reporter=SimpleNamespace(ranked=lambda *who: None)
    )
    order = Order(lambda node: ["train"], {}, "/root", None)
    roster = Roster("gang-1", ("10.0.0.1",) * 3, 29500, 0)
    with pytest.raises(ConnectionLostError):
        Squads._begin(told, squad, nodes, order, roster)
    assert squad.left == {0}


def test_a_notice_that_cannot_be_written_down_is_told() -> None:
    """The preempted instance's work moves on; nobody is shown a traceback of a thread."""
    told: list[str] = []
    host: Any = LiveInstance.__new__(LiveInstance)

    def full(seconds: float) -> None:
        raise FULL

    host.held = SimpleNamespace(noticed=full)
    host._reporter = SimpleNamespace(notice=told.append)
    host._note(30.0)
    until(lambda: told, 5.0)
    assert told == [f"a preemption could not be noted: {FULL.message}"]
