"""What a cloud's lists of prices said, as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..catalog import MOST_DOLLARS

ON_DEMAND, SPOT = "on-demand", "spot"
Key = tuple[str, str, str]
"""Region, type and market."""


class Quote(NamedTuple):
    """One price, dollars an hour, and which list it is from."""

    dollars: float
    source: str


class Doubt(NamedTuple):
    """A price that was not taken. ``why``: in a few words."""

    region: str
    type: str
    market: str
    why: str


class Live(NamedTuple):
    """All that was read of one cloud.

    ``regions``: whose lists were read to their end. ``skipped``: regions that could not be asked,
    and why. ``places``: the lists tell where a type is sold, so that a known type may appear in
    another region. ``doubts``: prices that cannot be. ``new``: what is listed and the catalogue
    lacks. ``unread``: entries that had not the shape of one. ``emulated``: the account that told
    all this is on this computer.
    """

    quotes: Mapping[Key, Quote]
    regions: frozenset[str]
    skipped: Mapping[str, str] = MappingProxyType({})
    places: bool = False
    doubts: tuple[Doubt, ...] = ()
    new: tuple[str, ...] = ()
    unread: int = 0
    emulated: bool = False


class Collector:
    """Takes prices one by one and keeps those that can be: of one thing there is one price."""

    def __init__(self) -> None:
        self.found: dict[Key, Quote] = {}
        self.doubts: dict[Key, Doubt] = {}

    def add(self, key: Key, dollars: float, source: str) -> None:
        """One price. Nothing is free, and nothing has two prices."""
        before = self.found.get(key)
        if not possible(dollars):
            self.doubts[key] = Doubt(*key, f"a price of {dollars:g}")
        elif before is None:
            self.found[key] = Quote(dollars, source)
        elif not math.isclose(before.dollars, dollars, rel_tol=1e-6):
            self.doubts[key] = Doubt(*key, f"two prices, {before.dollars:g} and {dollars:g}")

    def quotes(self) -> dict[Key, Quote]:
        """Those that nothing speaks against, or only that they were also listed as free."""
        twice = {key for key, doubt in self.doubts.items() if doubt.why.startswith("two")}
        return {key: quote for key, quote in self.found.items() if key not in twice}

    def told(self) -> tuple[Doubt, ...]:
        """The doubts about what has no other price."""
        kept = self.quotes()
        return tuple(doubt for key, doubt in sorted(self.doubts.items()) if key not in kept)


def possible(dollars: float) -> bool:
    """Whether anything is sold at this price an hour."""
    return math.isfinite(dollars) and 0 < dollars < MOST_DOLLARS


def number(value: Any) -> float:
    """A number out of JSON. Raises ValueError for what is none, true and false among them."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is no number")
    return float(value)
