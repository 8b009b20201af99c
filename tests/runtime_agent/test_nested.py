"""Functions that call functions: what a container asks, and what it does meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from byoc.engine.results import value_of
from byoc.errors import ConnectionLostError, ExecutionError, NotFoundError
from byoc.runtime_agent import payload
from tests.helpers import alive, until
from tests.runtime_agent.machine import Client, Machine, Running

Answer = Callable[[tuple[Any, ...], dict[str, Any]], Any]


class Home:
    """Answers what a container calls, as the client's engine does."""

    def __init__(self, running: Running, answer: Answer) -> None:
        self.running = running
        self.answer = answer
        self.heads: list[dict[str, Any]] = []
        self.spawned: dict[str, list[Any]] = {}

    def serve(self) -> bool:
        """Answer all that has come; for use as a condition that never holds."""
        while self.running.received:
            message = self.running.received.pop(0)
            self.heads.append(message.head)
            if message.head["t"] == "call":
                self._called(message.head, message.buffers)
            elif message.head["t"] == "ask":
                self._asked(message.head)
        return False

    def _called(self, head: dict[str, Any], buffers: Any) -> None:
        position = 0
        for lid, count, *name in head["b"]:
            args, kwargs = payload.loads(buffers[position : position + count])
            position += count
            kind, out = self._outcome(args, kwargs)
            if name:
                self.spawned[name[0]] = [kind, out]
            self.say(lid, kind, out)

    def _outcome(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, Any]:
        try:
            return payload.VALUE, payload.dumps(self.answer(args, kwargs))
        except LookupError as error:
            return payload.FAILURE, payload.dump_failure(error, payload.describe(error, ()))

    def _asked(self, head: dict[str, Any]) -> None:
        found = self.spawned.get(head["call"])
        if found is not None:
            self.say(head["lid"], *found)
            return
        error = NotFoundError(f"no call {head['call']}").as_dict()
        self.running.send({"t": "err", "lid": head["lid"], "error": error})

    def say(self, lid: int, kind: int, out: Any) -> None:
        """One outcome."""
        self.running.send({"t": "ans", "b": [[lid, kind, len(out)]], "where": "ta-far"}, *out)

    def value(self, *args: Any) -> Any:
        """One input's value, with whatever it calls answered meanwhile."""
        return self.finish(self.running.put(args)[0])

    def finish(self, ident: int) -> Any:
        """The same for an input that was sent."""
        running = self.running
        running.client.until(lambda: self.serve() or ident in running.outcomes or running.word)
        return running.value(ident)


def total(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``other`` comes to here."""
    if args == ("fail",):
        raise LookupError("from far")
    return sum(args) + sum(kwargs.values()) * 100


def home(client: Client, name: str, answer: Answer = total, **options: Any) -> Home:
    """A container of ``calling.NAME`` and its answers."""
    return Home(client.ready("calling." + name, **options), answer)


@pytest.mark.parametrize("name", ["one", "one_later"])
@pytest.mark.parametrize("options", [{}, {"most": 3}], ids=["single", "concurrent"])
def test_remote(client: Client, name: str, options: dict[str, Any]) -> None:
    """Behaviour 28: a call names its function and on whose behalf it is; its value comes back."""
    far = home(client, name, **options)
    idents = far.running.put((1,), (2,), (3,))
    assert [far.finish(ident) for ident in idents] == [101, 102, 103]
    head = next(head for head in far.heads if head["t"] == "call")
    assert (head["tag"], head["m"], head["waits"]) == ("other", "", True)
    assert {head["parent"] for head in far.heads} == set(idents)


def test_remote_from_a_thread(client: Client) -> None:
    """A thread of the user's own may call too, while the main thread waits for it."""
    far = home(client, "in_a_thread")
    assert far.value(7) == [7]
    assert far.heads[0]["parent"] == 1


def test_maps(client: Client) -> None:
    """map and starmap send several inputs and put the results in order."""
    far = home(client, "many")
    assert far.value(150) == (list(range(150)), [3])


def test_generators(client: Client) -> None:
    """Yields of a remote generator come one by one, and their use is told."""
    far = home(client, "items")
    running = far.running
    (ident,) = running.put((60,))
    client.until(lambda: any(m.head["t"] == "call" for m in running.received), "its call")
    lid = running.received[0].head["b"][0][0]
    for number in range(60):
        far.say(lid, payload.ITEM, payload.dumps(number))
    far.say(lid, payload.ITEMS_END, payload.dumps(None))
    assert far.finish(ident) == sum(range(60))
    assert [head["n"] for head in far.heads if head["t"] == "more"] == [25, 25]


def test_errors_arrive_as_themselves(client: Client) -> None:
    """The exception of the called function is raised where it was called."""
    far = home(client, "guarded")
    assert far.value("fail") == ("caught", repr(LookupError("from far")))


def test_spawned_calls_are_found_by_their_id(client: Client) -> None:
    """spawn gives an id at once; any container of the run gets the outcome by it."""
    far = home(client, "starts")
    ident = far.value(5)
    assert ident.startswith("fc-")
    assert far.heads[0]["waits"] is False
    finder = home(client, "finds")
    finder.spawned = far.spawned
    assert finder.value(ident) == 5
    with pytest.raises(NotFoundError, match="no call fc-nowhere"):
        finder.value("fc-nowhere")


def test_a_spawned_call_is_dropped(client: Client) -> None:
    """Cancelling it is told to the client."""
    running = home(client, "drops").running
    assert running.call(5) == "dropped"
    client.until(lambda: len(running.received) == 2, "the word")
    call, drop = [message.head for message in running.received]
    assert (drop["t"], drop["ids"]) == ("drop", [call["b"][0][0]])


def test_a_call_between_inputs(client: Client) -> None:
    """A thread that the user left running is answered while the container waits for an input."""
    far = home(client, "background")
    assert far.value() == "started"
    client.until(lambda: far.serve() or any(h["t"] == "call" for h in far.heads), "its call")
    assert far.heads[0]["parent"] == 0
    assert far.running.call() == "started"


# --- ends while a call is waited for ----------------------------------------------------------


def waiting(client: Client, name: str = "one", **options: Any) -> Home:
    """A container that waits for an answer."""
    far = home(client, name, **options)
    far.running.put((1,))
    client.until(lambda: any(m.head["t"] == "call" for m in far.running.received), "its call")
    return far


@pytest.mark.parametrize("name", ["one", "one_later"])
def test_a_timeout_while_waiting(client: Client, name: str) -> None:
    """The time limit of the caller counts while it waits."""
    word = waiting(client, name, timeout=0.5).running.wait()
    assert (word["reason"], word["inputs"]) == ("timeout", [1])


@pytest.mark.parametrize("options", [{}, {"most": 3}], ids=["single", "concurrent"])
@pytest.mark.parametrize("name", ["one", "one_later"])
def test_sigterm_while_waiting(client: Client, name: str, options: dict[str, Any]) -> None:
    """A container that waits for an answer leaves when it is told to."""
    running = waiting(client, name, **options).running
    running.kill("stopped", grace=20)
    assert running.wait()["code"] == 143


def test_the_end_of_inputs_while_waiting(client: Client) -> None:
    """When no answer can come any more the call fails in words."""
    far = waiting(client)
    far.running.close()
    assert far.running.wait()["code"] == 0
    with pytest.raises(ExecutionError, match="told to end meanwhile"):
        far.running.value(1)


def test_a_dead_agent_while_waiting(fresh: Machine) -> None:
    """No container outlives its agent, whatever it waits for."""
    client = fresh.client()
    running = waiting(client).running
    os.kill(fresh.agent, signal.SIGKILL)
    until(lambda: not alive(running.pid), 10)


def test_an_answer_that_nobody_waits_for(client: Client) -> None:
    """Answers to what was never asked, or was given up, harm nobody."""
    far = home(client, "one")
    far.say(4711, payload.VALUE, payload.dumps(1))
    far.running.send({"t": "err", "lid": 4712, "error": ConnectionLostError("x").as_dict()})
    assert far.value(1) == 101
    far.say(1, payload.VALUE, payload.dumps(1))
    assert far.value(2) == 102
    assert value_of(far.running.outcomes[2]) == 102
