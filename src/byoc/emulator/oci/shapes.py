"""Shapes and images of the emulated tenancy, made from the catalogue."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from ...pricing import catalog
from ...providers.oci.shapes import parse

_PREEMPTIBLE = ("VM.Standard", "VM.DenseIO", "VM.Optimized3", "VM.GPU2.", "VM.GPU3.")
"""What the vendor's page lists: no bare metal, no A10."""
_STILL_BILLED = ("BM.", "VM.DenseIO", "VM.GPU2.", "VM.GPU3.")
"""Shapes that are billed while they are stopped."""


class Kind(NamedTuple):
    """One shape as sold. ``ocpus``, ``memory`` (GB): of the smallest size when ``flexible``."""

    name: str
    ocpus: float
    memory: float
    gpu: str
    gpus: int
    arch: str
    flexible: bool

    @property
    def limits(self) -> tuple[str, ...]:
        """The names of the service limits that it draws on."""
        parts = self.name.lower().split(".")[1:-1]
        if self.flexible:
            stem = "-".join(parts)
            return (f"{stem}-core-count", f"{stem}-memory-count")
        return ("-".join(parts) + "-count",)

    @property
    def preemptible(self) -> bool:
        """Whether it is sold as preemptible."""
        return self.name.startswith(_PREEMPTIBLE)


class PlatformImage(NamedTuple):
    """One of the vendor's images."""

    name: str
    system: str
    version: str
    arch: str
    gpu: bool


IMAGES = (
    PlatformImage("Oracle-Linux-9.6-Gen2-GPU-2026.10.31-0", "Oracle Linux", "9", "x86_64", True),
    PlatformImage("Oracle-Linux-9.6-Gen2-GPU-2026.08.30-0", "Oracle Linux", "9", "x86_64", True),
    PlatformImage(
        "Oracle-Linux-9.6-Gen2-GPU-aarch64-2026.10.31-0", "Oracle Linux", "9", "arm64", True
    ),
    PlatformImage("Oracle-Linux-8.10-Gen2-GPU-2026.10.31-0", "Oracle Linux", "8", "x86_64", True),
    PlatformImage("Oracle-Linux-9.6-2026.10.31-0", "Oracle Linux", "9", "x86_64", False),
    PlatformImage(
        "Canonical-Ubuntu-24.04-2026.10.30-0", "Canonical Ubuntu", "24.04", "x86_64", False
    ),
    PlatformImage(
        "Canonical-Ubuntu-22.04-2026.10.30-0", "Canonical Ubuntu", "22.04", "x86_64", False
    ),
    PlatformImage(
        "Canonical-Ubuntu-24.04-Minimal-2026.10.31-0",
        "Canonical Ubuntu", "24.04 Minimal", "x86_64", False,
    ),
    PlatformImage(
        "Canonical-Ubuntu-24.04-aarch64-2026.10.30-0", "Canonical Ubuntu", "24.04", "arm64", False
    ),
    PlatformImage(
        "Canonical-Ubuntu-22.04-aarch64-2026.10.30-0", "Canonical Ubuntu", "22.04", "arm64", False
    ),
)  # fmt: skip
"""A GPU image runs on GPU shapes only, any other on every shape of its architecture."""


@functools.cache
def kinds() -> dict[str, Kind]:
    """Every shape of the catalogue, by the API's name."""
    found: dict[str, Kind] = {}
    for name in catalog.types("oci"):
        spec, shape = catalog.spec("oci", name), parse(name)
        if spec is None:
            continue
        kind = Kind(
            shape.name,
            shape.ocpus or spec.cpus,
            shape.memory or spec.memory / 1024,
            spec.gpu, spec.gpu_count, spec.arch, shape.flexible,
        )  # fmt: skip
        known = found.get(shape.name)
        if known is None or kind.ocpus < known.ocpus:
            found[shape.name] = kind
    return found


def sold(region: str) -> list[Kind]:
    """The shapes that the catalogue sells in a region."""
    names = {parse(offer.type).name for offer in catalog.offers("oci") if offer.region == region}
    return [kind for name, kind in kinds().items() if name in names]


def shown(kind: Kind) -> dict[str, Any]:
    """A shape as ListShapes shows it."""
    found: dict[str, Any] = {
        "shape": kind.name,
        "ocpus": float(kind.ocpus),
        "memoryInGBs": float(kind.memory),
        "isFlexible": kind.flexible,
        "billingType": "PAID",
        "isBilledForStoppedInstance": kind.name.startswith(_STILL_BILLED),
        "quotaNames": list(kind.limits),
    }
    if kind.gpus:
        found |= {"gpus": kind.gpus, "gpuDescription": f"NVIDIA {kind.gpu}"}
    if kind.flexible:
        found["ocpuOptions"] = {"min": 1.0, "max": 64.0}
        found["memoryOptions"] = {"minInGBs": 1.0, "maxInGBs": 1024.0}
    return found


def usual_limit(name: str) -> float:
    """What the emulated tenancy may hold of a limit in each availability domain, unless the
    scenario says otherwise: more than a rehearsal uses."""
    if name.endswith("-memory-count"):
        return 64_000.0
    return 4_000.0 if name.endswith("-core-count") else 64.0
