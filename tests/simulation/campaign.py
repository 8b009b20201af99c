"""Many seeds, side by side; what they have in common; and the smallest faults that still break."""

from __future__ import annotations

import multiprocessing
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .faults import CALM, Knobs
from .mutants import MUTANTS
from .scene import Outcome, Setup, simulate

HERE = Path(__file__).resolve().parent
REGRESSIONS = HERE / "regressions.txt"
CHUNK = 20
"""Seeds that one process takes at a time."""


@dataclass
class Tally:
    """A campaign's sum. ``failed``: seed -> what it broke."""

    seeds: int = 0
    failed: dict[int, dict[str, str]] = field(default_factory=dict)
    overruns: list[float] = field(default_factory=list)
    by_itself: list[float] = field(default_factory=list)
    requeues: list[float] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, seed: int, one: Outcome) -> None:
        """Count a seed."""
        self.seeds += 1
        if one.bad:
            self.failed[seed] = one.bad
        self.overruns += one.overruns
        self.by_itself += one.by_itself
        self.requeues += one.requeues
        for name, count in one.marks.items():
            self.marks[name] = self.marks.get(name, 0) + count
        for name, value in one.sums.items():
            if name.startswith("most-"):
                self.sums[name] = max(self.sums.get(name, 0.0), value)
            else:
                self.sums[name] = self.sums.get(name, 0.0) + value

    @property
    def kinds(self) -> dict[str, int]:
        """How many seeds broke what."""
        found: dict[str, int] = {}
        for bad in self.failed.values():
            for name in bad:
                found[name] = found.get(name, 0) + 1
        return dict(sorted(found.items()))

    def overrun(self, share: float) -> float:
        """Seconds that this share of the machines cost at most without being wanted."""
        return quantile(self.overruns, share)


def quantile(found: Sequence[float], share: float) -> float:
    """What this share of the values does not exceed; 0 for none."""
    ordered = sorted(found)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def run(seeds: Iterable[int], setup: Setup | None = None, jobs: int = 1) -> Tally:
    """Simulate these seeds, ``jobs`` of them side by side."""
    setup, begun, tally = setup or Setup(), time.monotonic(), Tally()
    seeds = list(seeds)
    if jobs <= 1:
        for seed in seeds:
            tally.add(seed, simulate(seed, setup))
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(jobs) as pool:
            outcomes = pool.imap(partial(simulate, setup=setup), seeds, chunksize=CHUNK)
            for seed, outcome in zip(seeds, outcomes, strict=True):
                tally.add(seed, outcome)
    tally.seconds = time.monotonic() - begun
    return tally


def until_caught(seeds: Sequence[int], setup: Setup) -> tuple[int, dict[str, str]]:
    """How many seeds it takes until one breaks something that it does not break without the bug,
    with the same nets; and what. 0 when none does."""
    for count, seed in enumerate(seeds, 1):
        found = simulate(seed, setup).bad
        if not found:
            continue
        kind = MUTANTS[setup.bug]
        same = setup._replace(bug="", off=kind.held_back(), force=(*kind.force, *setup.force))
        sound = simulate(seed, same).bad
        news = {name: text for name, text in found.items() if name not in sound}
        if news:
            return count, news
    return 0, {}


def shrink(seed: int, setup: Setup) -> tuple[Knobs, Outcome]:
    """The fewest faults with which a failing seed still fails: each is taken away in turn."""
    outcome = simulate(seed, setup)
    knobs, kinds = outcome.knobs, set(outcome.bad)
    changed = True
    while changed:
        changed = False
        for name in Knobs._fields:
            calm = getattr(CALM, name)
            if getattr(knobs, name) == calm:
                continue
            fewer = knobs._replace(**{name: calm})
            tried = simulate(seed, setup._replace(knobs=fewer))
            if kinds & set(tried.bad):
                knobs, outcome, changed = fewer, tried, True
    return knobs, outcome


def story(seed: int, setup: Setup) -> str:
    """All that a person needs to see a failing seed again: seed, commit, faults, log."""
    outcome = simulate(seed, setup._replace(trace=True))
    knobs = {
        name: value
        for name, value in outcome.knobs._asdict().items()
        if value != getattr(CALM, name)
    }
    lines = [
        f"seed {seed} at commit {commit()}: {outcome.bad}",
        f"faults: {knobs}",
        f"again: scripts/simulate --seed {seed} --trace",
        *outcome.lines,
    ]
    return "\n".join(lines) + "\n"


def commit() -> str:
    """The commit of this checkout, ``unknown`` outside one."""
    asked = subprocess.run(
        ["git", "-C", str(HERE), "rev-parse", "--short=10", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"


def regressions() -> list[int]:
    """The seeds that have once failed: simulated for ever."""
    lines = REGRESSIONS.read_text("utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]
