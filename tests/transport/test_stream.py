"""The buffers behind a stream."""

from __future__ import annotations

import threading

import pytest

from byoc.transport.stream import Inbox, Tail


def test_a_read_returns_what_is_there() -> None:
    """A read gives what has arrived, never more than asked for, and nothing twice."""
    inbox = Inbox()
    inbox.feed(b"abcdef")
    inbox.feed(b"gh")
    assert [inbox.read(4), inbox.read(4), inbox.read(4)] == [b"abcd", b"ef", b"gh"]
    with pytest.raises(TimeoutError):
        inbox.read(1, 0.001)


def test_readinto_takes_several_chunks_at_once() -> None:
    """readinto fills its buffer across chunks and keeps the rest for the next call."""
    inbox = Inbox()
    for part in (b"abc", b"def", b"ghi"):
        inbox.feed(part)
    into = bytearray(7)
    assert inbox.readinto(memoryview(into)) == 7
    assert into == b"abcdefg"
    assert len(inbox) > 0
    assert inbox.readinto(memoryview(into)) == 2
    assert into[:2] == b"hi"
    assert len(inbox) == 0


def test_the_end_comes_after_the_data_and_stays() -> None:
    """What was fed before the end is still read; then every read says end."""
    inbox = Inbox()
    inbox.feed(b"")
    inbox.feed(b"last")
    inbox.close()
    inbox.close()
    assert [inbox.read(9), inbox.read(9), inbox.read(9)] == [b"last", b"", b""]
    assert inbox.readinto(memoryview(bytearray(4))) == 0


def test_closing_wakes_a_waiting_reader() -> None:
    """A reader that waits for data gets the end at once."""
    inbox = Inbox()
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(inbox.read(1)))
    reader.start()
    inbox.close()
    reader.join(5)
    assert got == [b""]


def test_the_tail_keeps_the_end() -> None:
    """Only the last bytes are kept, and broken text does not matter."""
    tail = Tail(limit=5)
    for part in (b"abc", b"defg", b"\xff"):
        tail.feed(part)
    assert tail.text() == "defg\ufffd"
