"""How many containers a function has, where they fit, and who gives way when they do not.

Decisions only. Containers pack by the cores and the memory that they ask for; functions whose
inputs take long may have more containers than cores, since such inputs mostly wait. A container
whose inputs all wait for calls of their own uses no core, so that functions may call each other to
any depth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .. import limits
from .pool import Pool
from .slots import READY, STOPPING, Load, Slot

SLOW = 0.05
"""Seconds per input beyond which more containers than cores may help (they wait, not compute)."""
OVERSUBSCRIBE = 4
"""Containers per core at most that run something, for functions that ask for less than a core."""
MOST = 512
"""Containers on one instance, those that wait for others included: a recursion without end must
not fill its memory unseen."""
AT_ONCE = 64
"""Instances under way at once for one function: what one mistake can rent before it is seen."""
DONE_BY_THEN = 3.0
"""Averages of an input that must be left of an instance's time for what runs there to be expected
to end in it."""
TURN = 1.0
"""Seconds that a function keeps its only container while another one waits for the room."""


def window(pool: Pool) -> float:
    """Seconds for which a container of this function is kept without work."""
    asked = pool.spec.scaledown_window
    return limits.IDLE_WINDOW if asked is None else asked


def wanted(pool: Pool) -> int:
    """How many containers the queue is worth now, wherever they may fit."""
    spec = pool.spec
    need = pool.waiting + pool.held - pool.blocked
    per = spec.concurrency.target
    if spec.batching is not None:
        per *= spec.batching.size
    count = -(-need // per) + pool.stuck
    if need:
        count += spec.buffer_containers
    return capped(pool, max(count, spec.min_containers))


def stranded(pool: Pool, now: float) -> bool:
    """Something runs on an instance that is taken back, and may well not be done by then: another
    one is to be there when it is begun again."""
    return any(
        slot.inflight and slot.host.leaving and not _done_by_then(pool, slot, now)
        for slot in pool.slots.values()
    )


def parting(pool: Pool) -> bool:
    """Some of its inputs run on an instance that is taken back."""
    return any(slot.inflight and slot.host.leaving for slot in pool.slots.values())


def _done_by_then(pool: Pool, slot: Slot, now: float) -> bool:
    return pool.took is not None and pool.took * DONE_BY_THEN <= slot.host.until - now


def capped(pool: Pool, count: int) -> int:
    """No more than ``max_containers``; a gang is one."""
    most = pool.spec.max_containers if pool.spec.nodes == 1 else 1
    return count if most is None else min(count, most)


def explicit(pool: Pool) -> bool:
    """The user has said how many containers there may be, or must be: more than one instance may
    be rented for them."""
    return pool.spec.max_containers is not None or pool.live < pool.spec.min_containers


def instances(pool: Pool, hosts: Sequence[Any]) -> int:
    """How many more instances a pool is worth, at least one: each takes as many containers as the
    fullest of ``hosts``, which it has, did."""
    missing = wanted(pool) - pool.live
    each = max([1, *(active(pool, host) for host in hosts)])
    return max(1, min(AT_ONCE, -(-missing // each)))


def quick(pool: Pool) -> bool:
    """Inputs are so short, or of so unknown a length, that more containers than cores only hurt."""
    return pool.took is None or pool.took < SLOW


def enough(pool: Pool, load: Load, active: int) -> bool:
    """More containers on an instance, beside the ``active`` ones there, would not be of use."""
    cores = max(1, int(load.cores))
    most = max(cores, pool.spec.min_containers) + pool.spec.buffer_containers
    return quick(pool) and active >= most


def fits(pool: Pool, load: Load) -> bool:
    """Whether an instance has room for one more container of this function.

    A function's first container may ask for more cores than are left: sharing them is better than
    waiting for them.
    """
    asked = pool.spec.resources
    if load.count == 0:
        return True
    if load.count >= MOST or not _has_memory(pool, load):
        return False
    if load.running == 0:
        return True
    fits_cpu = not pool.live or load.cpu + asked.cpu <= load.cores + 1e-9
    return fits_cpu and load.running < max(1, int(load.cores * OVERSUBSCRIBE))


def _has_memory(pool: Pool, load: Load) -> bool:
    return not load.memory or load.reserved + pool.spec.resources.memory <= load.memory


def active(pool: Pool, host: Any) -> int:
    """Containers of a function on an instance that use it, or are about to."""
    slots = pool.slots.values()
    return sum(s.host is host and s.state != STOPPING and not s.blocked for s in slots)


def expired(pool: Pool, now: float) -> tuple[list[Slot], float | None]:
    """Containers that have been without work for too long, longest first, and in how many seconds
    to look again (None: all work)."""
    idle = [s for s in pool.slots.values() if s.state == READY and not s.inflight]
    idle.sort(key=lambda slot: slot.idle)
    spare = pool.live - max(wanted(pool), capped(pool, pool.spec.min_containers))
    leaving: list[Slot] = []
    for slot in idle:
        left = slot.idle + window(pool) - now
        if left > 0:
            return leaving, left
        if len(leaving) < spare:
            leaving.append(slot)
    return leaving, window(pool) if len(idle) > len(leaving) and pool.held else None


def gives_way(pool: Pool, pools: Iterable[Pool], host: Any, now: float) -> tuple[Pool, Slot] | None:
    """The container that makes room on ``host`` for one of ``pool``: one without work of a function
    without queue; where ``pool`` has none at all, one of the function that has most of them, or
    whoever had its turn."""
    gpus = bool(pool.spec.resources.gpus)
    others: list[tuple[Pool, Slot]] = []
    for other in pools:
        for slot in other.slots.values():
            if slot.host is host and (slot.gpus or not gpus) and other is not pool:
                if slot.state == STOPPING and _makes_room(slot, pool):
                    return None
                if slot.state == READY and not slot.blocked:
                    others.append((other, slot))
    return _idle_one(others) or (None if pool.live else _busy_one(others, now))


def _makes_room(slot: Slot, pool: Pool) -> bool:
    """What a leaving container still holds is what this function lacks. Its core is free already,
    unless it still runs something."""
    lacks_memory = slot.load is not None and not _has_memory(pool, slot.load)
    return bool(slot.inflight or pool.spec.resources.gpus) or lacks_memory


def _idle_one(others: Sequence[tuple[Pool, Slot]]) -> tuple[Pool, Slot] | None:
    idle = [(p, s) for p, s in others if not s.inflight and not p.waiting]
    idle.sort(key=lambda one: (one[0].live <= one[0].spec.min_containers, one[1].idle))
    return idle[0] if idle else None


def _busy_one(others: Sequence[tuple[Pool, Slot]], now: float) -> tuple[Pool, Slot] | None:
    if not others:
        return None
    most = max(other.live for other, _ in others)
    if most > 1:
        busiest = [one for one in others if one[0].live == most]
        return min(busiest, key=lambda one: len(one[1].inflight))
    pool, slot = min(others, key=lambda one: one[1].since)
    return (pool, slot) if now - slot.since >= TURN else None


def deadlocked(pool: Pool) -> bool:
    """Its containers all wait for other calls, no more of them are allowed, and inputs wait."""
    most = pool.spec.max_containers
    return bool(pool.waiting) and most is not None and pool.stuck >= most
