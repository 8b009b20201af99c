"""What an instance takes of which quota: Google's metrics, by type and market."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ...resources import Offer
from ..base import Draw, Quota
from . import body

ALL_GPUS = "GPUS_ALL_REGIONS"
"""Of the whole project and both markets; 0 until somebody asks for more."""
SPOT_CPUS = "PREEMPTIBLE_CPUS"
SPOT_PREFIX = "PREEMPTIBLE_"
GPU_METRICS: Mapping[str, str] = {
    "L4": "NVIDIA_L4_GPUS",
    "T4": "NVIDIA_T4_GPUS",
    "P4": "NVIDIA_P4_GPUS",
    "P100": "NVIDIA_P100_GPUS",
    "V100": "NVIDIA_V100_GPUS",
    "A100-40GB": "NVIDIA_A100_GPUS",
    "A100-80GB": "NVIDIA_A100_80GB_GPUS",
    "H100": "NVIDIA_H100_GPUS",
}
"""H100's is told for spot only, and newer GPUs' not at all: what is not told is not counted."""
CPU_METRICS: Mapping[str, str] = {
    "a2": "A2_CPUS",
    "c2": "C2_CPUS",
    "c2d": "C2D_CPUS",
    "c3": "C3_CPUS",
    "n2": "N2_CPUS",
    "n2d": "N2D_CPUS",
    "t2a": "T2A_CPUS",
    "t2d": "T2D_CPUS",
    "e2": "CPUS",
    "n1": "CPUS",
}
"""Families whose processors have a metric in ``regions.get``; others' are told elsewhere."""
_UNITS = ((re.compile(r"GPU"), "GPU"), (re.compile(r"CPUS$"), "vCPU"), (re.compile(r"_GB$"), "GB"))


def read(region: str, quotas: Iterable[object]) -> list[Quota]:
    """The quotas of a region's answer, or of a project's (``region`` empty)."""
    return [
        Quota(q.metric, region, float(q.limit), float(q.usage), unit(q.metric))  # type: ignore[attr-defined]
        for q in quotas
    ]


def unit(metric: str) -> str:
    """What a metric counts."""
    return next((name for pattern, name in _UNITS if pattern.search(metric)), "")


def draws(offer: Offer, told: Sequence[Quota]) -> tuple[Draw, ...]:
    """What one instance takes of the quotas that were told.

    Spot GPUs count in a metric of their own. Spot processors do once the account has been given
    some; before that in the ordinary one.
    """
    limits = {quota.bucket: quota.limit for quota in told}
    wanted: list[Draw] = []
    if offer.gpu_count:
        metric = GPU_METRICS.get(offer.gpu, "")
        own = SPOT_PREFIX + metric if offer.market == "spot" else metric
        wanted += [Draw(own, offer.gpu_count), Draw(ALL_GPUS, offer.gpu_count)]
    cpus = CPU_METRICS.get(body.split(offer.type).machine.partition("-")[0], "")
    if offer.market == "spot" and limits.get(SPOT_CPUS, 0.0) > 0:
        cpus = SPOT_CPUS
    wanted.append(Draw(cpus, offer.vcpus))
    return tuple(draw for draw in wanted if draw.bucket in limits and draw.amount > 0)
