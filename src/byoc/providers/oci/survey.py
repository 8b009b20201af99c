"""What OCI says about some offers now: availability domains, limits with their use, capacity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ...errors import ProviderError
from ...resources import Offer
from ...tasks import side_by_side
from ..base import Draw, Quota, Survey
from . import shapes
from .clients import Account, brisk, pages
from .codes import translated
from .shapes import Shape

AT_ONCE = 8
"""Questions side by side; OCI throttles a user who asks more."""
REPORT_MOST = 10
"""Shapes in one capacity report."""
SERVICE = "compute"
NOT_THERE = "HARDWARE_NOT_SUPPORTED"
AVAILABLE = "AVAILABLE"


class _Sold(NamedTuple):
    """What one availability domain sells: shape -> the limits that it draws on."""

    zone: str
    limits: dict[str, tuple[str, ...]]


class _Value(NamedTuple):
    """A limit; ``zone``: empty when it is counted for the region."""

    name: str
    zone: str
    value: float


def survey(account: Account, region: str, offers: Sequence[Offer]) -> Survey:
    """Ask side by side. Raises AccessError when the tenancy has no such region, or no credentials
    are there; a question that fails otherwise is told in the survey."""
    account.require(region)
    return _Asker(account, region, offers).run()


def domains(account: Account, region: str) -> list[str]:
    """The availability domains of a region. Raises ProviderError: without them nothing is known."""
    client = account.client("identity", region)
    found = pages(client.list_availability_domains, account.tenancy, retry_strategy=brisk())
    return [str(one.name) for one in found]


def report(
    account: Account, region: str, zone: str, types: Sequence[str]
) -> list[tuple[str, str, str]]:
    """(type, zone, status) for ten types at most: what a launch would find, reserving nothing."""
    client = account.client("compute", region)
    body = {
        "compartmentId": account.tenancy,  # a report is made for the root compartment
        "availabilityDomain": zone,
        "shapeAvailabilities": [_asked(shapes.parse(one)) for one in types],
    }
    with translated():
        answer = client.create_compute_capacity_report(body, retry_strategy=brisk())
    found = answer.data.shape_availabilities
    return [
        (name, zone, str(one.availability_status)) for name, one in zip(types, found, strict=True)
    ]


def choose(account: Account, offer: Offer) -> str:
    """The domain for an offer that names none: the first of which OCI says that it has room, else
    the first. Raises ProviderError when the domains cannot be listed."""
    zones = domains(account, offer.region)
    for zone in zones if len(zones) > 1 else ():
        try:
            ((_, _, status),) = report(account, offer.region, zone, [offer.type])
        except ProviderError:
            break  # it may not be asked: the launch will tell
        if status == AVAILABLE:
            return zone
    return next(iter(zones), "")


class _Asker:
    def __init__(self, account: Account, region: str, offers: Sequence[Offer]) -> None:
        self._account = account
        self._region = region
        self._offers = {(one.type, one.market): one for one in offers}
        self._types = {one.type: one for one in offers}
        self._failed: dict[str, ProviderError] = {}

    def run(self) -> Survey:
        zones = domains(self._account, self._region)
        shops: list[_Sold] = []
        values: list[_Value] = []
        told: list[tuple[str, str, str]] = []
        works = [partial(self._ask, "zones", self._sold, shops, zone) for zone in zones]
        works.append(partial(self._ask, "quotas", self._values, values))
        works += [
            partial(self._ask, "capacity", self._report, told, zone, some)
            for zone in zones
            for some in _parts(list(self._types), REPORT_MOST)
        ]
        side_by_side(works, AT_ONCE)
        draws = self._draws(shops)
        limits = self._quotas(values, draws)
        return Survey(
            self._region,
            zones=self._where(zones, shops, told),
            quotas=tuple(limits),
            draws=draws,
            capacity=self._capacity(told),
            failed=self._failed,
        )

    def _ask(self, question: str, ask: Callable[..., Any], found: Any, *args: Any) -> None:
        """Add what a question gives to ``found``, or note why it gave nothing."""
        try:
            found += ask(*args)
        except ProviderError as error:
            self._failed[question] = error

    # --- questions --------------------------------------------------------------------------

    def _sold(self, zone: str) -> list[_Sold]:
        client = self._account.client("compute", self._region)
        found = pages(
            client.list_shapes,
            self._account.compartment,
            availability_domain=zone,
            retry_strategy=brisk(),
        )
        return [_Sold(zone, {str(one.shape): tuple(one.quota_names or ()) for one in found})]

    def _values(self) -> list[_Value]:
        client = self._account.client("limits", self._region)
        found = pages(
            client.list_limit_values, self._account.tenancy, SERVICE, retry_strategy=brisk()
        )
        return [
            _Value(str(one.name), str(one.availability_domain or ""), float(one.value or 0))
            for one in found
        ]

    def _report(self, zone: str, types: Sequence[str]) -> list[tuple[str, str, str]]:
        """(type, zone, status): what a launch would find, without reserving anything."""
        return report(self._account, self._region, zone, types)

    def _used(self, value: _Value) -> Quota:
        """A limit with what is used of it, where that is told; of a limit of nothing it is not
        asked."""
        unit = shapes.unit(value.name)
        quota = Quota(value.name, self._region, value.value, None, unit, value.zone)
        if value.value <= 0:
            return quota._replace(used=0.0)
        used: list[Quota] = []
        self._ask("quotas", self._availability, used, quota)
        return next(iter(used), quota)

    def _availability(self, quota: Quota) -> list[Quota]:
        client = self._account.client("limits", self._region)
        where = {"availability_domain": quota.zone} if quota.zone else {}
        with translated():
            found = client.get_resource_availability(
                SERVICE, quota.bucket, self._account.compartment, retry_strategy=brisk(), **where
            ).data
        if found.used is None:
            return []
        limit = quota.limit
        if found.effective_quota_value is not None:
            limit = min(limit, float(found.effective_quota_value))  # a compartment's own quota
        return [quota._replace(limit=limit, used=float(found.used))]

    # --- what it comes to -------------------------------------------------------------------

    def _where(
        self, zones: Sequence[str], shops: Sequence[_Sold], told: Sequence[tuple[str, str, str]]
    ) -> dict[str, tuple[str, ...]]:
        """By type, the domains that sell it; one that did not answer may, and is worth a try: a
        launch has to name a domain."""
        absent = {(name, zone) for name, zone, status in told if status == NOT_THERE}
        limits = {shop.zone: shop.limits for shop in shops}
        return {
            name: tuple(
                zone
                for zone in zones
                if (zone not in limits or shapes.parse(name).name in limits[zone])
                and (name, zone) not in absent
            )
            for name in self._types
        }

    def _draws(self, shops: Sequence[_Sold]) -> dict[tuple[str, str], tuple[Draw, ...]]:
        """Both markets draw on the same limits."""
        found = {}
        for (name, market), offer in self._offers.items():
            shape = shapes.parse(name)
            limits = sorted({one for shop in shops for one in shop.limits.get(shape.name, ())})
            if limits:
                found[name, market] = tuple(
                    Draw(
                        one,
                        shapes.draw(one, shape, offer.gpu_count, offer.cpus, offer.memory / 1024),
                    )
                    for one in limits
                )
        return found

    def _quotas(
        self, values: Sequence[_Value], draws: Mapping[tuple[str, str], Sequence[Draw]]
    ) -> list[Quota]:
        names = {draw.bucket for some in draws.values() for draw in some}
        asked = [partial(self._used, value) for value in values if value.name in names]
        return side_by_side(asked, AT_ONCE)

    def _capacity(self, told: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], bool]:
        statuses = {(name, zone): status for name, zone, status in told}
        return {
            (name, zone, market): status == AVAILABLE
            for (name, zone), status in statuses.items()
            for market in ("on-demand", "spot")
            if (name, market) in self._offers and status != NOT_THERE
        }


def _asked(shape: Shape) -> dict[str, Any]:
    body: dict[str, Any] = {"instanceShape": shape.name}
    if shape.flexible:
        body["instanceShapeConfig"] = {"ocpus": shape.ocpus, "memoryInGBs": shape.memory}
    return body


def _parts(items: Sequence[str], most: int) -> Iterable[Sequence[str]]:
    return (items[start : start + most] for start in range(0, len(items), most))
