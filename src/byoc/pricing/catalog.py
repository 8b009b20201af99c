"""What clouds sell and what it costs: a snapshot that is packaged with byoc, read when first asked.

A price here is a hint for ordering: spot prices move within days. Each is kept with its date and
its source (:func:`source`). ``tools/make_catalog.py`` makes the files and says what they leave out.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..errors import StateError
from ..resources import MARKETS, Offer

FORMAT = "byoc catalogue 1"
"""First line of each packaged file; another number means another layout."""
UNKNOWN = "?"
"""In place of a price: it is sold, and its price is not known."""
NOT_SOLD = "-"
"""In place of a price: it is not sold on this market."""

HOME = {"aws": "us-east-1", "gcp": "us-central1", "oci": "us-ashburn-1"}
"""Each cloud's first and largest region: of equal prices, the one to name."""

_DATA = Path(__file__).parent / "data"


class Source(NamedTuple):
    """Where a price is from. ``date``: ``2026-07-20`` or ``2026-02``, when it was true."""

    date: str
    text: str


class _Snapshot(NamedTuple):
    """One cloud's file. ``sources``: the source of each offer, by its place in ``offers``."""

    offers: tuple[Offer, ...]
    sources: tuple[Source, ...]
    places: dict[tuple[str, str, str], int]
    types: dict[str, Offer]


def offers(cloud: str) -> list[Offer]:
    """All that a cloud sells: an offer for each region, type and market, without a zone.

    Dollars an hour are None where the price of a thing that is sold is not known. What cannot be
    launched on demand is offered as spot only. Types that hold a fraction of a GPU are left out.
    ``disk`` is 0: it is chosen at launch. A cloud without a packaged file has none.
    """
    return list(_snapshot(cloud).offers)


def find(cloud: str, region: str, type: str, market: str) -> Offer | None:
    """The offer of one type in one region on one market; None when it is not in the catalogue."""
    snapshot = _snapshot(cloud)
    place = snapshot.places.get((region, type, market))
    return None if place is None else snapshot.offers[place]


def spec(cloud: str, type: str) -> Offer | None:
    """A type's hardware, as an offer without region, market and price; None when unknown."""
    return _snapshot(cloud).types.get(type)


def source(offer: Offer) -> Source | None:
    """When the price of a catalogue's offer was true, and who said so; None for other offers."""
    snapshot = _snapshot(offer.cloud)
    place = snapshot.places.get((offer.region, offer.type, offer.market))
    return None if place is None else snapshot.sources[place]


def regions(cloud: str) -> list[str]:
    """The regions that the catalogue knows of, sorted."""
    return sorted({offer.region for offer in _snapshot(cloud).offers})


def types(cloud: str) -> list[str]:
    """The types that the catalogue knows of, sorted."""
    return sorted(_snapshot(cloud).types)


@cache
def _snapshot(cloud: str) -> _Snapshot:
    path = _DATA / f"{cloud}.tsv"
    if not path.is_file():
        return _Snapshot((), (), {}, {})
    return parse(cloud, path.read_text(encoding="utf-8"))


def parse(cloud: str, text: str) -> _Snapshot:
    """Read one packaged file. Raises StateError when it is of another byoc."""
    head, _, rest = text.partition("\n[sources]\n")
    if head != FORMAT:
        raise StateError(
            f"the packaged price list of {cloud} is not one that this byoc can read",
            hints=("install byoc again",),
        )
    told, _, rest = rest.partition("\n[types]\n")
    hardware, _, prices = rest.partition("\n[prices]\n")
    origins = [Source(*line.split("\t")) for line in told.splitlines()]
    kinds = {kind.type: kind for kind in (_kind(cloud, line) for line in hardware.splitlines())}
    return _offered(kinds, origins, prices.splitlines())


def _kind(cloud: str, line: str) -> Offer:
    name, gpu, count, gpu_memory, vcpus, cpus, memory, arch, minimum = line.split("\t")
    return Offer(
        cloud, "", "", name, "", None, float(cpus), int(memory), 0, gpu, int(count),
        int(gpu_memory), float(vcpus), arch, float(minimum),
    )  # fmt: skip


def _offered(kinds: dict[str, Offer], origins: list[Source], prices: list[str]) -> _Snapshot:
    sold: list[Offer] = []
    sources: list[Source] = []
    places: dict[tuple[str, str, str], int] = {}
    for line in prices:
        name, on_demand, on_demand_source, spot, spot_source, where = line.split("\t")
        kind = kinds[name]
        cloud, rest = kind.cloud, kind[6:]
        cells = ((on_demand, on_demand_source), (spot, spot_source))
        for market, (text, origin) in zip(MARKETS, cells, strict=True):
            if text == NOT_SOLD:
                continue
            price = None if text == UNKNOWN else float(text)
            said = origins[int(origin)]
            for region in where.split(" "):
                places[region, name, market] = len(sold)
                sold.append(Offer(cloud, region, "", name, market, price, *rest))
                sources.append(said)
    return _Snapshot(tuple(sold), tuple(sources), places, kinds)
