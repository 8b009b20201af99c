"""Fifty rented instances at once: acquired, used by one map, ended; and what a refusal costs.

    python -m benchmarks.rented [--json] [--instances 50] [--cloud aws]

Runs ``byoc emulate`` (root on Linux) with emulated machines on this host: each boots, gets the
agent, a Python environment and a container, so the seconds are this host's more than byoc's; what
counts is that they come side by side, and what the one client spends. Then a run whose first offers
are all refused: seconds from one refusal to the next launch. No peer can be pointed at emulated
accounts of three clouds, so this figure has none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / "tests" / "clouds" / "programs"
WAIT = 500.0
GPUS = {"aws": "T4", "gcp": "T4", "oci": "A10"}
ROOM = '[[quota]]\ncloud = "*"\nregion = "*"\nbucket = "*"\nlimit = 100000\n'
REFUSED = """
[[fault]]
cloud = "*"
op = "{op}"
match = {{ market = "spot" }}
error = "{error}"
times = -1
"""
REFUSALS = {
    "aws": ("RunInstances", "InsufficientInstanceCapacity"),
    "gcp": ("compute.instances.insert", "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"),
}
"""How a cloud that sells GPUs as spot refuses one."""


def rehearse(home: Path, scenario: str, *words: str) -> tuple[str, dict[str, Any]]:
    """One command under ``byoc emulate``: what it printed, and the report."""
    path, report = home / "scenario.toml", home / "report.json"
    path.write_text(scenario)
    line = [sys.executable, "-m", "byoc", "emulate", "--scenario", str(path)]
    line += ["--report", str(report), "--", *words]
    done = subprocess.run(
        line,
        env={**os.environ, "BYOC_HOME": str(home / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WAIT,
        check=False,
        cwd=ROOT,
    )
    if done.returncode:
        raise SystemExit(done.stdout)
    return done.stdout, json.loads(report.read_text())


def crowd(home: Path, cloud: str, instances: int) -> dict[str, Any]:
    """Seconds, and what the client spent, for one map over so many instances."""
    words = ["byoc", "run", "--cloud", cloud, "--gpu", GPUS[cloud], "--no-keep"]
    words += [str(PROGRAMS / "crowd.py"), "--n", str(instances)]
    said, report = rehearse(home, ROOM, *words)
    found = {
        key: float(match.group(1))
        for key, pattern in {
            "hosts": r"^hosts: (\d+)",
            "map_s": r"^seconds: ([\d.]+)",
            "client_cpu_s": r"^client: ([\d.]+) s",
            "client_mib": r"^client: .* (\d+) MiB",
            "place_s": r"\(place ([\d.]+)",
            "boot_s": r", boot ([\d.]+)",
            "connect_s": r", connect ([\d.]+)",
        }.items()
        if (match := re.search(pattern, said, re.MULTILINE))
    }
    return {**found, "booted": report["booted"], "left": len(report["alive"])}


def refusals(home: Path, cloud: str) -> dict[str, Any]:
    """Seconds of each refused attempt, as the journal has them."""
    op, error = REFUSALS[cloud]
    program = str(PROGRAMS / "on_gpus.py")
    run = f"byoc run {program} --cloud {cloud} --gpu {GPUS[cloud]} --no-keep --quiet >/dev/null"
    said, _ = rehearse(
        home, REFUSED.format(op=op, error=error), "sh", "-c", f"{run}; byoc why --json"
    )
    attempts = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    spent = sorted(one["seconds"] for one in attempts["attempts"] if one["outcome"] == "refused")
    return {
        "refused": len(spent),
        "median_s": spent[len(spent) // 2] if spent else None,
        "longest_s": spent[-1] if spent else None,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--instances", type=int, default=50)
    parser.add_argument("--cloud", choices=sorted(GPUS), default="aws")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="byoc-rented-") as folder:
        home = Path(folder)
        found = {"crowd": crowd(home, options.cloud, options.instances)}
        if options.cloud in REFUSALS:
            found["refusals"] = refusals(home, options.cloud)
    if options.json:
        print(json.dumps(found))
        return
    for name, figures in found.items():
        print(f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
