"""A session whose instances, clock and ticker are in memory: everything happens when a test says
so."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from byoc.clock import IDS
from byoc.engine.bringup import Prepared
from byoc.engine.inputs import ITEM, VALUE, Buffer, Input, Outcome
from byoc.engine.options import RunOptions
from byoc.engine.pool import Pool
from byoc.engine.session import Session
from byoc.engine.slots import Load, Slot
from byoc.engine.spec import FunctionSpec
from byoc.wire.messages import Message


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def mono(self) -> float:
        """Seconds."""
        return self.now

    def wall(self) -> float:
        """Seconds."""
        return self.now


class Ticker:
    """Calls what is due when time passes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._order = itertools.count()
        self.due: list[tuple[float, int, Callable[[], object]]] = []

    def after(self, delay: float, call: Callable[[], object], key: object = None) -> None:
        """As the real one's."""
        heapq.heappush(self.due, (self._clock.now + delay, next(self._order), call))

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass, step by step."""
        end = self._clock.now + seconds
        while self.due and self.due[0][0] <= end:
            when, _, call = heapq.heappop(self.due)
            self._clock.now = max(self._clock.now, when)
            call()
        self._clock.now = end


class Host:
    """An instance: it remembers what each container was told."""

    def __init__(self, cores: float = 2.0, gpus: int = 0, shared: bool = False) -> None:
        self.load = Load(cores, 8000)
        self.lost = None
        self.leaving = self.taken = False
        self.until = float("inf")
        self.rtt = 0.0
        self.free_gpus = list(range(gpus))
        self.held = SimpleNamespace(traits=SimpleNamespace(shared_host=shared))
        self.inputs: dict[Slot, list[Input]] = defaultdict(list)
        self.words: list[tuple[str, Slot, Any]] = []
        self.started: list[Slot] = []
        self.speak: dict[Slot, tuple[Any, Any]] = {}
        self._streams = itertools.count(16)

    @property
    def usable(self) -> bool:
        """As the real one's."""
        return self.lost is None and not self.leaving

    def new_stream(self) -> int:
        """As the real one's."""
        return next(self._streams)

    def take_gpus(self, wanted: Sequence[Any]) -> tuple[int, ...] | None:
        """As the real one's."""
        count = wanted[0].count if wanted else 0
        if count > len(self.free_gpus):
            return None
        taken = tuple(self.free_gpus[:count])
        del self.free_gpus[:count]
        return taken

    def start_function(
        self, slot: Slot, spec: FunctionSpec, env: Any, plan: Any, code: Any, said: Any, ended: Any
    ) -> None:
        """A container is started; it is ready when the test says so."""
        self.started.append(slot)
        self.speak[slot] = (said, ended)

    def send_inputs(self, slot: Slot, batch: Sequence[Input]) -> None:
        """As the real one's."""
        self.inputs[slot] += batch

    def send_message(self, slot: Slot, head: Any, buffers: Sequence[Buffer] = ()) -> None:
        """As the real one's."""
        self.words.append((head["t"], slot, head))

    def tell_preempted(self, slot: Slot) -> None:
        """As the real one's."""
        self.words.append(("preempt", slot, None))

    def more(self, slot: Slot, ident: int, count: int) -> None:
        """As the real one's."""
        self.words.append(("more", slot, count))

    def cancel(self, slot: Slot, idents: Sequence[int]) -> None:
        """As the real one's."""
        self.words.append(("cancel", slot, list(idents)))

    def steal(self, slot: Slot, told: Callable[[int | None], None]) -> None:
        """As the real one's; the test answers."""
        self.words.append(("steal", slot, told))

    def kill(self, slot: Slot, reason: str, grace: float = 0.0) -> None:
        """As the real one's."""
        self.words.append(("kill", slot, reason))

    def end_input(self, slot: Slot) -> None:
        """As the real one's."""
        self.words.append(("end", slot, None))

    def told(self, kind: str) -> list[Any]:
        """What containers were told of this kind."""
        return [what for name, _, what in self.words if name == kind]


class World:
    """A session with one host, or several; ``extra`` are those that it may bring up."""

    def __init__(self, *hosts: Host, extra: Sequence[Host] = ()) -> None:
        self.clock = Clock()
        nothing: Any = None
        self.notices: list[str] = []
        self.session = Session(
            SimpleNamespace(timeout=None, gpu=(), cpu=0, memory=0, disk=0),  # type: ignore[arg-type]
            RunOptions(),
            SimpleNamespace(notice=self.notices.append),  # type: ignore[arg-type]
            run_id="run-1",
            clock=self.clock,  # type: ignore[arg-type]
            ids=IDS,
            dialer=nothing,
        )
        self.ticker = Ticker(self.clock)
        self.session._ticker = self.ticker  # type: ignore[assignment]
        self.hosts = list(hosts) or [Host()]
        self.extra = list(extra)
        self.session._hosts = self.hosts  # type: ignore[assignment]
        self.session._hosts_for = lambda pool: [h for h in self.hosts if h.usable]  # type: ignore[method-assign,assignment,return-value]
        self.session._begin_bringing = self._bring  # type: ignore[method-assign]
        self.parted: list[Host] = []
        self.session._leave = self.parted.append  # type: ignore[method-assign,assignment]
        self.brought: list[bool] = []
        self.session._prepared = defaultdict(lambda: Prepared(nothing, {}, []))
        self.outcomes: dict[int, Outcome] = {}
        self.yielded: list[Input] = []

    def _bring(self, pool: Pool, beyond: bool = False) -> None:
        self.brought.append(beyond)
        if self.extra:
            self.hosts.append(self.extra.pop())
            self.session._pump(pool)

    def submit(self, spec: FunctionSpec, count: int = 1) -> list[Input]:
        """Calls that somebody waits for."""
        return self.session.submit(spec, [[b"x"]] * count, self._sink)

    def _sink(self, item: Input, outcome: Outcome) -> None:
        assert item.id not in self.outcomes
        if outcome.kind == ITEM:
            self.yielded.append(item)
        else:
            self.outcomes[item.id] = outcome

    def pool(self, spec: FunctionSpec) -> Pool:
        """A function's pool."""
        return self.session._pools[id(spec)]

    def slots(self, spec: FunctionSpec) -> list[Slot]:
        """A function's containers."""
        return list(self.pool(spec).slots.values())

    def ready(self, *specs: FunctionSpec) -> None:
        """All containers that are starting are ready."""
        for spec in specs:
            for slot in self.slots(spec):
                if slot.state == "starting":
                    self.say(slot, {"t": "ready"})

    def say(self, slot: Slot, head: dict[str, Any], *buffers: bytes) -> None:
        """A container says something."""
        slot.host.speak[slot][0](slot, Message(head, list(buffers)))

    def answer(self, slot: Slot, count: int = 1, took: float = 0.01, kind: int = VALUE) -> None:
        """A container gives the results of the first inputs that it holds."""
        idents = list(slot.inflight)[:count]
        entries = [[ident, kind, 1, int(took * 1e6)] for ident in idents]
        self.say(slot, {"t": "out", "b": entries}, *[b"%d" % ident for ident in idents])

    def exit(self, slot: Slot, reason: str = "exit", **word: Any) -> None:
        """A container ends."""
        slot.host.speak[slot][1](slot, {"reason": reason, "code": 0, **word})

    def validate(self) -> None:
        """Everything is where it should be."""
        for pool in self.session._pools.values():
            pool.validate()
