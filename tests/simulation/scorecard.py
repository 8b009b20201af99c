"""Measures the scorecard of docs/reliability.md and writes it there; called by scripts/reliability.

What the simulation measures comes from a campaign run now. What it cannot see is proved by other
tests: these are named, and have to exist.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from . import ablation, campaign, crashes
from .bugs import POLICY
from .campaign import Tally, quantile
from .checks import BOUND
from .mutants import MUTANTS
from .required import unmet
from .scene import Setup, simulate

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- scorecard -->", "<!-- /scorecard -->"


@dataclass
class Measured:
    """All that a run of this program found out."""

    tally: Tally
    crashes: int = 0
    broken_crashes: int = 0
    caught: dict[str, int] = field(default_factory=dict)
    nets: dict[str, tuple[int, int]] = field(default_factory=dict)
    same: bool = True
    mutant_seeds: int = 0

    def bad(self, *kinds: str) -> int:
        """Seeds that broke one of these."""
        return sum(self.tally.kinds.get(kind, 0) for kind in kinds)

    def met(self, *marks: str) -> int:
        """How often these happened."""
        return sum(self.tally.marks.get(mark, 0) for mark in marks)


class Row(NamedTuple):
    """A line of the scorecard. ``tests``: ``file::function``, besides the simulation."""

    number: str
    figure: str
    injected: str
    result: str
    tests: tuple[str, ...]
    holds: bool | None = None


SIM = "tests/simulation/test_seeds_first.py::test_no_promise_is_broken"
SWEEP = "tests/simulation/test_crash_points.py::test_a_crash_at_any_moment_leaves_nothing"
NETS = "tests/simulation/test_nets.py::test_a_net_holds_without_the_others"
REAP = "tests/clouds/test_reap.py::"
MATRIX = "tests/clouds/test_crash_matrix.py::"
PREEMPTION = "tests/clouds/test_preemption.py::"
FLEET = "tests/fleet/"
FAULTS = "tests/faults/"


def rows(found: Measured) -> list[Row]:
    """The scorecard."""
    return [
        *_leaks(found),
        *_time_and_money(found),
        *_results(found),
        *_limits(found),
        *_trouble(found),
        *_security(),
        _tests(found),
    ]


def _leaks(m: Measured) -> list[Row]:
    t, s = m.tally, m.tally.sums
    leaks = m.bad("leak")
    return [
        Row(
            "1",
            "leaked instances",
            f"all faults at once, {t.seeds:,} seeds, {s['machines']:,.0f} instances",
            f"{leaks} leaked",
            (SIM, NETS),
            leaks == 0,
        ),
        Row(
            "2",
            "a crash at every point",
            f"{m.crashes} cases: each write and request on each cloud; then a client, a reaper or "
            "nobody comes",
            f"{m.broken_crashes} leaked, doubled or broke the journal",
            (
                SWEEP,
                MATRIX + "test_a_reap_after_any_death_leaves_nothing",
                MATRIX + "test_leases_alone_end_what_any_death_left",
                FLEET + "test_crash.py::test_crash_while_acquiring_never_makes_a_second_instance",
            ),
            m.broken_crashes == 0,
        ),
        Row(
            "3",
            "two instances for one intent, at any instant",
            f"{m.met('fault:lose_reply', 'fault:lose_request'):,} lost messages, "
            f"{m.met('fault:duplicate'):,} delivered twice, {m.met('fault:crash'):,} crashes",
            f"{m.bad('duplicate')}",
            (SIM, FLEET + "test_two_clients.py::test_many_clients_never_collide"),
            m.bad("duplicate") == 0,
        ),
    ]


def _time_and_money(m: Measured) -> list[Row]:
    t = m.tally
    alone, over = t.by_itself, t.overruns
    left = t.sums["residual"]
    return [
        Row(
            "5",
            "the machine's own end, when nobody ever comes back",
            f"{t.sums['never-returned']:.0f} seeds, {len(alone):,} machines",
            f"all gone; after p50 {quantile(alone, 0.5):.0f} s, p99 {quantile(alone, 0.99):.0f} s, "
            f"at most {max(alone, default=0):.0f} s (boot lease 300 s, lease 90 s)",
            (NETS, MATRIX + "test_leases_alone_end_what_any_death_left"),
            m.bad("leak") == 0,
        ),
        Row(
            "6",
            "machines that never boot",
            f"{m.met('fault:no_boot'):,} never booted, {m.met('fault:no_agent'):,} had no agent",
            f"all ended while a client, a reaper or a time limit was left; {left:.0f} left where "
            "there was none of these",
            (SIM, NETS, FLEET + "test_climb.py::test_silent_machines_leave_their_cloud"),
            m.bad("leak", "overrun") == 0,
        ),
        Row(
            "7",
            "seconds that an instance costs without being wanted",
            "all faults, clients away for up to 8 h",
            f"p50 {quantile(over, 0.5):.0f} s, p99 {quantile(over, 0.99):.0f} s, max "
            f"{max(over, default=0):.0f} s; while anybody was there who could end it at most "
            f"{t.sums['most-vacant']:.0f} s (bound {BOUND:.0f} s)",
            (SIM,),
            m.bad("overrun") == 0,
        ),
    ]


def _results(m: Measured) -> list[Row]:
    t, s = m.tally, m.tally.sums
    ratio = s["begun"] / max(s["tasks"], 1)
    queued = t.requeues
    return [
        Row(
            "9",
            "lost results",
            f"{s['tasks']:,.0f} tasks, {s['losses']:,.0f} times what ran them was lost",
            f"{m.bad('not-finished')} seeds with a task that never finished",
            (SIM, PREEMPTION + "test_without_notice_all_results_come_from_a_replacement"),
            m.bad("not-finished") == 0,
        ),
        Row(
            "10",
            "results taken twice",
            f"{m.met('fault:result-twice'):,} delivered twice, {m.met('fault:cut-in'):,} cuts of "
            "one direction",
            f"{m.bad('result-twice')}",
            (SIM, FAULTS + "test_cuts.py::test_result_made_during_a_cut"),
            m.bad("result-twice") == 0,
        ),
        Row(
            "11",
            "runs of a task for each result",
            "all faults",
            f"{ratio:.2f}; never more than 1 + losses of that task",
            (SIM,),
            m.bad("run-again") == 0,
        ),
        Row(
            "12",
            "preemption with 120, 30 and 0 s of notice",
            f"{m.met('fault:preempt-120'):,}, {m.met('fault:preempt-30'):,} and "
            f"{m.met('fault:preempt-0'):,} times",
            "a replacement was asked for at every notice; what ran was queued again p95 "
            f"{quantile(queued, 0.95):.0f} s after the machine's end (before it where there was "
            "notice)",
            (
                PREEMPTION + "test_with_notice_everything_runs_once_and_the_hook_runs",
                PREEMPTION + "test_without_notice_all_results_come_from_a_replacement",
            ),
            m.bad("no-replacement", "loss-late") == 0,
        ),
    ]


def _limits(m: Measured) -> list[Row]:
    return [
        Row(
            "13",
            "requests repeated although there is no capacity",
            f"{m.met('fault:short'):,} refusals, as HTTP 500 on AWS and OCI",
            f"{m.bad('retry-full')} repeated, {m.bad('in-vain')} asked again within two minutes",
            (SIM, FLEET + "test_climb.py::test_story_of_four_clouds"),
            m.bad("retry-full", "in-vain") == 0,
        ),
        Row(
            "14",
            "runaway guard",
            f"{m.met('fault:killed_at_birth'):,} killed at birth, {m.met('fault:empty'):,} empty "
            "lists",
            f"never more than the cap ({POLICY.max_instances}) lived; never more launches for a "
            "run in an hour than its limit",
            (SIM, FLEET + "test_limits.py::test_cap_refuses_before_a_launch_and_says_what_to_do"),
            m.bad("cap", "launch-limit") == 0,
        ),
        Row(
            "15",
            "throttling",
            f"{m.met('fault:throttle'):,} refusals, {m.met('fault:storm'):,} storms of them",
            f"{m.bad('api-budget')} clients over their requests a minute; all tasks finished",
            (SIM, FLEET + "test_limits.py::test_launch_calls_are_paced"),
            m.bad("api-budget", "not-finished") == 0,
        ),
    ]


def _trouble(m: Measured) -> list[Row]:
    wrongful = m.bad("wrongful")
    return [
        Row(
            "16",
            "partitions",
            f"{m.met('fault:cut-both', 'fault:cut-in', 'fault:offline'):,} cuts of up to 25 min",
            f"{m.bad('result-twice', 'not-finished')} results lost or doubled",
            (SIM, FAULTS + "test_cuts.py::test_short_cut_in_a_map"),
            m.bad("result-twice", "not-finished") == 0,
        ),
        Row(
            "17",
            "clocks",
            f"{m.met('fault:skew'):,} off by 10 min, {m.met('fault:clock-step'):,} steps, "
            f"{m.met('fault:sleep', 'fault:sleep-long'):,} closed lids (up to 8 h)",
            f"{wrongful + m.bad('hasty')} healthy ones ended; {m.met('late-by-a-step')} boots "
            "given up early because the clock was set forward meanwhile",
            (SIM, FAULTS + "test_clock_steps.py::test_step_in_a_run"),
            m.bad("wrongful", "hasty") == 0,
        ),
        Row(
            "18",
            "eventual consistency",
            f"lists up to 90 s late, {m.met('fault:ghost'):,} ghosts, {m.met('fault:partial'):,} "
            "entries missing",
            f"{m.bad('wrongful', 'duplicate')} false ends or adoptions",
            (SIM, REAP + "test_foreign_instances_and_forged_tags_are_never_touched"),
            m.bad("wrongful", "duplicate") == 0,
        ),
        Row(
            "19",
            "wrongful ends",
            f"{m.met('fault:foreign'):,} foreign machines, {m.met('fault:forged'):,} forged tags, "
            f"{m.met('fault:second_owner'):,} seeds with a second installation, "
            f"{m.met('reaper-here', 'reaper-elsewhere'):,} runs of the reaper",
            f"{wrongful}",
            (SIM, REAP + "test_another_installations_lease_decides"),
            wrongful == 0,
        ),
    ]


def _security() -> list[Row]:
    return [
        Row(
            "21",
            "host identity",
            "a man in the middle, a reused address, wrong keys",
            "always refused, no payload byte sent",
            (
                "tests/transport/test_in_the_middle.py::test_what_is_tampered_with_is_refused",
                FAULTS + "test_wrong_key.py::test_impostor_at_a_warm_machine",
                FAULTS + "test_wrong_key.py::test_impostor_while_booting",
            ),
        ),
        Row(
            "22",
            "permissions",
            "each action removed in turn; an end of what is foreign",
            "the printed policy is enough, and no more than that",
            (
                "tests/clouds/test_iam.py::test_each_action_is_needed_for_what_the_map_says",
                "tests/clouds/test_iam.py::test_what_is_foreign_cannot_be_ended",
            ),
        ),
        Row(
            "23",
            "secrets",
            "a canary secret; garbage in place of messages",
            "found nowhere; garbage is refused",
            (
                "tests/clouds/test_canary.py::test_a_secret_is_found_nowhere",
                FAULTS + "test_garbage.py::test_garbage_from_the_instance",
            ),
        ),
    ]


def _tests(m: Measured) -> Row:
    t, caught = m.tally, sum(bool(count) for count in m.caught.values())
    return Row(
        "24",
        "the tests themselves",
        f"{len(m.caught)} seeded bugs, at most {m.mutant_seeds:,} seeds each; the same seed in "
        "processes with different hash seeds",
        f"{caught} caught ({100 * caught / max(len(m.caught), 1):.0f} %); "
        f"{'the same trace' if m.same else 'DIFFERENT traces'}; "
        f"{len(unmet(t.marks, t.seeds))} kinds of faults or ways not met",
        (
            "tests/simulation/test_mutants.py::test_a_seeded_bug_is_noticed",
            "tests/simulation/test_simulation.py::test_the_same_seed_gives_the_same_trace",
        ),
        caught >= 0.9 * len(m.caught) and m.same and not unmet(t.marks, t.seeds),
    )


# --- what is measured ---------------------------------------------------------------------------


def measure(seeds: int, mutant_seeds: int, jobs: int) -> Measured:
    """Run it all."""
    found = Measured(campaign.run(range(seeds), Setup(), jobs), mutant_seeds=mutant_seeds)
    for case in crashes.cases():
        found.crashes += 1
        found.broken_crashes += bool(crashes.crash(case).bad)
    for name in MUTANTS:
        found.caught[name], _ = campaign.until_caught(range(mutant_seeds), Setup(bug=name))
    some = range(max(10, seeds // 20))
    for alone in (*ablation.ALONE, ablation.Alone("none of them", "", ablation.NONE)):
        tally = campaign.run(some, alone.setup, jobs)
        found.nets[alone.net] = (tally.kinds.get("leak", 0), tally.seeds)
    found.same = all(simulate(seed).digest == simulate(seed).digest for seed in range(3))
    return found


def table(found: Measured) -> str:
    """The part of the page between its marks."""
    t = found.tally
    said = (
        f"Measured at commit {campaign.commit()}: {t.seeds:,} seeds, "
        f"{t.seeds / max(t.seconds, 1e-9):.1f} seeds/s and "
        f"{t.sums['hours'] / max(t.seconds, 1e-9):.0f} simulated hours/s on {os.cpu_count()} "
        "cores "
        f"with CPython {platform.python_version()}."
    )
    lines = [
        said,
        "",
        "| # | figure | injected | result | holds | tested in |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows(found):
        tests = "<br>".join(f"`{one}`" for one in row.tests)
        holds = {True: "yes", False: "**NO**", None: "by tests"}[row.holds]
        lines.append(
            f"| {row.number} | {row.figure} | {row.injected} | {row.result} | {holds} | {tests} |"
        )
    lines += ["", "Each net alone, with all others switched off:", ""]
    lines += ["| only | seeds with a leak |", "|---|---|"]
    lines += [f"| {net} | {leaks} of {count} |" for net, (leaks, count) in found.nets.items()]
    lines += ["", "The seeded bugs, and the seeds until one was caught:", ""]
    lines += ["| bug | what it is | without | caught after |", "|---|---|---|---|"]
    for name, count in found.caught.items():
        kind = MUTANTS[name]
        off = ", ".join(kind.off) or "-"
        lines.append(f"| {name} | {kind.why} | {off} | {count or '**not caught**'} |")
    return "\n".join(lines)


def missing_tests() -> list[str]:
    """The tests that the scorecard names and that do not exist."""
    blank = Measured(Tally(sums=dict.fromkeys(_SUMS, 0.0)))
    named = dict.fromkeys(test for row in rows(blank) for test in row.tests)
    return [test for test in named if not _exists(test)]


_SUMS = (
    *("machines", "tasks", "begun", "losses", "never-returned", "residual", "most-vacant", "hours"),
)


def _exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / file
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text("utf-8"))
    return any(isinstance(one, ast.FunctionDef) and one.name == name for one in ast.walk(tree))


def write(text: str) -> None:
    """Put it between the marks of the page."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write, and say what does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/reliability")
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--mutant-seeds", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args(argv)
    absent = missing_tests()
    for test in absent:
        print(f"named and not there: {test}")
    if asked.check or absent:
        return bool(absent)
    found = measure(asked.seeds, asked.mutant_seeds, asked.jobs)
    write(table(found))
    broken = [row for row in rows(found) if row.holds is False]
    for row in broken:
        print(f"row {row.number} does not hold: {row.figure}: {row.result}")
    for seed, bad in list(found.tally.failed.items())[:20]:
        print(f"  seed {seed}: {bad}")
    print(f"{PAGE.relative_to(ROOT)} is written")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
