"""GPUs: the names that requests and offers use, and what is known of each.

Figures are packaged data; ``tools/make_catalog.py`` makes them and says where they are from.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..errors import StateError
from ..resources import gpu_name
from .catalog import FORMAT

_DATA = Path(__file__).parent / "data" / "gpus.tsv"
_WORDS = re.compile(r"\b(GEFORCE|QUADRO|GRAPHICS|DEVICE|GPU|TENSOR|CORE)\b")
_FORM = re.compile(r"[\s-]+(PCI-?E|SXM\d?|HBM\d\w?|NVL\d*|AC|BLACKWELL.*|SERVER EDITION)\b")
_SIZE = re.compile(r"[\s-]+\d+\s?GB\b")
_LARGE_A100, _LARGE_V100 = 60_000, 20_000
"""MiB between the two memory sizes in which each was made: 40 and 80 GB, 16 and 32 GB."""


class Gpu(NamedTuple):
    """``memory``: nominal MiB. ``capability``: CUDA compute capability, such as ``8.9``.

    ``modal``: what Modal asks for one of them, dollars an hour, None where it has none or no price
    is known; the host's processors and memory come on top. ``modal_source``: who said so, and when.
    """

    name: str
    memory: int
    capability: str
    modal: float | None
    modal_source: str


def known() -> tuple[Gpu, ...]:
    """Every GPU that an offer of the catalogue may hold."""
    return tuple(_table().values())


def gpu(name: str) -> Gpu | None:
    """What is known of the GPU with this canonical name."""
    return _table().get(name)


def canonical(text: str, memory: int = 0) -> str | None:
    """The canonical name of what a cloud, a driver or a user calls a GPU; None for an unknown one.

    ``NVIDIA A100-SXM4-80GB``, ``nvidia-tesla-t4``, ``H100-MEGA``, ``A10G``. ``memory``: MiB of one,
    where it was told: it tells the two sizes of A100 and V100 apart when the text does not. A plain
    ``A100`` is the one with 40 GB, as in the clouds' own names.
    """
    bare = " ".join(_WORDS.sub(" ", text.upper()).split())
    bare = _FORM.sub("", " " + bare).strip()
    for attempt in (bare, _SIZE.sub("", " " + bare)):
        name = gpu_name(attempt)
        if name == "A100":
            name = "A100-80GB" if memory > _LARGE_A100 else "A100-40GB"
        if name == "V100" and memory > _LARGE_V100:
            name = "V100-32GB"
        if name in _table():
            return name
    return None


@cache
def _table() -> dict[str, Gpu]:
    head, *lines = _DATA.read_text(encoding="utf-8").splitlines()
    if head != FORMAT:
        raise StateError(
            "the packaged table of GPUs is not one that this byoc can read",
            hints=("install byoc again",),
        )
    return {gpu.name: gpu for gpu in map(_gpu, lines)}


def _gpu(line: str) -> Gpu:
    name, memory, capability, price, said = line.split("\t")
    return Gpu(name, int(memory), capability, float(price) if price else None, said)
