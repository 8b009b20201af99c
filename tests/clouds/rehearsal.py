"""A user's command under ``byoc emulate``, and what its report says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.helpers import ROOT

BYOC = str(Path(sys.executable).with_name("byoc"))
PROGRAMS = Path(__file__).parent / "programs"
HELLO = str(ROOT / "examples" / "hello.py")
WAIT = 150.0
"""Seconds for one rehearsal; the longest takes about 30 on a busy machine with two cores."""

real_machines = pytest.mark.skipif(
    os.getuid() != 0 or not sys.platform.startswith("linux"),
    reason="emulated machines need root on Linux",
)


class Rehearsal(NamedTuple):
    """How a command under ``byoc emulate`` ended. ``report``: what ``--report`` wrote."""

    code: int
    out: str
    err: str
    report: dict[str, Any]
    home: Path

    def why(self) -> list[dict[str, Any]]:
        """The attempts of the latest run, as ``byoc why --json`` tells them."""
        environ = {**os.environ, "BYOC_HOME": str(self.home)}
        done = subprocess.run(
            [BYOC, "why", "--json"], env=environ, capture_output=True, text=True, check=True
        )
        attempts: list[dict[str, Any]] = json.loads(done.stdout)["attempts"]
        return attempts

    def calls(self, cloud: str, operation: str) -> int:
        """How often an operation was asked for."""
        return int(self.report["calls"].get(cloud, {}).get(operation, 0))


def rehearse(
    home: Path,
    *command: str,
    scenario: str = "",
    options: tuple[str, ...] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Rehearsal:
    """Run ``byoc emulate ... -- COMMAND`` as a user would, with ``home`` as its ``BYOC_HOME``."""
    report = home / "report.json"
    line = [BYOC, "emulate", "--seed", "1", "--report", str(report), *options]
    if scenario:
        path = home / "scenario.toml"
        path.write_text(scenario)
        line += ["--scenario", str(path)]
    done = subprocess.run(
        [*line, "--", *command],
        env={**os.environ, "BYOC_HOME": str(home), "NO_COLOR": "1", **environ},
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    told = json.loads(report.read_text()) if report.exists() else {}
    return Rehearsal(done.returncode, done.stdout, done.stderr, told, home)
