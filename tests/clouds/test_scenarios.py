"""Bad days, from the user's command line: silent machines, clouds that do not answer or listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.fleet import climb
from tests.clouds.rehearsal import BYOC, HELLO, real_machines, rehearse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), real_machines]


def fault(cloud: str, error: str, op: str = "*", **more: float) -> str:
    """A ``[[fault]]`` of a scenario."""
    lines = ["[[fault]]", f'cloud = "{cloud}"', f'op = "{op}"', f'error = "{error}"']
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in more.items())]) + "\n"


def test_machines_that_never_answer_end_the_run(byoc_home: Path) -> None:
    """Three are tried and ended, not one in each zone of each type; the error has the console."""
    scenario = '[boot]\nnever = true\nconsole = "no root device"\n'
    line = [BYOC, "run", HELLO, "--cloud", "aws", "--region", "us-east-1"]
    done = rehearse(byoc_home, *line, scenario=scenario, environ={"BYOC_BOOT_TIMEOUT": "1"})
    assert done.code == 4, done.err
    assert len(done.report["instances"]) == climb.SILENT and done.report["alive"] == []
    attempts = done.why()
    assert {one["error"] for one in attempts} == {"boot"}
    assert all("no root device" in one["console"] for one in attempts)


def test_a_terminate_that_is_ignored_is_repeated(byoc_home: Path) -> None:
    """The cloud says yes and does nothing: it is asked again, and nothing stays alive."""
    scenario = fault("oci", "ignore", "terminate_instance")
    done = rehearse(byoc_home, BYOC, "run", HELLO, "--cloud", "oci", "--no-keep", scenario=scenario)
    assert done.code == 0, done.err
    assert done.calls("oci", "terminate_instance") == 2 and done.report["alive"] == []


def test_a_launch_that_was_not_heard_is_repeated(byoc_home: Path) -> None:
    """The same offer with the same token, once: one instance."""
    scenario = fault("oci", "no-answer", "launch_instance")
    done = rehearse(byoc_home, BYOC, "run", HELLO, "--cloud", "oci", "--no-keep", scenario=scenario)
    assert done.code == 0, done.err
    assert done.calls("oci", "launch_instance") == 2 and len(done.report["instances"]) == 1
    assert [one["outcome"] for one in done.why()] == ["ok"]


def test_a_cloud_that_answers_nothing_is_left(byoc_home: Path) -> None:
    """Two of its regions are tried, in seconds; `byoc why` has the reason, and the other serves."""
    where = ("--cloud", "gcp", "--cloud", "aws")
    scenario = fault("gcp", "no-answer", times=-1)
    done = rehearse(byoc_home, BYOC, "run", HELLO, *where, "--no-keep", scenario=scenario)
    assert done.code == 0, done.err
    *failed, last = done.why()
    assert (last["provider"], last["outcome"]) == ("aws", "ok")
    assert [one["error"] for one in failed] == ["transient"] * climb.DEAF
    assert done.report["alive"] == []
