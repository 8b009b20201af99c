"""The campaign of every pull request: halves that run side by side, in parts."""

from __future__ import annotations

import os

from . import campaign
from .campaign import Tally
from .required import unmet
from .scene import Setup, simulate

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "1000"))
"""Seeds of both halves together."""
PARTS = 5
"""Parts of a half."""


class Half:
    """Half of the campaign. ``first``: its first seed."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._tally = Tally()

    def play(self, part: int) -> None:
        """Simulate a part. Raises AssertionError with the story of the first seed that fails."""
        size = SEEDS // 2 // PARTS
        for seed in range(self._first + part * size, self._first + (part + 1) * size):
            outcome = simulate(seed)
            assert not outcome.bad, campaign.story(seed, Setup())
            self._tally.add(seed, outcome)

    def unmet(self) -> list[str]:
        """What the parts played so far have met too rarely; nothing unless all were."""
        whole = self._tally.seeds >= SEEDS // 2 // PARTS * PARTS
        return unmet(self._tally.marks, self._tally.seeds) if whole else []
