"""Which request fails, and the log of all of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from .ports import Facts, Fault
from .scenario import ANY, BAD_GPU, BOOTS, FOREVER, Rule


class Call(NamedTuple):
    """One request. ``at``: seconds after the start. ``refused``: the code it failed with, if any;
    ``by``: ``scenario``, or ``cloud`` for the account's own rules."""

    at: float
    cloud: str
    op: str
    facts: Facts
    refused: str = ""
    message: str = ""
    by: str = ""


class Faults:
    """The rules in their order, each used so many times. Safe from any thread."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = list(rules)
        self._left = [rule.times for rule in rules]
        self._met = [False] * len(rules)
        self._lock = threading.Lock()

    def take(self, cloud: str, op: str, facts: Facts) -> Rule | None:
        """The first rule that applies to a request, which is then used up by one."""
        return self._take(lambda rule: applies(rule, cloud, op, facts))

    def take_boot(self, cloud: str, facts: Facts) -> Rule | None:
        """The same for the boot of an instance: a rule of ``no-boot`` or ``slow-boot``."""
        return self._take(
            lambda rule: (
                rule.error in BOOTS and rule.cloud in (ANY, cloud) and matches(rule.match, facts)
            )
        )

    def take_gpu(self, cloud: str, facts: Facts) -> Rule | None:
        """The same for the GPUs of an instance: a rule of ``bad-gpu``."""
        return self._take(
            lambda rule: (
                rule.error == BAD_GPU and rule.cloud in (ANY, cloud) and matches(rule.match, facts)
            )
        )

    def _take(self, fits: Callable[[Rule], bool]) -> Rule | None:
        with self._lock:
            for place, rule in enumerate(self._rules):
                if self._left[place] != 0 and fits(rule):
                    self._left[place] -= 0 if rule.times == FOREVER else 1
                    self._met[place] = True
                    return rule
        return None

    def unused(self) -> list[Rule]:
        """Rules that no request has met."""
        with self._lock:
            pairs = zip(self._rules, self._met, strict=True)
            return [rule for rule, met in pairs if not met and rule.times != 0]


def applies(rule: Rule, cloud: str, op: str, facts: Facts) -> bool:
    """Whether a rule is about such a request."""
    if rule.error in (BAD_GPU, *BOOTS):
        return False
    return rule.cloud in (ANY, cloud) and names(rule.op, op) and matches(rule.match, facts)


def names(pattern: str, op: str) -> bool:
    """Whether ``pattern`` names an operation, however its cloud's tools spell it.

    ``LaunchInstance`` and ``launch_instance`` are one, and ``instances.insert`` is
    ``compute.instances.insert``.
    """
    wanted, parts = _plain(pattern), _plain(op).split(".")
    return any(fnmatchcase(".".join(parts[start:]), wanted) for start in range(len(parts)))


def _plain(op: str) -> str:
    return op.replace("_", "").lower()


def matches(patterns: Mapping[str, str], facts: Facts) -> bool:
    """Whether facts fit patterns; a missing fact is an empty text."""
    return all(fnmatchcase(facts.get(key, ""), pattern) for key, pattern in patterns.items())


def fault(rule: Rule) -> Fault:
    """What a façade is told."""
    return Fault(rule.error, rule.message, rule.status)


class CallLog:
    """Every request, accepted or not, in the order in which they came. Safe from any thread."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._refused: list[Call] = []
        self._lock = threading.Lock()

    def note(self, call: Call) -> None:
        """A request that came; when it has ``refused``, that it failed."""
        with self._lock:
            self._calls.append(call)
            if call.refused:
                self._refused.append(call)

    def refuse(self, call: Call) -> None:
        """That a request that was noted before has failed."""
        with self._lock:
            self._refused.append(call)

    def calls(self, cloud: str = ANY, op: str = ANY) -> list[Call]:
        """The requests to a cloud, or to all; ``op`` as in a scenario's fault."""
        with self._lock:
            found = list(self._calls)
        return [call for call in found if cloud in (ANY, call.cloud) and names(op, call.op)]

    def refused(self) -> list[Call]:
        """The requests that failed."""
        with self._lock:
            return list(self._refused)

    def counts(self) -> dict[str, dict[str, int]]:
        """By cloud and operation, how many requests there were."""
        found: dict[str, Counter[str]] = {}
        for call in self.calls():
            found.setdefault(call.cloud, Counter())[call.op] += 1
        return {cloud: dict(sorted(by_op.items())) for cloud, by_op in sorted(found.items())}
