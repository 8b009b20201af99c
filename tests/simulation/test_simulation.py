"""The campaign of every pull request, in parts that can run side by side."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

from . import campaign
from .campaign import Tally
from .required import unmet
from .scene import Setup, simulate

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "1000"))
PARTS = 10
FIRST = 0
_all = Tally()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_promise_is_broken(part: int) -> None:
    """No leak, no duplicate, no wrongful end, no lost or double result, under any mix of faults."""
    size = SEEDS // PARTS
    for seed in range(FIRST + part * size, FIRST + (part + 1) * size):
        outcome = simulate(seed)
        assert not outcome.bad, campaign.story(seed, Setup())
        _all.add(seed, outcome)


@pytest.mark.slow
def test_the_campaign_met_every_fault_and_every_way() -> None:
    """Each kind of fault was injected, and each way through the reducer gone: else it is red."""
    if _all.seeds < SEEDS:
        pytest.skip("the parts ran in other processes")
    assert unmet(_all.marks, _all.seeds) == []


@pytest.mark.parametrize("seed", campaign.regressions())
def test_what_has_once_failed_holds(seed: int) -> None:
    """A seed that has once broken a promise keeps it."""
    outcome = simulate(seed)
    assert not outcome.bad, campaign.story(seed, Setup())


def test_the_same_seed_gives_the_same_trace() -> None:
    """The order of sets and hashes decides nothing: the trace is the same in every process."""
    program = (
        "from tests.simulation.scene import simulate\n"
        "print([simulate(seed).digest for seed in (3, 5)])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "4711")
    }
    assert found == {f"{[simulate(seed).digest for seed in (3, 5)]}\n"}
