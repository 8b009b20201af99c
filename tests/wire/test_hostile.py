"""Bytes that are not ours raise FrameError at once, cost no memory and lose nothing that was."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from byoc import limits
from byoc.wire import link, messages
from tests.wire.pair import End, Pair

MB = 1024 * 1024
HEADER = link.HEADER


def frame(kind: int, stream: int, payload: bytes, seq: int, ack: int = 0, **other: int) -> bytes:
    """A frame as a peer might make it."""
    magic, zero = other.get("magic", link.MAGIC), other.get("zero", 0)
    length = other.get("length", len(payload))
    return HEADER.pack(magic, kind, zero, stream, length, seq, ack) + payload


def wrong(due: int) -> dict[str, bytes]:
    """Bytes that a link must refuse when frame ``due`` is the next."""
    return {
        "magic": frame(link.DATA, 1, b"x", due, magic=0x5353),
        "flags": frame(link.DATA, 1, b"x", due, zero=1),
        "kind": frame(9, 1, b"x", due),
        "kind zero": frame(0, 1, b"x", due),
        "huge": frame(link.DATA, 1, b"x", due, length=limits.MAX_FRAME + 1),
        "length of all ones": frame(link.DATA, 1, b"x", due, length=2**32 - 1),
        "no number": frame(link.DATA, 1, b"x", 0),
        "number too high": frame(link.DATA, 1, b"x", due + 1),
        "acknowledges the future": frame(link.ACK, 0, b"", 0, ack=1),
        "acknowledges all": frame(link.DATA, 1, b"x", due, ack=2**64 - 1),
        "short window": frame(link.WINDOW, 1, b"1234567", due),
        "empty window": frame(link.WINDOW, 1, b"", due),
        "a banner": b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
        "a shell": b"bash: line 1: python3: command not found\n",
        "zeros": bytes(64),
    }


@pytest.mark.parametrize("name", wrong(1))
def test_wrong_frames_are_refused(name: str) -> None:
    """Each way of being wrong raises FrameError and is not taken for received."""
    one = link.Link()
    with pytest.raises(link.FrameError):
        one.received(wrong(1)[name])
    assert one.received_seq == 0
    with pytest.raises(link.FrameError):
        one.received(b"")


@pytest.mark.parametrize("name", wrong(1))
def test_what_came_before_a_wrong_frame_counts(name: str) -> None:
    """Good frames before bad bytes are delivered, and a new connection goes on behind them."""
    pair = Pair()
    source, to = pair.ends
    source.send(1, [1000])
    source.write()
    to.take(bytes(source.wire) + wrong(2)[name] + b"more")
    assert to.got[1] == 1000
    with pytest.raises(link.FrameError):
        to.link.received(b"")
    source.send(1, [500])
    pair.cut()
    pair.settle()
    assert to.got[1] == 1500


@given(data=st.binary(min_size=HEADER.size, max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    """Whatever does not begin like a frame raises as soon as a header's worth is there."""
    assume(data[:2] != struct.pack("<H", link.MAGIC))
    with pytest.raises(link.FrameError):
        link.Link().received(data)


FLIPS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)))


@given(cut=st.integers(0, 200), flips=FLIPS)
def test_damaged_frames_never_break_the_receiver(cut: int, flips: list[tuple[int, int]]) -> None:
    """Bytes changed anywhere in good frames give FrameError or frames, and nothing else."""
    source = End()
    source.send(1, [50])
    source.end(1, b"{}")
    source.link.consumed(2, 2 * MB)
    source.write()
    data = bytearray(source.wire)
    for place, change in flips:
        data[place % len(data)] ^= change
    one = link.Link()
    try:
        one.received(bytes(data[:cut]))
        one.received(bytes(data[cut:]))
    except link.FrameError:
        return
    assert one.received_seq <= 3


def test_more_than_the_window_is_refused() -> None:
    """A peer that sends on although nobody reads is cut off at the window."""
    one = link.Link()
    part = bytes(limits.CHUNK)
    fits = limits.STREAM_WINDOW // limits.CHUNK
    for seq in range(1, fits + 1):
        one.received(frame(link.DATA, 5, part, seq))
    with pytest.raises(link.FrameError, match="window"):
        one.received(frame(link.DATA, 5, b"x", fits + 1))


def test_a_grant_of_more_than_was_sent_opens_no_wider_window() -> None:
    """A peer that claims to have consumed what it never got does not make us flood it."""
    one = link.Link()
    one.send(1, bytes(12 * MB))
    one.received(frame(link.WINDOW, 1, struct.pack("<Q", 2**63), 1))
    sent = 0
    while parts := one.outgoing():
        sent += sum(memoryview(p).nbytes - HEADER.size * (i % 2 == 0) for i, p in enumerate(parts))
    assert sent < limits.STREAM_WINDOW + HEADER.size * 100


@pytest.mark.parametrize("claim", [-5, -1, 1, 3, 2**63])
def test_impossible_claims_at_resume_are_refused(claim: int) -> None:
    """A peer that lost acknowledged frames, or has some never sent, is refused without effect."""
    pair = Pair()
    pair.ends[0].send(1, [10])
    pair.ends[0].send(2, [10])
    pair.ends[0].write()
    assert pair.ends[0].link.outgoing() == []
    pair.carry(0, 10_000)
    pair.ends[1].link.ping()
    pair.ends[1].write()
    pair.carry(1, 10_000)
    assert pair.ends[0].link.unacked == 0
    with pytest.raises(link.FrameError):
        pair.ends[0].link.resume(claim)
    pair.cut()
    pair.ends[0].send(1, [20])
    pair.settle()
    assert pair.ends[1].got == {1: 30, 2: 10}


def preamble(head: bytes, sizes: list[int], count: int | None = None) -> bytes:
    """The start of a message."""
    numbers = struct.pack(f"<{len(sizes)}Q", *sizes)
    return struct.pack("<II", len(head), len(sizes) if count is None else count) + numbers + head


BAD_MESSAGES = {
    "head too short": struct.pack("<II", 1, 0) + b"1",
    "head too long": struct.pack("<II", limits.MAX_HEAD + 1, 0),
    "too many buffers": struct.pack("<II", 2, messages.MAX_BUFFERS + 1),
    "too large": preamble(b"{}", [limits.MAX_MESSAGE + 1]),
    "too large together": preamble(b"{}", [2**63, 2**63]),
    "not JSON": preamble(b"{]", []),
    "not UTF-8": preamble(b'{"a":"\xff"}', []),
    "a list": preamble(b"[]", []),
    "nested too deep": preamble(b"[" * 200_000, []),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
@pytest.mark.parametrize("step", [1, 10**9])
def test_bad_messages_are_refused(name: str, step: int) -> None:
    """A message that cannot be raises FrameError, however its bytes are split."""
    data = BAD_MESSAGES[name]
    step = min(step, len(data)) if len(data) < 1000 else len(data)
    assembler = messages.Assembler()
    pieces = (data[start : start + step] for start in range(0, len(data), step))
    with pytest.raises(link.FrameError):
        [list(assembler.feed(piece)) for piece in pieces]


def test_a_claimed_size_costs_nothing() -> None:
    """Memory is taken for bytes that came, not for bytes that were announced."""
    data = preamble(json.dumps({"t": "out"}).encode(), [60 * 1024 * MB, 5])
    assembler = messages.Assembler()
    tracemalloc.start()
    try:
        got: list[Any] = list(assembler.feed(data + bytes(1000)))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert got == []
    assert most < MB
