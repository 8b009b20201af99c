"""Regions and zones of the emulated account, and which types are sold where."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from ...pricing import catalog

HOME = "us-east-1"
NOT_ENABLED = ("eu-south-2", "me-central-1")
"""Regions that exist and that the account has not enabled: its keys are nothing there."""


@functools.cache
def enabled() -> frozenset[str]:
    """The regions of the account: those of the catalogue."""
    return frozenset(catalog.regions("aws"))


def regions() -> list[dict[str, str]]:
    """Every region as DescribeRegions tells it."""
    return [
        {
            "RegionName": name,
            "Endpoint": f"ec2.{name}.amazonaws.com",
            "OptInStatus": "opt-in-not-required" if name in enabled() else "not-opted-in",
        }
        for name in sorted({*enabled(), *NOT_ENABLED})
    ]


@functools.cache
def sold(region: str) -> Mapping[str, tuple[str, ...]]:
    """By type, the zones of a region that sell it, sorted."""
    found: dict[str, list[str]] = {}
    for one in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(region, ()):
        if one["Location"].startswith(region):
            found.setdefault(one["InstanceType"], []).append(one["Location"])
    return {kind: tuple(sorted(zones)) for kind, zones in found.items()}


def hardware(kind: str) -> Mapping[str, Any] | None:
    """What DescribeInstanceTypes says of a type, None for what is none."""
    known: Mapping[str, Any] | None = INSTANCE_TYPES.get(kind)
    return known


def vcpus(kind: str) -> int:
    """What a type counts for in a quota."""
    known = hardware(kind)
    return int(known["VCpuInfo"]["DefaultVCpus"]) if known else 0


def cpu_options(kind: str) -> dict[str, int]:
    """Cores and threads, as DescribeInstances tells them."""
    info = (hardware(kind) or {}).get("VCpuInfo", {})
    threads = int(info.get("DefaultThreadsPerCore", 1))
    cores = int(info.get("DefaultCores") or vcpus(kind) // threads)
    return {"CoreCount": cores, "ThreadsPerCore": threads}
