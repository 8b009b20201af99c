"""Two links and the connection between them, which can be cut, all in memory."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator

from byoc.wire import link

_NOISE = random.Random(7).randbytes(8 << 20)
"""What every stream carries, each from a place of its own, so that any loss or swap shows."""


def content(stream: int, start: int, size: int) -> bytes:
    """The bytes at ``start`` of what a stream carries."""
    out = bytearray()
    position = (start + stream * 7919) % len(_NOISE)
    while len(out) < size:
        part = _NOISE[position : position + size - len(out)]
        out += part
        position = (position + len(part)) % len(_NOISE)
    return bytes(out)


class End:
    """One link, what its user sent, and what its user got. Raises when an order is broken."""

    def __init__(self) -> None:
        self.link = link.Link()
        self.sent: defaultdict[int, int] = defaultdict(int)
        self.got: defaultdict[int, int] = defaultdict(int)
        self.used: defaultdict[int, int] = defaultdict(int)
        self.ended: dict[int, bytes] = {}
        self.words: dict[int, bytes] = {}
        self.wire = bytearray()
        """Written by this end and not yet read by the other."""

    def send(self, stream: int, sizes: list[int]) -> None:
        """Queue parts of these sizes on a stream."""
        parts = []
        for size in sizes:
            parts.append(content(stream, self.sent[stream], size))
            self.sent[stream] += size
        self.link.send(stream, *parts)

    def end(self, stream: int, word: bytes) -> None:
        """Queue a stream's end."""
        self.ended[stream] = word
        self.link.end(stream, word)

    def write(self) -> int:
        """Put what the link gives for one write on the wire; how many bytes that was."""
        parts = self.link.outgoing()
        for part in parts:
            self.wire += part
        return sum(memoryview(part).nbytes for part in parts)

    def take(self, data: bytes) -> None:
        """Bytes arrived: check that each continues its stream and that nothing follows an end."""
        for event in self.link.received(data):
            assert event.stream not in self.words, "something came after the end"
            if event.kind == link.END:
                self.words[event.stream] = bytes(event.payload)
                continue
            start = self.got[event.stream]
            assert event.payload == content(event.stream, start, len(event.payload))
            self.got[event.stream] += len(event.payload)

    def use(self, stream: int) -> None:
        """Consume all that has come on a stream."""
        size = self.got[stream] - self.used[stream]
        self.used[stream] += size
        self.link.consumed(stream, size)


class Pair:
    """Two ends of one session."""

    def __init__(self) -> None:
        self.ends = (End(), End())

    def directions(self) -> Iterator[tuple[End, End]]:
        """(from, to), both ways."""
        yield self.ends
        yield self.ends[1], self.ends[0]

    def carry(self, source: int, size: int) -> None:
        """Bring ``size`` bytes that ``source`` wrote to the other end."""
        wire = self.ends[source].wire
        data = bytes(wire[:size])
        del wire[:size]
        self.ends[1 - source].take(data)

    def cut(self) -> None:
        """The connection breaks: what is on the wire is lost. A new one is made."""
        counts = [end.link.received_seq for end in self.ends]
        for end, received in zip(self.ends, reversed(counts), strict=True):
            end.wire.clear()
            end.link.resume(received)

    def settle(self) -> None:
        """Carry and consume until nothing moves any more."""
        moved = True
        while moved:
            moved = False
            for number, end in enumerate(self.ends):
                moved |= bool(end.write())
                self.carry(number, len(end.wire))
                other = self.ends[1 - number]
                for stream in list(other.got):
                    other.use(stream)
