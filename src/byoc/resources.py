"""Values: what a function asks for, and what a provider offers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from .errors import InvalidError

MARKETS = ("on-demand", "spot")
_GPU = re.compile(r"^([A-Z0-9][A-Z0-9.+-]*?!?)(?::(\d+))?$")
_GPU_PREFIXES = ("NVIDIA-", "TESLA-")
_GPU_ALIASES = {
    "ANY": "any",
    "A100-40": "A100-40GB",
    "A100-80": "A100-80GB",
    "B200-180GB": "B200",
    "H100-80": "H100",
    "H100-80GB": "H100",
    "H100-MEGA": "H100",
    "H100-MEGA-80GB": "H100",
    "H200-141GB": "H200",
    "L4-24GB": "L4",
    "L40S-48GB": "L40S",
    "P100-16GB": "P100",
    "RTX-6000-96GB": "RTX-PRO-6000",
    "RTX-PRO-SERVER-6000": "RTX-PRO-6000",
    "RTXPRO4500": "RTX-PRO-4500",
    "RTXPRO6000": "RTX-PRO-6000",
    "T4-16GB": "T4",
    "V100-16GB": "V100",
    "V100-32": "V100-32GB",
}
"""What clouds, SkyPilot and Modal call a GPU, and its name here. A10 and A10G are two GPUs."""
MAX_GPUS = 16
"""The most GPUs any single instance type of the three clouds holds (AWS p2.16xlarge)."""


@dataclass(frozen=True)
class GpuRequest:
    """One acceptable GPU: canonical name (``H100``, or ``any``) and how many."""

    name: str
    count: int = 1

    def __str__(self) -> str:
        return self.name if self.count == 1 else f"{self.name}:{self.count}"


def gpu_name(text: str) -> str:
    """The name used here: ``nvidia-h100-80gb`` -> ``H100``. An unknown one in capitals.

    ``A100`` stays as it is: it asks for either A100.
    """
    name = re.sub(r"[\s_-]+", "-", text.strip().upper())
    for prefix in _GPU_PREFIXES:
        if name.startswith(prefix):
            name = name[len(prefix) :]
    return _GPU_ALIASES.get(name, name)


def parse_gpu(text: str) -> GpuRequest:
    """``"H100"``, ``"h100:8"``, ``"any"`` -> a request. Raises :class:`InvalidError`."""
    joined = re.sub(r"(?<=\w)[\s_]+(?=\w)", "-", text.strip()) if isinstance(text, str) else ""
    match = _GPU.match(joined.upper())
    if match is None:
        raise InvalidError(
            f"gpu={text!r} is not a GPU: write a name, or a name and a count, such as 'H100:8'"
        )
    name, count = match.group(1), int(match.group(2) or 1)
    if not 1 <= count <= MAX_GPUS:
        raise InvalidError(f"gpu={text!r}: the count must be between 1 and {MAX_GPUS}")
    return GpuRequest(gpu_name(name), count)


def parse_gpus(value: str | list[str] | tuple[str, ...] | None) -> tuple[GpuRequest, ...]:
    """A name, a list of names in order of preference (fallbacks), or None (no GPU)."""
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(parse_gpu(part) for part in value.split(",") if part.strip())
    if isinstance(value, (list, tuple)):
        return tuple(parse_gpu(part) for part in value)
    raise InvalidError(f"gpu={value!r} must be a string or a list of strings")


class Resources(NamedTuple):
    """What a function asks for.

    ``gpus``: acceptable choices, best first; empty means no GPU. ``cpu``: physical cores.
    ``memory``: MiB. ``disk``: MiB. ``market``: ``spot``, ``on-demand`` or None (either).
    ``clouds``, ``regions``: allowed ones, empty means all. ``max_price``: dollars an hour.
    ``exclude``: patterns (``*`` and ``?``) of offers that are never taken, matched against an
    offer's key and each beginning of it: ``oci``, ``aws/us-east-1``, ``gcp/*/*/a3-*``.
    """

    gpus: tuple[GpuRequest, ...] = ()
    cpu: float = 0.125
    memory: int = 128
    disk: int = 0
    market: str | None = None
    clouds: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    max_price: float | None = None
    exclude: tuple[str, ...] = ()

    def describe(self) -> str:
        """For people: ``H100:8 or A100, 4 CPU, 16384 MiB``."""
        parts = [" or ".join(str(g) for g in self.gpus)] if self.gpus else []
        parts.append(f"{self.cpu:g} CPU")
        parts.append(f"{self.memory} MiB")
        return ", ".join(parts)


class Offer(NamedTuple):
    """One thing a provider sells. ``price``: dollars an hour, None when unknown.

    ``zone``: empty for an offer of a whole region, whose zone is chosen when it is tried.
    ``gpu``/``gpu_count``: canonical name and number held (empty, 0 for none). ``gpu_memory``: MiB
    of one GPU. ``cpus``: physical cores; ``vcpus``: what the cloud counts quotas in, 0 when
    unknown. ``memory``/``disk``: MiB. ``arch``: ``x86_64`` | ``arm64``, empty when unknown.
    ``minimum``: seconds that are billed at least.
    """

    cloud: str
    region: str
    zone: str
    type: str
    market: str
    price: float | None
    cpus: float
    memory: int
    disk: int = 0
    gpu: str = ""
    gpu_count: int = 0
    gpu_memory: int = 0
    vcpus: float = 0.0
    arch: str = ""
    minimum: float = 0.0

    def key(self) -> str:
        """``cloud/region/zone/type/market``: names this offer in the journal."""
        return f"{self.cloud}/{self.region}/{self.zone}/{self.type}/{self.market}"


class Rung(NamedTuple):
    """One step of a ladder: an offer, and why it stands where it stands."""

    offer: Offer
    reason: str


class Ladder(NamedTuple):
    """What placement is willing to try, in order; and what it left out, with the reason."""

    rungs: tuple[Rung, ...]
    refused: tuple[Rung, ...] = ()
