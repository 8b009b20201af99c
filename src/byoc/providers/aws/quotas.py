"""EC2's quotas: which one an instance counts in, and how much of it there is and is used.

Each is counted in vCPUs, by region, with on-demand and spot apart. The codes are those of the
Service Quotas console; ``used`` is what EC2 itself says is running, so that it is never stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import partial

from ...errors import ProviderError
from ...resources import Offer
from ...tasks import Task, side_by_side
from ..base import Draw, Quota
from .clients import Clients, refused

SERVICE = "ec2"
AT_ONCE = 4
"""Limits asked for at once; Service Quotas answers a few questions a second."""
ON_DEMAND, SPOT = "on-demand", "spot"
_FAMILY = re.compile(r"([a-z]+)(\d*)")
_BUCKETS: tuple[tuple[str, str, str, str], ...] = (
    # families, generation (a pattern), on demand, spot
    (r"g|gr|vt", r".*", "L-DB2E81BA", "L-3819A6DF"),
    (r"p", r"[5-9]", "L-417A185B", "L-C4BD4855"),
    (r"p", r".*", "L-417A185B", "L-7212CCBC"),
    (r"[acdhimrtz].*", r".*", "L-1216C47A", "L-34B43A08"),
)
NAMES = {
    "L-DB2E81BA": "Running On-Demand G and VT instances",
    "L-3819A6DF": "All G and VT Spot Instance Requests",
    "L-417A185B": "Running On-Demand P instances",
    "L-C4BD4855": "All P5 Spot Instance Requests",
    "L-7212CCBC": "All P4, P3 and P2 Spot Instance Requests",
    "L-1216C47A": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    "L-34B43A08": "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
}
"""As the console calls them."""
GPU_BUCKETS = ("L-DB2E81BA", "L-3819A6DF", "L-417A185B", "L-C4BD4855")
"""Those of GPU types, which are 0 in a new account."""


def bucket(type: str, market: str) -> str:
    """The code of the quota that a type counts in; empty when it is not known."""
    match = _FAMILY.match(type)
    if match is None:
        return ""
    family, generation = match.groups()
    for families, generations, on_demand, spot in _BUCKETS:
        if re.fullmatch(families, family) and re.fullmatch(generations, generation):
            return spot if market == SPOT else on_demand
    return ""


def draws(offers: Iterable[Offer]) -> dict[tuple[str, str], tuple[Draw, ...]]:
    """By (type, market), what one instance takes."""
    found: dict[tuple[str, str], tuple[Draw, ...]] = {}
    for offer in offers:
        code = bucket(offer.type, offer.market)
        if code and offer.vcpus:
            found[offer.type, offer.market] = (Draw(code, offer.vcpus),)
    return found


def limit(clients: Clients, region: str, code: str) -> float | None:
    """What the account may hold of a quota, in vCPUs; None when AWS keeps no such one here."""
    try:
        answer = clients.call(
            "service-quotas", region, "get_service_quota", ServiceCode=SERVICE, QuotaCode=code
        )
    except ProviderError as error:
        if refused(error, "NoSuchResourceException"):
            return None
        raise
    return float(answer["Quota"]["Value"])


def used(clients: Clients, region: str) -> dict[str, float]:
    """vCPUs that run or start now, by quota; whoever started them."""
    found: dict[str, float] = {}
    reservations = clients.pages(
        SERVICE, region, "describe_instances", "Reservations",
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}],
    )  # fmt: skip
    for instance in (one for r in reservations for one in r["Instances"]):
        market = SPOT if instance.get("InstanceLifecycle") == "spot" else ON_DEMAND
        code = bucket(instance["InstanceType"], market)
        cpu = instance.get("CpuOptions", {})
        count = cpu.get("CoreCount", 0) * cpu.get("ThreadsPerCore", 1)
        found[code] = found.get(code, 0.0) + count
    return found


def survey(clients: Clients, region: str, codes: Sequence[str]) -> tuple[Quota, ...]:
    """The limits of some quotas with what is used of them. Raises what the first failure was."""
    running = Task("byoc-survey", lambda: used(clients, region))
    asked = [partial(limit, clients, region, code) for code in codes]
    limits = side_by_side(asked, AT_ONCE)
    counts = running.result()
    return tuple(
        Quota(code, region, value, counts.get(code, 0.0), "vCPU")
        for code, value in zip(codes, limits, strict=True)
        if value is not None
    )
