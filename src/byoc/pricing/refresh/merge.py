"""The next catalogue: the last one, with prices of the lists where they can be believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ...errors import TransientError
from ...resources import MARKETS, Offer
from ..catalog import Snapshot, Source
from .quotes import ON_DEMAND, SPOT, Doubt, Key, Live, Quote

JUMP = 3.0
"""Times by which a price may rise or fall against the last catalogue before it is held back."""
SLACK = 1.0005
"""A spot price may exceed the on-demand price by its rounding only."""
NO_PRICE = "sold, but no price was found"
EMULATED = "emulated: "
"""How the source begins of a price that no real cloud asks."""


class Cell(NamedTuple):
    """A price of the catalogue, None where it is not known."""

    price: float | None
    source: Source


Table = dict[Key, Cell]


class Held(NamedTuple):
    """A price that jumped, so that the old one (None where there was none) was kept."""

    region: str
    type: str
    market: str
    old: float | None
    new: float


class Merged(NamedTuple):
    """The next catalogue, and what came of each price.

    ``types``: their hardware. ``fresh``: prices taken from the lists, ``changed`` of them others
    than before, ``added`` of them new. ``kept``: prices that no list had. ``held``: see
    :class:`Held`. ``doubts``: prices that cannot be.
    """

    types: Mapping[str, Offer]
    table: Table
    fresh: int
    changed: int
    added: int
    kept: int
    held: tuple[Held, ...]
    doubts: tuple[Doubt, ...]


def merge(cloud: str, last: Snapshot, live: Live, day: str, accept: bool = False) -> Merged:
    """The next catalogue. ``day``: the date of the quotes, such as ``2026-11-21``. ``accept``: take
    prices that jumped as well. Raises TransientError for lists that are not whole: then the last
    catalogue stays."""
    old = table(last)
    _whole(cloud, old, live)
    return _Merging(last, old, live, day, accept).done()


def table(last: Snapshot) -> Table:
    """A catalogue's prices by place."""
    return {key: Cell(last.offers[at].price, last.sources[at]) for key, at in last.places.items()}


def _whole(cloud: str, old: Table, live: Live) -> None:
    """Raise when more than half of what a list should have is not in it: by market, and of the
    on-demand prices by region too."""
    known: Counter[tuple[str, str]] = Counter()
    there: Counter[tuple[str, str]] = Counter()
    for key, cell in old.items():
        region, _, market = key
        if cell.price is None or region not in live.regions:
            continue
        lists = [("", market), (region, market)] if market == ON_DEMAND else [("", market)]
        known.update(lists)
        there.update(lists if key in live.quotes else ())
    for (region, market), count in sorted(known.items()):
        found = there[region, market]
        if 2 * found < count:
            where = f" for {region}" if region else ""
            raise TransientError(
                f"the {market} prices of {cloud}{where} are not complete: "
                f"{found} of {count} known ones are there",
                provider=cloud,
                hints=("Ask again later.",),
                done="nothing was replaced",
            )
    if not known:
        raise TransientError(
            f"no list of {cloud}'s prices could be read",
            provider=cloud,
            hints=tuple(f"{name}: {why}" for name, why in list(live.skipped.items())[:1]),
            done="nothing was replaced",
        )


class _Merging:
    def __init__(self, last: Snapshot, old: Table, live: Live, day: str, accept: bool) -> None:
        self._last = last
        self._old = old
        self._live = live
        self._day = day
        self._accept = accept
        self._new: Table = {}
        self._held: list[Held] = []
        self._doubts = list(live.doubts)
        self._fresh = self._changed = self._added = self._kept = 0
        self._usual = _usual(old)

    def done(self) -> Merged:
        """Each place in turn; of a place the on-demand price first, which is the spot price's
        ceiling."""
        places = {key[:2] for key in self._old}
        if self._live.places:
            places |= {key[:2] for key in self._live.quotes if key[1] in self._last.types}
        for region, kind in sorted(places):
            self._place(region, kind)
        return Merged(
            self._last.types, self._new, self._fresh, self._changed, self._added, self._kept,
            tuple(self._held), tuple(self._doubts),
        )  # fmt: skip

    def _place(self, region: str, kind: str) -> None:
        known = any((region, kind, market) in self._old for market in MARKETS)
        listed = (region, kind, ON_DEMAND) in self._live.quotes
        if not known and not listed and (kind, ON_DEMAND) in self._usual:
            return  # a spot price alone does not say that it is sold there
        ceiling: float | None = None
        for market in MARKETS:
            key = (region, kind, market)
            sold = key in self._old or (not known and (kind, market) in self._usual)
            cell = self._cell(key, ceiling) if sold else None
            if sold and cell is None and market == SPOT and ceiling is not None:
                cell = Cell(None, Source(self._day, NO_PRICE))
            if cell is not None:
                self._new[key] = cell
                ceiling = cell.price if market == ON_DEMAND else ceiling

    def _cell(self, key: Key, ceiling: float | None) -> Cell | None:
        old, quote = self._old.get(key), self._live.quotes.get(key)
        if quote is not None and ceiling is not None and quote.dollars > ceiling * SLACK:
            why = f"a spot price of {quote.dollars:g} above the on-demand price of {ceiling:g}"
            self._doubts.append(Doubt(*key, why))
            quote = None
        if quote is not None and not self._accept and self._jumped(key, quote):
            before = old.price if old else None
            self._held.append(Held(*key, before, quote.dollars))
            quote = None
        if quote is not None:
            return self._taken(old, quote)
        if old is None:
            return None
        self._kept += old.price is not None
        if old.price is not None and ceiling is not None and old.price > ceiling * SLACK:
            return Cell(None, Source(self._day, NO_PRICE))  # on demand has become cheaper since
        return old

    def _taken(self, old: Cell | None, quote: Quote) -> Cell:
        price = round(quote.dollars, 6)
        self._fresh += 1
        self._added += old is None
        self._changed += old is not None and old.price != price
        said = EMULATED + quote.source if self._live.emulated else quote.source
        return Cell(price, Source(self._day, said))

    def _jumped(self, key: Key, quote: Quote) -> bool:
        """Against the price that it had; else against what the type costs in other regions."""
        _, kind, market = key
        old = self._old.get(key)
        ends = self._usual.get((kind, market), ())
        low, high = (old.price, old.price) if old and old.price else _ends(ends)
        if low is None or high is None:
            return False
        return quote.dollars > high * JUMP or quote.dollars * JUMP < low


def _usual(old: Table) -> dict[tuple[str, str], list[float]]:
    """By type and market that it is sold on, its known prices in all regions."""
    found: dict[tuple[str, str], list[float]] = {}
    for (_, kind, market), cell in old.items():
        prices = found.setdefault((kind, market), [])
        if cell.price is not None:
            prices.append(cell.price)
    return found


def _ends(prices: list[float] | tuple[()]) -> tuple[float | None, float | None]:
    return (min(prices), max(prices)) if prices else (None, None)


def rows(merged: Merged) -> Iterator[tuple[str, str, Mapping[str, Cell]]]:
    """Region, type and cells by market, in the order of the file."""
    places = sorted({key[:2] for key in merged.table}, key=lambda place: (place[1], place[0]))
    for region, kind in places:
        cells = {
            market: merged.table[region, kind, market]
            for market in MARKETS
            if (region, kind, market) in merged.table
        }
        yield region, kind, cells
