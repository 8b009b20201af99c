"""What the emulated Google sells, and where: the packaged catalogue's regions and types.

Which zones a region has is known for the few that differ from ``a``, ``b``, ``c``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

from ...pricing import catalog
from ...resources import Offer

ZONES = {
    "us-central1": "abcf",
    "us-east1": "bcd",
    "europe-west1": "bcd",
}
"""Letters of the regions that have not just a, b and c."""
ATTACHED = re.compile(r"(?P<machine>n1-[a-z0-9-]+)\+(?P<card>[a-z0-9-]+)x(?P<count>\d+)")
CARDS: Mapping[str, str] = {
    "L4": "nvidia-l4",
    "A100-40GB": "nvidia-tesla-a100",
    "A100-80GB": "nvidia-a100-80gb",
    "H100": "nvidia-h100-80gb",
    "H200": "nvidia-h200-141gb",
    "B200": "nvidia-b200",
    "RTX-PRO-6000": "nvidia-rtx-pro-6000",
    "T4": "nvidia-tesla-t4",
    "P4": "nvidia-tesla-p4",
    "P100": "nvidia-tesla-p100",
    "V100": "nvidia-tesla-v100",
}
"""Canonical GPU -> Google's accelerator type."""
MEGA = "nvidia-h100-mega-80gb"
METRICS: Mapping[str, str] = {
    "nvidia-l4": "NVIDIA_L4_GPUS",
    "nvidia-tesla-a100": "NVIDIA_A100_GPUS",
    "nvidia-a100-80gb": "NVIDIA_A100_80GB_GPUS",
    "nvidia-h100-80gb": "NVIDIA_H100_GPUS",
    MEGA: "NVIDIA_H100_MEGA_GPUS",
    "nvidia-h200-141gb": "NVIDIA_H200_GPUS",
    "nvidia-b200": "NVIDIA_B200_GPUS",
    "nvidia-rtx-pro-6000": "NVIDIA_RTX_PRO_6000_GPUS",
    "nvidia-tesla-t4": "NVIDIA_T4_GPUS",
    "nvidia-tesla-p4": "NVIDIA_P4_GPUS",
    "nvidia-tesla-p100": "NVIDIA_P100_GPUS",
    "nvidia-tesla-v100": "NVIDIA_V100_GPUS",
}
"""Accelerator -> metric of on-demand ones; spot ones count in ``PREEMPTIBLE_`` of it."""
UNTOLD = ("NVIDIA_H100_MEGA_GPUS", "NVIDIA_H200_GPUS", "NVIDIA_B200_GPUS",
          "NVIDIA_RTX_PRO_6000_GPUS")  # fmt: skip
"""Counted, but in no answer of ``regions.get``: its enum has no such metric, on either market."""
UNTOLD_ON_DEMAND = "NVIDIA_H100_GPUS"
ALL_GPUS, SPOT_CPUS = "GPUS_ALL_REGIONS", "PREEMPTIBLE_CPUS"
USUAL_GPUS, USUAL_GPUS_IN_ALL, USUAL_CPUS = 64.0, 128.0, 2400.0
"""What this account may hold where the scenario says nothing: enough for a rehearsal."""
FAMILY_CPUS: Mapping[str, str] = {
    "a2": "A2_CPUS",
    "c2": "C2_CPUS",
    "c2d": "C2D_CPUS",
    "c3": "C3_CPUS",
    "n2": "N2_CPUS",
    "n2d": "N2D_CPUS",
    "t2a": "T2A_CPUS",
    "t2d": "T2D_CPUS",
    "n1": "CPUS",
    "e2": "CPUS",
}
HYPERDISK_ONLY = re.compile(r"(a3-ultragpu|a4|a4x|c4|c4a|c4d|g4|n4|h4d|x4|m4)-")
DISKS = ("pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced")


class Machine(NamedTuple):
    """A machine type. ``card``/``cards``: the accelerators that are part of it."""

    name: str
    cpus: int
    memory: int
    arch: str
    card: str = ""
    cards: int = 0


class Image(NamedTuple):
    """``size``: GB."""

    project: str
    family: str
    name: str
    size: int
    arch: str


def _images() -> tuple[Image, ...]:
    found = [
        Image("deeplearning-platform-release", f"common-{cuda}-ubuntu-2204-nvidia-{driver}",
              f"common-{cuda}-ubuntu-2204-nvidia-{driver}-v20261101", 50, "X86_64")
        for cuda, driver in (("cu128", "570"), ("cu129", "580"))
    ]  # fmt: skip
    for year in ("2204", "2404"):
        plain = f"ubuntu-{year}-lts"
        for arch, tail in (("amd64", "" if year == "2204" else "-amd64"), ("arm64", "-arm64")):
            kind = "X86_64" if arch == "amd64" else "ARM64"
            name = f"ubuntu-{year}-{arch}-v20261101"
            found.append(Image("ubuntu-os-cloud", plain + tail, name, 10, kind))
            family = f"ubuntu-accelerator-{year}-{arch}-with-nvidia-580"
            name = f"{family}-v20261101"
            found.append(Image("ubuntu-os-accelerator-images", family, name, 15, kind))
    return tuple(found)


IMAGES = _images()


@functools.cache
def regions() -> tuple[str, ...]:
    """Every region."""
    return tuple(catalog.regions("gcp"))


@functools.cache
def zones(region: str = "") -> tuple[str, ...]:
    """The zones of a region, or of all."""
    wanted = (region,) if region else regions()
    return tuple(f"{r}-{letter}" for r in wanted for letter in ZONES.get(r, "abc"))


@functools.cache
def machines() -> dict[str, Machine]:
    """Every machine type by its name."""
    found: dict[str, Machine] = {}
    for name in catalog.types("gcp"):
        spec = catalog.spec("gcp", name)
        assert spec is not None
        attached = ATTACHED.fullmatch(name)
        bare = attached["machine"] if attached else name
        card, cards = ("", 0) if attached else (_card(name, spec), spec.gpu_count)
        arch = "ARM64" if spec.arch == "arm64" else "X86_64"
        found[bare] = Machine(bare, int(spec.vcpus), spec.memory, arch, card, cards)
    return found


def _card(type: str, spec: Offer) -> str:
    return MEGA if type.startswith("a3-mega") else CARDS.get(spec.gpu, "")


@functools.cache
def attachable() -> dict[str, int]:
    """Accelerators that N1 machines take -> the most on one machine."""
    found: dict[str, int] = {}
    for name in catalog.types("gcp"):
        match = ATTACHED.fullmatch(name)
        if match:
            found[match["card"]] = max(found.get(match["card"], 0), int(match["count"]))
    return found


@functools.cache
def sold() -> frozenset[tuple[str, str]]:
    """(region, name) of machine types and accelerators that are sold there."""
    pairs: set[tuple[str, str]] = set()
    for offer in catalog.offers("gcp"):
        attached = ATTACHED.fullmatch(offer.type)
        bare = attached["machine"] if attached else offer.type
        pairs.add((offer.region, bare))
        card = attached["card"] if attached else machines()[bare].card
        if card:
            pairs.add((offer.region, card))
    return frozenset(pairs)


def is_sold(zone: str, name: str) -> bool:
    """Whether a zone has a machine type or an accelerator."""
    return (region_of(zone), name) in sold()


def region_of(zone: str) -> str:
    """``us-central1-a`` -> ``us-central1``."""
    return zone.rpartition("-")[0]


def type_of(machine: str, card: str, number: int) -> str:
    """The name that byoc's offers and scenarios have for it."""
    return f"{machine}+{card}x{number}" if number and machine.startswith("n1-") else machine


def image(project: str, name: str) -> Image | None:
    """By family or by name."""
    return next((i for i in IMAGES if i.project == project and name in (i.family, i.name)), None)


def usual(metric: str) -> float:
    """What the account may hold of a metric where the scenario does not say."""
    if metric == ALL_GPUS:
        return USUAL_GPUS_IN_ALL
    if metric == SPOT_CPUS:
        return 0.0  # as in a new account: spot processors count in CPUS then
    return USUAL_CPUS if metric.endswith("CPUS") else USUAL_GPUS


def told_metrics() -> list[str]:
    """The metrics of ``regions.get``."""
    gpus = [metric for metric in METRICS.values() if metric not in UNTOLD]
    spot = [f"PREEMPTIBLE_{metric}" for metric in gpus]
    plain = [metric for metric in gpus if metric != UNTOLD_ON_DEMAND]
    return [*plain, *spot, SPOT_CPUS, *dict.fromkeys(FAMILY_CPUS.values())]
