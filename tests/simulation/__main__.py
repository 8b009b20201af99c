"""The command line: ``python -m tests.simulation``, called by ``scripts/simulate``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import ablation, campaign, crashes
from .campaign import Tally
from .faults import CALM
from .mutants import MUTANTS
from .required import unmet
from .scene import Setup, simulate

SHOWN = 20
"""Failing seeds that are printed; all of them are counted."""


def main() -> int:
    """Do what was asked for; 0 when all promises held."""
    asked = _arguments()
    if asked.seed is not None:
        return _one(asked)
    if asked.crashes:
        return _crashes()
    if asked.ablation:
        return _ablation(asked)
    if asked.mutants:
        return _mutants(asked)
    return _campaign(asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/simulate")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--bug", default="", choices=["", *MUTANTS])
    parser.add_argument("--stories", type=Path, help="folder for the stories of failing seeds")
    for flag in ("mutants", "ablation", "crashes", "trace", "shrink", "json"):
        parser.add_argument(f"--{flag}", action="store_true")
    return parser.parse_args()


def _one(asked: argparse.Namespace) -> int:
    setup = Setup(bug=asked.bug)
    if asked.shrink:
        knobs, outcome = campaign.shrink(asked.seed, setup)
        left = {k: v for k, v in knobs._asdict().items() if v != getattr(CALM, k)}
        print(f"seed {asked.seed} still fails with {left}: {outcome.bad}")
        return bool(outcome.bad)
    if asked.trace:
        print(campaign.story(asked.seed, setup), end="")
    outcome = simulate(asked.seed, setup)
    print(f"seed {asked.seed}: {outcome.bad or 'all promises held'}; trace {outcome.digest}")
    return bool(outcome.bad)


def _campaign(asked: argparse.Namespace) -> int:
    seeds = range(asked.first, asked.first + asked.seeds)
    setup = Setup(bug=asked.bug)
    tally = campaign.run(seeds, setup, asked.jobs)
    missing = unmet(tally.marks, tally.seeds)
    if asked.json:
        print(json.dumps(figures(tally, missing), indent=1))
    else:
        _print(tally, missing)
    for seed in list(tally.failed)[:SHOWN]:
        if asked.stories:
            asked.stories.mkdir(parents=True, exist_ok=True)
            story = campaign.story(seed, setup)
            (asked.stories / f"seed-{seed}.txt").write_text(story, "utf-8")
    return bool(tally.failed or missing)


def figures(tally: Tally, missing: list[str]) -> dict[str, object]:
    """A campaign in figures."""
    return {
        "commit": campaign.commit(),
        "seeds": tally.seeds,
        "failed": {str(seed): bad for seed, bad in tally.failed.items()},
        "kinds": tally.kinds,
        "unmet": missing,
        "overrun": {"p50": tally.overrun(0.5), "p99": tally.overrun(0.99), "max": tally.overrun(1)},
        "sums": tally.sums,
        "seconds": tally.seconds,
        "seeds_per_second": tally.seeds / max(tally.seconds, 1e-9),
    }


def _print(tally: Tally, missing: list[str]) -> None:
    sums, count = tally.sums, max(tally.seeds, 1)
    print(
        f"{tally.seeds} seeds at {campaign.commit()}: {len(tally.failed)} broke a promise "
        f"{tally.kinds or ''}; {tally.seeds / tally.seconds:.1f} seeds/s, "
        f"{sums['hours'] / tally.seconds:.0f} simulated hours/s"
    )
    print(
        f"a seed: {sums['machines'] / count:.1f} machines, {sums['calls'] / count:.0f} requests, "
        f"{sums['events'] / count:.0f} events; overrun p50 {tally.overrun(0.5):.0f} s, "
        f"p99 {tally.overrun(0.99):.0f} s, max {tally.overrun(1):.0f} s; in "
        f"{sums['never-returned']:.0f} seeds nobody came back, which left {sums['residual']:.0f} "
        "machines that could not end themselves"
    )
    for seed, bad in list(tally.failed.items())[:SHOWN]:
        print(f"  seed {seed}: {bad}; again: scripts/simulate --seed {seed} --trace")
    if missing:
        print(f"not met often enough: {', '.join(missing)}")


def _mutants(asked: argparse.Namespace) -> int:
    caught = 0
    for name, kind in MUTANTS.items():
        count, bad = campaign.until_caught(
            range(asked.first, asked.first + asked.seeds), Setup(bug=name)
        )
        caught += bool(count)
        off = f" (without {', '.join(kind.off)})" if kind.off else ""
        said = f"after {count} seeds: {', '.join(bad)}" if count else "NOT CAUGHT"
        print(f"{name:26s} {said} | {kind.why}{off}", flush=True)
    print(f"{caught} of {len(MUTANTS)} caught within {asked.seeds} seeds")
    return caught < 0.9 * len(MUTANTS)


def _ablation(asked: argparse.Namespace) -> int:
    seeds = range(asked.first, asked.first + asked.seeds)
    broken = 0
    for alone in ablation.ALONE:
        tally = campaign.run(seeds, alone.setup, asked.jobs)
        leaks = sum(tally.kinds.get(name, 0) for name in alone.left)
        broken += leaks
        print(f"only the {alone.net}: {leaks} of {tally.seeds} seeds leaked | {alone.promise}")
    none = campaign.run(seeds, ablation.NONE, asked.jobs).kinds.get("leak", 0)
    print(f"without any: {none} of {asked.seeds} seeds leaked")
    return bool(broken or not none)


def _crashes() -> int:
    count, bad = 0, []
    for case in crashes.cases():
        outcome = crashes.crash(case)
        count += 1
        if outcome.bad:
            bad.append((case, outcome.bad))
    for case, found in bad[:SHOWN]:
        print(f"  {case}: {found}")
    print(f"{count} crashes, {len(bad)} broke a promise")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
