"""The queue and the containers of one function: who holds what. Moves only, no I/O.

The session calls these under its lock and does what the rooms beside decide: :mod:`.dispatch` which
inputs go where, :mod:`.ends` what the end of a container means, :mod:`.scaling` how many containers
there are. An input is in exactly one place: in ``pending``, in ``inflight`` of one slot, waiting
for its next attempt, or finished; :meth:`Pool.validate` says so in full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from .inputs import Input
from .slots import READY, STARTING, STOPPING, Load, Share, Slot
from .spec import FunctionSpec


class Pool:
    """One function's queue and slots.

    ``waiting``: inputs in the queue; ``pending`` may also hold some that were cancelled and are
    passed over when their turn comes. ``held``: inputs in slots. ``retrying``: inputs that wait for
    their next attempt, ``pausing`` these by id. ``live``: slots that take or will take inputs;
    ``ready``: those that take some now; ``stuck``: those of which all inputs wait for calls of
    their own; ``blocked``: such inputs. ``hungry``: slots that may have room. ``took``: moving
    average of seconds per input. ``lost_starts``: starts of containers that were lost in a row,
    ``bereft``: instances that were lost, both since a container became ready. ``rtt``: seconds of a
    round trip to its instances. ``alarms``: what the session's ticker was asked to look at.
    """

    def __init__(self, spec: FunctionSpec) -> None:
        self.spec = spec
        self.pending: deque[Input] = deque()
        self.waiting = 0
        self.slots: dict[tuple[int, int], Slot] = {}
        self.hungry: dict[tuple[int, int], Slot] = {}
        self.held = 0
        self.retrying = 0
        self.pausing: dict[int, Input] = {}
        self.live = 0
        self.ready = 0
        self.stuck = 0
        self.blocked = 0
        self.took: float | None = None
        self.rtt = 0.0
        self.lost_starts = 0
        self.bereft = 0
        self.alarms: dict[str, object] = {}

    # --- the queue ------------------------------------------------------------------------

    def enqueue(self, items: Sequence[Input]) -> None:
        """Put inputs at the end of the queue."""
        for item in items:
            item.at = self
        self.pending.extend(items)
        self.waiting += len(items)

    def put_back(self, items: Iterable[Input]) -> None:
        """Put inputs at the front of the queue, in this order."""
        again = [item for item in items if not item.done]
        for item in again:
            item.at = self
        self.pending.extendleft(reversed(again))
        self.waiting += len(again)

    def take(self, count: int) -> list[Input]:
        """The next inputs of the queue."""
        taken: list[Input] = []
        pending = self.pending
        while len(taken) < count and pending:
            item = pending.popleft()
            if not item.done:
                taken.append(item)
        self.waiting -= len(taken)
        return taken

    def clear(self) -> list[Input]:
        """All inputs of the queue; it is empty afterwards."""
        return self.take(self.waiting)

    def drop(self, items: Iterable[Input]) -> dict[Slot, list[Input]]:
        """Forget inputs, wherever they are. Returns those that containers hold, by container: these
        stay there until the container is done with them."""
        held: dict[Slot, list[Input]] = {}
        for item in items:
            if item.done:
                continue
            at = item.at
            if isinstance(at, Slot):
                held.setdefault(at, []).append(item)
                item.done = True  # its arguments may be on their way
                continue
            if at is self:
                self.waiting -= 1
            item.close()
        if not self.waiting:
            self.pending.clear()
        return held

    # --- slots ----------------------------------------------------------------------------

    def add(self, slot: Slot, load: Load) -> None:
        """A container is started."""
        self.slots[slot.key] = slot
        slot.load = load
        slot.before = self.lost_starts
        slot.most = self.spec.concurrency.most
        self.count(slot)

    def remove(self, slot: Slot) -> list[Input]:
        """A container is gone; what it held and nobody cancelled, in order."""
        if self.slots.pop(slot.key, None) is None:
            return []
        self.hungry.pop(slot.key, None)
        if slot.load is not None:
            slot.load.drop(slot)
        held = list(slot.inflight.values())
        slot.inflight.clear()
        slot.waits = 0
        slot.stealing = None
        slot.gone = True
        self.held -= len(held)
        self._recount()
        return [item for item in held if not item.done]

    def set_state(self, slot: Slot, state: str, now: float) -> None:
        """A container became ready, or is to take no more."""
        slot.state = state
        if state == READY:
            slot.since = slot.idle = slot.heard = now
            self.lost_starts = self.bereft = 0
            self.hungry[slot.key] = slot
        else:
            self.hungry.pop(slot.key, None)
        self.count(slot)

    def count(self, slot: Slot) -> None:
        """Something about a slot changed that scaling and feeding look at."""
        asked = self.spec.resources
        if slot.load is not None and slot.key in self.slots:
            # one that leaves runs its exit hooks at most, which nobody should have to wait for
            leaving = slot.state == STOPPING and not slot.inflight
            running = not (slot.blocked or leaving)
            slot.load.put(slot, Share(asked.cpu, asked.memory, running))
        self._recount()

    def _recount(self) -> None:
        slots = self.slots.values()
        self.live = sum(slot.state != STOPPING for slot in slots)
        self.stuck = sum(slot.blocked for slot in slots)
        self.ready = sum(slot.state == READY and not slot.blocked for slot in slots)
        self.blocked = sum(len(s.inflight) if s.blocked else s.waits for s in slots if s.waits)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not (self.waiting or self.retrying or self.held)

    # --- proof ----------------------------------------------------------------------------

    def validate(self) -> None:
        """Check what must always hold; AssertionError where it does not. For tests."""
        queued = [item for item in self.pending if not item.done]
        assert self.waiting == len(queued), "waiting"
        assert all(item.at is self for item in queued), "a queued input is elsewhere"
        assert len({item.id for item in queued}) == len(queued), "queued twice"
        held = 0
        for key, slot in self.slots.items():
            assert key == slot.key, "a slot under another's key"
            held += len(slot.inflight)
            for ident, item in slot.inflight.items():
                assert item.id == ident, "an input under another's id"
                assert item.done or item.at is slot, "a held input is elsewhere"
            assert 0 <= slot.waits <= len(slot.inflight), "waits"
            assert len(slot.inflight) <= slot.sent, "held but never sent"
        assert self.held == held, "held"
        assert self.retrying >= 0, "retrying"
        assert set(self.hungry) <= {k for k, s in self.slots.items() if s.state == READY}, "hungry"
        before = (self.live, self.ready, self.stuck, self.blocked)
        self._recount()
        assert before == (self.live, self.ready, self.stuck, self.blocked), "counts"
        assert self.live == sum(s.state in (STARTING, READY) for s in self.slots.values())
