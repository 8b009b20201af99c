"""Names of shapes. ``VM.Standard.E4.Flex:2o-16g`` is the flexible shape ``VM.Standard.E4.Flex``
with 2 OCPUs and 16 GB; every other name is the vendor's own."""

from __future__ import annotations

import re
from typing import NamedTuple

_SIZED = re.compile(r"(?P<name>[^:]+):(?P<ocpus>[\d.]+)o-(?P<memory>[\d.]+)g")


class Shape(NamedTuple):
    """A shape as the API names it. ``ocpus``, ``memory`` (GB): 0 unless it is flexible."""

    name: str
    ocpus: float = 0.0
    memory: float = 0.0

    @property
    def flexible(self) -> bool:
        """Whether its size is chosen at launch."""
        return self.ocpus > 0

    @property
    def bare_metal(self) -> bool:
        """Whether it is a whole machine, of which an hour is billed at least."""
        return self.name.startswith("BM.")


def parse(type: str) -> Shape:
    """The shape of an offer's type."""
    found = _SIZED.fullmatch(type)
    if found is None:
        return Shape(type)
    return Shape(found["name"], float(found["ocpus"]), float(found["memory"]))


def type_of(name: str, ocpus: float | None, memory: float | None) -> str:
    """The offer's type of an instance: the reverse of :func:`parse`."""
    if name.endswith(".Flex") and ocpus and memory:
        return f"{name}:{ocpus:g}o-{memory:g}g"
    return name


def draw(limit: str, shape: Shape, gpus: int, cpus: float, memory_gb: float) -> float:
    """What one instance takes of the limit of that name, in the limit's own unit.

    The unit is in the name: OCPUs (``standard-e4-core-count``), GB (``...-memory-count``), GPUs
    (``gpu-a10-count``), else machines (``bm-standard2-52-count``).
    """
    if limit.endswith("-memory-count"):
        return shape.memory or memory_gb
    if "core-count" in limit or "ocpu-count" in limit:
        return shape.ocpus or cpus
    return float(gpus) if gpus and "gpu" in limit else 1.0


def unit(limit: str) -> str:
    """The unit of a limit, for people."""
    if limit.endswith("-memory-count"):
        return "GB"
    if "core-count" in limit or "ocpu-count" in limit:
        return "core"
    return "GPU" if "gpu" in limit else "instance"
