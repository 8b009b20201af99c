"""One run: its instances, its functions' pools, its end.

Decisions are made under one lock by :class:`~byoc.engine.pool.Pool`; whatever waits for a machine
happens in threads of its own, so a caller only ever waits for its own outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from .. import limits
from ..clock import IDS, SYSTEM, Clock, Ids
from ..errors import Error, ExecutionError, InstanceError
from ..fleet.ports import Dialer
from ..images import mounts, native
from ..runtime_agent import payload
from ..settings import Settings
from ..wire import messages
from . import sources, threads
from .command import Commands
from .events import Reporter
from .inputs import FAILURE, Buffer, Input, Outcome
from .live import LiveInstance
from .options import RunOptions
from .pool import READY, STARTING, STOPPING, Pool, Retry, Slot
from .results import failure_of
from .spec import FunctionSpec

Sink = Callable[[Input, Outcome], None]


class _Baggage(NamedTuple):
    """What a function brings along: its files, its environment's plan, its pickled code."""

    files: list[mounts.FileEntry]
    plan: native.EnvPlan
    code: list[Buffer]


class _Prepared(NamedTuple):
    """What starting a pool's containers on one instance needs."""

    plan: native.EnvPlan
    env: dict[str, Any]
    code: list[Buffer]


class Session(Commands):
    """A run from its first call to its teardown. A context manager; nothing is rented before the
    first call."""

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
        self._pools: dict[int, Pool] = {}
        self._prepared: dict[tuple[int, int], _Prepared] = {}
        self._bringing: set[int] = set()
        self._starving: dict[int, Pool] = {}  # by id, those that wait for GPUs
        self._specs: list[FunctionSpec] = []
        self._next_input = 1

    # --- submitting -----------------------------------------------------------------------

    def submit(
        self,
        spec: FunctionSpec,
        payloads: Sequence[Sequence[Buffer]],
        sink: Sink,
        register: Callable[[Input], None] | None = None,
    ) -> list[Input]:
        """Queue one input per payload. ``sink`` gets each outcome, on an engine thread;
        ``register`` sees each input before it is sent."""
        with self._lock:
            if self._closed:
                raise ExecutionError("the run is over")
            pool = self._pool(spec)
            items = []
            for buffers in payloads:
                item = Input(self._next_input, buffers, sink)
                self._next_input += 1
                if register is not None:
                    register(item)
                items.append(item)
            pool.pending.extend(items)
        self._pump(pool)
        return items

    def cancel(self, spec: FunctionSpec, items: Sequence[Input], kill: bool = False) -> None:
        """Forget inputs; with ``kill``, end the containers that are running one of them."""
        with self._lock:
            pool = self._pool(spec)
            slots = pool.cancel(items)
        for slot in slots if kill else ():
            with suppress(InstanceError):  # lost: nothing runs there any more
                slot.host.kill(slot, "cancelled")

    def _pool(self, spec: FunctionSpec) -> Pool:
        pool = self._pools.get(id(spec))
        if pool is None:
            variables = spec.environ()  # here, so that a secret that is missing costs nothing
            pool = Pool(
                replace(
                    spec,
                    environ=lambda: variables,
                    timeout=self._timeout(spec),
                    resources=self.merged(spec.resources),
                )
            )
            self._pools[id(spec)] = pool
            self._specs.append(spec)  # so that its id stays its own
        return pool

    def _timeout(self, spec: FunctionSpec) -> float:
        """The run's option, else the function's own, else the setting."""
        if self.options.timeout is not None:
            return self.options.timeout
        silent = spec.timeout == limits.FUNCTION_TIMEOUT
        return self.settings.timeout or spec.timeout if silent else spec.timeout

    # --- doing what the pools decide ------------------------------------------------------

    def _pump(self, pool: Pool) -> None:
        """Start and feed containers as the pool wants now."""
        sends: list[tuple[Slot, list[Input]]] = []
        with self._lock:
            if self._closed:
                return
            starts, stops = self._scale(pool)
            for slot in list(pool.slots.values()):
                batch = pool.feed(slot)
                while batch:
                    sends.append((slot, batch))
                    batch = pool.feed(slot)
        for slot in stops:
            slot.host.end_input(slot)
        for slot in starts:
            self._start(pool, slot)
        for slot, batch in sends:
            self._send(slot, batch)

    def _send(self, slot: Slot, batch: list[Input]) -> None:
        try:
            slot.host.send_inputs(slot, batch)
        except InstanceError:
            pass  # the instance is lost: on_lost gives these inputs back to the queue

    def _scale(self, pool: Pool) -> tuple[list[Slot], list[Slot]]:
        """New slots, registered, and idle ones of others that make room; begins to bring up an
        instance when none is ready."""
        host = self._host_for(pool)
        if host is None:
            if (pool.pending or pool.spec.min_containers) and id(pool) not in self._bringing:
                self._bringing.add(id(pool))
                threads.start("byoc-bring-up", lambda: self._bring_up(pool))
            return [], []
        starts: list[Slot] = []
        stops: list[Slot] = []
        self._starving.pop(id(pool), None)
        wanted = pool.wanted(host.offer.cpus)
        while len(pool.live) < wanted:
            gpus = host.take_gpus(pool.spec.resources.gpus)
            if gpus is None:
                if not pool.live:
                    self._starving[id(pool)] = pool
                    stops = self._make_room(pool, host)
                break
            slot = Slot(host, host.new_stream(), self._ids.new("ta"), gpus)
            pool.slots[(id(host), slot.stream)] = slot
            starts.append(slot)
        if pool.pending and pool.took is None and not starts:
            self._look_again(pool)
        return starts, stops

    def _make_room(self, pool: Pool, host: LiveInstance) -> list[Slot]:
        """Idle containers whose GPUs another function waits for; they leave."""
        leaving = []
        for other in self._pools.values():
            for slot in other.live if other is not pool and not other.pending else ():
                if slot.host is host and slot.gpus and not slot.inflight and slot.state == READY:
                    slot.state = STOPPING
                    leaving.append(slot)
        return leaving

    def _feed_starving(self) -> None:
        """Something became free: the functions that wait for room look again."""
        with self._lock:
            waiting = list(self._starving.values())
        for pool in waiting:
            self._pump(pool)

    def _host_for(self, pool: Pool) -> LiveInstance | None:
        for host in self._hosts:
            if host.lost is None and (id(host), id(pool)) in self._prepared:
                return host
        return None

    def _look_again(self, pool: Pool) -> None:
        """Inputs that take long leave cores idle: consider more containers after a moment."""

        def look() -> None:
            with self._lock:
                if pool.took is None and pool.slots:
                    pool.took = 1.0  # nothing finished yet: long enough to count as slow
            self._pump(pool)

        self._ticker.after(limits.PREFETCH_TARGET * 3, look, key=id(pool))

    def _start(self, pool: Pool, slot: Slot) -> None:
        prepared = self._prepared[(id(slot.host), id(pool))]
        try:
            slot.host.start_function(
                slot,
                pool.spec,
                prepared.env,
                prepared.plan,
                prepared.code,
                lambda slot, message: self._on_message(pool, slot, message),
                lambda slot, word: self._on_exit(pool, slot, word),
            )
        except InstanceError:
            pass  # lost: on_lost takes the slot away

    # --- bringing up ----------------------------------------------------------------------

    def _bring_up(self, pool: Pool) -> None:
        """Have an instance that can run this pool, prepared; in a thread of its own."""
        host: LiveInstance | None = None
        try:
            baggage = self._gather(pool.spec)  # what is wrong with it must cost nothing
            host = self._instance(pool.spec.resources)
            env = self._ready(host, baggage.files, baggage.plan)
            with self._lock:
                self._prepared[(id(host), id(pool))] = _Prepared(baggage.plan, env, baggage.code)
        except BaseException as error:  # noqa: BLE001 - told to every caller that waits for it
            with self._lock:
                self._bringing.discard(id(pool))
            if not isinstance(error, Error):
                self._reporter.stage("image", "failed", str(error))
            self._fail(pool, error, again=host is not None and isinstance(error, InstanceError))
            return
        with self._lock:
            self._bringing.discard(id(pool))
        self._pump(pool)

    def _gather(self, spec: FunctionSpec) -> _Baggage:
        plan = sources.plan_of(spec.image)
        code = sources.pickled(spec) if spec.by_value else []
        return _Baggage(sources.files_of(spec, self._reporter.notice), plan, code)

    def _fail(self, pool: Pool, error: BaseException, again: bool) -> None:
        """Nothing of this pool can run here: everything that waits is told why, or tried on
        another instance, within reason, when ``again``."""
        with self._lock:
            items = list(pool.pending)
            pool.pending.clear()
            again = again and not self._closed
            if again:
                told = pool.give_back(items, error)
            else:
                told = [(item, Outcome(FAILURE, error=error)) for item in items]
        self._settle(pool, told, [])
        if again:
            self._pump(pool)

    # --- what containers say --------------------------------------------------------------

    def _on_message(self, pool: Pool, slot: Slot, message: messages.Message) -> None:
        kind = message.head.get("t")
        if kind == "out":
            with self._lock:
                deliver, again = pool.results(slot, message.head["b"], message.buffers)
            self._settle(pool, deliver, again)
        elif kind == "ready":
            with self._lock:
                if slot.state == STARTING:
                    slot.state = READY
        elif kind == "failed":
            error = failure_of(message.buffers, slot.name, pool.spec.renames)
            slot.failure = Outcome(FAILURE, message.buffers, where=slot.name)
            hint = sources.left_behind(pool.spec, error)
            if hint:
                self._reporter.notice(hint)
            return
        self._pump(pool)
        if slot.state not in (READY, STARTING) and not slot.inflight:
            slot.host.end_input(slot)
        if self._starving:
            self._feed_starving()

    def _settle(
        self, pool: Pool, deliver: Sequence[tuple[Input, Outcome]], again: Sequence[Retry]
    ) -> None:
        for item, outcome in deliver:
            if outcome.kind == payload.ITEM:
                if not item.done:
                    item.sink(item, outcome)
            else:
                item.finish(outcome)
        for retry in again:
            self._ticker.after(retry.delay, partial(self._again, pool, retry.input))

    def _again(self, pool: Pool, item: Input) -> None:
        with self._lock:
            pool.waiting_retry -= 1
            if not item.done:
                pool.pending.append(item)
        self._pump(pool)

    def _on_exit(self, pool: Pool, slot: Slot, word: Any) -> None:
        with self._lock:
            slot.host.free_gpus.extend(slot.gpus)
            deliver, again = pool.exited(slot, word)
            self._ended.notify_all()
        self._settle(pool, deliver, again)
        self._pump(pool)
        self._feed_starving()

    def _host_lost(self, host: LiveInstance, error: InstanceError) -> None:
        """An instance is gone: its inputs go back to their queues, another instance is found."""
        super()._host_lost(host, error)
        with self._lock:
            closed = self._closed
            if not closed and host in self._hosts:  # else the end of the run gives it up
                self._hosts.remove(host)
                self._gone.append(host)
                self._leaving.append(self._leave(host))
            work = []
            for pool in self._pools.values():
                mine = [slot for slot in pool.slots.values() if slot.host is host]
                deliver = [pair for slot in mine for pair in pool.lost(slot, error)]
                work.append((pool, deliver))
            self._ended.notify_all()
        if closed:
            return
        self._reporter.notice(f"an instance was lost: {error.message}")
        for pool, deliver in work:
            self._settle(pool, deliver, [])
            self._pump(pool)

    # --- the end --------------------------------------------------------------------------

    def _stop_containers(self, graceful: bool) -> None:
        """End all containers and wait for the last words of those that may say some."""
        super()._stop_containers(graceful)
        with self._lock:
            slots = [slot for pool in self._pools.values() for slot in pool.slots.values()]
            idle = [s for s in slots if graceful and not s.inflight and s.state == READY]
        for slot in slots:
            try:
                if slot in idle:
                    slot.host.end_input(slot)
                else:
                    slot.host.kill(slot, "stopped")
            except InstanceError:
                pass  # lost: it has no containers any more
        deadline = self.clock.mono() + limits.EXIT_GRACE
        with self._ended:
            while any(pool.slots for pool in self._pools.values()):
                left = deadline - self.clock.mono()
                if left <= 0 or not self._ended.wait(left):
                    return

    def _fail_everything(self, error: BaseException) -> None:
        for pool in list(self._pools.values()):
            with self._lock:
                items = list(pool.pending)
                items += [i for s in pool.slots.values() for i in s.inflight.values()]
                pool.pending.clear()
            for item in items:
                item.finish(Outcome(FAILURE, error=error))
