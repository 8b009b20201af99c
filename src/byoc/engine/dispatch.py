"""Which inputs go to which container, what its results mean, and what it has to give back.

Decisions only. A container holds as much as hides the round trip to it and no more than its share;
what it holds too long while another has nothing to do is stolen back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from .. import limits
from .inputs import FAILURE, ITEM, Arrival, Buffer, Input, Outcome
from .pool import Pool
from .slots import READY, STOPPING, Slot, Steal

OVERDUE = 0.05
"""Seconds without progress after which what a container holds may be stolen back, at least."""
OVERDUE_FACTOR = 4.0
"""... and so many times what an input takes on average."""
RTT_FACTOR = 2.0
"""Round trips of work that a container has queued: one is on the way, one is spent waiting."""
SHORT = 20.0
"""An input of less than so many round trips is worth having the next one there already."""
LEARN = 0.2
"""Weight of the latest message's inputs in the average."""
_FEW = 8
"""From this depth on a container is fed only when half of it is free: in larger messages."""


@dataclass(frozen=True)
class Retry:
    """An input to be queued again after ``delay`` seconds."""

    input: Input
    delay: float


def feed(pool: Pool, slot: Slot, now: float) -> list[Input]:
    """The inputs to send to a slot now, no more than its share of all that is to be done; they
    become its inflight."""
    size = _room(pool, slot)
    if size <= 0:
        return []
    batch = pool.take(size)
    inflight = slot.inflight
    if not inflight:
        slot.heard = now
    for item in batch:
        item.at = slot
        inflight[item.id] = item
    slot.sent += len(batch)
    pool.held += len(batch)
    if len(inflight) >= slot.depth:
        pool.hungry.pop(slot.key, None)
    return batch


def _room(pool: Pool, slot: Slot) -> int:
    """How many inputs a slot should get now."""
    if not pool.waiting or slot.state != READY or slot.stealing or slot.blocked:
        return 0
    held = len(slot.inflight)
    if pool.spec.single_use:
        return 0 if slot.inflight or slot.served else 1  # what was stolen back it did not begin
    room = slot.depth - held
    if room <= 0 or (slot.depth >= _FEW and room * 2 < slot.depth):
        return 0
    share = -(-(pool.waiting + pool.held) // max(1, pool.ready))
    batching = pool.spec.batching
    if batching is not None:  # full batches before many
        share = -(-share // batching.size) * batching.size
    return min(room, share - held)


def lanes(pool: Pool) -> int:
    """How many inputs a container of this function runs at once."""
    size = pool.spec.batching.size if pool.spec.batching is not None else 1
    return pool.spec.concurrency.most * size


def depth(pool: Pool) -> int:
    """How many inputs a container of this function should hold."""
    at_once = lanes(pool)
    if pool.spec.single_use or pool.spec.nodes > 1:  # ranks do not get ahead of each other
        return 1
    if pool.took is None:
        return at_once
    took = max(pool.took, 1e-6)
    rounds = max(1, int(max(limits.PREFETCH_TARGET, RTT_FACTOR * pool.rtt) / took))
    if took < SHORT * pool.rtt:
        rounds += 1
    return max(at_once, min(limits.PREFETCH_MAX, rounds * at_once))


def sound(entries: Any, buffers: Sequence[Buffer]) -> bool:
    """Whether results are what they claim to be: ``[id, kind, buffers, microseconds]`` each."""
    if type(entries) is not list or not set(map(type, entries)) <= _LIST:
        return False
    if not (set(map(len, entries)) <= _FOUR and set(map(type, chain(*entries))) <= _INT):
        return False
    numbers: list[int] = list(chain(*entries))
    if min(numbers, default=0) < 0 or max(numbers, default=0) >= _WORD:
        return False
    return sum(numbers[2::4]) == len(buffers)


_LIST, _FOUR, _INT = frozenset({list}), frozenset({4}), frozenset({int})
_WORD = 1 << 63


def results(
    pool: Pool, slot: Slot, entries: Sequence[Sequence[int]], buffers: Sequence[Buffer], now: float
) -> tuple[list[Arrival], list[Retry]]:
    """A message of results: what to deliver (those inputs are done), and what to try again."""
    out: list[Arrival] = []
    again: list[Retry] = []
    forget = slot.inflight.pop
    where = slot.name
    position = ended = micros = 0
    for ident, kind, count, took in entries:
        parts = buffers[position : position + count]
        position += count
        if kind == ITEM:
            _item(slot, ident, parts, out)
            continue
        item = forget(ident, None)
        if item is None:
            continue  # stolen back, or of an attempt that is over
        ended += 1
        micros += took
        if item.done:
            continue  # cancelled meanwhile
        if kind == FAILURE:
            retry = retried(pool, item)
            if retry is not None:
                again.append(retry)
                continue
        item.done = True
        item.data = ()
        item.at = None
        out.append((item, Outcome(kind, parts, None, where)))
    if ended:
        _progress(pool, slot, ended, micros / 1e6 / ended, now)
    return out, again


def _item(slot: Slot, ident: int, parts: Sequence[Buffer], out: list[Arrival]) -> None:
    item = slot.inflight.get(ident)
    if item is not None and not item.done:
        item.started = True
        out.append((item, Outcome(ITEM, parts, None, slot.name)))


def _progress(pool: Pool, slot: Slot, ended: int, took: float, now: float) -> None:
    """Learn from inputs that ended; a container of quick ones may hold more at once."""
    pool.held -= ended
    slot.served += ended
    slot.heard = now
    pool.took = took if pool.took is None else pool.took + (took - pool.took) * LEARN
    slot.depth = depth(pool)
    if not slot.inflight:
        slot.idle = now
    if slot.state != READY:
        return
    if pool.spec.single_use:
        pool.set_state(slot, STOPPING, now)
    else:
        pool.hungry[slot.key] = slot


def retried(pool: Pool, item: Input) -> Retry | None:
    """Count a failure of an input; its next attempt, or None where it had its last one."""
    policy = pool.spec.retries
    item.tries.failures += 1
    if policy is None or item.failures > policy.max_retries:
        return None
    pool.retrying += 1
    pool.pausing[item.id] = item
    item.at = None
    return Retry(item, policy.delay(item.failures))


def due_again(pool: Pool, item: Input) -> None:
    """A retry's pause is over."""
    pool.retrying -= 1
    pool.pausing.pop(item.id, None)
    if not item.done:
        pool.enqueue([item])


# --- stealing back ----------------------------------------------------------------------------


def patience(pool: Pool) -> float:
    """Seconds for which a container may hold inputs that it does not start."""
    return max(OVERDUE, OVERDUE_FACTOR * (pool.took or 0.0), RTT_FACTOR * pool.rtt)


def worth_stealing(pool: Pool) -> bool:
    """Some container has nothing to do, or could, while another holds more than it runs."""
    if pool.waiting or pool.held <= lanes(pool):
        return False
    slots = pool.slots.values()
    at_once = lanes(pool)
    free = any(s.state == READY and not s.inflight and not s.stealing for s in slots)
    return free and any(len(s.inflight) > at_once for s in slots)


def overdue(pool: Pool, now: float) -> tuple[list[Slot], float | None]:
    """Containers to steal from now, and in how many seconds to look again (None: no need)."""
    if not worth_stealing(pool):
        return [], None
    wait = patience(pool)
    at_once = lanes(pool)
    late: list[Slot] = []
    next_look: float | None = None
    for slot in pool.slots.values():
        if len(slot.inflight) <= at_once or slot.stealing or slot.state != READY:
            continue
        left = slot.heard + wait - now
        if left <= 0:
            late.append(slot)
        else:
            next_look = left if next_look is None else min(next_look, left)
    return late, next_look


def steal(slot: Slot) -> Steal:
    """A steal begins: until the container says how far it went, it is given nothing."""
    slot.stealing = Steal(slot.sent)
    return slot.stealing


def stolen(pool: Pool, slot: Slot, theft: Steal, started: int) -> None:
    """The agent says that the container started nothing behind place ``started``: the rest goes
    back to the queue."""
    if slot.stealing is not theft:
        return  # the container's own word came first
    theft.believed = max(started, slot.skipped)
    _return(pool, slot, theft.limit - theft.believed)
    slot.depth = lanes(pool)


def went(pool: Pool, slot: Slot, started: int, now: float) -> None:
    """The container skipped: what it has not started, although it was believed to, goes back."""
    theft, slot.stealing = slot.stealing, None
    if theft is None:
        return
    last = theft.limit if theft.believed is None else theft.believed
    _return(pool, slot, last - max(started, slot.skipped))
    slot.skipped = theft.limit
    slot.heard = now
    if slot.state == READY:
        pool.hungry[slot.key] = slot


def spared(pool: Pool, slot: Slot, theft: Steal) -> None:
    """The agent refused the steal: nothing has changed."""
    if slot.stealing is theft:
        slot.stealing = None
        if slot.state == READY:
            pool.hungry[slot.key] = slot


def _return(pool: Pool, slot: Slot, count: int) -> None:
    """Take the last ``count`` inputs of a slot back to the front of the queue."""
    if count <= 0:
        return
    idents = list(slot.inflight)[-count:]
    items = [slot.inflight.pop(ident) for ident in idents]
    pool.held -= len(items)
    pool.put_back(items)
    pool.count(slot)
