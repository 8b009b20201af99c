"""Instances side by side that a function's pool takes for one: a container on it is one container
on each of them, and they take every input together.

So queues, retries, timeouts and losses are those of any container. What is special is here: the
outcome of an input is rank 0's, once all ranks have one; the failure of any rank is the failure of
all, whose containers then end, since half a gang would wait for the other half for ever. It is told
when all have ended: a rank whose peer's machine was taken away fails as well, and mostly earlier
than the loss is known, and then the loss is what counts.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from .. import limits
from ..clock import Ids
from ..errors import InstanceError
from ..images import mounts
from ..images.native import EnvPlan
from ..resources import GpuRequest
from ..tasks import side_by_side
from ..wire.link import FrameError
from ..wire.messages import Message
from . import dispatch, nested, ranks
from .inputs import FAILURE, VALUE, Buffer, Input
from .live import Exited, LiveInstance, Results
from .pool import Pool
from .slots import STOPPING, Load, Share, Slot
from .spec import FunctionSpec

PROBE_TIMEOUT = 30.0
"""Seconds for finding a free port; it takes 50 ms, where a machine is busy some more."""
STOPPED: Mapping[str, Any] = {"reason": "stopped"}
"""The last word of a gang whose failure has been told already."""


class Yard(nested.Hub, Protocol):
    """What a gang needs of the session."""

    def ranked(self, container: str, rank: int) -> None:
        """A container's output is that of a rank."""

    def ended(self, gang: Gang) -> None:
        """All containers of a gang are gone; without the lock."""

    def pool_of(self, slot: Slot) -> Pool:
        """Whose container it is, from before it is started."""


class Gang:
    """The instances, by rank; functions that fit there take turns. ``before``: the gang that this
    one replaces, whose containers have to be gone first. ``replaced``: by another one."""

    def __init__(
        self, hosts: Sequence[LiveInstance], yard: Yard, ids: Ids, before: Gang | None = None
    ) -> None:
        self.hosts = list(hosts)
        self.replaced = False
        self.name = ids.new("gang")
        self.held = hosts[0].held
        self.offer = hosts[0].offer
        self.lost: InstanceError | None = None
        self.leaving = False
        self.taken = False
        self.until = math.inf
        self.load = Load(self.offer.cpus, self.offer.memory)
        self.crew: Crew | None = None
        self._yard = yard
        self._ids = ids
        self._before = before
        self._gpus: list[tuple[int, ...]] = []
        self._envs: dict[str, list[dict[str, Any]]] = {}

    # --- what a pool asks of an instance --------------------------------------------------

    @property
    def usable(self) -> bool:
        """Something new may be given to it."""
        return self.lost is None and not self.leaving and all(host.usable for host in self.hosts)

    @property
    def rtt(self) -> float:
        """Seconds of a round trip to the farthest."""
        return max(host.rtt for host in self.hosts)

    @property
    def busy(self) -> bool:
        """Its containers live, or those of the gang before it."""
        return self.crew is not None or (self._before is not None and self._before.busy)

    def new_stream(self) -> int:
        """A number of a container of this gang: one of its first instance."""
        return self.hosts[0].new_stream()

    def take_gpus(self, wanted: Sequence[GpuRequest]) -> tuple[int, ...] | None:
        """The GPUs of each instance for one more container; None while it is not to be had."""
        if self.busy or not self.usable:
            return None
        found: list[tuple[int, ...]] = []
        for host in self.hosts:
            taken = host.take_gpus(wanted)
            if taken is None:
                self._free(found)
                return None
            found.append(taken)
        self._gpus = found
        return found[0]

    @property
    def free_gpus(self) -> list[int]:
        """Nobody's: each instance counts its own."""
        return []

    def _free(self, taken: Sequence[tuple[int, ...]]) -> None:
        for host, gpus in zip(self.hosts, taken, strict=False):
            host.free_gpus.extend(gpus)

    def prepare(self, entries: Sequence[mounts.FileEntry], plan: EnvPlan) -> dict[str, Any]:
        """Files and environment on all of them, side by side."""
        works = [partial(host.prepare, entries, plan) for host in self.hosts]
        envs = side_by_side(works, len(works))
        self._envs[plan.digest] = envs
        return {**envs[0], "built": any(env["built"] for env in envs)}

    def start_function(
        self,
        slot: Slot,
        spec: FunctionSpec,
        env: Mapping[str, Any],
        plan: EnvPlan,
        code: Sequence[Buffer],
        on_message: Results,
        on_exit: Exited,
    ) -> None:
        """Start a container on each; the pool hears of them as of one."""
        pool = self._yard.pool_of(slot)
        crew = Crew(self, pool, self._yard, self._ids, slot, spec, on_message, on_exit)
        with self._yard.lock:
            if self.lost is not None:
                return  # the slot is gone as well
            gpus, self._gpus = self._gpus, []
            self.crew = crew
        crew.start(self._envs[plan.digest], plan, code, gpus)

    def send_inputs(self, slot: Slot, batch: Sequence[Input]) -> None:
        """Give an input to all of them."""
        self._told(slot, lambda crew: crew.send_inputs(batch))

    def cancel(self, slot: Slot, idents: Sequence[int]) -> None:
        """Interrupt an input on all of them."""
        self._told(slot, lambda crew: crew.each(lambda host, one: host.cancel(one, idents)))

    def steal(self, slot: Slot, told: Callable[[int | None], None]) -> None:
        """A gang holds nothing that it has not begun."""
        told(None)

    def tell_preempted(self, slot: Slot) -> None:
        """Tell all of them how long the machine that is taken back still runs."""
        notice = next((host.preemption for host in self.hosts if host.leaving), None)
        if notice is not None:
            word = {"t": "preempt", **notice}
            self._told(slot, lambda crew: crew.each(lambda host, one: host.send_message(one, word)))

    def end_input(self, slot: Slot) -> None:
        """Nothing more comes: the containers leave by themselves."""
        self._told(slot, lambda crew: crew.leave())

    def kill(self, slot: Slot, reason: str, grace: float = 0.0) -> None:
        """End all of them."""
        self._told(slot, lambda crew: crew.stop({"reason": reason}, grace))

    def _told(self, slot: Slot, tell: Callable[[Crew], None]) -> None:
        crew = self.crew
        if crew is not None and crew.outer is slot:
            tell(crew)

    # --- what becomes of its instances ----------------------------------------------------

    def leave(self, host: LiveInstance) -> None:
        """One of them is taken back in a moment."""
        self.leaving = self.taken = True
        self.until = min(self.until, host.until)

    def break_off(self, host: LiveInstance, error: InstanceError) -> None:
        """One of them is lost: the containers on the others end at once, and what they held is
        tried again. Call without the lock."""
        with self._yard.lock:
            self.lost = self.lost or error
            self.taken = self.taken or host.taken
            if self.crew is None:
                self._free(self._gpus)
                self._gpus = []
        crew = self.crew
        if crew is not None:
            crew.lose(host)

    def over(self, crew: Crew) -> None:
        """The last of its containers is gone."""
        with self._yard.lock:
            if self.crew is crew:
                self.crew = None
        self._yard.ended(self)


class Crew:
    """The containers of a gang, one on each instance, from their start to the last one's end.

    ``outer``: what the pool takes for the one container that they are.
    """

    def __init__(
        self,
        gang: Gang,
        pool: Pool,
        yard: Yard,
        ids: Ids,
        outer: Slot,
        spec: FunctionSpec,
        on_message: Results,
        on_exit: Exited,
    ) -> None:
        self.outer = outer
        self._gang = gang
        self._pool = pool
        self._yard = yard
        self._ids = ids
        self._spec = spec
        self._on_message = on_message
        self._on_exit = on_exit
        self._lock = yard.lock
        self._slots: list[Slot] = []
        self._alive: set[int] = set()
        self._starting = True
        self._ready: set[int] = set()
        self._results: dict[int, dict[int, tuple[int, list[Buffer]]]] = {}
        self._leaving = False
        self._word: Mapping[str, Any] | None = None
        self._verdict: Message | None = None
        self._told = False

    # --- beginning ------------------------------------------------------------------------

    def start(
        self,
        envs: Sequence[Mapping[str, Any]],
        plan: EnvPlan,
        code: Sequence[Buffer],
        gpus: Sequence[tuple[int, ...]],
    ) -> None:
        """Find a port that is free on the first instance; the containers are started then."""
        first = self._gang.hosts[0]
        probe = Slot(first, first.new_stream(), self._ids.new("ta"))
        tried = ranks.ports(self._ids)
        words = [str(envs[0]["python"]), "-c", ranks.PROBE, *map(str, tried)]

        def found(slot: Slot, word: Mapping[str, Any]) -> None:
            self._begin(ranks.chosen(tried, word), envs, plan, code)

        self._slots = [
            Slot(host, host.new_stream(), self._ids.new("ta"), taken)
            for host, taken in zip(self._gang.hosts, gpus, strict=True)
        ]
        try:
            first.start_command(probe, words, envs[0], {}, mounts.ROOT, PROBE_TIMEOUT, found)
            first.end_input(probe)
        except InstanceError:
            pass  # lost: the gang is told to break off

    def _begin(
        self,
        port: int,
        envs: Sequence[Mapping[str, Any]],
        plan: EnvPlan,
        code: Sequence[Buffer],
    ) -> None:
        asked, hosts = self._spec.resources, self._gang.hosts
        roster = ranks.Roster(
            self._gang.name,
            tuple(ranks.address(host.held.instance) for host in hosts),
            port,
            len(self._slots[0].gpus),
        )
        with self._lock:
            self._starting = False
            if self._word is None:
                self._alive = set(range(len(hosts)))
                for slot in self._slots:
                    slot.load = slot.host.load
                    slot.load.put(slot, Share(asked.cpu, asked.memory, True))
        for rank in sorted(self._alive):
            slot = self._slots[rank]
            self._yard.ranked(slot.name, rank)
            spec = replace(self._spec, environ=partial(self._environ, roster, rank))
            with contextlib.suppress(InstanceError):  # lost: the gang is told to break off
                slot.host.start_function(
                    slot,
                    spec,
                    envs[rank],
                    plan,
                    code,
                    partial(self._said, rank),
                    partial(self._ended, rank),
                )
        self._finish()

    def _environ(self, roster: ranks.Roster, rank: int) -> dict[str, str]:
        """The user's own variables count."""
        return {**roster.variables(rank), **self._spec.environ()}

    # --- what they are told ---------------------------------------------------------------

    def each(self, tell: Callable[[LiveInstance, Slot], None]) -> None:
        """Tell all that live; one that is lost hears nothing."""
        for rank in sorted(self._alive):
            slot = self._slots[rank]
            with contextlib.suppress(InstanceError):
                tell(slot.host, slot)

    def send_inputs(self, batch: Sequence[Input]) -> None:
        """The same inputs to all."""
        with self._lock:
            for item in batch:
                self._results[item.id] = {}
                for slot in self._slots:
                    slot.inflight[item.id] = item
        self.each(lambda host, slot: host.send_inputs(slot, batch))

    def leave(self) -> None:
        """They may go, in good order."""
        self._leaving = True
        self.each(lambda host, slot: host.end_input(slot))

    def stop(self, word: Mapping[str, Any], grace: float = 0.0) -> None:
        """End them. ``word``: what the pool is told in the end, unless something was before."""
        with self._lock:
            self._word = self._word or word
        reason = "cancelled" if word is STOPPED else str(word.get("reason"))
        self.each(lambda host, slot: host.kill(slot, reason, grace))
        self._finish()

    def lose(self, host: LiveInstance) -> None:
        """An instance is gone, and its container with it; the others end."""
        with self._lock:
            self._word, self._verdict = STOPPED, None
            gone = [rank for rank, slot in enumerate(self._slots) if slot.host is host]
            children = [child for rank in gone for child in self._bury(rank)]
            if self._slots and self._gang.hosts[0] is host:
                self._starting = False  # what looks for a port has gone with it
        nested.cancel_orphans(self._yard, children)
        self.stop(STOPPED)

    # --- what they say --------------------------------------------------------------------

    def _said(self, rank: int, slot: Slot, message: Message) -> None:
        kind = message.head.get("t")
        if kind == "out":
            self._heard_results(rank, slot, message)
        elif kind == "ready":
            self._heard_ready(rank)
        elif kind == "failed":
            if self._word is None:
                self._named(rank)
                self._on_message(self.outer, message)
        else:
            self._heard_calls(slot, message)

    def _heard_calls(self, slot: Slot, message: Message) -> None:
        """A rank calls other functions."""
        pool, head = self._pool, message.head
        kind = head.get("t")
        if kind == "call":
            nested.called(self._yard, pool, slot, message)
        elif kind == "drop":
            nested.dropped(self._yard, pool, slot, head)
        elif kind == "ask":
            nested.asked(self._yard, pool, slot, head)
        elif kind == "more":
            nested.used(self._yard, slot, head)

    def _heard_ready(self, rank: int) -> None:
        with self._lock:
            self._ready.add(rank)
            complete = len(self._ready) == len(self._slots) and self._word is None
        if complete:
            self._on_message(self.outer, Message({"t": "ready"}, []))

    def _heard_results(self, rank: int, slot: Slot, message: Message) -> None:
        entries: Any = message.head.get("b")
        buffers = message.buffers
        if not dispatch.sound(entries, buffers):
            raise FrameError("results that are none")
        position = 0
        for ident, kind, count, took in entries:
            parts = buffers[position : position + count]
            position += count
            if kind in (VALUE, FAILURE):
                self._result(rank, slot, [ident, kind, count, took], parts)

    def _result(self, rank: int, slot: Slot, entry: list[int], parts: list[Buffer]) -> None:
        """One rank has an outcome: told once it is the last one, or a failure."""
        ident, kind, _, took = entry
        with self._lock:
            had = self._results.get(ident)
            slot.inflight.pop(ident, None)
            children = nested.orphans(slot)
            if had is None or self._word is not None:
                had = None
            elif kind == FAILURE:
                self._word, self._verdict = STOPPED, Message({"t": "out", "b": [entry]}, parts)
                self._named(rank)
                self._pool.set_state(self.outer, STOPPING, self._yard.clock.mono())
            else:
                had[rank] = (took, parts)
            if had is not None and (kind == FAILURE or len(had) == len(self._slots)):
                del self._results[ident]
            else:
                had = None
        nested.cancel_orphans(self._yard, children)
        if had is None:
            return
        if kind == FAILURE:
            self.stop(STOPPED, limits.END_GRACE)
            return
        entry[3], parts = max(took for took, _ in had.values()), had[0][1]
        entry[2] = len(parts)
        self._on_message(self.outer, Message({"t": "out", "b": [entry]}, parts))

    def _named(self, rank: int) -> None:
        """What the pool hears now is this rank's word."""
        self.outer.name = f"{self._slots[rank].name}, rank {rank} of {len(self._slots)}"

    # --- the end --------------------------------------------------------------------------

    def _ended(self, rank: int, slot: Slot, word: Mapping[str, Any]) -> None:
        with self._lock:
            children = self._bury(rank)
            alone = self._word is None and not (self._leaving and not self._results)
            if alone:
                self._word = {**word, "rank": rank}
        nested.cancel_orphans(self._yard, children)
        if alone:
            self._named(rank)
            self.stop(STOPPED, limits.END_GRACE)
        else:
            self._finish()

    def _bury(self, rank: int) -> list[nested.Child]:
        """A container is gone; the calls that nobody waits for any more. Under the lock."""
        slot = self._slots[rank]
        if rank not in self._alive:
            return []
        self._alive.discard(rank)
        slot.gone = True
        slot.host.free_gpus.extend(slot.gpus)
        slot.host.load.drop(slot)
        slot.inflight.clear()
        return nested.orphans(slot)

    def _finish(self) -> None:
        """Tell the pool, once the last one is gone."""
        with self._lock:
            if self._alive or self._starting or self._told:
                return
            self._told = True
            if not self._ready and not any(slot.gone for slot in self._slots):
                for slot in self._slots:  # none was ever started
                    slot.host.free_gpus.extend(slot.gpus)
            if self._gang.lost is not None:
                self._word, self._verdict = STOPPED, None
            verdict, self._verdict = self._verdict, None
        self._gang.over(self)
        if verdict is not None:
            self._on_message(self.outer, verdict)
        self._on_exit(self.outer, self._word or {"reason": "exit", "code": 0})
