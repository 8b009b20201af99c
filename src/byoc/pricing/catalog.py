"""What clouds sell and what it costs: a snapshot that is packaged with byoc, read when first asked.

A price here is a hint for ordering: spot prices move within days. Each is kept with its date and
its source (:func:`source`). ``tools/make_catalog.py`` makes the files and says what they leave out.
``byoc prices refresh`` puts newer ones into the user's data folder (:mod:`.refresh`), which win
over the packaged ones of the same or an earlier date.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .. import settings
from ..errors import StateError
from ..resources import MARKETS, Offer

FORMAT = "byoc catalogue 1"
"""First line of each packaged file; another number means another layout."""
UNKNOWN = "?"
"""In place of a price: it is sold, and its price is not known."""
NOT_SOLD = "-"
"""In place of a price: it is not sold on this market."""

MOST_DOLLARS = 2000.0
"""An hour of nothing that is sold costs as much; the dearest machine here costs a tenth of it."""
FOLDER = "prices"
"""Folder of the user's own price files, in the data folder."""

_DATA = Path(__file__).parent / "data"
_LARGEST = 4 * 1024 * 1024
"""Bytes of a file of the user's that are read; each cloud's has less than 100 KiB."""


class Source(NamedTuple):
    """Where a price is from. ``date``: ``2026-07-20`` or ``2026-02``, when it was true."""

    date: str
    text: str


class Snapshot(NamedTuple):
    """One cloud's file. ``sources``: the source of each offer, by its place in ``offers``;
    ``places``: that place by region, type and market."""

    offers: tuple[Offer, ...]
    sources: tuple[Source, ...]
    places: dict[tuple[str, str, str], int]
    types: dict[str, Offer]


class InUse(NamedTuple):
    """The file that is used for a cloud. ``own``: it is the user's, which a refresh made.
    ``ignored``: why a file of the user's is there and not used; empty otherwise."""

    snapshot: Snapshot
    own: bool
    ignored: str


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


def own_file(cloud: str) -> Path:
    """Where a refresh puts a cloud's prices; the file need not be there."""
    return settings.data_folder(Path.cwd, os.environ) / FOLDER / f"{cloud}.tsv"


def forget() -> None:
    """Read the files again when they are asked for next: one of them has changed."""
    in_use.cache_clear()


def _snapshot(cloud: str) -> Snapshot:
    return in_use(cloud).snapshot


@cache
def in_use(cloud: str) -> InUse:
    """The file that is used for a cloud: the user's, unless there is none, or it is older than the
    packaged one, or it cannot be used, which is logged once as a warning."""
    came_with = _packaged(cloud)
    if not came_with:
        return InUse(Snapshot((), (), {}, {}), False, "")
    ignored = ""
    try:
        text = _own(own_file(cloud))
        if text and newest(text) >= newest(came_with):
            return InUse(_checked(parse(cloud, text)), True, "")
        ignored = "it is older than what this byoc came with" if text else ""
    except (OSError, ValueError, LookupError, TypeError, StateError) as error:
        ignored = "it cannot be read" if isinstance(error, OSError) else "it is damaged"
        _warn(cloud, ignored, error)
    return InUse(parse(cloud, came_with), False, ignored)


def packaged(cloud: str) -> Snapshot:
    """The packaged file, whatever the user has."""
    text = _packaged(cloud)
    return parse(cloud, text) if text else Snapshot((), (), {}, {})


def _packaged(cloud: str) -> str:
    path = _DATA / f"{cloud}.tsv"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _own(path: Path) -> str:
    """What a refresh wrote; nothing where there was none. Raises OSError and ValueError."""
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if size > _LARGEST:
        raise ValueError("it is too large")
    text = path.read_text(encoding="utf-8")
    if not text.startswith(f"{FORMAT}\n") or not text.endswith("\n"):
        raise ValueError("it has another layout, or its end is missing")
    return text


def _checked(found: Snapshot) -> Snapshot:
    """The same, unless it says what no refresh writes. Raises ValueError."""
    if not found.offers or {offer.type for offer in found.offers} != set(found.types):
        raise ValueError("prices are missing")  # sorted by type: a file that was cut lacks the last
    for offer in found.offers:
        if offer.price is not None and not 0 < offer.price < MOST_DOLLARS:
            raise ValueError(f"{offer.key()} costs {offer.price}")
    return found


def _warn(cloud: str, ignored: str, error: Exception) -> None:
    import logging  # deferred: 5 ms that only a damaged file needs

    logging.getLogger(__name__).warning(
        "the refreshed prices of %s are not used, the packaged ones are: %s (%s); "
        "run `byoc prices refresh --cloud %s`",
        cloud, ignored, error, cloud,
    )  # fmt: skip


def newest(text: str) -> str:
    """The latest date of a file's sources; nothing when it has none."""
    told = text.partition("\n[sources]\n")[2].partition("\n[types]\n")[0]
    return max((line.partition("\t")[0] for line in told.splitlines()), default="")


def parse(cloud: str, text: str) -> Snapshot:
    """Read one file. Raises StateError when it is of another byoc."""
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


def _offered(kinds: dict[str, Offer], origins: list[Source], prices: list[str]) -> Snapshot:
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
    return Snapshot(tuple(sold), tuple(sources), places, kinds)
