"""Fifty instances at once: rented side by side, used by one map, ended."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clouds.rehearsal import BYOC, PROGRAMS, real_machines, rehearse

ROOM = '[[quota]]\ncloud = "gcp"\nregion = "*"\nbucket = "*"\nlimit = 1000\n'


@real_machines
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_instances_serve_one_map(byoc_home: Path) -> None:
    """All fifty come, whatever they get of the inputs, and none stays; the client stays small."""
    program = [str(PROGRAMS / "crowd.py"), "--n", "150", "--wait", "1"]
    line = [BYOC, "run", *program, "--cloud", "gcp", "--gpu", "T4", "--no-keep"]
    done = rehearse(byoc_home, *line, scenario=ROOM)
    assert done.code == 0, done.err
    assert done.report["booted"] == 50 and done.report["alive"] == []
    told = re.search(r"hosts: (\d+)\nseconds: ([\d.]+)\nclient: ([\d.]+) .* (\d+) MiB", done.out)
    assert told is not None, done.out
    hosts, _, cpu, memory = (float(one) for one in told.groups())
    assert hosts > 10
    # far from what one client may spend; the figures are benchmarks/rented.py's
    assert cpu < 60 and memory < 1500
    assert done.calls("gcp", "compute.instances.insert") == 50
