"""Bytes that are no frames of ours, in both directions: the session goes on, or ends aloud."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import f_work
import pytest

from byoc import limits
from byoc.errors import AgentError, ContainerError, ProtocolError
from byoc.wire import link
from tests.faults.world import LEASE, Tap, Taps, World, machines
from tests.gate import Gate
from tests.helpers import until

FAR = 2**40
"""A number that no frame of these tests has."""


def frame(
    kind: int, stream: int, length: int, seq: int, ack: int = 0, magic: int = link.MAGIC
) -> bytes:
    return link.HEADER.pack(magic, kind, 0, stream, length, seq, ack)


GARBAGE: dict[str, bytes] = {
    "noise": os.urandom(300),
    "text": b"Last login: Mon Jan  1 00:00:00 on pts/0\r\n" * 3,
    "zeros": bytes(200),
    "a frame too large": frame(link.DATA, 16, limits.MAX_FRAME + 1, 1),
    "the largest length": frame(link.DATA, 0, 2**32 - 1, FAR),
    "a frame from the future": frame(link.DATA, 16, 4, FAR) + b"abcd",
    "another protocol": frame(link.DATA, 16, 0, FAR, magic=0xFEED),
    "an unknown kind": frame(99, 16, 0, FAR),
}
EVERY = pytest.mark.parametrize("garbage", list(GARBAGE.values()), ids=list(GARBAGE))


def once(garbage: bytes) -> Callable[[bytes], bytes]:
    """Puts garbage before the next bytes, and is as it was then."""
    due = [garbage]
    return lambda data: (due.pop() + data) if due and data else data


@EVERY
def test_garbage_from_the_instance(world: World, gate: Gate, garbage: bytes) -> None:
    """The client drops a connection that brings garbage and resumes; results come once."""
    gate.open()
    taps = world.detour.forge = Taps()
    with world.run(f_work.app):
        assert f_work.numbered.remote(gate.port, 100) == 10000
        taps.made[0].turn = once(garbage)
        assert list(f_work.numbered.map([gate.port] * 50, range(50))) == [n * n for n in range(50)]
        assert len(taps.made) > 1
    assert sorted(gate.begun) == sorted(["n100", *(f"n{n}" for n in range(50))])
    assert world.reporter.losses == 0


@EVERY
def test_garbage_to_the_instance(world: World, gate: Gate, garbage: bytes) -> None:
    """The agent drops a connection that brings garbage; the client resumes, results come once."""
    taps = world.detour.forge = Taps()
    with world.run(f_work.app):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        taps.made[0].write(garbage)
        until(lambda: len(taps.made) > 1, 30, "another connection")
        gate.open()
        assert call.get(timeout=60) == "a done"
        found = f_work.numbered.map([gate.port] * 50, range(50))
        assert list(found) == [n * n for n in range(50)]
    assert sorted(gate.begun) == sorted(["a", *(f"n{n}" for n in range(50))])
    assert world.reporter.losses == 0


def test_garbage_behind_a_result(world: World, gate: Gate) -> None:
    """Frames that came whole before the garbage count: a result among them arrives."""
    gate.open()
    taps = world.detour.forge = Taps()
    with world.run(f_work.app):
        for n in range(10):
            assert f_work.numbered.remote(gate.port, n) == n * n
            taps.made[-1].turn = _behind(GARBAGE["noise"])
        assert len(taps.made) > 5
    assert gate.begun == [f"n{n}" for n in range(10)]
    assert world.reporter.losses == 0


def _behind(garbage: bytes) -> Callable[[bytes], bytes]:
    due = [garbage]
    return lambda data: (data + due.pop()) if due and data else data


@pytest.mark.slow
def test_line_that_always_brings_garbage(world: World, gate: Gate) -> None:
    """When no connection brings a good frame for a lease, the calls move to another instance."""
    first: set[str] = set()

    def spoil(tap: Tap) -> None:
        here = machines(world.home)
        first.update(here[:1] if not first else ())
        if spoiled.is_set() and set(here) <= first:
            tap.turn = lambda data: GARBAGE["noise"] + data

    spoiled = threading.Event()
    taps = world.detour.forge = Taps(spoil)
    with world.run(f_work.app, LEASE):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        spoiled.set()
        taps.made[0].turn = once(GARBAGE["noise"])
        gate.wait_for(2, 60)
        gate.open()
        assert call.get(timeout=60) == "a done"
    assert (gate.begun, world.reporter.losses) == (["a", "a"], 1)


def test_message_that_makes_no_sense(world: World, gate: Gate) -> None:
    """A whole frame whose message is nonsense ends the session, and the call moves on."""
    taps = world.detour.forge = Taps()
    with world.run(f_work.app):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        taps.made[0].turn = _scramble
        gate.let_go()
        gate.wait_for(2, 60)
        gate.let_go()
        assert call.get(timeout=60) == "a done"
    assert (gate.begun, world.reporter.losses) == (["a", "a"], 1)


def test_garbage_from_one_container(world: World, gate: Gate) -> None:
    """A container whose stream brings garbage is ended and its call told; what else runs on the
    machine goes on."""
    with world.run(f_work.app):
        call = f_work.at_gate.spawn(gate.port, "a")
        gate.wait_for(1)
        with pytest.raises(ContainerError):
            f_work.babbles.remote()
        gate.open()
        assert call.get(timeout=60) == "a done"
    assert (gate.begun, world.reporter.losses) == (["a"], 0)


def _scramble(data: bytes) -> bytes:
    """The same frames with other contents."""
    out, at = bytearray(data), 0
    while at + link.HEADER.size <= len(data):
        length = link.HEADER.unpack_from(data, at)[4]
        at += link.HEADER.size
        end = min(at + length, len(data))
        out[at:end] = bytes(end - at)
        at = end
    return bytes(out)


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (b"Welcome to this machine!\n", ProtocolError, "Welcome"),
        (b"{}\n", AgentError, "protocol"),
        (b'{"v": 999}\n', AgentError, "999"),
        (b'{"v": 1, "error": "busy", "detail": "somebody else"}\n', AgentError, "somebody else"),
        (b"", AgentError, "did not start"),
        (b"x" * (limits.MAX_FRAME + 1), ProtocolError, "not an agent"),
        (b"[]\n", ProtocolError, "not an agent"),
        (b'{"v": 1}\n', ProtocolError, "not an agent"),
    ],
)
def test_wrong_hello(
    world: World, gate: Gate, answer: bytes, error: type[Exception], says: str
) -> None:
    """Whatever answers in the agent's place, the call fails with what it said."""

    class Liar(Tap):
        def read(self, n: int) -> bytes:
            nonlocal answer
            part, answer = answer[:n], answer[n:]
            return part

    world.detour.forge = Liar
    with world.run(f_work.app), pytest.raises(error, match=says):
        f_work.at_gate.remote(gate.port, "a")
    assert (gate.begun, world.ids()) == ([], [])
