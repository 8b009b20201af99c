"""One input: the serialized arguments of a call, and where its outcome goes.

Travels in the bundle: a container that calls functions has inputs of its own. CPython 3.8+.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple, Union

from ..clock import Clock
from ..runtime_agent.payload import FAILURE, ITEM, ITEMS_END, VALUE, Buffer

__all__ = [
    "FAILURE",
    "ITEM",
    "ITEMS_END",
    "VALUE",
    "Arrival",
    "Buffer",
    "Input",
    "Outcome",
    "Runner",
    "Sink",
    "deliver",
]


class Outcome(NamedTuple):
    """What came of an input. ``kind``: VALUE, FAILURE, ITEM or ITEMS_END with ``buffers``; or
    ``error``, when byoc itself has to report (the container died, the instance was lost)."""

    kind: int
    buffers: Sequence[Buffer] = ()
    error: Optional[BaseException] = None
    where: str = ""

    @property
    def failed(self) -> bool:
        """It stands for an exception."""
        return self.kind == FAILURE or self.error is not None


class Tries:
    """How often an input failed by itself, and how often its container was lost."""

    __slots__ = ("failures", "losses")

    def __init__(self) -> None:
        self.failures = 0
        self.losses = 0


class Input:
    """One input; 112 bytes, since a hundred thousand may wait.

    ``sink`` is called once with the final outcome, before that once per ITEM; always on a thread of
    the engine, so it must be quick. A sink with a method ``many`` gets several at a time.
    ``method``: of a class. ``call``: the id of its call where it has one of its own (``fc-...``),
    else it is ``fc-`` and the input's number. ``index``: free for whoever submitted it.
    ``started``: it has yielded an ITEM, so running it again would yield that one twice. ``at``:
    what holds it now, for the session's use.
    """

    __slots__ = ("_tries", "at", "call", "data", "done", "id", "index", "method", "sink", "started")

    def __init__(
        self,
        ident: int,
        buffers: Sequence[Buffer],
        sink: Sink,
        method: str = "",
        call: str = "",
    ) -> None:
        self.id = ident
        self.data: Union[bytes, Sequence[Buffer]] = pack(buffers)
        self.sink = sink
        self.method = method
        self.call = call
        self.index = 0
        self.done = False
        self.started = False
        self.at: Any = None
        self._tries: Optional[Tries] = None

    @property
    def buffers(self) -> Sequence[Buffer]:
        """The serialized arguments; empty once it is done."""
        data = self.data
        return (data,) if isinstance(data, bytes) else data

    @property
    def tries(self) -> Tries:
        """What happened to it so far."""
        if self._tries is None:
            self._tries = Tries()
        return self._tries

    @property
    def failures(self) -> int:
        """Attempts that failed by themselves."""
        return self._tries.failures if self._tries is not None else 0

    @property
    def losses(self) -> int:
        """Attempts whose container was lost."""
        return self._tries.losses if self._tries is not None else 0

    def close(self) -> None:
        """It is over: done, and nothing is kept of its arguments."""
        self.done = True
        self.data = ()
        self.at = None

    def finish(self, outcome: Outcome) -> None:
        """Deliver the final outcome, once however many attempts there were."""
        if not self.done:
            self.close()
            self.sink(self, outcome)


def pack(buffers: Sequence[Buffer]) -> Union[bytes, Sequence[Buffer]]:
    """How an input keeps its buffers: one of plain bytes without a sequence around it."""
    if len(buffers) == 1 and type(buffers[0]) is bytes:
        return buffers[0]
    return tuple(buffers)


Arrival = Tuple[Input, Outcome]
Sink = Callable[[Input, Outcome], None]


def deliver(arrivals: List[Arrival]) -> None:
    """Give outcomes to their sinks, in order, those of one sink together where it takes many."""
    first, count = 0, len(arrivals)
    while first < count:
        sink = arrivals[first][0].sink
        after = first + 1
        while after < count and arrivals[after][0].sink is sink:
            after += 1
        many = getattr(sink, "many", None)
        if many is not None:
            many(arrivals if after - first == count else arrivals[first:after])
        else:
            for item, outcome in arrivals[first:after]:
                sink(item, outcome)
        first = after


class Runner(Protocol):
    """What calls need: a session on the client, or its stand-in inside a container.

    ``calls``: those of this side whose id was asked for, by id.
    """

    clock: Clock
    calls: Dict[str, Any]

    def submit(
        self,
        spec: Any,
        payloads: Sequence[Sequence[Buffer]],
        sink: Sink,
        register: Optional[Callable[[Input], None]] = None,
        method: str = "",
        spawned: Sequence[str] = (),
    ) -> List[Input]:
        """Queue one input per payload. ``register`` sees each before it is sent.

        ``spawned``: empty where the caller waits; else the id of each one's call, where ``""``
        leaves the choice to the session, which puts it into :attr:`Input.call` (or leaves that
        empty when ``fc-`` and the input's number is the id).
        """

    def cancel(self, spec: Any, items: Sequence[Input], kill: bool = False) -> None:
        """Forget inputs; those that run are interrupted, with ``kill`` their containers end."""

    def more(self, spec: Any, item: Input, count: int) -> None:
        """So many items of a generator were used: it may yield as many more."""

    def ask(self, call: str, sink: Sink) -> Optional[Input]:
        """Have the outcome of a call that another part of the run spawned given to ``sink``; None
        where there is nobody else to ask."""
