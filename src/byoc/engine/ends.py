"""What the end of a container, or of its instance, means for the inputs that it held."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import (
    ConnectionLostError,
    ContainerError,
    Error,
    ExecutionError,
    FunctionTimeoutError,
    HostKeyError,
    InstanceError,
)
from .dispatch import Retry, retried
from .inputs import FAILURE, Arrival, Input, Outcome
from .pool import Pool
from .slots import STARTING, Slot
from .spec import FunctionSpec

MAX_LOSSES = 3
"""An input whose container was lost this often without its own fault is given up: something about
it may well be what kills instances."""
MAX_TAKEN = 8
"""So many instances that their clouds took back one after the other, before a container became
ready on any, are enough: this market has no room for the function now. Modal's figure."""
ON_PURPOSE = frozenset({"stopped", "cancelled"})
"""Reasons for which this run itself ended a container."""
MOVED = frozenset({"ended"})
"""Reasons that lie in a machine which takes its leave politely: nothing is counted."""
FROM_OUTSIDE = frozenset({9, 15})
"""Signals that a container which is being started hardly sends to itself."""
_LOSSES = (InstanceError, ConnectionLostError)
"""What a loss is told as, and no finding of its own."""
_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


def finish(items: Iterable[Input], outcome: Outcome) -> list[Arrival]:
    """Inputs that are done, with this outcome."""
    out: list[Arrival] = []
    for item in items:
        if not item.done:
            item.close()
            out.append((item, outcome))
    return out


def exited(pool: Pool, slot: Slot, word: Mapping[str, Any]) -> tuple[list[Arrival], list[Retry]]:
    """A container ended. The inputs it was running fail with an honest reason; those that only
    waited there go back to the front of the queue."""
    starting = slot.state == STARTING
    held = pool.remove(slot)
    reason = word.get("reason")
    if starting and reason not in ON_PURPOSE | MOVED:
        return _failed_to_start(pool, slot, word, held), []
    if reason in ON_PURPOSE or reason in MOVED:
        return give_back(pool, held), []
    culprits = [item for item in held if item.id in _running(word)] if reason != "lost" else []
    methods = {item.method for item in culprits}
    error = why(pool.spec, word, method=methods.pop() if len(methods) == 1 else "")
    if not culprits:
        # Not for nothing: a container that dies between inputs, again and again, is a failure.
        return give_back(pool, held, error), []
    out: list[Arrival] = []
    again: list[Retry] = []
    for item in culprits:
        retry = retried(pool, item) if not item.started else None
        if retry is not None:
            again.append(retry)
        else:
            out += finish([item], Outcome(FAILURE, (), error, slot.name))
    culpable = set(map(id, culprits))
    return out + give_back(pool, [item for item in held if id(item) not in culpable]), again


def _running(word: Mapping[str, Any]) -> Sequence[int]:
    """The inputs that a container's last word names: those over their time, or all that ran."""
    named = word.get("inputs")
    return named if isinstance(named, list) else [word.get("input", 0)]


def lost(pool: Pool, slot: Slot, error: BaseException, taken: bool = False) -> list[Arrival]:
    """The instance is gone: everything it held is tried again elsewhere, within reason; however
    often when it was ``taken`` back by its cloud, which no input brings about. Not when another
    machine answers in its place: that is for a person to look at, before more is sent."""
    if isinstance(error, HostKeyError):
        return finish(pool.remove(slot), Outcome(FAILURE, (), error))
    return give_back(pool, pool.remove(slot), error, counts=not taken)


def give_back(
    pool: Pool, items: Sequence[Input], error: BaseException | None = None, counts: bool = True
) -> list[Arrival]:
    """Put inputs back at the front of the queue; those that were lost too often, or cannot be
    begun again, are done with the reason. Without ``error``, or ``counts``, it is not counted."""
    out: list[Arrival] = []
    again: list[Input] = []
    for item in items:
        if error is not None and counts:
            item.tries.losses += 1
        if item.started or item.losses >= MAX_LOSSES:
            reason = error or ContainerError("the container was lost", reason="lost")
            out += finish([item], Outcome(FAILURE, (), reason))
        else:
            again.append(item)
    pool.put_back(again)
    return out


def fail_waiting(pool: Pool, outcome: Outcome) -> list[Arrival]:
    """Everything that waits in the queue is done with this outcome."""
    return finish(pool.clear(), outcome)


def _failed_to_start(
    pool: Pool, slot: Slot, word: Mapping[str, Any], held: Sequence[Input]
) -> list[Arrival]:
    """Starting it again would fail again: everything that waits fails with the reason. Unless
    it was lost with others, or ended from outside, which may happen a few times."""
    if _lost_start(slot, word):
        # those that were started together are lost together, which is one loss
        pool.lost_starts = max(pool.lost_starts, slot.before + 1)
        if pool.lost_starts < MAX_LOSSES:
            return give_back(pool, held)
    outcome = slot.failure or Outcome(FAILURE, (), why(pool.spec, word, starting=True))
    return finish(held, outcome) + fail_waiting(pool, outcome)


def _lost_start(slot: Slot, word: Mapping[str, Any]) -> bool:
    """A container ended before it said anything, by nothing of its own as far as is known."""
    if word.get("reason") == "signal":
        return slot.failure is None and word.get("signal") in FROM_OUTSIDE
    return word.get("reason") == "lost"


def bereaved(pool: Pool, error: BaseException, left: bool, taken: bool = False) -> list[Arrival]:
    """An instance of this function is lost; ``left``: it has others. What waits is told why where
    so many were lost in a row that none of its containers became ready on: few, or some more when
    its cloud has ``taken`` it."""
    pool.bereft += 1
    if left or pool.bereft < (MAX_TAKEN if taken else MAX_LOSSES):
        return []
    return fail_waiting(pool, Outcome(FAILURE, (), _in_a_row(pool, error, taken)))


def _in_a_row(pool: Pool, error: BaseException, taken: bool) -> BaseException:
    """The loss that was one too many, with what is known of all of them."""
    if pool.bereft < 2 or type(error) not in _LOSSES:
        return error
    how, next_ = "were lost", "see `byoc why`: something may end them, such as too little memory"
    if taken:
        how, next_ = "were taken back", "use --on-demand, or allow more clouds, regions or types"
    text = f"{pool.bereft} instances in a row {how} before {pool.spec.name} had begun on any"
    return ConnectionLostError(f"{text}: {error}", hints=(next_,))


def why(
    spec: FunctionSpec, word: Mapping[str, Any], starting: bool = False, method: str = ""
) -> Error:
    """A container's last word as an error. ``method``: of a class, the one that it ran."""
    name = f"{spec.name}.{method}" if method else spec.name
    if "rank" in word:  # of a gang
        name = f"{name} (rank {word['rank']})"
    reason = word.get("reason")
    doing = f"while {name} was starting" if starting else f"while it ran {name}"
    if reason == "timeout":
        if starting:
            limit = spec.startup_timeout
            return FunctionTimeoutError(f"{name}'s container was not ready within {limit:g} s")
        return FunctionTimeoutError(f"{name} ran longer than its timeout of {spec.timeout:g} s")
    if reason == "signal":
        return _killed(int(word.get("signal") or 0), doing)
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
    if reason in _LIMITS:
        text, hint = _LIMITS[str(reason)]
        given = f"{spec.memory_limit} MiB"
        return ContainerError(
            text.format(limit=given) + " " + doing,
            reason="oom" if reason == "memory" else str(reason),
            exit_code=137,
            hints=(hint,),
        )
    if reason == "cancelled":
        return ExecutionError(f"{name} was cancelled")
    return ContainerError(f"the container was lost {doing}", reason=str(reason))


def _killed(number: int, doing: str) -> ContainerError:
    return ContainerError(
        f"the container was killed by {_SIGNALS.get(number, f'signal {number}')} {doing}",
        reason="signal",
        exit_code=128 + number,
        hints=("mostly this means that memory ran out: ask for more",) if number == 9 else (),
    )


_LIMITS = {
    "memory": (
        "the container used more than its memory limit of {limit}",
        "raise the limit, the second number of memory=(request, limit)",
    ),
    "oom": (
        "the instance ran out of memory, and its kernel ended the container",
        "ask for more with memory=, run fewer containers, or use less at a time",
    ),
    "processes": (
        "the container made too many processes",
        "start fewer processes at a time",
    ),
}
"""What the instance's watch ends a container for: the message, and what to do."""
