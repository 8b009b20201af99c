"""Calls that containers make: resolved and submitted here, their outcomes passed on unopened.

A container names what it calls by tag, parameters and variant, and each of its calls by a number of
its own (``lid``). Calls that it waits for are cancelled when the attempt that made them ends; those
that it spawned go on, and are found by their id in the whole run.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from ..errors import Error, ExecutionError, NotFoundError
from ..tasks import attempt
from ..wire import messages
from ..wire.link import FrameError
from . import threads
from .calls import Home, PendingCall
from .inputs import ITEM, Arrival, Buffer, Input, Outcome, Runner
from .pool import Pool
from .slots import Slot
from .spec import FunctionSpec

SMALL = 256 * 1024
"""Arguments up to this size are copied out of the message that brought them."""


class Hub(Runner, Protocol):
    """What nested calls need of the session."""

    resolve: Callable[[str, str, str], FunctionSpec]
    lock: threading.RLock

    def known(self, spec: FunctionSpec) -> bool:
        """Submitting an input of this function asks nobody else for anything."""

    def changed(self, pool: Pool, slot: Slot) -> None:
        """A container began to wait for others, or no longer does."""


class Child(NamedTuple):
    """One call that a container made. ``parent``: the input that waits for it, 0 when none does;
    ``pending``: of a spawned one."""

    spec: FunctionSpec
    item: Input
    parent: int
    pending: PendingCall | None


class Book:
    """The calls of one container that have no outcome yet.

    ``errands``: what it said that is not done on the thread that reads, in order, the first of them
    being done.
    """

    def __init__(self) -> None:
        self.errands: deque[Callable[[], None]] = deque()
        self.children: dict[int, Child] = {}
        self.waiting: dict[int, set[int]] = {}

    def add(self, lid: int, child: Child) -> None:
        """A call was made."""
        self.children[lid] = child
        if child.parent:
            self.waiting.setdefault(child.parent, set()).add(lid)

    def close(self, lid: int) -> Child | None:
        """A call has its outcome, or nobody wants it."""
        child = self.children.pop(lid, None)
        if child is not None and child.parent:
            siblings = self.waiting.get(child.parent, set())
            siblings.discard(lid)
            if not siblings:
                self.waiting.pop(child.parent, None)
        return child


class Answers:
    """Passes outcomes on to the container that waits for them; a sink, :attr:`Input.index` being
    the container's number of the call."""

    def __init__(self, hub: Hub, pool: Pool, slot: Slot) -> None:
        self._hub = hub
        self._pool = pool
        self._slot = slot

    def __call__(self, item: Input, outcome: Outcome) -> None:
        self.many([(item, outcome)])

    def many(self, arrivals: list[Arrival]) -> None:
        """Several at once, those of one container in one message."""
        start = 0
        for stop in range(1, len(arrivals) + 1):
            first = arrivals[start][1]
            if stop < len(arrivals) and _together(first, arrivals[stop][1]):
                continue
            if first.error is None:
                self._pass_on(arrivals[start:stop])
            else:
                self.refuse(arrivals[start][0].index, first.error)
            start = stop
        self.over([item.index for item, outcome in arrivals if outcome.kind != ITEM])

    def _pass_on(self, arrivals: Sequence[Arrival]) -> None:
        entries = [[item.index, out.kind, len(out.buffers)] for item, out in arrivals]
        buffers = [buffer for _, out in arrivals for buffer in out.buffers]
        self.send({"t": "ans", "b": entries, "where": arrivals[0][1].where}, buffers)

    def tell(self, lid: int, outcome: Outcome) -> None:
        """One outcome."""
        if outcome.error is not None:
            self.refuse(lid, outcome.error)
        else:
            entry = [lid, outcome.kind, len(outcome.buffers)]
            self.send({"t": "ans", "b": [entry], "where": outcome.where}, outcome.buffers)
        self.over([lid])

    def refuse(self, lid: int, error: BaseException) -> None:
        """byoc's own error for one call."""
        told = error if isinstance(error, Error) else ExecutionError(str(error) or repr(error))
        self.send({"t": "err", "lid": lid, "error": told.as_dict()}, ())

    def send(self, head: Mapping[str, Any], buffers: Sequence[Buffer]) -> None:
        """A message to the container, in its turn."""
        slot = self._slot
        slot.outbox.append(partial(slot.host.send_message, slot, head, buffers))
        slot.flush()

    def over(self, lids: Iterable[int]) -> None:
        """Calls have their outcomes."""
        with self._hub.lock:
            book = _book_of(self._slot)
            for lid in lids:
                book.close(lid)
        self._hub.changed(self._pool, self._slot)


def _together(one: Outcome, other: Outcome) -> bool:
    return one.error is None and other.error is None and one.where == other.where


T = TypeVar("T")


def field(head: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A part of a message of a container. Raises FrameError when it is not what it should be."""
    value = head.get(name)
    if not isinstance(value, kind):
        raise FrameError(f"a {head.get('t')} with {name}={value!r}"[:200])
    return value


class _Call(NamedTuple):
    """A message ``call``, understood. ``names``: the ids of spawned ones."""

    what: tuple[str, str, str]
    method: str
    lids: list[int]
    names: list[str]
    payloads: list[list[Buffer]]
    parent: int
    waits: bool


def _parse(message: messages.Message) -> _Call:
    head = message.head
    what = (field(head, "tag", str), field(head, "parameters", str), field(head, "variant", str))
    waits = bool(head.get("waits"))
    call = _Call(what, str(head.get("m") or ""), [], [], [], 0, waits)
    position = 0
    for entry in field(head, "b", list):
        if not (isinstance(entry, list) and len(entry) > 1 and {*map(type, entry[:2])} == {int}):
            raise FrameError("a call with an entry that is none")
        parts = message.buffers[position : position + entry[1]]
        position += entry[1]
        if entry[1] < 0 or position > len(message.buffers):
            raise FrameError("a call without its arguments")
        call.lids.append(entry[0])
        call.names.append(str(entry[2]) if len(entry) > 2 else "")
        call.payloads.append([bytes(p) if memoryview(p).nbytes <= SMALL else p for p in parts])
    return call._replace(parent=field({"parent": 0, **head}, "parent", int)) if waits else call


def called(hub: Hub, pool: Pool, slot: Slot, message: messages.Message) -> None:
    """A container calls a function."""
    call = _parse(message)
    spec = attempt(lambda: hub.resolve(*call.what))
    work = partial(_begin, hub, pool, slot, call, spec)
    if isinstance(spec, BaseException) or hub.known(spec):
        _in_turn(hub, slot, work)
    else:
        _apart(hub, slot, work)


def _in_turn(hub: Hub, slot: Slot, work: Callable[[], None]) -> None:
    """Do what a container asks for, behind what it asked for before."""
    with hub.lock:
        book = _book_of(slot)
        if book.errands:
            book.errands.append(work)
            return
    work()


def _apart(hub: Hub, slot: Slot, work: Callable[[], None]) -> None:
    """The same for what may take long: in a thread, in which what follows then waits too."""
    with hub.lock:
        errands = _book_of(slot).errands
        errands.append(work)
        if len(errands) > 1:
            return
    threads.start("byoc-nested", partial(_run_errands, hub, slot))


def _run_errands(hub: Hub, slot: Slot) -> None:
    errands = _book_of(slot).errands
    while True:
        failed = attempt(errands[0])
        if isinstance(failed, BaseException):  # those behind it are not to wait for ever
            threads.tell_failure(failed)
        with hub.lock:
            errands.popleft()
            if errands:
                continue
            children = orphans(slot)  # of inputs that ended meanwhile
        cancel_orphans(hub, children)
        return


def _begin(
    hub: Hub, pool: Pool, slot: Slot, call: _Call, spec: FunctionSpec | BaseException
) -> None:
    answers = Answers(hub, pool, slot)
    begin = _submit if call.waits else _spawn
    failed: BaseException | None
    if isinstance(spec, BaseException):
        failed = spec
    else:
        failed = attempt(partial(begin, hub, slot, spec, call, answers))
    if failed is None:
        hub.changed(pool, slot)
        return
    for lid in call.lids:
        answers.refuse(lid, failed)
    answers.over(call.lids)


def _book_of(slot: Slot) -> Book:
    if slot.book is None:
        slot.book = Book()
    book: Book = slot.book
    return book


def _submit(hub: Hub, slot: Slot, spec: FunctionSpec, call: _Call, answers: Answers) -> None:
    numbers = iter(call.lids)
    book = _book_of(slot)

    def register(item: Input) -> None:
        item.index = next(numbers)
        book.add(item.index, Child(spec, item, call.parent, None))

    hub.submit(spec, call.payloads, answers, register, method=call.method)


def _spawn(hub: Hub, slot: Slot, spec: FunctionSpec, call: _Call, answers: Answers) -> None:
    numbers = iter(call.lids)
    home = Home(hub, spec)
    book = _book_of(slot)

    def register(item: Input) -> None:
        item.index = next(numbers)
        pending = PendingCall(home, item)
        item.sink = pending
        book.add(item.index, Child(spec, item, 0, pending))
        hub.calls[pending.id] = pending
        pending.watch(partial(answers.tell, item.index))

    hub.submit(spec, call.payloads, answers, register, method=call.method, spawned=call.names)


def dropped(hub: Hub, pool: Pool, slot: Slot, head: Mapping[str, Any]) -> None:
    """A container does not want the outcomes of some of its calls."""
    lids = [lid for lid in field(head, "ids", list) if isinstance(lid, int)]
    _in_turn(hub, slot, partial(_drop, hub, pool, slot, lids, bool(head.get("kill"))))


def _drop(hub: Hub, pool: Pool, slot: Slot, lids: Sequence[int], kill: bool) -> None:
    with hub.lock:
        book = _book_of(slot)
        children = [child for lid in lids if (child := book.close(lid)) is not None]
    _cancel(hub, children, kill)
    hub.changed(pool, slot)


def _cancel(hub: Hub, children: Iterable[Child], kill: bool = False) -> None:
    by_spec: dict[int, list[Child]] = {}
    for child in children:
        if child.pending is not None:
            child.pending.cancel(kill)
        else:
            by_spec.setdefault(id(child.spec), []).append(child)
    for mine in by_spec.values():
        hub.cancel(mine[0].spec, [child.item for child in mine], kill)


def asked(hub: Hub, pool: Pool, slot: Slot, head: Mapping[str, Any]) -> None:
    """A container wants the outcome of a call by its id."""
    lid, call = field(head, "lid", int), field(head, "call", str)
    _in_turn(hub, slot, partial(_ask, hub, pool, slot, lid, call))


def _ask(hub: Hub, pool: Pool, slot: Slot, lid: int, call: str) -> None:
    answers = Answers(hub, pool, slot)
    pending = hub.calls.get(call)
    if pending is None:
        answers.refuse(lid, NotFoundError(f"no call {call!r} was spawned in this run"))
    else:
        pending.watch(partial(answers.tell, lid))


def used(hub: Hub, slot: Slot, head: Mapping[str, Any]) -> None:
    """A container has used items of a generator that it called."""
    lid, count = field(head, "id", int), field(head, "n", int)
    with hub.lock:
        child = _book_of(slot).children.get(lid)
    if child is not None:
        hub.more(child.spec, child.item, count)


def orphans(slot: Slot) -> list[Child]:
    """Calls whose caller's attempt has ended; nobody waits for them. Call under the lock."""
    book: Book | None = slot.book
    if book is None:
        return []
    over = [parent for parent in book.waiting if parent not in slot.inflight]
    lids = [lid for parent in over for lid in book.waiting[parent]]
    return [child for lid in lids if (child := book.close(lid)) is not None]


def cancel_orphans(hub: Hub, children: Sequence[Child]) -> None:
    """Cancel what :func:`orphans` found. Call without the lock."""
    if children:
        _cancel(hub, children)


def waits(slot: Slot) -> int:
    """How many inputs of a container wait for calls of their own."""
    book: Book | None = slot.book
    return sum(parent in slot.inflight for parent in book.waiting) if book is not None else 0
