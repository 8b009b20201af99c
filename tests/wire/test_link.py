"""A link delivers every byte of every stream once and in order, whatever the connection does."""

from __future__ import annotations

import gc
import tracemalloc

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from byoc import limits
from byoc.wire import link
from tests.wire.pair import End, Pair, content

MB = 1024 * 1024
STREAMS = st.integers(0, 4)
SIDES = st.integers(0, 1)
SIZES = st.one_of(
    st.integers(0, 64),
    st.integers(limits.CHUNK - 2, limits.CHUNK + 2),
    st.integers(0, 6 * MB),
)


class Sessions(RuleBasedStateMachine):
    """Any sequence of sends, ends, partial deliveries, consumption and cuts."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()

    @rule(side=SIDES, stream=STREAMS, sizes=st.lists(SIZES, min_size=1, max_size=4))
    def send(self, side: int, stream: int, sizes: list[int]) -> None:
        end = self.pair.ends[side]
        if stream not in end.ended:
            end.send(stream, sizes)

    @rule(side=SIDES, stream=STREAMS, word=st.binary(max_size=40))
    def finish(self, side: int, stream: int, word: bytes) -> None:
        end = self.pair.ends[side]
        if stream not in end.ended:
            end.end(stream, word)

    @rule(side=SIDES, times=st.integers(1, 30))
    def write(self, side: int, times: int) -> None:
        for _ in range(times):
            if not self.pair.ends[side].write():
                break

    @rule(side=SIDES, size=st.one_of(st.integers(1, 100), st.integers(1, 8 * MB)))
    def carry(self, side: int, size: int) -> None:
        self.pair.carry(side, size)

    @rule(side=SIDES, stream=STREAMS)
    def use(self, side: int, stream: int) -> None:
        self.pair.ends[side].use(stream)

    @rule(side=SIDES)
    def ping(self, side: int) -> None:
        self.pair.ends[side].link.ping()

    @precondition(lambda self: any(end.wire for end in self.pair.ends))
    @rule()
    def cut(self) -> None:
        self.pair.cut()

    @invariant()
    def windows_hold(self) -> None:
        """No end has more of a stream than its window, and none keeps more than the limit."""
        for end in self.pair.ends:
            for stream, got in end.got.items():
                assert got - end.used[stream] <= limits.STREAM_WINDOW
            assert end.link.unacked <= limits.UNACKED_LIMIT + 2 * limits.CHUNK

    @invariant()
    def ends_come_last(self) -> None:
        """Whoever got an end got every byte before it."""
        for source, to in self.pair.directions():
            for stream, word in to.words.items():
                assert word == source.ended[stream]
                assert to.got[stream] == source.sent[stream]

    def teardown(self) -> None:
        self.pair.settle()
        for source, to in self.pair.directions():
            assert {k: v for k, v in to.got.items() if v} == {
                k: v for k, v in source.sent.items() if v
            }
            assert to.words == source.ended
            assert not any(source.link.queued(stream) for stream in source.sent)


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_any_chunking_of_the_bytes() -> None:
    """Where the connection splits the bytes changes nothing that arrives."""
    source = End()
    for size in (0, 1, 27, 28, 29, 300, 5000):
        source.send(1, [size])
        source.send(2, [size, size])
        while source.write():
            pass
    source.end(1, b"bye")
    source.write()
    data = bytes(source.wire)
    for step in (1, 2, 27, 28, 29, 1000, len(data)):
        to = End()
        for start in range(0, len(data), step):
            to.take(data[start : start + step])
        assert dict(to.got) == dict(source.sent)
        assert to.words == {1: b"bye"}


def test_a_stopped_reader_stops_one_stream_only() -> None:
    """A stream that nobody reads waits after its window, and the others go on."""
    pair = Pair()
    pair.ends[0].send(1, [10 * MB])
    pair.ends[0].send(2, [10 * MB])
    for _ in range(200):
        pair.ends[0].write()
        pair.carry(0, len(pair.ends[0].wire))
        pair.ends[1].use(2)
        pair.ends[1].write()
        pair.carry(1, len(pair.ends[1].wire))
    assert pair.ends[1].got == {1: limits.STREAM_WINDOW, 2: 10 * MB}
    assert pair.ends[0].link.queued(1) == 10 * MB - limits.STREAM_WINDOW
    pair.settle()
    assert pair.ends[1].got[1] == 10 * MB


def test_control_goes_before_bulk_and_bulk_takes_turns() -> None:
    """Stream 0 is written before queued bulk, and two bulk streams share the connection."""
    source = End()
    source.send(1, [2 * MB])
    source.send(2, [2 * MB])
    source.write()
    source.send(0, [10])
    while source.write():
        pass
    order = [event.stream for event in link.Link().received(bytes(source.wire))]
    assert order[1] == 0
    assert order[0] != order[2] != order[3] != order[4]


def test_nothing_is_lost_when_both_directions_stand_still() -> None:
    """Both ends full to the limit still acknowledge, so both go on."""
    pair = Pair()
    for end in pair.ends:
        for stream in range(1, 9):
            end.send(stream, [6 * MB])
    for end in pair.ends:
        while end.write():
            pass
    assert all(end.link.unacked >= limits.UNACKED_LIMIT for end in pair.ends)
    pair.settle()
    assert all(sum(end.got.values()) == 48 * MB for end in pair.ends)


def test_a_ping_is_answered_with_an_acknowledgement() -> None:
    """A ping brings back how far the peer got, so that kept frames can go."""
    pair = Pair()
    pair.ends[0].send(1, [100])
    pair.ends[0].write()
    pair.carry(0, 1000)
    pair.ends[1].write()
    pair.carry(1, 1000)
    assert pair.ends[0].link.unacked > 100
    pair.ends[0].link.ping()
    pair.settle()
    assert pair.ends[0].link.unacked == 0


def test_small_frames_are_acknowledged_too() -> None:
    """A flow of tiny or empty frames in one direction does not pile up at the sender."""
    pair = Pair()
    most = 0
    for number in range(60_000):
        pair.ends[0].end(number + 1, b"")
        pair.ends[0].write()
        pair.carry(0, 1000)
        pair.ends[1].write()
        pair.carry(1, 1000)
        most = max(most, pair.ends[0].link.unacked)
    assert most <= limits.ACK_EVERY + 100


def test_streams_that_ended_leave_nothing_behind() -> None:
    """An agent that ends many streams, many of them at once, keeps no trace of them."""

    def senders() -> int:
        gc.collect()
        return sum(type(thing) is link._Sender for thing in gc.get_objects())

    before = senders()  # of links that other tests have only just let go
    source, to = End(), End()
    for stream in range(50_000):
        source.link.send(stream, b"x")
        source.link.end(stream, b"{}")
    while source.write():
        to.link.received(bytes(source.wire))
        source.wire.clear()
        to.write()
        source.link.received(bytes(to.wire))
        to.wire.clear()
    assert source.link.queued(5) == 0
    assert senders() <= before


def test_a_forgotten_stream_may_be_used_again() -> None:
    """A window that was granted to a number's earlier use does not harm its later one."""
    pair = Pair()
    pair.ends[0].send(7, [2 * MB])
    while pair.ends[0].write():
        pair.carry(0, len(pair.ends[0].wire))
    pair.ends[1].use(7)
    pair.ends[1].write()
    pair.ends[0].link.forget(7)
    pair.ends[0].link.send(7, content(7, 2 * MB, 5 * MB))
    pair.carry(1, len(pair.ends[1].wire))
    while pair.ends[0].write():
        pair.carry(0, len(pair.ends[0].wire))
    assert pair.ends[1].got[7] <= 2 * MB + limits.STREAM_WINDOW


def _through(total: int, part: bytes) -> int:
    """Move ``total`` bytes through a pair; the most memory that was allocated meanwhile."""
    source, to = link.Link(), link.Link()
    seen = sent = 0
    tracemalloc.start()
    try:
        while seen < total:
            while sent < total and source.queued(1) < MB:
                source.send(1, part)
                sent += len(part)
            for event in to.received(b"".join(source.outgoing())):
                seen += len(event.payload)
                to.consumed(1, len(event.payload))
            source.received(b"".join(to.outgoing()))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_what_passes() -> None:
    """A gibibyte costs the two ends no more than what one of them keeps unacknowledged."""
    assert _through(1024 * MB, bytes(100_000)) < 40 * MB


def test_a_stream_that_is_over_leaves_nothing() -> None:
    """What is said of a stream after both ends forgot it does not bring it back."""
    pair = Pair()
    one, other = pair.ends
    for stream in range(16, 66):
        one.link.send(stream, b"word")
        one.link.end(stream, b"{}")
        sent = b"".join(bytes(part) for part in one.link.outgoing())
        for event in other.link.received(sent):
            if event.kind == link.END:
                other.link.forget(stream)
            other.link.consumed(stream, len(event.payload))
    assert not other.link._receivers
