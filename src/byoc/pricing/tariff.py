"""How each cloud bills what an instance costs, beside its price: packaged data with its sources.

Prices of disks and addresses are the clouds' list prices of their home regions; elsewhere they
differ by up to a third, which is a few cents a day beside a GPU. The table is kept by hand: its
figures are few, and each is from the catalogue's research or marked as general knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..errors import StateError
from ..resources import MARKETS
from .catalog import FORMAT

MONTH = 730.0
"""Hours in the month that all three clouds reckon with."""
_DATA = Path(__file__).parent / "data" / "tariffs.tsv"


class Tariff(NamedTuple):
    """One cloud's rules.

    ``home``: its first and largest region; of equal prices, the one to name. ``disk``: dollars for
    a GiB and month of the boot disk byoc makes. ``address``: dollars an hour for a public IPv4
    address, by market. ``egress``: dollars for a GiB to the internet after ``egress_free`` GiB a
    month. ``free``: seconds within which a spot instance that the cloud takes away costs nothing.
    ``source``: who said so.
    """

    home: str
    disk: float
    address: Mapping[str, float]
    egress: float
    egress_free: float
    free: float
    source: str


@cache
def tariffs() -> Mapping[str, Tariff]:
    """By cloud; one that is not here (this computer) costs nothing."""
    head, *lines = _DATA.read_text(encoding="utf-8").splitlines()
    if head != FORMAT:
        raise StateError(
            "the packaged table of tariffs is not one that this byoc can read",
            hints=("install byoc again",),
        )
    return MappingProxyType(dict(map(_tariff, lines)))


def _tariff(line: str) -> tuple[str, Tariff]:
    cloud, home, disk, on_demand, spot, egress, egress_free, free, source = line.split("\t")
    address = dict(zip(MARKETS, (float(on_demand), float(spot)), strict=True))
    return cloud, Tariff(
        home, float(disk), address, float(egress), float(egress_free), float(free), source
    )
