"""The simulation notices mistakes: a short run of the seeded bugs, each by its first seeds."""

from __future__ import annotations

import pytest

from . import campaign
from .mutants import MUTANTS
from .scene import Setup

QUICK = {
    "random-token": "duplicate",
    "retry-full": "retry-full",
    "no-memory": "in-vain",
    "late-results-accepted": "result-twice",
    "lost-inputs": "not-finished",
    "one-list-is-gone": "",
    "asked-once": "",
    "forged-tags-trusted": "wrongful",
    "any-owner": "wrongful",
    "stopped-is-gone": "",
}
"""Bugs that a few seeds show, and the checker that has to; all of them: scripts/simulate
--mutants."""


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", QUICK)
def test_a_seeded_bug_is_noticed(name: str) -> None:
    """A mistake that others have made breaks a promise within a few seeds."""
    count, bad = campaign.until_caught(range(60), Setup(bug=name))
    assert count, f"{name} was not noticed"
    assert not QUICK[name] or QUICK[name] in bad


def test_there_are_enough_of_them() -> None:
    """At least twenty-five seeded bugs, each with its reason."""
    assert len(MUTANTS) >= 25
    assert all(kind.why for kind in MUTANTS.values())
