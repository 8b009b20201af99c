"""Each safety net alone holds what it is there for; and without any of them there are leaks."""

from __future__ import annotations

import pytest

from . import campaign
from .ablation import ALONE, NONE, Alone

SEEDS = range(30)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("alone", ALONE, ids=lambda one: one.net)
def test_a_net_holds_without_the_others(alone: Alone) -> None:
    """With the other nets switched off, nothing leaks that this one is there for."""
    tally = campaign.run(SEEDS, alone.setup)
    assert not {name: n for name, n in tally.kinds.items() if name in alone.left}, tally.failed


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_without_nets_there_are_leaks() -> None:
    """The worlds of the ablation are such that something has to hold."""
    assert campaign.run(range(10), NONE).kinds.get("leak", 0) > 2
