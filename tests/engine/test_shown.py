"""Output that nobody takes holds up nothing but itself."""

from __future__ import annotations

import threading

from byoc.clock import SYSTEM
from byoc.engine.shown import PATIENCE, Shown
from tests.helpers import until


def test_output_is_shown_before_what_comes_behind_it() -> None:
    """Whoever is quick is waited for, so that the order of what is seen is that of what came."""
    used: list[int] = []
    seen: list[int] = []
    shown = Shown(used.append)
    for number in range(50):
        shown.put(lambda number=number: seen.append(number), 10)  # type: ignore[misc]
        shown.catch_up()
        assert seen[-1] == number
    shown.wait()
    assert seen == list(range(50))
    assert used == [10] * 50


def test_a_terminal_that_stands_still_holds_up_nobody() -> None:
    """It is waited for once, shortly; what it has not shown is not used, and nothing is lost."""
    used: list[int] = []
    seen: list[int] = []
    gate = threading.Event()
    shown = Shown(used.append)
    shown.put(lambda: seen.append(int(gate.wait(30))), 1)
    begun = SYSTEM.mono()
    for number in range(20):
        shown.put(lambda number=number: seen.append(number), 1)  # type: ignore[misc]
        shown.catch_up()
    assert SYSTEM.mono() - begun < 10 * PATIENCE
    assert not used
    gate.set()
    shown.wait()
    assert seen == [1, *range(20)]
    until(lambda: len(used) == 21)
    shown.put(lambda: seen.append(99), 1)
    shown.catch_up()
    assert seen[-1] == 99
