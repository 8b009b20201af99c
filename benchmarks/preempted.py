"""Preemptions one after the other: how soon what waited on a machine is asked for elsewhere.

    python -m benchmarks.preempted [--json] [--times 20] [--cloud aws] [--notice 120]

Runs ``byoc emulate`` (root on Linux): a map of one container at a time, whose machine is taken back
each time that it has given a first result, so many times. Counted from the moment in which the
cloud says it (which the machine has yet to read) to the launch of the replacement, which inputs
that go back to the queue precede: so the figures bound both. No peer can be pointed at emulated
accounts, so this figure has none.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rented import PROGRAMS, rehearse

EVENT = """
[[event]]
cloud = "{cloud}"
after = "first-result"
action = "preempt"
notice = {notice}
count = {times}
"""
FIRST, EACH = 50, 10
"""Where the program has its items that wait for a notice."""


def gaps(report: dict[str, Any]) -> list[float]:
    """Seconds from each notice to the next launch, shortest first."""
    launches = sorted(one["launched_at"] for one in report["instances"])
    found = []
    for event in report["events"]:
        later = [at for at in launches if at > event["at"]]
        if later:
            found.append(later[0] - event["at"])
    return sorted(found)


def share(values: list[float], part: float) -> float:
    """The least value that so large a part of them does not exceed."""
    return values[max(0, math.ceil(part * len(values)) - 1)]


def measure(home: Path, cloud: str, notice: float, times: int) -> dict[str, Any]:
    """Figures of one program whose machines are taken so many times."""
    items = FIRST + EACH * times + EACH
    words = ["byoc", "run", "--cloud", cloud, "--spot", "--no-keep"]
    words += [str(PROGRAMS / "preempted.py"), "--held", str(times), "--items", str(items)]
    scenario = EVENT.format(cloud=cloud, notice=notice, times=times)
    said, report = rehearse(home, scenario, *words)
    if f"results {items} containers {times + 1}" not in said:
        raise SystemExit(said)
    found = gaps(report)
    return {
        "preemptions": len(found),
        "median_s": round(share(found, 0.5), 2),
        "p95_s": round(share(found, 0.95), 2),
        "longest_s": round(found[-1], 2),
        "left": len(report["alive"]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--cloud", choices=("aws", "gcp"), default="aws")
    parser.add_argument("--notice", type=float, default=120.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="byoc-preempted-") as folder:
        found = measure(Path(folder), options.cloud, options.notice, options.times)
    if options.json:
        print(json.dumps(found))
    else:
        print(", ".join(f"{key} {value:g}" for key, value in found.items()))


if __name__ == "__main__":
    main()
