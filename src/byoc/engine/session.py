"""One run: its instances, its functions' pools, its end.

Decisions are made under one lock, by the modules beside (:mod:`.dispatch`, :mod:`.ends`,
:mod:`.scaling`); what they mean for a container is put into its outbox and sent without the lock,
in order. Whatever waits for a machine happens in threads of its own, so a caller only ever waits
for its own outcome.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from .. import limits
from ..clock import IDS, SYSTEM, Clock, Ids
from ..errors import Error, ExecutionError, InstanceError, NotFoundError
from ..fleet.ports import Dialer
from ..settings import Settings
from ..tasks import SLICE
from ..wire.link import FrameError
from ..wire.messages import Message
from . import dispatch, ends, nested, scaling
from .bringup import Prepared
from .events import Reporter
from .gang import Gang
from .ganging import Ganging
from .inputs import FAILURE, Arrival, Buffer, Input, Outcome, Sink, deliver
from .live import LiveInstance
from .options import RunOptions
from .pool import Pool
from .slots import READY, Slot
from .spec import FunctionSpec

CANCEL_AGAIN = 0.1
"""Seconds after which an input that was cancelled and still runs is told once more: the word may
have come before it began. Doubles each time."""
CANCEL_TIMES = 6
"""How often it is told; a generator's container is ended then."""


class Session(Ganging):
    """A run from its first call to its teardown. A context manager; nothing is rented before the
    first call.

    ``resolve``: finds what a container calls by tag, parameters and variant; raises NotFoundError.
    ``kept``: functions that want containers from the first call on, whoever is called.
    ``calls``: spawned calls whose id is known to somebody.
    """

    def __init__(
        self,
        settings: Settings,
        options: RunOptions,
        reporter: Reporter,
        *,
        run_id: str | None = None,
        kind: str = "run",
        clock: Clock = SYSTEM,
        ids: Ids = IDS,
        dialer: Dialer | None = None,
    ) -> None:
        super().__init__(
            settings,
            options,
            reporter,
            run_id=run_id,
            kind=kind,
            clock=clock,
            ids=ids,
            dialer=dialer,
        )
        self.resolve: Callable[[str, str, str], FunctionSpec] = _unknown
        self.kept: Callable[[], Iterable[FunctionSpec]] = list
        self.calls: dict[str, Any] = {}
        self._pools: dict[int, Pool] = {}
        self._prepared: dict[tuple[int, int], Prepared] = {}
        self._bringing: dict[int, list[LiveInstance | None]] = {}
        self._gangs: list[Gang] = []
        self._finding = threading.Lock()
        self._starving: dict[int, Pool] = {}
        self._deferred: dict[int, Pool] = {}
        self._specs: list[FunctionSpec] = []
        # Numbers of another run's inputs are not met here: a call's id is made of them.
        self._next_input = (zlib.crc32(self.run_id.encode()) << 20) + 1

    # --- submitting -----------------------------------------------------------------------

    def submit(
        self,
        spec: FunctionSpec,
        payloads: Sequence[Sequence[Buffer]],
        sink: Sink,
        register: Callable[[Input], None] | None = None,
        method: str = "",
        spawned: Sequence[str] = (),
    ) -> list[Input]:
        """Queue one input per payload; see :class:`~byoc.engine.inputs.Runner`."""
        pool = self._pools.get(id(spec)) or self._new_pool(spec)
        with self.lock:
            if self._closed:
                raise ExecutionError("the run is over")
            number = self._next_input
            items = [
                Input(ident, buffers, sink, method)
                for ident, buffers in enumerate(payloads, number)
            ]
            self._next_input = number + len(items)
            for item, call in zip(items, spawned, strict=False):
                item.call = call
            if register is not None:
                for item in items:
                    register(item)
            pool.enqueue(items)
            dirty = self._advance(pool)
        for slot in dirty:
            slot.flush()
        return items

    def cancel(self, spec: FunctionSpec, items: Sequence[Input], kill: bool = False) -> None:
        """Forget inputs. Queued ones are dropped, running ones interrupted; with ``kill`` their
        containers end."""
        with self.lock:
            pool = self._pools.get(id(spec))
            held = pool.drop(items) if pool is not None else {}
            for slot, mine in held.items():
                assert pool is not None
                if kill:
                    slot.outbox.append(partial(slot.host.kill, slot, "cancelled"))
                    continue
                if len(slot.inflight) > min(len(mine), dispatch.lanes(pool)):
                    self._steal(pool, slot)
                self._tell_cancelled(pool, slot, [item.id for item in mine], 0)
        for slot in held:
            slot.flush()

    def _tell_cancelled(self, pool: Pool, slot: Slot, idents: Sequence[int], times: int) -> None:
        """Tell a container which of its inputs are cancelled, again while they run."""
        left = [ident for ident in idents if ident in slot.inflight]
        if not left or slot.gone:
            return
        if times >= CANCEL_TIMES:
            if any(pool.spec.yields(slot.inflight[ident].method) for ident in left):
                slot.outbox.append(partial(slot.host.kill, slot, "cancelled"))
            return
        slot.outbox.append(partial(slot.host.cancel, slot, left))

        def again() -> None:
            with self.lock:
                self._tell_cancelled(pool, slot, left, times + 1)
            slot.flush()

        self._ticker.after(CANCEL_AGAIN * 2**times, again)

    def more(self, spec: FunctionSpec, item: Input, count: int) -> None:
        """So many items of a generator were used: it may yield as many more."""
        slot = item.at
        if isinstance(slot, Slot):
            slot.outbox.append(partial(slot.host.more, slot, item.id, count))
            slot.flush()

    def ask(self, call: str, sink: Sink) -> Input | None:
        """All calls of the run are known here."""
        return None

    def known(self, spec: FunctionSpec) -> bool:
        """Submitting an input of this function asks nobody else for anything."""
        return id(spec) in self._pools

    def settings_of(self, spec: FunctionSpec) -> FunctionSpec:
        """The function as it is served now: with what :meth:`tune` changed."""
        with self.lock:
            pool = self._pools.get(id(spec))
            return spec if pool is None else pool.spec

    def tune(self, spec: FunctionSpec, changes: Mapping[str, Any]) -> None:
        """Change how many containers a function has: fields of its spec, checked. At once."""
        pool = self._pools.get(id(spec)) or self._new_pool(spec)
        with self.lock:
            if self._closed:
                raise ExecutionError("the run is over")
            pool.spec = replace(pool.spec, **changes)
            dirty = [*self._scale_down(pool), *self._advance(pool)]
        for slot in dirty:
            slot.flush()

    def stats_of(self, spec: FunctionSpec) -> tuple[int, int, int, int]:
        """Inputs that no container has begun, containers, inputs that they work on, and how many
        more of these they could take."""
        with self.lock:
            pool = self._pools.get(id(spec))
            if pool is None:
                return 0, 0, 0, 0
            lanes = dispatch.lanes(pool)
            ready = [slot for slot in pool.slots.values() if slot.state == READY]
            running = sum(min(len(slot.inflight), lanes) for slot in pool.slots.values())
            room = sum(max(0, lanes - len(slot.inflight)) for slot in ready)
            return pool.waiting + pool.retrying + pool.held - running, pool.live, running, room

    def _new_pool(self, spec: FunctionSpec) -> Pool:
        """A function's pool. Without the lock: its secrets may be read from files, and by code of
        the user's. At its first call, so that one that is missing costs nothing."""
        variables = spec.environ()
        pool = Pool(
            replace(
                spec,
                environ=lambda: variables,
                timeout=self._timeout(spec),
                resources=self.merged(spec.resources),
                nodes=self.options.nodes or spec.nodes if spec.nodes > 1 else 1,
            )
        )
        with self.lock:
            first = not self._pools
            pool = self._pools.setdefault(id(spec), pool)
            self._specs.append(spec)  # so that its id stays its own
        if first:
            self._keep_containers()
        return pool

    def _keep_containers(self) -> None:
        """Functions with ``min_containers`` have them from the first call on."""
        for spec in self.kept():
            if spec.min_containers and not self.known(spec):
                self._ticker.after(0.0, partial(self._keep, spec))

    def _keep(self, spec: FunctionSpec) -> None:
        try:
            pool = self._new_pool(spec)
        except Error as error:  # its own calls are told; those of others go on
            self._reporter.notice(f"no containers are kept of {spec.name}: {error.message}")
        else:
            self._pump(pool)

    def _timeout(self, spec: FunctionSpec) -> float:
        """The run's option, else the function's own, else the setting."""
        if self.options.timeout is not None:
            return self.options.timeout
        silent = spec.timeout == limits.FUNCTION_TIMEOUT
        return self.settings.timeout or spec.timeout if silent else spec.timeout

    # --- what containers say --------------------------------------------------------------

    def _on_message(self, pool: Pool, slot: Slot, message: Message) -> None:
        """A container said something. Raises FrameError when it makes no sense."""
        head = message.head
        kind = head.get("t")
        if kind == "out":
            self._on_results(pool, slot, head.get("b"), message.buffers)
        elif kind == "ready":
            self._on_ready(pool, slot)
        elif kind == "went":
            with self.lock:
                dispatch.went(pool, slot, nested.field(head, "started", int), self.clock.mono())
                dirty = self._advance(pool, slot)
            for one in dirty:
                one.flush()
        elif kind == "failed":
            self._on_failed(pool, slot, message.buffers)
        elif kind == "call":
            nested.called(self, pool, slot, message)
        elif kind == "drop":
            nested.dropped(self, pool, slot, head)
        elif kind == "ask":
            nested.asked(self, pool, slot, head)
        elif kind == "more":
            nested.used(self, slot, head)

    def _on_results(self, pool: Pool, slot: Slot, entries: Any, buffers: Sequence[Buffer]) -> None:
        if not dispatch.sound(entries, buffers):
            raise FrameError("results that are none")
        children: list[nested.Child] = []
        with self.lock:
            arrivals, again = dispatch.results(pool, slot, entries, buffers, self.clock.mono())
            if slot.book is not None:
                children = nested.orphans(slot)
                self._recount(pool, slot)
            dirty = self._advance(pool, slot)
        for one in dirty:
            one.flush()
        self._settle(pool, arrivals, again)
        nested.cancel_orphans(self, children)
        if self._starving:
            self._feed_starving()

    def _settle(
        self, pool: Pool, arrivals: list[Arrival], again: Sequence[dispatch.Retry] = ()
    ) -> None:
        deliver(arrivals)
        for retry in again:
            self._ticker.after(retry.delay, partial(self._again, pool, retry.input))

    def _again(self, pool: Pool, item: Input) -> None:
        with self.lock:
            dispatch.due_again(pool, item)
        self._pump(pool)

    def changed(self, pool: Pool, slot: Slot) -> None:
        """A container began to wait for others, or no longer does."""
        with self.lock:
            if slot.gone:
                return
            before = slot.waits
            self._recount(pool, slot)
            if before == slot.waits:
                return
            if slot.blocked and len(slot.inflight) > slot.waits:
                self._steal(pool, slot)
        slot.flush()
        self._pump(pool)
        if self._starving:
            self._feed_starving()
        self._tell_deadlocks()

    @staticmethod
    def _recount(pool: Pool, slot: Slot) -> None:
        waits = nested.waits(slot)
        if waits != slot.waits:
            slot.waits = waits
            pool.count(slot)
            if slot.state == READY:
                pool.hungry[slot.key] = slot

    def _on_exit(self, pool: Pool, slot: Slot, word: Any) -> None:
        with self.lock:
            slot.host.free_gpus.extend(slot.gpus)
            arrivals, again = ends.exited(pool, slot, word)
            children = nested.orphans(slot)
            self._ended.notify_all()
        self._settle(pool, arrivals, again)
        nested.cancel_orphans(self, children)
        self._feed_starving()  # before the one whose turn it was
        self._pump(pool)
        if self._deferred:
            self._resume_deferred()
        if slot.host.load.count:
            return
        if slot.host.leaving:
            self._leave_preempted(slot.host)
        else:
            left = slot.idle + scaling.window(pool) - self.clock.mono()
            self._ticker.after(max(0.0, left), partial(self._leave_unused, slot.host))

    def _host_lost(self, host: LiveInstance, error: InstanceError) -> None:
        """An instance is gone: its inputs go back to their queues, another instance is found."""
        super()._host_lost(host, error)
        children: list[nested.Child] = []
        work = []
        with self.lock:
            closed = self._closed
            if not closed:  # else the end of the run gives it up
                self._part_with(host)
            for pool in self._pools.values():
                arrivals: list[Arrival] = []
                if self._prepared.pop((id(host), id(pool)), None) is not None:
                    others = bool(self._hosts_for(pool))
                    arrivals += ends.bereaved(pool, error, others, host.taken)
                for slot in [s for s in pool.slots.values() if s.host is host]:
                    arrivals += ends.lost(pool, slot, error, host.taken)
                    children += nested.orphans(slot)
                work.append((pool, arrivals))
            self._ended.notify_all()
        if closed:
            return
        became = "taken back" if host.taken else "lost"
        self._reporter.notice(f"an instance was {became}: {error.message}")
        for pool, arrivals in work:
            self._settle(pool, arrivals)
        nested.cancel_orphans(self, children)
        for pool, _ in work:
            self._pump(pool)

    def _host_leaving(self, host: LiveInstance) -> None:
        """An instance is preempted in a moment: what runs there may finish, the rest moves, and
        another instance is looked for now."""
        with self.lock:
            pools = list(self._pools.values())
            dirty = [slot for pool in pools for slot in self._drain(pool, host)]
        for slot in dirty:
            slot.flush()
        for pool in pools:
            self._pump(pool)
        self._leave_preempted(host)

    # --- the end --------------------------------------------------------------------------

    def _stop_containers(self, graceful: bool) -> None:
        """End all containers and wait for the last words of those that may say some: those without
        work have their exit hooks' time, the others are asked to leave and then made to."""
        super()._stop_containers(graceful)
        with self.lock:
            slots = [slot for pool in self._pools.values() for slot in pool.slots.values()]
            idle = [s for s in slots if graceful and not s.inflight and s.state != "starting"]
        for slot in slots:  # by the outbox: its start may still stand there
            end = partial(slot.host.end_input, slot)
            stop = partial(slot.host.kill, slot, "stopped", limits.END_GRACE)
            slot.outbox.append(end if slot in idle else stop)
            slot.flush()
        wait = limits.EXIT_GRACE + limits.END_GRACE if idle else limits.END_GRACE * 2
        deadline = self.clock.mono() + wait
        with self._ended:
            while any(pool.slots for pool in self._pools.values()):
                left = deadline - self.clock.mono()
                if left <= 0:
                    return
                self._ended.wait(min(left, SLICE))

    def _fail_everything(self, error: BaseException) -> None:
        outcome = Outcome(FAILURE, (), error)
        for pool in list(self._pools.values()):
            with self.lock:
                arrivals = ends.fail_waiting(pool, outcome)
                arrivals += ends.finish(pool.pausing.values(), outcome)
                for slot in pool.slots.values():
                    arrivals += ends.finish(slot.inflight.values(), outcome)
            deliver(arrivals)


def _unknown(tag: str, parameters: str, variant: str) -> FunctionSpec:
    raise NotFoundError(f"no function {tag!r} can be called by name in this run")
