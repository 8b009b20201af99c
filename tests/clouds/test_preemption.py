"""Preemptions, with and without notice: nothing is lost, nothing comes twice, hooks run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.clouds.rehearsal import BYOC, HELLO, PROGRAMS, Rehearsal, real_machines, rehearse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), real_machines]

REGIONS = {"aws": "us-east-1", "gcp": "us-central1", "oci": "us-ashburn-1"}
"""One region each: its zones suffice for a replacement, and surveys of others take time."""
TOLD = [("aws", 120), ("aws", 30), ("gcp", 120), ("gcp", 30)]
"""Where a machine reads the notice."""
KILLED = [("aws", 0), ("gcp", 0), ("oci", 0)]
UNTOLD = [("oci", 120), ("oci", 30)]
"""Where only an event in the tenancy tells of it."""


def event(cloud: str, notice: int, after: str = "first-result", **more: float) -> str:
    """One that takes a machine back, so many seconds after it was announced."""
    lines = [f'cloud = "{cloud}"', f'after = "{after}"', 'action = "preempt"', f"notice = {notice}"]
    return "\n".join(["[[event]]", *lines, *(f"{key} = {value}" for key, value in more.items())])


def run(home: Path, cloud: str, program: str, scenario: str, *more: str) -> Rehearsal:
    """A program on spot machines of one region."""
    words = ("run", program, "--cloud", cloud, "--region", REGIONS[cloud], "--spot", "--no-keep")
    return rehearse(home, BYOC, *words, *more, scenario=scenario)


def preempted(home: Path, cloud: str, notice: int, *more: str) -> Rehearsal:
    """200 items on a machine that is taken back at its first result."""
    return run(home, cloud, str(PROGRAMS / "preempted.py"), event(cloud, notice), *more)


def check(done: Rehearsal, containers: int) -> None:
    """All results, once each, of so many containers, each on a machine of its own; none is left."""
    assert done.code == 0, done.err
    assert f"results 200 containers {containers}" in done.out, done.out
    assert len(done.report["instances"]) == containers and done.report["alive"] == []


@pytest.mark.parametrize(("cloud", "notice"), TOLD)
def test_with_notice_everything_runs_once_and_the_hook_runs(
    byoc_home: Path, cloud: str, notice: int
) -> None:
    """The hook runs on the machine that is told, beside the item that runs there and finishes; what
    waits runs on a replacement in another zone, and the first machine is ended at once."""
    done = preempted(byoc_home, cloud, notice)
    check(done, 2)
    assert all(done.out.count(f"squared {number}\n") == 1 for number in range(200)), done.out
    hooks = re.findall(r"hook: (\d+) s left on (\w+) (\S+)", done.out)
    first, second = done.report["instances"]
    assert [(one[1], one[2].rpartition("/")[2]) for one in hooks] == [(cloud, first["name"])]
    assert int(hooks[0][0]) <= notice
    assert "is preempted in" in done.err and "was lost" not in done.err, done.err
    assert first["zone"] != second["zone"]
    assert first["ended_at"] - done.report["events"][0]["at"] < notice, "it waited for its cloud"


@pytest.mark.parametrize(("cloud", "notice"), KILLED)
def test_without_notice_all_results_come_from_a_replacement(
    byoc_home: Path, cloud: str, notice: int
) -> None:
    """The machine dies in the middle: what it had not delivered is run again, in another zone."""
    done = preempted(byoc_home, cloud, notice, "--patience", "1")
    check(done, 2)
    first, second = done.report["instances"]
    assert first["zone"] != second["zone"]


@pytest.mark.parametrize(("cloud", "notice"), UNTOLD)
def test_a_machine_that_is_not_told_goes_on(byoc_home: Path, cloud: str, notice: int) -> None:
    """OCI says it to the tenancy only: no hook runs, nothing moves before the machine is gone."""
    done = preempted(byoc_home, cloud, notice, "--patience", "1")
    check(done, 1)
    assert "hook:" not in done.out and "preempted" not in done.err


def test_two_machines_in_turn_while_a_generator_and_a_call_run(byoc_home: Path) -> None:
    """Both end where they began, in time; the object's state is each container's own, and its hook
    sees it."""
    scenario = event("gcp", 30, count=2)
    done = run(byoc_home, "gcp", str(PROGRAMS / "stateful.py"), scenario)
    assert done.code == 0, done.err
    assert "three machines" in done.out
    assert [line for line in done.out.splitlines() if line.startswith("saved")] == [
        "saved 1 with True",
        "saved 8 with True",
    ]
    assert len(done.report["instances"]) == 3 and done.report["alive"] == []


@pytest.mark.parametrize("cloud", REGIONS)
def test_taken_while_it_boots_and_while_it_is_set_up(byoc_home: Path, cloud: str) -> None:
    """Each is told, and the next offer is tried: the program notices nothing."""
    scenario = "\n".join(
        [event(cloud, 0, "running"), event(cloud, 0, "connected", delay=0.6)],
    )
    done = run(byoc_home, cloud, HELLO, scenario)
    assert done.code == 0, done.err
    assert "a map: [0, 1, 4, 9, 16]" in done.out
    assert len(done.report["instances"]) == 3 and done.report["alive"] == []
    assert len({one["zone"] for one in done.report["instances"]}) == 3
