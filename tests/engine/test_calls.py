"""Calls, generators and maps: lazy, windowed, in order or as completed, cancelled at the end."""

from __future__ import annotations

import itertools
import pickle
import threading
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc import limits
from byoc.engine import calls
from byoc.engine.inputs import FAILURE, ITEM, ITEMS_END, Outcome
from byoc.errors import CancelledError, ContainerError, SerializationError
from tests.engine.fake import FakeSession, arguments, failure, value
from tests.engine.specs import spec
from tests.helpers import until

SPEC = spec()
DIED = ContainerError("the container exited with code 1", reason="exit", exit_code=1)


def doubled(args: Any) -> Outcome:
    """What a function that doubles its argument gives."""
    return value(args[0] * 2)


def mapped(
    session: FakeSession,
    things: Iterable[Any],
    ordered: bool = True,
    return_exceptions: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """A map of one argument."""
    run = calls.MapRun(
        session,
        SPEC,
        ((thing,) for thing in things),
        kwargs,
        ordered=ordered,
        return_exceptions=return_exceptions,
    )
    return iter(run)


class Counted:
    """An iterator that knows how far it was pulled."""

    def __init__(self, things: Iterable[Any]) -> None:
        self._things = iter(things)
        self.pulled = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        thing = next(self._things)
        self.pulled += 1
        return thing


class Background:
    """Consumes an iterator in a thread; ``got`` grows with it."""

    def __init__(self, things: Iterator[Any], most: int = 10**9) -> None:
        self.got: list[Any] = []
        self.error: BaseException | None = None
        self._things = things
        self._most = most
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.got.extend(itertools.islice(self._things, self._most))
        except BaseException as error:  # noqa: BLE001 - kept for the test
            self.error = error


# --- maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 2500])
def test_a_map_gives_every_result_once(ordered: bool, count: int) -> None:
    """Any number of inputs gives as many results, in order when asked."""
    session = FakeSession(doubled)
    got = list(mapped(session, range(count), ordered))
    assert sorted(got) == [2 * i for i in range(count)]
    assert not ordered or got == sorted(got)
    assert not session.cancelled
    assert not session.waiting


def test_nothing_happens_before_it_is_iterated() -> None:
    """Making a map pulls nothing and sends nothing."""
    session, source = FakeSession(doubled), Counted(range(10))
    run = mapped(session, source)
    assert (source.pulled, session.submitted) == (0, 0)
    assert next(run) == 0
    assert session.submitted == source.pulled


def test_a_generator_without_end_is_pulled_as_results_are_taken() -> None:
    """A map of an endless generator gives results, and is never further ahead than its window."""
    session, source = FakeSession(doubled), Counted(itertools.count())
    run = mapped(session, source)
    for i in range(500):
        assert next(run) == 2 * i
        assert source.pulled <= i + 1 + limits.MAP_WINDOW


@pytest.mark.parametrize("ordered", [True, False])
def test_the_window_is_the_limit(ordered: bool) -> None:
    """While nothing finishes no more than the window is sent."""
    session, source = FakeSession(), Counted(itertools.count())
    reader = Background(mapped(session, source, ordered), most=3)
    until(lambda: session.submitted >= limits.MAP_WINDOW)
    for ident in (1, 2, 3):
        session.finish(ident, value(ident))
    reader.thread.join(10)
    assert len(reader.got) == 3
    assert source.pulled <= limits.MAP_WINDOW + 3
    assert max(session.batches) <= limits.BATCH_MAX


def test_results_that_wait_for_their_turn_count_too() -> None:
    """In order, one slow input in front does not make the map run ahead without end."""
    session = FakeSession(lambda args: None if args[0] == 0 else doubled(args))
    source = Counted(itertools.count())
    reader = Background(mapped(session, source), most=5)
    until(lambda: session.submitted >= limits.MAP_WINDOW)
    assert reader.got == []
    session.finish(1, value("slow"))
    reader.thread.join(10)
    assert reader.got == ["slow", 2, 4, 6, 8]
    assert source.pulled <= limits.MAP_WINDOW + limits.BATCH_MAX


@settings(deadline=None, max_examples=40)
@given(data=st.data(), count=st.integers(1, 150), failing=st.sets(st.integers(0, 149)))
def test_any_order_of_arrival(data: st.DataObject, count: int, failing: set[int]) -> None:
    """Whatever order results and failures come in, each stands in its place."""
    session = FakeSession()
    reader = Background(mapped(session, range(count), return_exceptions=True))
    until(lambda: session.submitted == count)
    order = data.draw(st.permutations(range(count)))
    for index in order:
        outcome = failure(KeyError(index)) if index in failing else value(index)
        session.finish(index + 1, outcome)
    reader.thread.join(10)
    assert len(reader.got) == count
    for index, got in enumerate(reader.got):
        assert (repr(got) == repr(KeyError(index))) if index in failing else got == index


def test_as_completed_is_the_order_of_arrival() -> None:
    """Without order the first to finish comes first."""
    session = FakeSession()
    reader = Background(mapped(session, range(5), ordered=False))
    until(lambda: session.submitted == 5)
    for ident in (4, 2, 5, 1, 3):
        session.finish(ident, value(ident))
    reader.thread.join(10)
    assert reader.got == [4, 2, 5, 1, 3]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_failure_raises_at_once(ordered: bool) -> None:
    """A failed input raises although earlier ones still run, and those are cancelled."""
    session = FakeSession()
    reader = Background(mapped(session, range(10), ordered))
    until(lambda: session.submitted == 10)
    session.finish(8, failure(LookupError("seven")))
    reader.thread.join(10)
    assert repr(reader.error) == repr(LookupError("seven"))
    assert sorted(ident for ident, _ in session.cancelled) == [1, 2, 3, 4, 5, 6, 7, 9, 10]
    assert not any(kill for _, kill in session.cancelled)


def test_failures_of_byoc_raise_or_stand_in_place() -> None:
    """A container's death is an exception like any other."""
    session = FakeSession(lambda args: Outcome(FAILURE, error=DIED))
    with pytest.raises(ContainerError, match="code 1"):
        list(mapped(session, range(3)))
    got = list(mapped(FakeSession(session.answer), range(3), return_exceptions=True))
    assert [type(error) for error in got] == [ContainerError] * 3


def test_an_abandoned_map_cancels_what_flies() -> None:
    """Leaving the loop early forgets the inputs that were not answered."""
    session = FakeSession(lambda args: doubled(args) if args[0] < 5 else None)
    run = mapped(session, range(50))
    assert [next(run) for _ in range(3)] == [0, 2, 4]
    run.close()  # type: ignore[attr-defined]
    assert {ident for ident, _ in session.cancelled} >= set(range(6, session.submitted + 1))
    assert not session.waiting


def test_an_input_iterator_that_fails() -> None:
    """Its exception is raised to the caller, and what was sent is cancelled."""

    def things() -> Iterator[int]:
        yield from range(100)
        raise OSError("the file ended")

    session = FakeSession()
    with pytest.raises(OSError, match="the file ended"):
        list(mapped(session, things()))
    assert len(session.cancelled) == session.submitted


def test_an_argument_that_cannot_be_sent() -> None:
    """An unpicklable item raises and cancels the rest."""
    session = FakeSession()
    with pytest.raises(SerializationError, match="an argument of f"):
        list(mapped(session, [*range(100), threading.Lock()]))
    assert len(session.cancelled) == session.submitted


def test_a_slow_iterator_holds_no_result_back() -> None:
    """What has come is handed out before a slow iterator is asked for more."""
    session, source = FakeSession(doubled), Counted(range(20))
    session.clock.step = 1.0
    for index, got in enumerate(mapped(session, source, ordered=False)):
        assert got == 2 * index
        assert source.pulled == index + 1


def test_large_arguments_narrow_the_window() -> None:
    """A map of large arguments keeps a bounded number of bytes in flight, one input at least."""
    session = FakeSession()
    big = b"x" * (100 * 1024 * 1024)
    source = Counted(itertools.repeat(big))
    reader = Background(mapped(session, source, ordered=False), most=2)
    until(lambda: session.submitted >= 3)
    session.finish(1, value(1))
    session.finish(2, value(2))
    reader.thread.join(10)
    assert reader.got == [1, 2]
    assert source.pulled <= 5


class View:
    """A value whose bytes travel beside its pickle."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self.data),)


def test_a_buffer_may_be_filled_again_by_the_iterator() -> None:
    """An iterator that yields the same array each time, changed, sends what it was each time."""

    def frames() -> Iterator[View]:
        data = bytearray(10_000)
        for number in range(5):
            data[:] = bytes([number]) * 10_000
            yield View(data)

    session = FakeSession()
    reader = Background(mapped(session, frames()))
    until(lambda: session.submitted == 5)
    sent = [arguments(item)[0][0] for item in session.waiting.values()]
    assert sent == [0, 1, 2, 3, 4]
    for ident in list(session.waiting):
        session.finish(ident, value(ident))
    reader.thread.join(10)


# --- single calls -----------------------------------------------------------------------------


def pending(session: FakeSession) -> calls.PendingCall:
    """A call of one argument."""
    return calls.spawn(session, SPEC, (21,), {})


def test_a_call_gives_its_value_any_number_of_times() -> None:
    """A value can be asked for again, by several threads at once."""
    session = FakeSession()
    one = pending(session)
    readers = [Background(iter(one.value, None), most=3) for _ in range(4)]
    session.finish(1, value(42))
    for reader in readers:
        reader.thread.join(10)
        assert reader.got == [42, 42, 42]
    assert one.value(0) == 42


@pytest.mark.parametrize("timeout", [0, 0.001, -1])
def test_a_call_that_is_not_there_is_a_timeout(timeout: float) -> None:
    """Asking in vain raises the builtin TimeoutError and changes nothing."""
    session = FakeSession()
    one = pending(session)
    with pytest.raises(TimeoutError, match="f has no result yet"):
        one.value(timeout)
    session.finish(1, value(1))
    assert one.value(timeout) == 1


def test_what_comes_first_counts() -> None:
    """A value that was there stays after a cancellation, and a cancellation stays too."""
    session = FakeSession(doubled)
    done = pending(session)
    done.cancel()
    assert [done.value(), done.value(), done.value(0)] == [42, 42, 42]
    session.answer = lambda args: None
    gone = pending(session)
    gone.cancel(kill=True)
    for _ in range(3):
        with pytest.raises(CancelledError, match="the call of f was cancelled"):
            gone.value()
    assert session.cancelled[-1] == (2, True)


def test_a_call_raises_what_was_raised() -> None:
    """A remote exception is raised by the call; nothing is left to cancel then."""
    session = FakeSession(lambda args: failure(LookupError("gone")))
    with pytest.raises(LookupError, match="gone"):
        calls.call(session, SPEC, (1,), {})
    assert session.cancelled == []
    session.answer = doubled
    assert calls.call(session, SPEC, (4,), {}) == 8


# --- generators -------------------------------------------------------------------------------


def items(session: FakeSession) -> Iterator[Any]:
    """The yields of a remote generator."""
    return calls.items(session, SPEC, (1,), {})


def test_items_come_as_they_are_and_end() -> None:
    """Each yield is handed on, then the end."""
    session = FakeSession()
    reader = Background(items(session))
    until(lambda: session.waiting)
    (item,) = session.waiting.values()
    for number in range(3):
        item.sink(item, value(number, ITEM))
        until(lambda number=number: len(reader.got) == number + 1)  # type: ignore[misc]
    session.finish(item.id, value(None, ITEMS_END))
    reader.thread.join(10)
    assert (reader.got, reader.error) == ([0, 1, 2], None)
    assert session.cancelled == []


@pytest.mark.parametrize("last", [failure(LookupError("x")), Outcome(FAILURE, error=DIED)])
def test_items_before_a_failure_are_given(last: Outcome) -> None:
    """What was yielded comes first, then the exception; nothing is left to cancel."""
    session = FakeSession()
    reader = Background(items(session))
    until(lambda: session.waiting)
    (item,) = session.waiting.values()
    item.sink(item, value("first", ITEM))
    session.finish(item.id, last)
    reader.thread.join(10)
    assert reader.got == ["first"]
    assert isinstance(reader.error, (LookupError, ContainerError))
    assert session.cancelled == []


def test_a_generator_that_is_left_is_ended() -> None:
    """Closing the iterator early cancels the remote generator; the session sees to it that it
    stops."""
    session = FakeSession()
    run = items(session)
    reader = Background(run, most=1)
    until(lambda: session.waiting)
    (item,) = session.waiting.values()
    item.sink(item, value("first", ITEM))
    reader.thread.join(10)
    run.close()  # type: ignore[attr-defined]
    assert session.cancelled == [(item.id, False)]


def test_a_generator_is_allowed_as_many_items_as_were_used() -> None:
    """The remote side hears how far its reader is, a few items at a time."""
    session = FakeSession()
    reader = Background(items(session))
    until(lambda: session.waiting)
    (item,) = session.waiting.values()
    for number in range(60):
        item.sink(item, value(number, ITEM))
    until(lambda: len(reader.got) == 60)
    assert session.allowed == [calls.MORE_EVERY] * (60 // calls.MORE_EVERY)
    session.finish(item.id, value(None, ITEMS_END))
    reader.thread.join(10)


# --- many calls -------------------------------------------------------------------------------


def test_spawned_items_are_calls_of_their_own() -> None:
    """A spawned map is a list of calls, each with its own outcome; nothing waits for another."""
    session = FakeSession()
    found = calls.spawn_map(session, SPEC, ((i,) for i in range(100)), {})
    assert len(found) == 100
    session.finish(41, value("forty"))
    assert found[40].value(0) == "forty"
    with pytest.raises(TimeoutError):
        found[41].value(0)


def test_a_call_is_found_by_its_id() -> None:
    """Asking for a call's id lets it be found; another one's is asked for elsewhere."""
    session = FakeSession()
    one = pending(session)
    assert calls.find_call(session, one.id) is one
    assert calls.find_call(session, "nonsense") is None
    other = calls.find_call(session, "fc-elsewhere")
    assert other is not None
    assert other.id == "fc-elsewhere"
    assert calls.find_call(session, "fc-elsewhere") is other
    session.finish(max(session.waiting), value(7))
    assert other.value(0) == 7


def test_gather_raises_the_first_failure_at_once() -> None:
    """The failure of a later call is raised although earlier ones still run."""
    session = FakeSession()
    three = [pending(session) for _ in range(3)]
    got: list[BaseException] = []

    def gather() -> None:
        try:
            calls.gather(three)
        except LookupError as error:
            got.append(error)

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    session.finish(3, failure(LookupError("third")))
    thread.join(10)
    assert [str(error) for error in got] == ["third"]


def test_gather_gives_all_values_in_order() -> None:
    """Values stand in the order of the calls, whatever order they came in."""
    session = FakeSession()
    three = [pending(session) for _ in range(3)]
    for ident in (3, 1, 2):
        session.finish(ident, value(ident))
    assert calls.gather(three) == [1, 2, 3]
    assert calls.gather([]) == []


def test_a_remote_stop_iteration_does_not_end_a_map_early() -> None:
    """StopIteration that user code raised is an error of the map, not its end."""
    session = FakeSession(lambda args: failure(StopIteration(3)) if args[0] == 1 else doubled(args))
    with pytest.raises(RuntimeError):
        list(mapped(session, range(3)))
    got = list(mapped(session, range(3), return_exceptions=True))
    assert [type(one).__name__ for one in got] == ["int", "StopIteration", "int"]


def test_a_waiting_call_is_small() -> None:
    """A spawned call that waits costs less than 400 bytes, all told."""
    session = FakeSession()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [pending(session) for _ in range(5000)]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown / len(kept) < 400 + 60  # the fake keeps two tables of its own
