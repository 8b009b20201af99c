"""Functions that call functions, from their containers, on a real instance."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import e2e_nested
import pytest

import byoc
from byoc import exception
from tests.gate import Gate
from tests.helpers import until


@pytest.fixture(scope="module")
def nested(warm_home: Path) -> Iterator[Any]:
    """The functions of ``e2e_nested``, in one run for the whole module."""
    with e2e_nested.app.run():
        yield e2e_nested


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Where functions report and wait."""
    gate = Gate()
    yield gate
    gate.close()


def test_every_way_of_calling_works_inside(nested: Any) -> None:
    """Behaviour 28: remote, map, starmap, generators, spawn, and from a thread, in a container."""
    assert nested.every_way.remote(4) == {
        "remote": 8,
        "map": [0, 2, 4, 6],
        "starmap": [0, 2, 4, 6],
        "gen": list(range(200)),
        "spawn": 8,
        "thread": 8,
    }
    assert nested.every_way_later.remote(3) == [6, [0, 2, 4], [0, 2, 4]]


def test_a_recursion_does_not_block_itself(nested: Any) -> None:
    """Containers that wait for others take no room: a recursion deeper than all cores ends."""
    assert nested.fib.remote(7) == 13


def test_exceptions_come_through_two_containers(nested: Any) -> None:
    """A nested call raises what was raised, and byoc's own errors are themselves too."""
    first, second = nested.catches.remote()
    assert first == "LookupError: inside"
    assert second.startswith("ContainerError: the container exited with code 9")
    with pytest.raises(LookupError, match="inside"):
        nested.passes_on.remote()


def test_the_end_of_a_caller_cancels_what_it_waits_for(nested: Any, gate: Gate) -> None:
    """A nested call whose caller ran into its timeout is interrupted where it runs."""
    with pytest.raises(exception.FunctionTimeoutError):
        nested.waits_for.remote(gate.port, "orphan")
    gate.wait_for(1)
    until(lambda: not gate.inside(), 30, "the end of the nested call")


def test_what_was_spawned_goes_on(nested: Any, gate: Gate) -> None:
    """A spawned call outlives its caller, and is found by its id here and in other containers."""
    ident = nested.spawns.remote(gate.port, "child")
    gate.wait_for(1)
    call = byoc.FunctionCall.from_id(ident)
    with pytest.raises(TimeoutError):
        call.get(timeout=0)
    gate.open()
    assert call.get(timeout=30) == "child"
    assert nested.result_of.remote(ident) == "child"


def test_a_call_of_the_client_is_found_in_a_container(nested: Any) -> None:
    """An id that the client passes along is enough; an unknown one is a clear error."""
    call = nested.double.spawn(21)
    assert nested.result_of.remote(call.object_id) == 42
    with pytest.raises(exception.NotFoundError):
        nested.result_of.remote("fc-0000000000")


def test_a_recursion_that_may_not_grow_ends(nested: Any) -> None:
    """With one container for itself and its own call, the timeout ends the wait."""
    assert nested.alone.remote(0) == 0
    with pytest.raises(exception.FunctionTimeoutError):
        nested.alone.remote(1)
    assert nested.alone.remote(0) == 0


def test_large_arguments_pass_between_containers(nested: Any) -> None:
    """Behaviour 26: what one container gives another may be large."""
    assert nested.big.remote(5_000_000) == 5_000_000
