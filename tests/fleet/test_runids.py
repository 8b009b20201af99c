"""Names of runs: in CI they begin with the job's own."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from byoc.clock import IDS
from byoc.fleet.reap import of_run
from byoc.fleet.runids import LONGEST, fresh, prefix

SYSTEMS: list[tuple[Mapping[str, str], str]] = [
    ({}, "run"),
    ({"GITHUB_RUN_ID": "8123", "GITHUB_RUN_ATTEMPT": "2"}, "gh-8123-2"),
    ({"GITHUB_RUN_ID": "8123"}, "gh-8123"),
    ({"CI_PIPELINE_ID": "55", "CI_JOB_ID": "777"}, "gl-55-777"),
    ({"CI_JOB_ID": "777"}, "gl-777"),
    ({"BUILDKITE_BUILD_NUMBER": "12", "BUILDKITE_RETRY_COUNT": "0"}, "bk-12-0"),
    ({"JENKINS_URL": "http://ci", "BUILD_NUMBER": "9"}, "jenkins-9"),
    ({"BUILD_NUMBER": "9"}, "run"),
    ({"BYOC_RUN_PREFIX": "nightly", "GITHUB_RUN_ID": "8123"}, "nightly"),
    ({"BYOC_RUN_PREFIX": "My Team/é"}, "my-team"),
    ({"BYOC_RUN_PREFIX": "--"}, "run"),
]


@pytest.mark.parametrize(("environ", "begins"), SYSTEMS)
def test_a_runs_name_begins_with_its_job(environ: Mapping[str, str], begins: str) -> None:
    """Each CI system's own numbers come first; what the user says wins; nothing strange gets in."""
    assert prefix(environ) == begins


def test_names_are_fresh_fit_every_tag_and_are_found_by_their_job() -> None:
    """Two runs of one job differ, keep to letters that every cloud's tags take, and are found by
    the job's number."""
    long = {"GITHUB_RUN_ID": "8" * 300, "GITHUB_RUN_ATTEMPT": "1"}
    for environ in ({"GITHUB_RUN_ID": "8123", "GITHUB_RUN_ATTEMPT": "1"}, long):
        first, second = fresh(IDS, environ), fresh(IDS, environ)
        assert first != second
        for name in (first, second):
            assert re.fullmatch(r"[a-z0-9-]+", name) and len(name) <= min(63, LONGEST + 11)
    assert of_run(fresh(IDS, {"GITHUB_RUN_ID": "8123"}), "gh-8123")
