"""Service Quotas: what the account may hold, in vCPUs by family and market."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..ports import World

CLOUD = "aws"


class Bucket(NamedTuple):
    """A quota. ``usual``: its limit where the scenario says nothing."""

    name: str
    usual: float


BUCKETS: Mapping[str, Bucket] = {
    "L-1216C47A": Bucket(
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 1152.0
    ),
    "L-34B43A08": Bucket("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 1152.0),
    "L-DB2E81BA": Bucket("Running On-Demand G and VT instances", 768.0),
    "L-3819A6DF": Bucket("All G and VT Spot Instance Requests", 768.0),
    "L-417A185B": Bucket("Running On-Demand P instances", 768.0),
    "L-7212CCBC": Bucket("All P4, P3 and P2 Spot Instance Requests", 768.0),
    "L-C4BD4855": Bucket("All P5 Spot Instance Requests", 768.0),
}
"""Those of an account that has asked for room; a new one has 0 for every GPU, which a scenario's
``[[quota]]`` makes so."""


def bucket(kind: str, spot: bool) -> str:
    """The code of the quota that a type counts in."""
    if kind.startswith(("g", "vt")):
        return "L-3819A6DF" if spot else "L-DB2E81BA"
    if kind.startswith("p"):
        newer = kind[1:2] >= "5"
        return ("L-C4BD4855" if newer else "L-7212CCBC") if spot else "L-417A185B"
    return "L-34B43A08" if spot else "L-1216C47A"


def limit(world: World, region: str, code: str) -> float:
    """The limit of a quota in a region."""
    return world.quota(CLOUD, region, code, BUCKETS[code].usual)


def told(world: World, region: str, account: str, code: str) -> dict[str, object]:
    """A quota as Service Quotas tells it."""
    return {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": f"arn:aws:servicequotas:{region}:{account}:ec2/{code}",
        "QuotaCode": code,
        "QuotaName": BUCKETS[code].name,
        "Value": limit(world, region, code),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
    }
