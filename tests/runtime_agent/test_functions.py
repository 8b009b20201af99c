"""Functions in containers: every kind of function, its values, its output."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any, SupportsIndex

import pytest

from byoc.engine.results import value_of
from byoc.errors import SerializationError
from byoc.runtime_agent import payload
from tests.runtime_agent.machine import Client


@pytest.mark.parametrize("name", ["kinds.add", "kinds.add_later"])
def test_values_come_back(client: Client, name: str) -> None:
    """Sync and async functions return their value, for many inputs of one container."""
    running = client.ready(name)
    assert running.call(2, 3) == 5
    idents = running.put(*[(i, i) for i in range(50)])
    assert [running.value(ident) for ident in idents] == [2 * i for i in range(50)]
    running.close()
    assert running.wait()["code"] == 0


@pytest.mark.parametrize("name", ["kinds.count", "kinds.count_later"])
def test_generators_give_items_and_an_end(client: Client, name: str) -> None:
    """Sync and async generators send each yield as it comes and then their end."""
    running = client.ready(name, generator=True)
    (first, second) = running.put((3,), (2,))
    client.until(lambda: second in running.outcomes)
    assert [value_of(o) for o in running.items[first]] == [0, 1, 2]
    assert [value_of(o) for o in running.items[second]] == [0, 1]
    assert running.outcomes[first].kind == payload.ITEMS_END


def test_a_generator_that_fails_gave_its_items_first(client: Client) -> None:
    """What was yielded before an exception arrives, and then the exception."""
    running = client.ready("kinds.count_then_fail", generator=True)
    assert repr(running.error(2)) == repr(LookupError("no more"))
    assert [value_of(o) for o in running.items[1]] == [0, 1]


def test_a_plain_function_cannot_return_a_generator(client: Client) -> None:
    """A generator returned by a function that was not declared as one is refused as a value."""
    running = client.ready("kinds.count")
    error = running.error(3)
    assert isinstance(error, SerializationError)
    assert "generator" in str(error)
    assert not running.items


def test_nested_names_are_found(client: Client) -> None:
    """A function may be anywhere in its module."""
    assert client.ready("kinds.Group.Inner.double").call(4) == 8


def test_functions_travel_as_pickles_too(client: Client) -> None:
    """A function sent by value runs; one pickled by another Python is refused in words."""
    code = payload.dumps(lambda x: x * 3, by_value=True)
    assert client.ready("", code=code).call(5) == 15
    error = client.function("", code=code, python=[3, 1]).start_error()
    here = ".".join(map(str, sys.version_info[:2]))
    assert str(error) == (f"a function pickled by Python 3.1 cannot be loaded by Python {here}")


def test_a_container_sees_its_surroundings(client: Client) -> None:
    """Folder, import path, variables, arguments and process group are the container's own."""
    running = client.ready("kinds.where", vars={"COLOUR": "blue"})
    folder, path, environ, argv, group = running.call()
    assert Path(folder) == client.machine.home / "work"
    assert Path(path).name == "programs"
    assert environ["COLOUR"] == "blue"
    assert environ["BYOC_IS_REMOTE"] == "1"
    assert environ["BYOC_TASK_ID"] == running.name
    assert "SSH_CONNECTION" not in environ
    assert argv == [""]
    assert group == running.pid


def test_containers_are_processes_of_their_own(client: Client) -> None:
    """Two containers of one function run side by side."""
    first, second = client.ready("kinds.pid"), client.ready("kinds.pid")
    pids = {first.call(), second.call(), first.call()}
    assert pids == {first.pid, second.pid}
    assert client.machine.agent not in pids


class View:
    """Unpickles as the very buffer that arrived."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return memoryview, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("size", [100, 5000, 300_000, 3_000_000])
def test_arrays_arrive_writable(client: Client, size: int) -> None:
    """Whatever its size, an array can be written to in the container, as at home."""
    running = client.ready("kinds.fill")
    assert running.call(View(bytearray(b"x" * size))) == (size, b"\x07x")


def test_output_arrives_by_descriptor(client: Client) -> None:
    """print, stderr and raw writes arrive apart, whole, and in order, newline or not."""
    running = client.ready("kinds.speak")
    running.call("one")
    client.flush()
    assert running.out(1) == b"out one\nraw 1\nno newline"
    assert running.out(2) == b"err one\nraw 2\n"
