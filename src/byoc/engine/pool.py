"""The containers and the queue of one function: decisions only, no I/O.

The session calls these methods under its lock and does what they return. An input is in exactly one
place: ``pending``, or ``inflight`` of one slot, or finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import limits
from ..errors import ContainerError, Error, ExecutionError, FunctionTimeoutError
from .inputs import FAILURE, ITEM, ITEMS_END, VALUE, Buffer, Input, Outcome
from .spec import FunctionSpec

MAX_LOSSES = 3
"""An input whose container was lost this often without its own fault is given up: something about
it may well be what kills instances."""
SLOW = 0.05
"""Seconds per input beyond which more containers than cores may help (they wait, not compute)."""
OVERSUBSCRIBE = 4
"""Containers per core at most, for functions that ask for less than a core."""
ON_PURPOSE = frozenset({"stopped", "cancelled"})
"""Reasons for which this run itself ended a container."""
TAKEN_ALONG = frozenset({"lost", "ended"})
"""Reasons that lie in the instance: what ran there happened to be there."""
STARTING, READY, STOPPING = "starting", "ready", "stopping"
_SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM", 7: "SIGBUS", 4: "SIGILL"}


@dataclass
class Slot:
    """One container: its stream on ``host`` (a live instance) and what it holds."""

    host: Any
    stream: int
    name: str
    gpus: tuple[int, ...] = ()
    state: str = STARTING
    inflight: dict[int, Input] = field(default_factory=dict)
    depth: int = 1
    served: int = 0
    failure: Outcome | None = None


@dataclass(frozen=True)
class Retry:
    """An input to be queued again after ``delay`` seconds."""

    input: Input
    delay: float


class Pool:
    """One function's queue and slots."""

    def __init__(self, spec: FunctionSpec) -> None:
        self.spec = spec
        self.pending: deque[Input] = deque()
        self.slots: dict[tuple[int, int], Slot] = {}
        self.took: float | None = None  # moving average of seconds per input
        self.waiting_retry = 0
        self.lost_starts = 0

    # --- scaling --------------------------------------------------------------------------

    def wanted(self, cores: float) -> int:
        """How many containers there should be now, given an instance of ``cores``."""
        running = sum(len(slot.inflight) for slot in self.slots.values())
        need = len(self.pending) + running
        if need:
            need += self.spec.buffer_containers
        most = self.most(cores)
        if self.took is None or self.took < SLOW:
            most = min(most, max(1, int(cores)))
        return max(min(need, most), min(self.spec.min_containers, most))

    def most(self, cores: float) -> int:
        """The most containers of this function on an instance of ``cores``."""
        by_cpu = max(1, int(cores / self.spec.resources.cpu))
        most = min(by_cpu, max(1, int(cores * OVERSUBSCRIBE)))
        if self.spec.max_containers is not None:
            most = min(most, self.spec.max_containers)
        return most

    @property
    def live(self) -> list[Slot]:
        """Slots that are or will be able to take inputs."""
        return [slot for slot in self.slots.values() if slot.state != STOPPING]

    # --- feeding --------------------------------------------------------------------------

    def feed(self, slot: Slot) -> list[Input]:
        """The inputs to send to a slot now; they become its inflight. Called again until there are
        none, it gives the slot no more than its share of all that is to be done."""
        if slot.state != READY or not self.pending:
            return []
        held = len(slot.inflight)
        room = slot.depth - held
        if room <= 0 or (slot.depth >= 8 and room * 2 < slot.depth):
            return []
        ready = [s for s in self.slots.values() if s.state == READY]
        all_held = sum(len(s.inflight) for s in ready)
        share = -(-(len(self.pending) + all_held) // len(ready)) - held
        size = min(room, share, limits.BATCH_MAX, len(self.pending))
        batch = [self.pending.popleft() for _ in range(size)]
        for item in batch:
            slot.inflight[item.id] = item
        return batch

    def results(
        self, slot: Slot, entries: Sequence[Sequence[int]], buffers: Sequence[Buffer]
    ) -> tuple[list[tuple[Input, Outcome]], list[Retry]]:
        """A message of results: what to deliver, and what to try again."""
        out: list[tuple[Input, Outcome]] = []
        again: list[Retry] = []
        position = 0
        for ident, kind, count, micros in entries:
            parts = buffers[position : position + count]
            position += count
            if kind == ITEM:
                item = slot.inflight.get(ident)
                if item is not None:
                    item.started = True
                    out.append((item, Outcome(ITEM, parts, where=slot.name)))
                continue
            item = slot.inflight.pop(ident, None)
            if item is None:
                continue  # cancelled meanwhile
            slot.served += 1
            self._learn(micros / 1e6)
            outcome = Outcome(kind, parts, where=slot.name)
            retry = self._retry(item) if kind == FAILURE and not item.done else None
            if retry is not None:
                again.append(retry)
            else:
                out.append((item, outcome))
        target = self._target()
        slot.depth = max(1, min(target, slot.depth * 2))
        if self.spec.single_use and slot.served:
            slot.state = STOPPING
        return out, again

    def _learn(self, took: float) -> None:
        self.took = took if self.took is None else self.took + (took - self.took) * 0.2

    def _target(self) -> int:
        if self.spec.single_use or self.took is None:
            return 1
        return max(1, min(limits.PREFETCH_MAX, int(limits.PREFETCH_TARGET / max(self.took, 1e-6))))

    def _retry(self, item: Input) -> Retry | None:
        policy = self.spec.retries
        item.failures += 1
        if policy is None or item.failures > policy.max_retries:
            return None
        self.waiting_retry += 1
        return Retry(item, policy.delay(item.failures))

    # --- ends -----------------------------------------------------------------------------

    def exited(
        self, slot: Slot, word: Mapping[str, Any]
    ) -> tuple[list[tuple[Input, Outcome]], list[Retry]]:
        """A container ended. The input it was running fails with an honest reason; those that
        only waited there go back to the front of the queue."""
        self.slots.pop((id(slot.host), slot.stream), None)
        out: list[tuple[Input, Outcome]] = []
        again: list[Retry] = []
        held = list(slot.inflight.values())
        slot.inflight.clear()
        reason = word.get("reason")
        if slot.state == STARTING and reason not in ON_PURPOSE | {"ended"}:
            return self._failed_to_start(slot, word, held), []
        culprit = next((item for item in held if item.id == word.get("input")), None)
        cancelled_beside = reason == "cancelled" and culprit is not None and not culprit.done
        if reason in TAKEN_ALONG or cancelled_beside:
            culprit = None
        error = self._why(slot, word)
        if culprit is None:
            # Not for nothing: a container that dies between inputs, again and again, is a failure.
            return self.give_back(held, None if reason in ON_PURPOSE else error), []
        retry = self._retry(culprit) if reason not in ON_PURPOSE else None
        if retry is not None:
            again.append(retry)
        else:
            out.append((culprit, Outcome(FAILURE, error=error, where=slot.name)))
        out += self.give_back([item for item in held if item is not culprit])
        return out, again

    def lost(self, slot: Slot, error: BaseException) -> list[tuple[Input, Outcome]]:
        """The instance is gone: everything it held is tried again elsewhere, within reason."""
        self.slots.pop((id(slot.host), slot.stream), None)
        held = list(slot.inflight.values())
        slot.inflight.clear()
        return self.give_back(held, error)

    def give_back(
        self, items: list[Input], error: BaseException | None = None
    ) -> list[tuple[Input, Outcome]]:
        """Put inputs back at the front of the queue; those that were lost too often, or cannot be
        begun again, come back with the reason."""
        out = []
        for item in reversed(items):
            item.losses += 1 if error is not None else 0
            if item.started or item.losses >= MAX_LOSSES:
                reason = error or ContainerError("the container was lost", reason="lost")
                out.append((item, Outcome(FAILURE, error=reason)))
            elif not item.done:
                self.pending.appendleft(item)
        return out

    def _failed_to_start(
        self, slot: Slot, word: Mapping[str, Any], held: list[Input]
    ) -> list[tuple[Input, Outcome]]:
        """Starting it again would fail again: everything that waits fails with the reason. Unless
        it was lost with others, which may happen a few times."""
        self.lost_starts = self.lost_starts + 1 if word.get("reason") == "lost" else 0
        if 0 < self.lost_starts < MAX_LOSSES:
            return self.give_back(held)
        outcome = slot.failure or Outcome(FAILURE, error=self._why(slot, word, starting=True))
        out = [(item, outcome) for item in [*held, *self.pending]]
        self.pending.clear()
        return out

    def _why(self, slot: Slot, word: Mapping[str, Any], starting: bool = False) -> Error:
        name = self.spec.name
        reason = word.get("reason")
        if reason == "timeout":
            if starting:
                limit = self.spec.startup_timeout
                return FunctionTimeoutError(f"{name}'s container was not ready within {limit:g} s")
            limit = self.spec.timeout
            return FunctionTimeoutError(f"{name} ran longer than its timeout of {limit:g} s")
        doing = "while it was starting" if starting else f"while it ran {name}"
        if reason == "signal":
            number = int(word.get("signal") or 0)
            hints: tuple[str, ...] = ()
            if number == 9:
                hints = ("mostly this means that memory ran out: ask for more",)
            return ContainerError(
                f"the container was killed by {_SIGNALS.get(number, f'signal {number}')} {doing}",
                reason="signal",
                exit_code=128 + number,
                hints=hints,
            )
        if reason == "exit":
            code = word.get("code")
            return ContainerError(
                f"the container exited with code {code} {doing}", reason="exit", exit_code=code
            )
        if reason == "start":
            detail = word.get("detail") or "no reason given"
            return ContainerError(
                f"the container could not be started: {detail}",
                reason="start",
                exit_code=word.get("code"),
            )
        if reason == "cancelled":
            return ExecutionError(f"{name} was cancelled")
        return ContainerError(f"the container was lost {doing}", reason=str(reason))

    def cancel(self, items: Sequence[Input]) -> list[Slot]:
        """Forget inputs. Returns the slots that run one of them right now or hold it queued."""
        gone = {item.id for item in items}
        for item in items:
            item.done = True
        self.pending = deque(item for item in self.pending if item.id not in gone)
        return [s for s in self.slots.values() if gone & s.inflight.keys()]

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return (
            not self.pending
            and not self.waiting_retry
            and not any(slot.inflight for slot in self.slots.values())
        )


FINAL = (VALUE, FAILURE, ITEMS_END)
"""Kinds of outcome that end an input."""
