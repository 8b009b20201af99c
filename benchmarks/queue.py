"""What 100,000 queued inputs cost the client: memory, and whether the time stays linear.

    python -m benchmarks.queue [--json] [--rounds 1] [--inputs 10000 30000 100000] [--peers]

The ways to queue with byoc: a ``.spawn()`` for each input, one ``.spawn_map()``, one ``.map()``
whose results are read. The peers: ``submit`` of a ProcessPoolExecutor and, with ``--peers``, Dask's
``client.map`` and Ray's ``.remote()`` for each. Two workers run the inputs (no-ops) meanwhile. Each
number of inputs has a fresh client, warmed up. ``queued``: growth of the client's memory when all
are queued; ``peak``: the most until all results were taken.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from typing import Any

from benchmarks import harness
from benchmarks.harness import BYOC, DASK, POOL, RAY, Bench, Mark, Report

WAYS = ("spawn", "spawn_map", "map")
MOST_MIB, LINEAR = 38.1, 1.3
"""40 MB; and how much longer an input may take among the most than among the fewest."""
Found = dict[tuple[str, int], list[dict[str, Any]]]


def measure(bench: Bench, options: argparse.Namespace) -> Found:
    """Answers by engine (and way) and number of inputs."""
    found: Found = defaultdict(list)
    turns = [(BYOC, way) for way in options.ways]
    turns += [(name, "") for name in bench.systems(POOL, DASK, RAY)]
    for _ in range(options.rounds):
        for count in options.inputs:
            for name, way in turns:
                if count > options.most_dask and name == DASK:
                    continue
                with bench.engine(name) as engine:
                    engine.ask("warm")
                    bench.wait()
                    answer = engine.ask("queue", n=count, how=way)
                    found[f"{name} {way}".rstrip(), count].append(answer)
    return found


def report(found: Found) -> Report:
    """The table and the marks."""
    columns = {
        "engine": "client",
        "inputs": "inputs",
        "queued_mib": "queued MiB",
        "peak_mib": "peak MiB",
        "queue_s": "queueing s",
        "total_s": "until all done s",
        "micros": "us an input",
    }
    rows = []
    for (name, count), answers in found.items():
        keys = ("queued_mib", "peak_mib", "queue_s", "total_s")
        row: dict[str, Any] = {k: statistics.median(a[k] for a in answers) for k in keys}
        rows.append(
            {"engine": name, "inputs": count, **row, "micros": row["total_s"] * 1e6 / count}
        )
    rows.sort(key=lambda row: str(row["engine"]))
    marks = []
    for name in dict.fromkeys(row["engine"] for row in rows):
        mine = sorted((r for r in rows if r["engine"] == name), key=lambda r: int(r["inputs"]))
        if not str(name).startswith(BYOC):
            continue
        few, many = mine[0], mine[-1]
        what = f"{name}, {many['inputs']} inputs"
        marks += [
            Mark(f"{what}: client grows", many["peak_mib"], MOST_MIB, unit="MiB"),
            Mark(
                f"{what}: time of one over that of {few['inputs']}",
                many["micros"] / few["micros"],
                LINEAR,
                unit="x",
            ),
        ]
    return Report("queue", columns, rows, marks)


def main() -> None:
    """Measure and print."""
    parser = harness.parser(__doc__, rounds=1)
    counts = [10_000, 30_000, 100_000]
    parser.add_argument("--inputs", type=int, nargs="*", default=counts, help="how many are queued")
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS, help="of byoc")
    parser.add_argument(
        "--most-dask", type=int, default=100_000, help="leave Dask out above: it takes minutes"
    )
    options = parser.parse_args()
    with harness.bench(options) as bench:
        found = report(measure(bench, options))
        found.busy = bench.busy
    found.show(options.json)


if __name__ == "__main__":
    main()
