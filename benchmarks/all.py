"""Every figure of the engine, one after another, and the summary.

    python -m benchmarks.all [--json] [--peers-dir FOLDER] [--patience 60] [--only map remote ...]

Each figure is a command of its own with its own options; this runs them as they are by default,
with the peers from the index (kept in ``--peers-dir`` when that is given). ``--patience``: seconds
that each measurement may wait for a moment in which nothing else is busy. Ends with status 1 when a
mark was missed or a figure could not be measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import harness

FIGURES = ("map", "remote", "payload", "queue", "containers", "many")


def run(name: str, options: argparse.Namespace, peers: Path) -> dict[str, Any] | None:
    """One figure's report; None when it failed."""
    words = [sys.executable, "-m", f"benchmarks.{name}", "--json", "--peers-dir", str(peers)]
    words += ["--patience", str(options.patience)]
    if options.rounds:
        words += ["--rounds", str(options.rounds)]
    begun = time.monotonic()
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, cwd=harness.ROOT)
    print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    if done.returncode:
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(found: dict[str, dict[str, Any] | None]) -> list[dict[str, Any]]:
    """One row a mark."""
    rows: list[dict[str, Any]] = []
    for name, one in found.items():
        if one is None:
            rows.append({"figure": name, "verdict": "FAILED", "mark": "could not be measured"})
            continue
        for mark in one["marks"]:
            row = {"figure": name, "verdict": mark["verdict"], "mark": mark["name"]}
            row |= {"value": mark["value"], "must": mark["must_be"]}
            row["busy"] = one["busy_cores_of_others"]
            rows.append(row)
    return rows


def main() -> int:
    """Run them, print the summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="all reports as one JSON object")
    parser.add_argument("--only", nargs="*", default=FIGURES, choices=FIGURES, help="these figures")
    parser.add_argument("--rounds", type=int, help="turns, where not the figure's own number")
    parser.add_argument("--peers-dir", type=Path, help="keep the peers' environments here")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds for a quiet moment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="byoc-peers-") as folder:
        peers = options.peers_dir or Path(folder)
        found = {name: run(name, options, peers) for name in options.only}
    rows = summary(found)
    if options.json:
        print(json.dumps({"schema_version": 1, "benchmark": "all", "reports": found, "rows": rows}))
    else:
        columns = {"verdict": "", "figure": "figure", "mark": "mark", "value": "is"}
        print(harness.table(rows, {**columns, "must": "must be", "busy": "cores of others"}))
    return 0 if all(row["verdict"] == "PASS" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
