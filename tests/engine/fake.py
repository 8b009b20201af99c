"""A session in memory: inputs stay with the test, which answers them as it likes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from byoc.engine.inputs import FAILURE, VALUE, Buffer, Input, Outcome
from byoc.engine.spec import FunctionSpec
from byoc.runtime_agent import payload

Sink = Callable[[Input, Outcome], None]


class Clock:
    """Every look at it is ``step`` seconds after the one before."""

    def __init__(self) -> None:
        self.step = 0.0
        self._now = 0.0

    def mono(self) -> float:
        """Seconds."""
        self._now += self.step
        return self._now


class FakeSession:
    """What :mod:`byoc.engine.calls` needs of a session."""

    def __init__(self, answer: Callable[[Any], Outcome | None] = lambda args: None) -> None:
        self.clock = Clock()
        self.answer = answer
        """Called with the arguments at once; None leaves the input waiting."""
        self.waiting: dict[int, Input] = {}
        self.submitted = 0
        self.batches: list[int] = []
        self.cancelled: list[tuple[int, bool]] = []
        self.allowed: list[int] = []
        self.calls: dict[str, Any] = {}
        self._numbers = itertools.count(1)

    def submit(
        self,
        spec: FunctionSpec,
        payloads: Sequence[Sequence[Buffer]],
        sink: Sink,
        register: Callable[[Input], None] | None = None,
        method: str = "",
        spawned: Sequence[str] = (),
    ) -> list[Input]:
        """As the session's."""
        fresh = [Input(next(self._numbers), buffers, sink, method) for buffers in payloads]
        for item in fresh:
            if register is not None:
                register(item)
        self.submitted += len(fresh)
        self.batches.append(len(fresh))
        for item in fresh:
            self.waiting[item.id] = item
            outcome = self.answer(arguments(item))
            if outcome is not None:
                self.finish(item.id, outcome)
        return fresh

    def finish(self, ident: int, outcome: Outcome) -> None:
        """Answer an input that waits."""
        self.waiting.pop(ident).finish(outcome)

    def cancel(self, spec: FunctionSpec, items: Sequence[Input], kill: bool = False) -> None:
        """As the session's."""
        for item in items:
            item.done = True
            self.waiting.pop(item.id, None)
            self.cancelled.append((item.id, kill))

    def more(self, spec: FunctionSpec, item: Input, count: int) -> None:
        """As the session's."""
        self.allowed.append(count)

    def ask(self, call: str, sink: Sink) -> Input | None:
        """As a container's session: the answer comes later."""
        item = Input(next(self._numbers), (), sink)
        self.waiting[item.id] = item
        return item if call.startswith("fc-") else None


def arguments(item: Input) -> Any:
    """The positional arguments of an input."""
    return payload.loads(item.buffers)[0]


def value(thing: Any, kind: int = VALUE) -> Outcome:
    """An outcome with a value."""
    return Outcome(kind, payload.dumps(thing))


def failure(error: BaseException) -> Outcome:
    """An outcome with an exception that user code raised remotely."""
    info = payload.describe(error, ())
    return Outcome(FAILURE, payload.dump_failure(error, info), where="ta-1")
