"""The simulation itself: the same seed gives the same world, and old failures stay mended."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT

from . import campaign
from .scene import Setup, simulate


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
