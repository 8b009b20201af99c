"""Calling a function: one call, a stream of items, a map. What ``sdk.Function`` is made of."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from queue import Empty, SimpleQueue
from typing import Any

from .. import limits
from ..errors import CancelledError
from ..runtime_agent import payload
from . import threads
from .inputs import FAILURE, ITEM, ITEMS_END, Buffer, Input, Outcome
from .results import unpicklable, value_of
from .session import Session
from .spec import FunctionSpec

Arrival = tuple[Input, Outcome]
GATHER = 0.002
"""Seconds for which a map gathers inputs from a slow iterator before it sends what it has."""


def dump_arguments(
    spec: FunctionSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Buffer]:
    """The arguments of one call as buffers. Raises SerializationError."""
    try:
        return payload.try_dumps((args, dict(kwargs)), by_value=spec.source.file is None)
    except payload.PickleFailure as failure:
        what = f"an argument of {spec.name}"
        raise unpicklable(what, args, failure.reason) from failure.reason


def _own(buffers: Iterable[Buffer]) -> list[Buffer]:
    """Copies of those buffers that the caller could still change before they are sent."""
    return [buffer if isinstance(buffer, bytes) else bytes(buffer) for buffer in buffers]


class PendingCall:
    """One spawned call; its outcome can be asked for, any number of times, from any thread."""

    def __init__(self, session: Session, spec: FunctionSpec, buffers: list[Buffer]) -> None:
        self._session = session
        self._spec = spec
        self._arrived: SimpleQueue[Outcome] = SimpleQueue()
        self._final: Outcome | None = None
        self._lock = threading.Lock()
        self._input = session.submit(spec, [buffers], lambda _, o: self._arrived.put(o))[0]

    def outcome(self, timeout: float | None) -> Outcome:
        """Wait for it. Raises the builtin TimeoutError while it is not there."""
        if self._final is not None:
            return self._final
        try:
            outcome = (
                threads.take(self._arrived)
                if timeout is None
                else self._arrived.get(timeout=max(0.0, timeout), block=timeout > 0)
            )
        except Empty:
            raise TimeoutError(f"{self._spec.name} has no result yet") from None
        with self._lock:  # of two that arrive, a value and a cancellation, the first one counts
            self._final = self._final or outcome
        self._arrived.put(self._final)  # for the next one who waits
        return self._final

    def value(self, timeout: float | None = None) -> Any:
        """The return value; raises the remote exception."""
        return value_of(self.outcome(timeout), self._spec.renames)

    def cancel(self, kill: bool = False) -> None:
        """Forget the call; whoever waits gets CancelledError. Running code goes on unless
        ``kill``."""
        self._session.cancel(self._spec, [self._input], kill)
        self._arrived.put(Outcome(FAILURE, error=_cancelled(self._spec.name)))


def _cancelled(name: str) -> CancelledError:
    return CancelledError(f"the call of {name} was cancelled")


def call(
    session: Session, spec: FunctionSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Run it once, remotely; its value or its exception."""
    pending = PendingCall(session, spec, dump_arguments(spec, args, kwargs))
    try:
        outcome = pending.outcome(None)
    except BaseException:
        pending.cancel()
        raise
    return value_of(outcome, spec.renames)


def items(
    session: Session, spec: FunctionSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[Any]:
    """The yields of a remote generator, as they come; closing it ends the container."""
    arrived: SimpleQueue[Outcome] = SimpleQueue()
    buffers = _own(dump_arguments(spec, args, kwargs))
    submitted = session.submit(spec, [buffers], lambda _, outcome: arrived.put(outcome))
    finished = False
    try:
        while True:
            outcome = threads.take(arrived)
            if outcome.kind == ITEM and outcome.error is None:
                yield value_of(outcome, spec.renames)
                continue
            finished = True
            if outcome.kind != ITEMS_END or outcome.error is not None:
                value_of(outcome, spec.renames)  # raises
            return
    finally:
        if not finished:
            session.cancel(spec, submitted, kill=True)


class MapRun:
    """One map: a window of inputs in flight, results in order or as they come."""

    def __init__(
        self,
        session: Session,
        spec: FunctionSpec,
        arguments: Iterable[tuple[Any, ...]],
        kwargs: Mapping[str, Any],
        *,
        ordered: bool,
        return_exceptions: bool,
    ) -> None:
        self._session = session
        self._spec = spec
        self._arguments = iter(arguments)
        self._kwargs = kwargs
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._arrived: SimpleQueue[Arrival] = SimpleQueue()
        self._flying: dict[int, Input] = {}
        self._sent = 0
        self._exhausted = False

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._in_order() if self._ordered else self._as_completed()
        finally:
            if self._flying:
                self._session.cancel(self._spec, list(self._flying.values()))

    def _as_completed(self) -> Iterator[Any]:
        while True:
            self._fill()
            if not self._flying:
                return
            yield self._take()[1]

    def _in_order(self) -> Iterator[Any]:
        early: dict[int, Any] = {}
        due = 0
        while True:
            self._fill(held=len(early))
            if not self._flying and not early:
                return
            index, value = self._take()
            early[index] = value
            while due in early:
                yield early.pop(due)
                due += 1

    def _take(self) -> tuple[int, Any]:
        """The next outcome: (index of its input, value). A failure raises at once."""
        item, outcome = threads.take(self._arrived)
        del self._flying[item.id]
        try:
            return item.index, value_of(outcome, self._spec.renames)
        except Exception as error:
            if self._return_exceptions:
                return item.index, error
            raise

    def _fill(self, held: int = 0) -> None:
        """Pull from the caller's iterator while the window has room and no result waits."""
        while not self._exhausted and len(self._flying) + held < limits.MAP_WINDOW:
            self._send(self._gather(limits.MAP_WINDOW - len(self._flying) - held))
            if not self._arrived.empty():
                return

    def _gather(self, room: int) -> list[list[Buffer]]:
        payloads: list[list[Buffer]] = []
        until = self._session.clock.mono() + GATHER
        while len(payloads) < min(room, limits.BATCH_MAX):
            try:
                args = next(self._arguments)
            except StopIteration:
                self._exhausted = True
                break
            payloads.append(_own(dump_arguments(self._spec, args, self._kwargs)))
            if self._session.clock.mono() > until:
                break
        return payloads

    def _send(self, payloads: list[list[Buffer]]) -> None:
        if not payloads:
            return
        self._session.submit(self._spec, payloads, self._landed, self._register)

    def _register(self, item: Input) -> None:
        """Before it is sent: its place in the order."""
        item.index = self._sent
        self._sent += 1
        self._flying[item.id] = item

    def _landed(self, item: Input, outcome: Outcome) -> None:
        self._arrived.put((item, outcome))
