"""How long a container takes to start: a class with an empty enter hook.

    python -m benchmarks.containers [--json] [--rounds 3] [--starts 100] [--pause 0.05 0]

A class with ``single_use_containers``: each call runs in a container of its own, so many starts are
seen in one run, on a warm local instance, met through SSH. The figure runs from the moment the
client's session sends the start request to the moment it hears ``ready``, that is through SSH and
back. Between two calls there is a pause, as between a user's; with ``--pause 0`` the next start is
asked for at once, while the one before still ends. The steps in between come from the container
itself: client and instance share this host's monotonic clock.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from typing import Any

from benchmarks import harness
from benchmarks.harness import BYOC, Bench, Mark, Report

P50_MS = 5.0
STEPS = (
    ("called", ".remote() until the start request is sent"),
    ("fork", "start request until the container loads the user's module"),
    ("load", "the user's module loaded, hooks called"),
    ("ready", "until the client hears ready"),
    ("input", "until the input runs"),
    ("answer", "until .remote() returns"),
)
Found = dict[float, dict[str, Any]]


def measure(bench: Bench, options: argparse.Namespace) -> Found:
    """Steps of every start and seconds of the crowds, by the pause."""
    found: Found = defaultdict(lambda: {"steps": [], "crowd": []})
    for _ in range(options.rounds):
        with bench.engine(BYOC, script=("on_byoc_starts.py",)) as engine:
            for pause in options.pause:
                bench.wait()
                answer = engine.ask("starts", n=options.starts, pause=pause)
                found[pause]["steps"] += answer["steps"]
            crowd = engine.ask("crowd", n=options.starts)["seconds"]
            found[options.pause[0]]["crowd"].append(crowd / options.starts * 1e3)
    return found


def report(found: Found) -> Report:
    """The table and the marks."""
    columns = {"what": "milliseconds", "pause": "pause s", "p50": "p50", "p90": "p90", "p99": "p99"}
    rows: list[dict[str, Any]] = []
    marks = []
    for pause, one in found.items():
        steps = one["steps"]
        whole = [row[4] for row in steps]
        rows.append(_row("start request until ready", pause, whole))
        rows.append(
            _row(".remote() of a new container, in all", pause, [r[6] - r[0] for r in steps])
        )
        for number, (_, title) in enumerate(STEPS):
            parts = [row[number + 1] - row[number] for row in steps]
            rows.append(_row(f"  {title}", pause, parts))
        if one["crowd"]:
            rows.append(_row("a map of single-use containers, each", pause, one["crowd"]))
        marks.append(
            Mark(
                f"container start, p50, {pause:g} s apart",
                statistics.median(whole),
                P50_MS,
                unit="ms",
            )
        )
    return Report("containers", columns, rows, marks)


def _row(what: str, pause: float, values: list[float]) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "pause": pause}
    for key, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        row[key] = harness.percentile(values, share)
    return row


def main() -> None:
    """Measure and print."""
    parser = harness.parser(__doc__, rounds=3)
    parser.add_argument("--starts", type=int, default=100, help="containers of a round")
    parser.add_argument("--pause", type=float, nargs="*", default=[0.05, 0.0], help="seconds")
    options = parser.parse_args()
    with harness.bench(options) as bench:
        found = report(measure(bench, options))
        found.busy = bench.busy
    found.show(options.json)


if __name__ == "__main__":
    main()
