"""Pools with containers that exist in memory only, and a session's part of the work."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from byoc.engine import dispatch, ends
from byoc.engine.dispatch import Retry
from byoc.engine.inputs import ITEM, VALUE, Arrival, Input, Outcome, deliver
from byoc.engine.pool import Pool
from byoc.engine.slots import READY, Load, Slot, Steal


@dataclass
class Machine:
    """A container: it starts inputs in order, skips what was stolen, and tells the rest.

    ``board``: the place of the last input that it says it started. ``looking``: it has written
    that and not yet looked whether it may.
    """

    slot: Slot
    most: int = 1
    queue: deque[tuple[int, int]] = field(default_factory=deque)
    """(place, input), or (0, 0) for a ``go``."""
    places: int = 0
    board: int = 0
    stops: int = 0
    gone: int = 0
    looking: tuple[int, int] | None = None
    running: set[int] = field(default_factory=set)
    says: deque[tuple[str, int]] = field(default_factory=deque)

    def give(self, batch: list[Input]) -> None:
        """Inputs arrive."""
        for item in batch:
            self.places += 1
            self.queue.append((self.places, item.id))

    def step(self) -> None:
        """The next thing that it does by itself."""
        if self.looking is not None:
            place, ident = self.looking
            self.looking = None
            if self.stops > self.gone:
                self.board = place - 1
            else:
                self.running.add(ident)
        elif self.queue and self.queue[0] == (0, 0):
            self.queue.popleft()
            self.gone += 1
            self.says.append(("went", self.board))
        elif self.queue and self.stops > self.gone:
            self.queue.popleft()  # skipped
        elif self.queue and len(self.running) < self.most:
            self.looking = self.queue.popleft()
            self.board = self.looking[0]


class Bench:
    """A pool, and what a session would do with its decisions."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.inputs: list[Input] = []
        self.outcomes: dict[int, Outcome] = {}
        self.items: Counter[int] = Counter()
        self.retries: list[Retry] = []
        self.machines: dict[Slot, Machine] = {}
        self.steals: list[tuple[Slot, Steal]] = []
        self.stopped: list[Steal] = []
        self.now = 0.0
        self.loads: dict[int, Load] = {}
        self._streams = itertools.count(16)

    def submit(self, count: int) -> list[Input]:
        """Queue inputs."""
        first = len(self.inputs) + 1
        fresh = [Input(ident, (b"x",), self.sink) for ident in range(first, first + count)]
        self.inputs += fresh
        self.pool.enqueue(fresh)
        return fresh

    def sink(self, item: Input, outcome: Outcome) -> None:
        """What a caller gets."""
        if outcome.kind == ITEM and outcome.error is None:
            self.items[item.id] += 1
            return
        assert item.id not in self.outcomes, "a second outcome"
        self.outcomes[item.id] = outcome

    def slot(self, host: Any = "host", state: str = READY, gpus: tuple[int, ...] = ()) -> Slot:
        """A new container."""
        slot = Slot(host, next(self._streams), "ta", gpus)
        load = self.loads.setdefault(id(host), Load(2.0, 8000))
        self.pool.add(slot, load)
        if state != slot.state:
            self.pool.set_state(slot, state, self.now)
        self.machines[slot] = Machine(slot, slot.most)
        return slot

    def feed(self) -> None:
        """Give every container what the pool says."""
        for slot in list(self.pool.slots.values()):
            self.machines[slot].give(dispatch.feed(self.pool, slot, self.now))

    def settle(self, arrivals: list[Arrival], again: list[Retry] | None = None) -> None:
        """Deliver outcomes; keep what is to be tried again."""
        deliver(arrivals)
        self.retries += again or []

    def answer(self, slot: Slot, idents: list[int], kind: int = VALUE, took: float = 0.01) -> None:
        """Results from a container."""
        entries = [[ident, kind, 1, int(took * 1e6)] for ident in idents]
        parts = [b"%d" % i for i in idents]
        assert dispatch.sound(entries, parts)
        self.settle(*dispatch.results(self.pool, slot, entries, parts, self.now))

    def exit(self, slot: Slot, reason: str, *idents: int, **word: Any) -> None:
        """A container's last word."""
        self.machines.pop(slot, None)
        said = {"reason": reason, "inputs": list(idents), **word}
        self.settle(*ends.exited(self.pool, slot, said))

    def lose(self, slot: Slot, error: BaseException) -> None:
        """Its instance is gone."""
        self.machines.pop(slot, None)
        self.settle(ends.lost(self.pool, slot, error))

    def again(self, retry: Retry) -> None:
        """A retry's pause is over."""
        self.retries.remove(retry)
        dispatch.due_again(self.pool, retry.input)

    # --- stealing -------------------------------------------------------------------------

    def steal(self, slot: Slot) -> None:
        """The client wants back what a container has not started."""
        if slot.stealing is None:
            theft = dispatch.steal(slot)
            self.machines[slot].queue.append((0, 0))
            self.steals.append((slot, theft))

    def agent_stops(self) -> None:
        """The agent forbids further starts; the client hears of it later."""
        for slot, theft in self.steals:
            machine = self.machines.get(slot)
            if machine is not None and theft not in self.stopped:
                self.stopped.append(theft)
                machine.stops += 1

    def agent_tells(self, slot: Slot, theft: Steal) -> None:
        """The agent's answer to a steal."""
        self.steals.remove((slot, theft))
        machine = self.machines.get(slot)
        if machine is not None:
            dispatch.stolen(self.pool, slot, theft, machine.board)

    def hear(self, slot: Slot) -> None:
        """What a container said arrives."""
        machine = self.machines[slot]
        while machine.says:
            _, started = machine.says.popleft()
            dispatch.went(self.pool, slot, started, self.now)
