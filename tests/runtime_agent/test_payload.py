"""Values as bytes: what is large is never copied into the pickle."""

from __future__ import annotations

import pickle
import tracemalloc
from typing import Any

import pytest

from byoc.runtime_agent import payload

MB = 1024 * 1024
BIG = bytes(range(256)) * (8 * MB // 256)


class Text(bytes):
    """A kind of bytes of the user's."""


@pytest.mark.parametrize(
    "value",
    [
        BIG,
        (BIG, 1),
        ((1, BIG, "x"), {"y": 2}),
        ((), {"y": BIG}),
        [BIG],
        bytearray(BIG),
        ((bytearray(BIG), BIG),),
        Text(BIG),
        b"small",
        (b"small", None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bytes_come_back_as_they_were(value: Any) -> None:
    """Wherever they stand, bytes are bytes again, and their neighbours are untouched."""
    again = payload.loads([bytearray(buffer) for buffer in payload.dumps(value)])
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("value", [BIG, ((BIG,), {}), bytearray(BIG)])
def test_large_values_are_not_copied(value: Any) -> None:
    """Their buffers are the value's own memory."""
    tracemalloc.start()
    try:
        buffers = payload.dumps(value)
        assert tracemalloc.get_traced_memory()[1] < MB
    finally:
        tracemalloc.stop()
    assert len(buffers) == 2
    assert len(buffers[1]) == len(BIG)


def test_the_same_object_stays_the_same() -> None:
    """A bytearray that is there twice arrives once."""
    data = bytearray(BIG)
    first, second = payload.loads(payload.dumps((data, data)))
    assert first is second
    first[:1] = b"x"


def test_what_pickle_cannot_do_cloudpickle_does() -> None:
    """Large bytes beside a function that only travels by value."""
    code, data = payload.loads(payload.dumps((lambda: 7, BIG)))
    assert (code(), data == BIG) == (7, True)


def test_others_read_it_too() -> None:
    """What travels is an ordinary pickle with buffers."""
    data, *beside = payload.dumps(BIG)
    assert pickle.loads(data, buffers=beside) == BIG
