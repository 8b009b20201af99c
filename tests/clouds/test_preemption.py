"""A preemption with notice: what runs finishes, the rest goes elsewhere, nothing runs twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clouds.rehearsal import BYOC, PROGRAMS, real_machines, rehearse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), real_machines]

SCENARIO = """
[[event]]
cloud = "{cloud}"
after = "first-input"
delay = 0.5
action = "preempt"
notice = 30
"""


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_what_runs_finishes_and_the_rest_moves(byoc_home: Path, cloud: str) -> None:
    """The agent reads the notice of its cloud; each input runs once, and nothing is lost."""
    program = str(PROGRAMS / "notified.py")
    words = ("run", program, "--cloud", cloud, "--spot", "--no-keep")
    done = rehearse(byoc_home, BYOC, *words, scenario=SCENARIO.format(cloud=cloud))
    assert done.code == 0, done.err
    assert "sum 4324" in done.out
    assert all(done.out.count(f"squared {number}\n") == 1 for number in range(24)), done.out
    assert "is preempted in" in done.err and "was lost" not in done.err, done.err
    assert len(done.report["instances"]) == 2
    assert done.report["alive"] == []
