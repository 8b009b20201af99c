"""What EC2 says of some offers of a region: zones, quotas and spot prices, asked side by side.

EC2 tells nobody whether it has capacity: that is learnt by launching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ...clock import Clock
from ...errors import AccessError, ProviderError
from ...resources import Offer
from ...tasks import Task
from ..base import Survey
from . import quotas
from .clients import Clients
from .network import Networks

THREAD = "byoc-survey"
MOST = 100
"""Types in one question; EC2 takes 200 filter values and 1000 types."""
T = TypeVar("T")


def survey(
    clients: Clients, networks: Networks, clock: Clock, region: str, offers: Sequence[Offer]
) -> Survey:
    """See :meth:`byoc.providers.base.Provider.survey`."""
    clients.client("ec2", region)  # raises AccessError when nothing can be asked at all
    types = sorted({offer.type for offer in offers})
    spot = sorted({offer.type for offer in offers if offer.market == "spot"})
    buckets = {quotas.bucket(offer.type, offer.market) for offer in offers} - {""}
    failed: dict[str, ProviderError] = {}

    def settle(name: str, question: Task[T], nothing: T) -> T:
        try:
            return question.result()
        except ProviderError as error:
            failed[name] = error
            return nothing

    sold = Task(THREAD, lambda: _sold(clients, region, types))
    reached = Task(THREAD, lambda: _subnets(networks, region))
    prices = Task(THREAD, lambda: _prices(clients, clock, region, spot))
    limits = Task(THREAD, lambda: quotas.survey(clients, region, sorted(buckets)))
    zones: Mapping[str, tuple[str, ...]] = settle("zones", sold, {})
    subnets = settle("network", reached, None)
    found = Survey(
        region,
        zones=_reachable(zones, subnets),
        quotas=settle("quotas", limits, ()),
        draws=quotas.draws(offers),
        prices=settle("prices", prices, {}),
        failed=failed,
    )
    if isinstance(failed.get("zones"), AccessError) and {"network", "quotas"} <= set(failed):
        raise failed["zones"]  # nothing may be asked there
    return found


def _subnets(networks: Networks, region: str) -> Mapping[str, str] | None:
    return networks.subnets(region)[1]


def _reachable(
    zones: Mapping[str, tuple[str, ...]], subnets: Mapping[str, str] | None
) -> Mapping[str, tuple[str, ...]]:
    """Zones without a subnet to launch in are left out."""
    if subnets is None:
        return zones
    return {kind: tuple(z for z in sold if z in subnets) for kind, sold in zones.items()}


def _sold(clients: Clients, region: str, types: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """By type, the zones that sell it; none for a type that is not sold in the region."""
    found: dict[str, list[str]] = {kind: [] for kind in types}
    for part in _parts(types):
        offered = clients.pages(
            "ec2", region, "describe_instance_type_offerings", "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": part}],
        )  # fmt: skip
        for one in offered:
            found[one["InstanceType"]].append(one["Location"])
    return {kind: tuple(sorted(zones)) for kind, zones in found.items()}


def _prices(
    clients: Clients, clock: Clock, region: str, types: Sequence[str]
) -> Mapping[tuple[str, str, str], float]:
    """The spot price of each type in each zone; of several the newest."""
    newest: dict[tuple[str, str, str], tuple[Any, float]] = {}
    for part in _parts(types):
        history = clients.pages(
            "ec2", region, "describe_spot_price_history", "SpotPriceHistory",
            InstanceTypes=part, ProductDescriptions=["Linux/UNIX"], StartTime=clock.wall(),
        )  # fmt: skip
        for one in history:
            key = (one["InstanceType"], one["AvailabilityZone"], "spot")
            told = (one["Timestamp"], float(one["SpotPrice"]))
            newest[key] = max(told, newest.get(key, told))
    return {key: price for key, (_, price) in newest.items()}


def _parts(types: Sequence[str]) -> list[list[str]]:
    return [list(types[at : at + MOST]) for at in range(0, len(types), MOST)]
