"""The process dies at every write and every request: exhaustive, on each cloud."""

from __future__ import annotations

import pytest

from . import crashes
from .clouds import HABITS


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cloud", HABITS)
def test_a_crash_at_any_moment_leaves_nothing(cloud: str) -> None:
    """No leak, no duplicate, a sound ledger: whether a client, a reaper or nobody comes after."""
    count = 0
    for case in crashes.cases():
        if case.cloud == cloud:
            outcome = crashes.crash(case)
            assert not outcome.bad, (case, outcome.bad)
            count += 1
    assert count > 150, "the world of the sweep has become too small to prove anything"
