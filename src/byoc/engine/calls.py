"""Calling a function: one call, a stream of items, a map. What ``sdk.Function`` is made of.

Works on top of a session on the client and of its stand-in inside a container, where this module
runs too. CPython 3.8+.
"""

from __future__ import annotations

import pickle
import threading
from queue import Empty, SimpleQueue
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from .. import limits
from ..errors import CancelledError
from ..runtime_agent import payload
from . import threads
from .inputs import FAILURE, ITEM, ITEMS_END, VALUE, Arrival, Buffer, Input, Outcome, Runner
from .results import unpicklable, value_of
from .spec import FunctionSpec

GATHER = 0.002
"""Seconds for which a map gathers inputs from a slow iterator before it sends what it has."""
KEEP_FLYING = limits.MAP_WINDOW // 2
"""A map whose iterator is quick sends this many before it looks whether results came."""
MAP_BYTES = 256 * 1024 * 1024
"""Bytes of arguments in flight beyond which a map sends no further input before one is done."""
HEAVY = 16 * 1024
"""Bytes from which the arguments of an input count for that."""
MORE_EVERY = 25
"""Items after whose use a generator is allowed as many more: a quarter of what it may be ahead."""
_PLAIN = frozenset({int, float, bool, str, type(None)})
"""Types that pickle as themselves, with no buffer beside."""


def dump_arguments(
    spec: FunctionSpec, args: Tuple[Any, ...], kwargs: Mapping[str, Any]
) -> List[Buffer]:
    """The arguments of one call as buffers. Raises SerializationError."""
    if not kwargs and _PLAIN.issuperset(map(type, args)):
        return [pickle.dumps((args, {}), 5)]
    try:
        return payload.try_dumps((args, dict(kwargs)), by_value=spec.source.file is None)
    except payload.PickleFailure as failure:
        what = "an argument of %s" % spec.name
        raise unpicklable(what, args, failure.reason) from failure.reason


def _own(buffers: Sequence[Buffer]) -> List[Buffer]:
    """Copies of those buffers that the caller could still change before they are sent."""
    return [buffer if isinstance(buffer, bytes) else bytes(buffer) for buffer in buffers]


class Arrivals:
    """A sink for one reader, who takes what came by the batch."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: SimpleQueue[List[Arrival]] = SimpleQueue()

    def __call__(self, item: Input, outcome: Outcome) -> None:
        self._queue.put([(item, outcome)])

    def many(self, arrivals: List[Arrival]) -> None:
        """Several at once."""
        self._queue.put(arrivals)

    def take(self) -> List[Arrival]:
        """What came next; waits for it."""
        return threads.take(self._queue)

    def empty(self) -> bool:
        """Nothing is there."""
        return self._queue.empty()


# --- single calls -----------------------------------------------------------------------------


def call(
    session: Runner,
    spec: FunctionSpec,
    args: Tuple[Any, ...],
    kwargs: Mapping[str, Any],
    method: str = "",
) -> Any:
    """Run it once, remotely; its value or its exception."""
    arrived: SimpleQueue[Outcome] = SimpleQueue()
    buffers = dump_arguments(spec, args, kwargs)
    items = session.submit(spec, [buffers], lambda _, outcome: arrived.put(outcome), method=method)
    try:
        outcome = threads.take(arrived)
    except BaseException:
        session.cancel(spec, items)
        raise
    return value_of(outcome, spec.renames)


class Home:
    """What all spawned calls of one function share."""

    __slots__ = ("name", "renames", "session", "spec")

    def __init__(self, session: Runner, spec: Optional[FunctionSpec]) -> None:
        self.session = session
        self.spec = spec
        self.name = spec.name if spec is not None else "the call"
        self.renames = spec.renames if spec is not None else {}


_GUARD = threading.Lock()
"""Guards every PendingCall's ``_state``: held for a few instructions, so one is enough."""


_FINAL = (Outcome, bytes)
"""What a PendingCall's ``_state`` is once the outcome is there."""


def _outcome_of(kept: Any) -> Outcome:
    return kept if type(kept) is Outcome else Outcome(VALUE, (kept,))


class PendingCall:
    """One spawned call; its outcome can be asked for, any number of times, from any thread.

    It is the sink of its own input, so that a hundred thousand of them cost 64 bytes each.
    """

    __slots__ = ("_home", "_input", "_state")

    input_count = 1
    """Inputs of this call."""

    def __init__(self, home: Home, item: Optional[Input] = None) -> None:
        self._home = home
        self._input: Union[Input, str, int, None] = item  # once it is done, only what names it
        # None or a list of those to be told; then the outcome, of a plain value only its bytes
        self._state: Any = None

    def __call__(self, item: Input, outcome: Outcome) -> None:
        """The outcome is there. The first one counts: a value, or a cancellation."""
        kept: Any = outcome
        if len(outcome.buffers) == 1:  # nothing else of its message is to be kept
            data = bytes(outcome.buffers[0])
            plain = outcome.kind == VALUE and outcome.error is None
            kept = data if plain else outcome._replace(buffers=[data])
        with _GUARD:
            told = self._state
            if type(told) in _FINAL:
                return
            self._state = kept
        self._input = item.call or item.id
        for tell in told or ():
            tell(_outcome_of(kept))

    def watch(self, tell: Callable[[Outcome], None]) -> None:
        """Call ``tell`` once with the outcome, at once if it is there."""
        with _GUARD:
            if type(self._state) not in _FINAL:
                self._state = [*(self._state or ()), tell]
                return
        tell(_outcome_of(self._state))

    def _unwatch(self, tell: Callable[[Outcome], None]) -> None:
        with _GUARD:
            if type(self._state) is list:
                self._state = [one for one in self._state if one is not tell] or None

    def outcome(self, timeout: Optional[float]) -> Outcome:
        """Wait for it. Raises the builtin TimeoutError while it is not there."""
        if type(self._state) in _FINAL:
            return _outcome_of(self._state)
        arrived: SimpleQueue[Outcome] = SimpleQueue()
        tell = arrived.put
        self.watch(tell)
        try:
            if timeout is None:
                return threads.take(arrived)
            return threads.take_within(arrived, timeout)
        except Empty:
            raise TimeoutError("%s has no result yet" % self._home.name) from None
        finally:
            self._unwatch(tell)

    def value(self, timeout: Optional[float] = None) -> Any:
        """The return value; raises the remote exception."""
        return value_of(self.outcome(timeout), self._home.renames)

    def cancel(self, kill: bool = False) -> None:
        """Drop the call; whoever waits gets CancelledError. Running code is interrupted, with
        ``kill`` its container ends."""
        item = self._input
        if not isinstance(item, Input) or type(self._state) in _FINAL:
            return
        if self._home.spec is not None:
            self._home.session.cancel(self._home.spec, [item], kill)
        error = CancelledError("the call of %s was cancelled" % self._home.name)
        self(item, Outcome(FAILURE, error=error))

    @property
    def id(self) -> str:
        """``fc-...``; from now on the call can be found by it, in the whole run."""
        item = self._input
        assert item is not None  # only between making and sending it
        name = (item.call or item.id) if isinstance(item, Input) else item
        ident = name if isinstance(name, str) else "fc-%d" % name
        self._home.session.calls[ident] = self
        return ident


def spawn(
    session: Runner,
    spec: FunctionSpec,
    args: Tuple[Any, ...],
    kwargs: Mapping[str, Any],
    method: str = "",
) -> PendingCall:
    """Start it and return at once."""
    pending = PendingCall(_home_of(session, spec))
    buffers = _own(dump_arguments(spec, args, kwargs))
    pending._input = session.submit(spec, [buffers], pending, method=method, spawned=("",))[0]
    return pending


_latest: List[Home] = []


def _home_of(session: Runner, spec: FunctionSpec) -> Home:
    """The home of a spec's calls, one for those spawned in a row."""
    for home in _latest:
        if home.session is session and home.spec is spec:
            return home
    home = Home(session, spec)
    _latest[:] = [home]
    return home


def spawn_map(
    session: Runner,
    spec: FunctionSpec,
    arguments: Iterable[Tuple[Any, ...]],
    kwargs: Mapping[str, Any],
    method: str = "",
) -> List[PendingCall]:
    """Start one call per item and return at once."""
    home = Home(session, spec)
    pending: List[PendingCall] = []

    def register(item: Input) -> None:
        one = PendingCall(home, item)
        item.sink = one
        pending.append(one)

    start_all(session, spec, arguments, kwargs, method, register)
    return pending


def start_all(
    session: Runner,
    spec: FunctionSpec,
    arguments: Iterable[Tuple[Any, ...]],
    kwargs: Mapping[str, Any],
    method: str = "",
    register: Optional[Callable[[Input], None]] = None,
) -> None:
    """Start one call per item and return at once; nobody hears of the outcomes but the sinks that
    ``register`` gives to the inputs."""

    def send(batch: List[List[Buffer]]) -> None:
        names = ("",) * len(batch)
        session.submit(spec, batch, _nowhere, register, method=method, spawned=names)

    batch: List[List[Buffer]] = []
    for args in arguments:
        batch.append(_own(dump_arguments(spec, args, kwargs)))
        if len(batch) >= limits.BATCH_MAX:
            send(batch)
            batch = []
    if batch:
        send(batch)


def _nowhere(item: Input, outcome: Outcome) -> None:
    """The sink of what nobody waits for."""


def find_call(session: Runner, ident: str) -> Optional[PendingCall]:
    """The call with this id, spawned anywhere in this run; None when there is none.

    Inside a container the answer comes with the outcome: an id that nobody knows is a call that
    raises NotFoundError.
    """
    known: Optional[PendingCall] = session.calls.get(ident)
    if known is not None:
        return known
    pending = PendingCall(Home(session, None))
    item = session.ask(ident, pending)
    if item is None:
        return None
    item.call = ident
    pending._input = item
    session.calls[ident] = pending
    return pending


def gather(pending: Sequence[PendingCall]) -> List[Any]:
    """The values of all, in order; raises the first failure as soon as it is there."""
    arrived: SimpleQueue[PendingCall] = SimpleQueue()
    for one in pending:
        one.watch(lambda _, one=one: arrived.put(one))  # type: ignore[misc]
    for _ in pending:
        came = threads.take(arrived)
        if came.outcome(0).failed:
            came.value(0)  # raises
    return [one.value(0) for one in pending]


# --- generators -------------------------------------------------------------------------------


def items(
    session: Runner,
    spec: FunctionSpec,
    args: Tuple[Any, ...],
    kwargs: Mapping[str, Any],
    method: str = "",
) -> Iterator[Any]:
    """The yields of a remote generator, as they come; closing it ends the remote one."""
    arrived = Arrivals()
    buffers = _own(dump_arguments(spec, args, kwargs))
    submitted = session.submit(spec, [buffers], arrived, method=method)
    finished = False
    taken = 0
    try:
        while True:
            for _, outcome in arrived.take():
                if outcome.kind == ITEM and outcome.error is None:
                    yield value_of(outcome, spec.renames)
                    taken += 1
                    if taken % MORE_EVERY == 0:
                        session.more(spec, submitted[0], MORE_EVERY)
                    continue
                finished = True
                if outcome.kind != ITEMS_END or outcome.error is not None:
                    value_of(outcome, spec.renames)  # raises
                return
    finally:
        if not finished:
            session.cancel(spec, submitted)


# --- maps -------------------------------------------------------------------------------------


class MapRun:
    """One map: a window of inputs in flight, results in order or as they come.

    All but the arrival of outcomes happens in the caller's thread, inside ``next()``.
    """

    def __init__(
        self,
        session: Runner,
        spec: FunctionSpec,
        arguments: Iterable[Tuple[Any, ...]],
        kwargs: Mapping[str, Any],
        *,
        ordered: bool,
        return_exceptions: bool,
        method: str = "",
    ) -> None:
        self._session = session
        self._spec = spec
        self._arguments = iter(arguments)
        self._kwargs = kwargs
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._method = method
        self._renames = spec.renames
        self._arrived = Arrivals()
        self._flying: Dict[int, Input] = {}
        self._heavy: Dict[int, int] = {}  # bytes of those that are worth counting
        self._weight = 0
        self._sent = 0
        self._exhausted = False

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._in_order() if self._ordered else self._as_completed()
        finally:
            if self._flying:
                self._session.cancel(self._spec, list(self._flying.values()))

    def _as_completed(self) -> Iterator[Any]:
        forget, heavy = self._flying.pop, self._heavy
        while True:
            self._fill(0)
            if not self._flying:
                return
            for item, outcome in self._arrived.take():
                forget(item.id)
                if heavy:
                    self._weight -= heavy.pop(item.id, 0)
                yield self._value(outcome)

    def _in_order(self) -> Iterator[Any]:
        early: Dict[int, Any] = {}
        due = 0
        forget, heavy = self._flying.pop, self._heavy
        while True:
            self._fill(len(early))
            if not self._flying:
                return
            for item, outcome in self._arrived.take():
                forget(item.id)
                if heavy:
                    self._weight -= heavy.pop(item.id, 0)
                value = self._value(outcome)
                if item.index != due:
                    early[item.index] = value
                    continue
                due += 1
                yield value
                while due in early:
                    value = early.pop(due)
                    due += 1
                    yield value

    def _value(self, outcome: Outcome) -> Any:
        """The value; a failure raises at once, or is the value."""
        try:
            return value_of(outcome, self._renames)
        except Exception as error:
            if self._return_exceptions:
                return error
            raise

    def _fill(self, held: int) -> None:
        """Pull from the caller's iterator while the window has room and no result waits; ``held``
        results that wait for their turn count too."""
        while not self._exhausted:
            room = limits.MAP_WINDOW - len(self._flying) - held
            if room <= 0 or self._weight > MAP_BYTES:
                return
            quick = self._send_some(min(room, limits.BATCH_MAX))
            if not self._arrived.empty() and not (quick and len(self._flying) < KEEP_FLYING):
                return

    def _send_some(self, most: int) -> bool:
        """Send the next few; False when the iterator takes its time."""
        mono = self._session.clock.mono
        until = mono() + GATHER
        spec, kwargs, arguments = self._spec, self._kwargs, self._arguments
        payloads: List[List[Buffer]] = []
        quick, weight = True, 0
        while len(payloads) < most and weight <= HEAVY:
            try:
                args = next(arguments)
            except StopIteration:
                self._exhausted = True
                break
            buffers = dump_arguments(spec, args, kwargs)
            if len(buffers) > 1 or len(buffers[0]) > HEAVY:
                buffers = _own(buffers)
                weight += sum(map(len, buffers))
            payloads.append(buffers)
            if mono() > until:
                quick = False
                break
        if payloads:
            self._send(payloads, weight)
        return quick

    def _send(self, payloads: List[List[Buffer]], weight: int) -> None:
        """Send; all but the last of which are light, where ``weight`` says that it is heavy."""
        sent = self._session.submit(self._spec, payloads, self._arrived, method=self._method)
        index = self._sent
        for item in sent:  # none of their outcomes is looked at before this thread comes back
            item.index = index
            index += 1
            self._flying[item.id] = item
        self._sent = index
        if weight:
            self._heavy[sent[-1].id] = weight
            self._weight += weight
