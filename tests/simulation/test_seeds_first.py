"""The first half of the campaign; two files, since files of tests run side by side."""

from __future__ import annotations

import pytest

from .parts import PARTS, Half

HALF = Half(0)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_promise_is_broken(part: int) -> None:
    """No leak, no duplicate, no wrongful end, no lost or double result, under any mix of faults."""
    HALF.play(part)
    missing = HALF.unmet() if part == PARTS - 1 else []
    assert not missing, "not met often enough"
