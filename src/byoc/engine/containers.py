"""Starting, feeding and ending the containers of a session's pools, as the rooms beside decide."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import limits
from . import dispatch, scaling, sources
from .bringup import BringingUp
from .inputs import FAILURE, Buffer, Outcome
from .live import LiveInstance
from .pool import Pool
from .results import missing_module
from .slots import READY, STARTING, STOPPING, Slot, Steal

LOOK_AGAIN = limits.PREFETCH_TARGET * 3
"""Seconds without any result after which a function's inputs count as slow."""


class Containers(BringingUp):
    """The part of a session that does what pools want. Methods that return slots are called under
    the lock; the slots' outboxes are to be flushed without it."""

    _pools: dict[int, Pool]
    _starving: dict[int, Pool]
    _deferred: dict[int, Pool]

    def _pump(self, pool: Pool) -> None:
        """Start and feed containers as the pool wants now."""
        with self.lock:
            dirty = self._advance(pool)
        for slot in dirty:
            slot.flush()

    def _advance(self, pool: Pool, slot: Slot | None = None) -> list[Slot]:
        """Feed ``slot``, which just made room, and those that wait for inputs; then scale."""
        dirty: list[Slot] = []
        if self._closed:
            return dirty
        now = self.clock.mono()
        if slot is not None:
            self._after_results(pool, slot, now, dirty)
        if pool.waiting and pool.hungry:
            for one in list(pool.hungry.values()):
                self._feed(pool, one, now, dirty)
        if scaling.wanted(pool) > pool.live:
            self._grow(pool, now, dirty)
        elif self._starving:
            self._starving.pop(id(pool), None)
        if pool.held and not pool.waiting and "steal" not in pool.alarms:
            self._watch_hoards(pool)
        return dirty

    def _after_results(self, pool: Pool, slot: Slot, now: float, dirty: list[Slot]) -> None:
        self._feed(pool, slot, now, dirty)
        if slot.inflight:
            return
        if slot.state == STOPPING:
            self._end(slot, dirty)
        elif "idle" not in pool.alarms:
            self._alarm(pool, "idle", scaling.window(pool), self._scale_down)

    def _feed(self, pool: Pool, slot: Slot, now: float, dirty: list[Slot]) -> None:
        batch = dispatch.feed(pool, slot, now)
        if batch:
            dirty.append(slot)
        for first in range(0, len(batch), limits.BATCH_MAX):
            part = batch[first : first + limits.BATCH_MAX]
            slot.outbox.append(partial(slot.host.send_inputs, slot, part))

    def _end(self, slot: Slot, dirty: list[Slot]) -> None:
        if slot.ended:
            return
        slot.ended = True
        slot.outbox.append(partial(slot.host.end_input, slot))
        dirty.append(slot)

    def _alarm(self, pool: Pool, name: str, delay: float, look: Any) -> None:
        """Have ``look(pool)`` called later, once however often this is asked for meanwhile: the
        latest time counts."""
        mark = pool.alarms[name] = object()

        def ring() -> None:
            with self.lock:
                if pool.alarms.get(name) is not mark:
                    return
                del pool.alarms[name]
                dirty = [] if self._closed else look(pool)
            for slot in dirty:
                slot.flush()

        self._ticker.after(delay, ring)

    # --- scaling --------------------------------------------------------------------------

    def _grow(self, pool: Pool, now: float, dirty: list[Slot]) -> None:
        """More containers, where there is room; else an instance, or somebody makes room."""
        hosts = self._hosts_for(pool)
        if not hosts:
            # not for min_containers alone where one was lost: that could go on for ever
            needed = pool.waiting or scaling.stranded(pool, now)
            if needed or (pool.spec.min_containers and not pool.bereft):
                self._begin_bringing(pool)
            return
        if self._starving and not pool.waiting and not pool.held:
            self._deferred[id(pool)] = pool  # what is only kept ready waits for what is needed
            return
        wanted = scaling.wanted(pool)
        full = [host for host in hosts if self._fill(pool, host, wanted, dirty)]
        if pool.live >= wanted:
            self._starving.pop(id(pool), None)
        elif full:
            self._crowded(pool, full[0], now, dirty)
        if pool.waiting and pool.took is None and "slow" not in pool.alarms:
            self._alarm(pool, "slow", LOOK_AGAIN, self._look_again)

    def _fill(self, pool: Pool, host: LiveInstance, wanted: int, dirty: list[Slot]) -> bool:
        """Start containers on one instance; True when it is too full for those that are wanted."""
        active = scaling.active(pool, host)
        pool.rtt = max(pool.rtt, host.rtt)
        while pool.live < wanted and not scaling.enough(pool, host.load, active):
            if not self._start_one(pool, host, dirty):
                return True
            active += 1
        return False

    def _start_one(self, pool: Pool, host: LiveInstance, dirty: list[Slot]) -> bool:
        """Start a container if the instance has room for it."""
        if not scaling.fits(pool, host.load):
            return False
        gpus = host.take_gpus(pool.spec.resources.gpus)
        if gpus is None:
            return False
        slot = Slot(host, host.new_stream(), self._ids.new("ta"), gpus)
        pool.add(slot, host.load)
        slot.outbox.append(partial(self._start, pool, slot))
        dirty.append(slot)
        return True

    def _start(self, pool: Pool, slot: Slot) -> None:
        try:
            prepared = self._prepared[(id(slot.host), id(pool))]
        except KeyError:
            return  # lost meanwhile, and the container with it
        slot.host.start_function(
            slot,
            pool.spec,
            prepared.env,
            prepared.plan,
            prepared.code,
            partial(self._on_message, pool),
            partial(self._on_exit, pool),
        )

    def _crowded(self, pool: Pool, host: LiveInstance, now: float, dirty: list[Slot]) -> None:
        """The instances are full: another one where that was asked for, else others make room."""
        needed = pool.waiting or scaling.stranded(pool, now)
        if not needed:  # to be kept ready, and neither one more for what is soon done
            needed = not (pool.bereft or scaling.parting(pool))
        asked = scaling.explicit(pool) and needed
        alone = host.held.traits.shared_host or "alone" in pool.alarms
        if asked and pool.live and not alone:
            self._begin_bringing(pool, beyond=True)
            return
        if not pool.waiting:
            return
        found = scaling.gives_way(pool, self._pools.values(), host, now)
        if found is not None:
            other, slot = found
            other.set_state(slot, STOPPING, now)
            if not slot.inflight:
                self._end(slot, dirty)
        if not pool.live:
            self._starving[id(pool)] = pool
            if "turn" not in pool.alarms:
                self._alarm(pool, "turn", scaling.TURN, self._advance)

    def _tell_deadlocks(self) -> None:
        """Say once of a function that all its containers wait for calls while its own wait."""
        for pool in self._pools.values():
            if pool.stuck and "deadlock" not in pool.alarms and scaling.deadlocked(pool):
                pool.alarms["deadlock"] = True
                name, most = pool.spec.name, pool.spec.max_containers
                self._reporter.notice(
                    f"all containers of {name} wait for other calls, and max_containers={most} "
                    f"allows no more for the calls of {name} that wait: they end by their timeout"
                )

    def _feed_starving(self) -> None:
        """Something became free: the functions that wait for room look again."""
        with self.lock:
            waiting = list(self._starving.values())
        for pool in waiting:
            self._pump(pool)

    def _resume_deferred(self) -> None:
        """A container ended: functions whose containers had to wait look again."""
        with self.lock:
            deferred, self._deferred = list(self._deferred.values()), {}
        for pool in deferred:
            self._pump(pool)

    def _look_again(self, pool: Pool) -> list[Slot]:
        """Inputs that take long leave cores idle: consider more containers after a moment."""
        if pool.took is None and pool.slots:
            pool.took = 1.0  # nothing finished yet: long enough to count as slow
        return self._advance(pool)

    def _scale_down(self, pool: Pool) -> list[Slot]:
        """End containers that had nothing to do for their function's window."""
        now = self.clock.mono()
        leaving, again = scaling.expired(pool, now)
        dirty: list[Slot] = []
        for slot in leaving:
            pool.set_state(slot, STOPPING, now)
            self._end(slot, dirty)
        if again is not None:
            self._alarm(pool, "idle", again, self._scale_down)
        return dirty

    # --- stealing back --------------------------------------------------------------------

    def _watch_hoards(self, pool: Pool) -> None:
        if pool.held > dispatch.lanes(pool) and pool.live > 1:
            self._alarm(pool, "steal", dispatch.patience(pool), self._steal_overdue)

    def _steal_overdue(self, pool: Pool) -> list[Slot]:
        """Take back what containers hold too long while others have nothing to do."""
        late, again = dispatch.overdue(pool, self.clock.mono())
        for slot in late:
            self._steal(pool, slot)
        if again is not None:
            self._alarm(pool, "steal", again, self._steal_overdue)
        return late

    def _steal(self, pool: Pool, slot: Slot) -> None:
        """Have a container skip what it has not started; under the lock, flush afterwards."""
        if slot.stealing is None and slot.state != STARTING:
            theft = dispatch.steal(slot)
            told = partial(self._stolen, pool, slot, theft)
            slot.outbox.append(partial(slot.host.steal, slot, told))

    def _stolen(self, pool: Pool, slot: Slot, theft: Steal, started: int | None) -> None:
        with self.lock:
            if slot.gone:
                return
            if started is None:
                dispatch.spared(pool, slot, theft)
            else:
                dispatch.stolen(pool, slot, theft, started)
            dirty = self._advance(pool, slot)
        for one in dirty:
            one.flush()

    def _drain(self, pool: Pool, host: LiveInstance) -> list[Slot]:
        """The containers on ``host`` are told that it is taken back, finish what they run and end;
        the rest goes elsewhere."""
        now = self.clock.mono()
        dirty: list[Slot] = []
        for slot in [slot for slot in pool.slots.values() if slot.host is host]:
            dirty.append(slot)
            state = slot.state
            pool.set_state(slot, STOPPING, now)
            if state == STARTING:  # by the outbox: its start may still stand there
                slot.outbox.append(partial(host.kill, slot, "stopped", limits.END_GRACE))
                continue
            if not slot.ended:
                slot.outbox.append(partial(host.tell_preempted, slot))
            if len(slot.inflight) > dispatch.lanes(pool):
                self._steal(pool, slot)
            elif not slot.inflight:
                self._end(slot, dirty)
        return dirty

    # --- what containers say --------------------------------------------------------------

    def _on_ready(self, pool: Pool, slot: Slot) -> None:
        now = self.clock.mono()
        with self.lock:
            if slot.state == STARTING and not slot.gone:
                pool.set_state(slot, READY, now)
                slot.depth = dispatch.depth(pool)
                if slot.host.leaving:
                    pool.set_state(slot, STOPPING, now)
            dirty = self._advance(pool, slot)
        for one in dirty:
            one.flush()
        if self._starving:
            self._feed_starving()

    def _on_failed(self, pool: Pool, slot: Slot, buffers: list[Buffer]) -> None:
        missing = missing_module(buffers)
        slot.failure = Outcome(FAILURE, buffers, None, slot.name)
        hint = sources.left_behind(pool.spec, missing) if missing else ""
        if hint:
            self._reporter.notice(hint)

    def _on_message(self, pool: Pool, slot: Slot, message: Any) -> None:
        """A container said something."""

    def _on_exit(self, pool: Pool, slot: Slot, word: Any) -> None:
        """A container ended."""
