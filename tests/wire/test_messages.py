"""A message arrives as it was, however its bytes are split."""

from __future__ import annotations

import random
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc import limits
from byoc.wire import messages
from byoc.wire.link import Buffer

MB = 1024 * 1024
NOISE = random.Random(3).randbytes(4 * MB)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
HEADS = st.dictionaries(st.text(), VALUES, max_size=5)
SIZES = st.one_of(st.integers(0, 50), st.integers(0, 3 * MB))
MESSAGES = st.lists(st.tuples(HEADS, st.lists(SIZES, max_size=5)), min_size=1, max_size=4)


def assembled(data: bytes, cuts: list[int]) -> list[messages.Message]:
    """Feed ``data`` split at ``cuts``; every message that came out."""
    assembler = messages.Assembler()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    out = []
    for start, stop in pairwise(places):
        # A copy each time, so that a message which only borrowed its bytes would show.
        piece = bytearray(data[start:stop])
        out += [
            messages.Message(m.head, [bytes(b) for b in m.buffers]) for m in assembler.feed(piece)
        ]
    assert assembler.idle
    return out


@settings(deadline=None, max_examples=60)
@given(sent=MESSAGES, cuts=st.lists(st.integers(0, 12 * MB), max_size=8))
def test_messages_come_back_whole(
    sent: list[tuple[dict[str, Any], list[int]]], cuts: list[int]
) -> None:
    """Any heads and any buffers, empty and large ones, split anywhere, come back equal."""
    data = b""
    expected = []
    for head, sizes in sent:
        buffers = [NOISE[size // 3 : size // 3 + size] for size in sizes]
        data += b"".join(messages.encode(head, buffers))
        expected.append(messages.Message(head, list(buffers)))
    assert assembled(data, cuts) == expected


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [0, 0, 0],
        [limits.MAX_FRAME],
        [limits.MAX_FRAME + 1],
        [0, limits.MAX_FRAME + 1, 0],
        [0, 2 * MB, 0, 0, 5, 3 * MB, 0],
        [limits.MAX_FRAME // 2 + 1] * 2,
    ],
    ids=str,
)
def test_every_split_near_the_edges(sizes: list[int]) -> None:
    """Around each border inside a message a split changes nothing; the next message is whole."""
    buffers: list[Buffer] = [NOISE[:size] for size in sizes]
    first = b"".join(messages.encode({"n": 1}, buffers))
    data = first + b"".join(messages.encode({"n": 2}, [b"tail"]))
    expected = [messages.Message({"n": 1}, buffers), messages.Message({"n": 2}, [b"tail"])]
    start = 8 + 8 * len(sizes) + len(b'{"n":1}')
    borders = [4, 8, 8 + 8 * len(sizes), start, len(first), len(first) + 8]
    for size in sizes:
        start += size
        borders.append(start)
    for border in borders:
        for cut in (border - 1, border, border + 1):
            assert assembled(data, [cut]) == expected


def test_one_byte_at_a_time() -> None:
    """Two small messages survive the slowest of connections."""
    data = b"".join(messages.encode({"a": [1, "ü"]}, [b"", b"xyz"]) * 2)
    got = assembled(data, list(range(len(data))))
    assert got == [messages.Message({"a": [1, "ü"]}, [b"", b"xyz"])] * 2


def test_buffers_are_passed_through_uncopied() -> None:
    """Encoding hands on the very buffers, so that a large payload is not copied."""
    big = bytearray(3 * MB)
    view = memoryview(big)
    assert messages.encode({}, [big, view])[1:] == [big, view]
    assert messages.encode({}, [big])[1] is big


def test_a_large_buffer_takes_its_size_once() -> None:
    """Receiving 64 MB in pieces costs those and a little more, and the result may be written to."""
    total = 64 * MB
    parts = messages.encode({"n": 1}, [bytes(total)])
    assembler = messages.Assembler()
    piece = bytes(limits.CHUNK)
    tracemalloc.start()
    try:
        assert not list(assembler.feed(parts[0]))
        got = []
        for _ in range(total // len(piece)):
            got += list(assembler.feed(piece))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    (message,) = got
    assert not memoryview(message.buffers[0]).readonly
    assert len(message.buffers[0]) == total
    assert most < total * 1.3
