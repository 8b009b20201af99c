"""One input: the serialized arguments of a call, and where its outcome goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..runtime_agent.payload import FAILURE, ITEM, ITEMS_END, VALUE, Buffer

__all__ = ["FAILURE", "ITEM", "ITEMS_END", "VALUE", "Buffer", "Input", "Outcome"]


class Outcome(NamedTuple):
    """What came of an input. ``kind``: VALUE, FAILURE, ITEM or ITEMS_END with ``buffers``; or
    ``error``, when byoc itself has to report (the container died, the instance was lost)."""

    kind: int
    buffers: Sequence[Buffer] = ()
    error: BaseException | None = None
    where: str = ""


class Input:
    """One input. ``sink`` is called once with the final outcome, before that once per ITEM; always
    on a thread of the engine, so it must be quick. ``started``: it has yielded an ITEM, so running
    it again would yield that one twice."""

    __slots__ = ("buffers", "done", "failures", "id", "index", "losses", "sink", "started")

    def __init__(
        self, ident: int, buffers: Sequence[Buffer], sink: Callable[[Input, Outcome], None]
    ) -> None:
        self.id = ident
        self.buffers = buffers
        self.sink = sink
        self.index = 0
        self.failures = 0
        self.losses = 0
        self.done = False
        self.started = False

    def finish(self, outcome: Outcome) -> None:
        """Deliver the final outcome, once however many attempts there were."""
        if not self.done:
            self.done = True
            self.buffers = ()
            self.sink(self, outcome)
