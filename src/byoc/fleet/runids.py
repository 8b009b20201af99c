"""The names of runs. In a CI job they begin with the job's own, so that a later step, or another
job, can find and end all of its instances: ``byoc reap --run gh-8123456``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from ..clock import Ids

PREFIX_VARIABLE = "BYOC_RUN_PREFIX"
"""Names runs where there is no CI, or otherwise than it would."""
USUAL = "run"
LONGEST = 40
"""Characters of what comes before the random part: with it a run's name fits in any cloud's tag."""


class _System(NamedTuple):
    """A CI system: what a run's name begins with, and the variables that go on with it. The first
    one says that this is the system."""

    word: str
    variables: tuple[str, ...]


_SYSTEMS = (
    _System("gh", ("GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT")),
    _System("gl", ("CI_PIPELINE_ID", "CI_JOB_ID")),
    _System("gl", ("CI_JOB_ID",)),
    _System("bk", ("BUILDKITE_BUILD_NUMBER", "BUILDKITE_RETRY_COUNT")),
    _System("circle", ("CIRCLE_WORKFLOW_ID",)),
    _System("ado", ("BUILD_BUILDID", "SYSTEM_JOBATTEMPT")),
    _System("bb", ("BITBUCKET_BUILD_NUMBER",)),
    _System("cb", ("CODEBUILD_BUILD_NUMBER",)),
    _System("tc", ("TEAMCITY_BUILD_ID",)),
    _System("jenkins", ("JENKINS_URL", "BUILD_NUMBER")),
)
_FLAGS = {"JENKINS_URL"}
"""Variables that only say which system it is."""
SHARED = frozenset({USUAL, *(system.word for system in _SYSTEMS)})
"""Beginnings that runs of many jobs have: each names nobody's runs. A script whose variable is
empty would ask for one, as in ``gh-$ID``."""


def prefix(environ: Mapping[str, str]) -> str:
    """What the names of this process's runs begin with: ``gh-8123456-1`` in GitHub's second try of
    run 8123456, the value of BYOC_RUN_PREFIX where it is set, else ``run``."""
    own = _clean(environ.get(PREFIX_VARIABLE, ""))
    if own:
        return own
    for system in _SYSTEMS:
        if environ.get(system.variables[0]):
            told = [name for name in system.variables if name not in _FLAGS]
            parts = [system.word, *(_clean(environ.get(name, "")) for name in told)]
            return "-".join(part for part in parts if part)[:LONGEST].rstrip("-")
    return USUAL


def fresh(ids: Ids, environ: Mapping[str, str]) -> str:
    """A new run's name."""
    return ids.new(prefix(environ))


def _clean(text: str) -> str:
    """Only what every cloud's tags and every file system take as it is."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:LONGEST].rstrip("-")
