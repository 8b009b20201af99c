"""AWS's prices as it tells them now: the Price List API and each region's spot price history."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial

from ...errors import AccessError, ProviderError
from ...pricing.refresh.pricelist import METAL, SERVICE, VIRTUAL, PriceList, plain_zones
from ...pricing.refresh.quotes import Live
from ...tasks import side_by_side
from ..ingress import is_loopback
from ..lists import Asking
from .clients import DENIED, HOME_REGION, Clients, refused

THREADS = 4
"""Regions read at a time: the Price List API answers about ten requests a second."""
LINUX = "Linux/UNIX"
LIST, HISTORY = "AWS Price List API, GetProducts", "EC2 DescribeSpotPriceHistory"


def live(asking: Asking) -> Live:
    """Every region of the catalogue that the account has enabled, side by side. Raises
    ProviderErrors: then nothing is known."""
    reader = _Reader(asking)
    regions = asking.regions()
    side_by_side([partial(reader.region, region) for region in regions], THREADS)
    found, skipped = reader.found, reader.skipped
    return Live(
        found.collector.quotes(),
        frozenset(regions) - frozenset(skipped),
        skipped,
        True,
        found.collector.told(),
        found.new,
        found.unread,
        reader.emulated,
    )


class _Reader:
    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        options = asking.options
        self._clients = Clients(options.get("profile", ""), options.get("endpoint", ""))
        self._lock = threading.Lock()
        self.found = PriceList(asking.last.types, LIST, HISTORY)
        self.skipped: dict[str, str] = {}

    @property
    def emulated(self) -> bool:
        """Whether the account is on this computer."""
        return is_loopback(self._clients.endpoint(HOME_REGION))

    def region(self, region: str) -> None:
        """Both lists of a region; one that the account has not enabled is skipped."""
        try:
            self._spot(region)
        except AccessError as error:
            if error.scope != "region":
                raise
            with self._lock:
                self.skipped[region] = "the account has not enabled it"
            return
        self._asking.tell(f"{region}: on-demand prices")
        self._products(region, VIRTUAL)
        if any(".metal" in kind for kind in self._asking.last.types):
            self._products(region, METAL)

    def _products(self, region: str, fields: Mapping[str, str]) -> None:
        filters = [
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in {"regionCode": region, **fields}.items()
        ]
        items = self._clients.pages(
            "pricing", HOME_REGION, "get_products", "PriceList",
            ServiceCode=SERVICE, FormatVersion="aws_v1", Filters=filters,
        )  # fmt: skip
        for item in items:
            with self._lock:
                self.found.product(item)

    def _spot(self, region: str) -> None:
        self._asking.tell(f"{region}: spot prices")
        history = list(
            self._clients.pages(
                "ec2", region, "describe_spot_price_history", "SpotPriceHistory",
                ProductDescriptions=[LINUX], StartTime=self._asking.clock.wall(),
            )
        )  # fmt: skip
        zones = self._zones(region)
        if zones is None:
            zones = plain_zones(region, (str(one.get("AvailabilityZone")) for one in history))
        with self._lock:
            for one in history:
                self.found.spot(region, one, zones)
            self.found.settle(region, zones)

    def _zones(self, region: str) -> dict[str, str] | None:
        """The availability zones' names, which each account has its own, and their ids; None for
        who may not ask."""
        try:
            told = self._clients.call("ec2", region, "describe_availability_zones")
        except ProviderError as error:
            if refused(error, *DENIED):
                return None
            raise
        return {
            one["ZoneName"]: one.get("ZoneId", one["ZoneName"])
            for one in told.get("AvailabilityZones", ())
            if one.get("ZoneType", "availability-zone") == "availability-zone"
        }
