"""What a client takes back from a container, and what it interrupts there."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from byoc.container.credits import AHEAD
from byoc.runtime_agent import payload
from tests.helpers import until
from tests.runtime_agent.machine import Client, Running

KINDS: dict[str, dict[str, Any]] = {
    "single": {},
    "concurrent": {"most": 2},
    "batched": {"batch": [2, 0.0]},
}


def went(running: Running) -> list[int]:
    """What the container said at each ``go``."""
    return [m.head["started"] for m in running.received if m.head["t"] == "went"]


# --- steals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_started_is_given_back(client: Client, kind: str) -> None:
    """Of a slow container's inputs those it runs stay, and no other is run; later ones are."""
    name = "classes.sleep_by_batch" if kind == "batched" else "classes.nap"
    running = client.ready(name, **KINDS[kind])
    idents = running.put(*[(0.4,)] * 2, *[(0.0,)] * 20)
    due = 1 if kind == "single" else 2
    client.until(lambda: running.out().count(b"naps") == due, "them to sleep")
    assert running.steal() == due
    client.until(lambda: went(running) == [due], "the container to say so")
    client.until(lambda: len(running.outcomes) == due, "what ran to end")
    assert running.call(0.0) == 0.0
    assert sorted(running.outcomes) == [*idents[:due], idents[-1] + 1]


@pytest.mark.parametrize("kind", ["single", "concurrent"])
def test_an_idle_container_has_started_all(client: Client, kind: str) -> None:
    """A steal from one that has nothing takes nothing, and may be repeated."""
    running = client.ready("kinds.add", **KINDS[kind])
    assert running.steal() == 0
    assert running.call(1, 2) == 3
    for count in (1, 2):
        assert running.steal() == 1
        client.until(lambda count=count: went(running) == [0, *[1] * count], "its word")  # type: ignore[misc]
    assert running.call(3, 4) == 7
    assert running.steal() == 2


@pytest.mark.parametrize("kind", ["single", "concurrent"])
def test_nothing_is_lost_or_run_twice(client: Client, kind: str) -> None:
    """Whatever the moment of a steal: what it names as started is answered, the rest is not."""
    running = client.ready("kinds.add", **KINDS[kind])
    place = 0
    for _ in range(50):
        idents = running.put(*[(1, 1)] * 30)
        started = running.steal()
        said = len(went(running))
        client.until(lambda said=said: len(went(running)) > said or went(running), "its word")  # type: ignore[misc]
        client.request({"t": "nothing"})
        client.until(lambda: running.call(1, 1) == 2)
        really = went(running)[-1]
        assert really <= started <= place + 30
        answered = [ident in running.outcomes for ident in idents]
        assert answered == [True] * (really - place) + [False] * (place + 30 - really)
        place += 31


def test_a_steal_from_what_is_gone(client: Client) -> None:
    """It is refused in words."""
    running = client.ready("kinds.add")
    running.kill()
    running.wait()
    assert not client.request({"t": "steal", "c": running.stream})["ok"]


# --- cancellations ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["sleep", "spin", "call", "thread"])
def test_a_sync_input_is_interrupted(client: Client, what: str) -> None:
    """InputCancellation is raised in its code, and the container goes on."""
    running = client.ready("calling.waits")
    first, second = running.put((what,), ("nothing",))
    client.until(lambda: b"waits" in running.out(), "it to wait")
    running.cancel(first)
    assert running.value(second) == "nothing"
    assert running.outcomes[first].kind == payload.FAILURE
    client.flush()
    assert b"ended by InputCancellation" in running.out()
    assert running.word is None


@pytest.mark.parametrize("what", ["sleep", "call"])
def test_an_async_input_is_interrupted(client: Client, what: str) -> None:
    """CancelledError is raised in its task, and the container goes on."""
    running = client.ready("calling.waits_later")
    (first,) = running.put((what,))
    client.until(lambda: b"waits" in running.out(), "it to wait")
    running.cancel(first)
    client.until(lambda: first in running.outcomes)
    client.flush()
    assert b"ended by CancelledError" in running.out()
    assert running.word is None


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("name", ["calling.yields_for_ever", "calling.yields_for_ever_later"])
def test_a_generator_is_not_far_ahead_and_is_closed(client: Client, name: str, most: int) -> None:
    """Behaviour 23: it waits for its reader, goes on as that reads, and ends when it is closed."""
    running = client.ready(name, generator=True, most=most)
    running.reads = False
    (ident,) = running.put(())
    client.until(lambda: len(running.items[ident]) == AHEAD, "as many as it may")
    client.request({"t": "nothing"})
    assert len(running.items[ident]) == AHEAD
    running.send({"t": "more", "id": ident, "n": 7})
    client.until(lambda: len(running.items[ident]) == AHEAD + 7, "as many more")
    running.cancel(ident)
    client.until(lambda: ident in running.outcomes, "its end")
    client.flush()
    assert running.out() == b"closed at %d\n" % (AHEAD + 6)
    assert len(running.items[ident]) == AHEAD + 7


def test_a_cancellation_that_is_swallowed(client: Client) -> None:
    """Code that catches all gives a value, which the client drops; the next input runs."""
    running = client.ready("calling.swallows")
    (ident,) = running.put(())
    client.until(running.out, "it to wait")
    running.cancel(ident)
    assert running.value(ident) == "InputCancellation"


def test_a_cancellation_of_what_does_not_run(client: Client) -> None:
    """It harms nobody: neither what is over, nor what never was, nor what waits."""
    running = client.ready("kinds.add")
    idents = running.put((1, 2))
    assert running.value(idents[0]) == 3
    running.cancel(idents[0], 4711)
    client.send({"t": "cancel", "c": 4711, "ids": [1]})
    os.kill(running.pid, signal.SIGUSR1)
    assert running.call(3, 4) == 7


def test_a_storm_of_cancellations(client: Client) -> None:
    """Interrupted anywhere, a container stays whole: each input has one outcome, in its stream."""
    running = client.ready("kinds.add")
    for _ in range(60):
        idents = running.put(*[(1, 1)] * 20)
        for ident in idents[::3]:
            running.cancel(ident)
        client.until(lambda idents=idents: all(i in running.outcomes for i in idents))  # type: ignore[misc]
    assert running.call(1, 2) == 3
    assert running.word is None


def test_code_that_takes_the_signals(client: Client) -> None:
    """Whoever replaces signal handlers is not interrupted, and is killed in the end."""
    running = client.ready("hostile.deaf")
    (ident,) = running.put(())
    client.until(running.out, "it to be deaf")
    running.cancel(ident)
    running.kill("cancelled", grace=0.2)
    assert running.wait()["reason"] == "cancelled"
    until(lambda: not os.path.exists(f"/proc/{running.pid}"), 10)
