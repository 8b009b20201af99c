"""Quotes out of Amazon's lists: items of the Price List API's GetProducts, and spot price history.

An item is a JSON text of one product with its terms. Sources: the API's reference, and the public
price list's own columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .quotes import ON_DEMAND, SPOT, Collector, number

SERVICE = "AmazonEC2"
_METAL = ".metal"
_COMMON = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
VIRTUAL = {**_COMMON, "tenancy": "Shared", "productFamily": "Compute Instance"}
METAL = {**_COMMON, "tenancy": "Dedicated", "productFamily": "Compute Instance (bare metal)"}
"""What is asked for of a region's products, by field: virtual machines, and whole hosts, which are
listed as dedicated. Other products have the same type names and other prices."""
_SHAPE = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading an entry raises that is not one."""


class PriceList:
    """Takes items and history of any region. ``types``: those that the catalogue knows.
    ``products``, ``history``: what the two lists are called."""

    def __init__(self, types: Iterable[str], products: str, history: str) -> None:
        self._named = {ON_DEMAND: products, SPOT: history}
        self._types = frozenset(types)
        self._families = {_family(kind) for kind in self._types}
        self._collector = Collector()
        self._spot: dict[tuple[str, str], dict[str, tuple[Any, float]]] = {}
        self._new: set[str] = set()
        self.unread = 0

    @property
    def collector(self) -> Collector:
        """What was found, spot prices included: each region's is its cheapest zone's."""
        return self._collector

    @property
    def new(self) -> tuple[str, ...]:
        """Types that are sold and that the catalogue lacks: of families that it has, and with
        GPUs."""
        return tuple(sorted(self._new))

    # --- on demand ------------------------------------------------------------------------

    def product(self, item: str | Mapping[str, Any]) -> None:
        """One item of a page of GetProducts."""
        try:
            told = json.loads(item) if isinstance(item, str) else item
            product = told["product"]
            about = product["attributes"]
            kind, region = str(about["instanceType"]), str(about["regionCode"])
            wanted = METAL if _METAL in kind else VIRTUAL
            if not _fits({**about, "productFamily": product.get("productFamily")}, wanted):
                return
            if kind not in self._types:
                self._unknown(kind, about)
                return
            for dollars in _hourly(told["terms"]["OnDemand"]):
                self._collector.add((region, kind, ON_DEMAND), dollars, self._named[ON_DEMAND])
        except _SHAPE:
            self.unread += 1

    def _unknown(self, kind: str, about: Mapping[str, Any]) -> None:
        if _family(kind) in self._families or str(about.get("gpu", "0")) not in ("0", "NA", ""):
            self._new.add(kind)

    # --- spot -----------------------------------------------------------------------------

    def spot(self, region: str, entry: Mapping[str, Any], zones: Mapping[str, str]) -> None:
        """One entry of the history of a region. ``zones``: the names of its availability zones as
        this account has them, and their ids; entries of local zones are left out."""
        try:
            zone, kind = entry["AvailabilityZone"], entry["InstanceType"]
            if "Linux" not in entry.get("ProductDescription", "Linux"):
                return
            told = (entry["Timestamp"], number(entry["SpotPrice"]))
            if zone not in zones or kind not in self._types:
                return
            if told[1] <= 0:  # what is not sold now
                return
            by_zone = self._spot.setdefault((region, kind), {})
            by_zone[zone] = max(told, by_zone.get(zone, told))
        except _SHAPE:
            self.unread += 1

    def settle(self, region: str, zones: Mapping[str, str]) -> None:
        """Choose each type's cheapest zone, once a region's history is read to its end."""
        for (place, kind), by_zone in self._spot.items():
            if place == region:
                zone, (_, dollars) = min(by_zone.items(), key=lambda one: (one[1][1], one[0]))
                where = f", cheapest in {zones[zone]}" if zones[zone] != zone else ""
                self._collector.add((region, kind, SPOT), dollars, self._named[SPOT] + where)


def plain_zones(region: str, names: Iterable[str]) -> dict[str, str]:
    """The availability zones among these names: ``us-east-1a``, and not ``us-east-1-atl-2a``, which
    is a local one. For who may not ask which they are: their ids are not known then."""
    return {
        name: name
        for name in names
        if name.startswith(region) and len(name) == len(region) + 1 and name[-1].isalpha()
    }


def _family(kind: str) -> str:
    return kind.partition(".")[0]


def _fits(about: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """What an item does not say is as it was asked for."""
    return all(about.get(name) in (None, value) for name, value in wanted.items())


def _hourly(terms: Mapping[str, Any]) -> list[float]:
    """The dollars an hour of the on-demand terms. Raises ValueError when there are none: another
    currency, another unit."""
    found = [
        number(dimension["pricePerUnit"]["USD"])
        for term in terms.values()
        for dimension in term["priceDimensions"].values()
        if dimension.get("unit", "Hrs") == "Hrs"
    ]
    if not found:
        raise ValueError("no price by the hour")
    return found
