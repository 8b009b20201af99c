"""How long one call of a no-op takes on a warm container.

    python -m benchmarks.remote [--json] [--rounds 3] [--calls 2000] [--peers | --peers-dir FOLDER]

byoc's container is on a local instance, met through SSH. Beside it, in turns: the bare round trip
of 100 bytes through the same transport and an sshd to ``cat``; a local ProcessPoolExecutor; and,
with ``--peers``, a Ray actor and a Ray task on this computer. Microseconds; percentiles of all
calls of a round, medians over the rounds.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

from benchmarks import harness
from benchmarks.harness import ACTOR, BYOC, POOL, RAY, Bench, Mark, Report

BARE = "SSH round trip, bare"
P50_MS, P99_MS, OF_ACTOR = 0.35, 3.0, 0.6
Found = dict[str, list[list[float]]]


def measure(bench: Bench, rounds: int, calls: int) -> Found:
    """Microseconds of each call, by engine and round."""
    found: Found = defaultdict(list)
    for _ in range(rounds):
        for name in bench.systems(BYOC, BARE, POOL, ACTOR, RAY):
            script = ("bare_ssh.py",) if name == BARE else ()
            with bench.engine(name, script=script) as engine:
                if name != BARE:
                    engine.ask("warm")
                bench.wait()
                found[name].append(engine.ask("calls", n=calls)["micros"])
    return found


def report(found: Found) -> Report:
    """The table and the marks."""
    columns = {"engine": "microseconds", "p50": "p50", "p90": "p90", "p99": "p99", "max": "worst"}
    columns["ratio"] = "x byoc"
    middle: dict[str, dict[str, Any]] = {}
    for name, rounds in found.items():
        middle[name] = {
            key: statistics.median(harness.percentile(one, share) for one in rounds)
            for key, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
        }
    ours = middle[BYOC]
    rows = [
        {"engine": name, **row, "ratio": row["p50"] / ours["p50"]} for name, row in middle.items()
    ]
    actor = harness.ratio(ours["p50"], middle[ACTOR]["p50"] if ACTOR in middle else None)
    marks = [
        Mark("p50", ours["p50"] / 1e3, P50_MS, unit="ms"),
        Mark("p50 over a Ray actor's", actor, OF_ACTOR),
        Mark("p99", ours["p99"] / 1e3, P99_MS, unit="ms"),
    ]
    return Report("remote", columns, rows, marks)


def main() -> None:
    """Measure and print."""
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--calls", type=int, default=2000, help="calls of a round")
    options = parser.parse_args()
    with harness.bench(options) as bench:
        found = report(measure(bench, options.rounds, options.calls))
        found.busy = bench.busy
    found.show(options.json)


if __name__ == "__main__":
    main()
