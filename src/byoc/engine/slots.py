"""One container as the engine sees it, and what the containers of one instance ask for together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import InstanceError
from .inputs import Input, Outcome

STARTING, READY, STOPPING = "starting", "ready", "stopping"


class Steal:
    """A steal under way: the container is made to skip what stands up to place ``limit``.

    ``believed``: the last place that it is believed to have started, once the agent has said so.
    """

    __slots__ = ("believed", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.believed: int | None = None


@dataclass(eq=False)
class Slot:
    """One container: its stream on ``host`` (a live instance) and what it holds.

    ``inflight``: its inputs by id, in the order sent, those included that were cancelled and still
    run. ``depth``: how many it may hold. ``sent``: inputs sent so far, the place of the last one.
    ``skipped``: the place up to which the last steal made it skip. ``stealing``: the one that is
    under way. ``most``: inputs, or batches of them, that it runs at once. ``waits``: how many of
    its inputs wait for calls of their own. ``heard``: when it last made progress, or got something
    to do. ``since``: when it became ready; ``idle``: when it ran dry. ``book``: the calls that its
    inputs made, for :mod:`.nested`. ``ended``: it was told that nothing more comes; ``gone``: it
    has said its last word. ``before``: starts that had been lost in a row when it was started.
    """

    host: Any
    stream: int
    name: str
    gpus: tuple[int, ...] = ()
    state: str = STARTING
    inflight: dict[int, Input] = field(default_factory=dict)
    depth: int = 1
    served: int = 0
    sent: int = 0
    skipped: int = 0
    stealing: Steal | None = None
    most: int = 1
    waits: int = 0
    book: Any = None
    ended: bool = False
    gone: bool = False
    before: int = 0
    heard: float = 0.0
    since: float = 0.0
    idle: float = 0.0
    failure: Outcome | None = None
    load: Load | None = None
    outbox: deque[Callable[[], None]] = field(default_factory=deque)
    sending: threading.Lock = field(default_factory=threading.Lock)

    @property
    def key(self) -> tuple[int, int]:
        """What tells it from all others of this run."""
        return id(self.host), self.stream

    @property
    def blocked(self) -> bool:
        """All that it runs waits for other calls: it uses no core, and takes nothing."""
        return 0 < self.waits >= min(len(self.inflight), self.most)

    def flush(self) -> None:
        """Send what stands in the outbox, in order; one thread at a time does it for all."""
        while self.outbox and self.sending.acquire(blocking=False):
            try:
                while self.outbox:
                    self._send(self.outbox.popleft())
            finally:
                self.sending.release()

    def _send(self, work: Callable[[], None]) -> None:
        if not self.gone:
            with suppress(InstanceError):  # lost: what it held is given back by those who are told
                work()


class Share(NamedTuple):
    """What one container takes of its instance. ``running``: it is not blocked."""

    cpu: float
    memory: int
    running: bool


class Load:
    """The containers of one instance, of all functions together.

    ``cores``, ``memory`` (MiB): what the instance has. ``cpu``, ``running``: asked for by those
    that are not blocked, and how many these are. ``reserved``: MiB asked for by all.
    """

    def __init__(self, cores: float, memory: int) -> None:
        self.cores = cores
        self.memory = memory
        self.cpu = 0.0
        self.running = 0
        self.reserved = 0
        self._shares: dict[Slot, Share] = {}

    @property
    def count(self) -> int:
        """Containers, blocked ones included."""
        return len(self._shares)

    def put(self, slot: Slot, share: Share) -> None:
        """Count a container, or count it anew."""
        self._shares[slot] = share
        self._sum()

    def drop(self, slot: Slot) -> None:
        """It is gone."""
        if self._shares.pop(slot, None) is not None:
            self._sum()

    def _sum(self) -> None:
        running = [share for share in self._shares.values() if share.running]
        self.running = len(running)
        self.cpu = sum(share.cpu for share in running)
        self.reserved = sum(share.memory for share in self._shares.values())
