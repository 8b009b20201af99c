"""How many no-ops a second a map gets through, with two workers.

    python -m benchmarks.map [--json] [--rounds 3] [--tasks 10000] [--peers | --peers-dir FOLDER]

byoc's two containers are on a local instance, met through SSH. The peers run two local worker
processes: ``concurrent.futures.ProcessPoolExecutor`` without chunking and, with ``--peers``, Ray
tasks, Ray actors and Dask's LocalCluster. In each round every engine starts afresh, warms up, and
runs the map unordered and ordered ``--repeat`` times (the slow peers once); results are checked.
"""

from __future__ import annotations

import statistics
from collections import defaultdict

from benchmarks import harness
from benchmarks.harness import ACTOR, BYOC, DASK, POOL, RAY, Bench, Mark, Report

FAST = (BYOC, POOL)
"""Engines that run the map several times a round, so as to hold a moment's noise against none."""
LEAST = {POOL: 3.0, RAY: 20.0, DASK: 70.0}
"""Times as many tasks a second as each peer, unordered."""
ORDERED_WITHIN = 0.8
"""What of the unordered rate an ordered map must have."""
Rates = dict[str, dict[bool, list[float]]]


def measure(bench: Bench, rounds: int, tasks: int, repeat: int) -> Rates:
    """Tasks a second of each engine, by whether the map was ordered."""
    rates: Rates = defaultdict(lambda: {False: [], True: []})
    for _ in range(rounds):
        for name in bench.systems(BYOC, POOL, RAY, ACTOR, DASK):
            with bench.engine(name) as engine:
                engine.ask("warm")
                bench.wait()
                for _ in range(repeat if name in FAST else 1):
                    for ordered in (False, True):
                        seconds = engine.ask("map", n=tasks, ordered=ordered)["seconds"]
                        rates[name][ordered].append(tasks / seconds)
    return rates


def report(rates: Rates) -> Report:
    """The table and the marks."""
    middle = {
        name: {ordered: statistics.median(found) for ordered, found in one.items()}
        for name, one in rates.items()
    }
    columns = {"engine": "tasks/s", "unordered": "unordered", "best": "best", "ordered": "ordered"}
    columns["ratio"] = "byoc is x times"
    ours = middle[BYOC]
    rows = [
        {
            "engine": name,
            "unordered": one[False],
            "best": max(rates[name][False]),
            "ordered": one[True],
            "ratio": ours[False] / one[False],
        }
        for name, one in middle.items()
    ]
    marks = [
        Mark(
            f"unordered over {peer}",
            harness.ratio(ours[False], middle[peer][False] if peer in middle else None),
            least,
            at_least=True,
            unit="x",
        )
        for peer, least in LEAST.items()
    ]
    marks.append(Mark("ordered over unordered", ours[True] / ours[False], ORDERED_WITHIN, True))
    return Report("map", columns, rows, marks)


def main() -> None:
    """Measure and print."""
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--tasks", type=int, default=10_000, help="inputs of a map")
    parser.add_argument("--repeat", type=int, default=5, help="maps a round of a fast engine")
    options = parser.parse_args()
    with harness.bench(options) as bench:
        found = report(measure(bench, options.rounds, options.tasks, options.repeat))
        found.busy = bench.busy
    found.show(options.json)


if __name__ == "__main__":
    main()
