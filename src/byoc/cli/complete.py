"""What the shell offers after ``--cloud``, ``--region`` and ``--gpu``: names of the catalogue.

It is read when one of these is asked for, never by a command that starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import _lazy, providers


def clouds(incomplete: str) -> list[str]:
    """Clouds, for completion."""
    return _continued(incomplete, providers.names())


def regions(ctx: Any, incomplete: str) -> list[str]:
    """Regions of the clouds that the line names so far, of all otherwise; for completion."""
    named = [part for text in ctx.params.get("cloud") or () for part in text.split(",")]
    return _continued(incomplete, known_regions(named or providers.names()))


def gpus(incomplete: str) -> list[str]:
    """GPUs, for completion; after a colon, how many one instance can have."""
    before, comma, last = incomplete.rpartition(",")
    name, colon, count = last.partition(":")
    known = known_gpus(providers.names())
    if not colon:
        return _continued(incomplete, [*known, "any"])
    counts = sorted(known.get(name.upper(), ()))
    return [f"{before}{comma}{name}:{one}" for one in counts if str(one).startswith(count)]


def known_regions(names: Iterable[str]) -> list[str]:
    """All regions of these clouds in the catalogue."""
    catalog = _lazy.load("byoc.pricing.catalog")
    return sorted({region for name in names for region in catalog.regions(name)})


def known_gpus(names: Iterable[str]) -> dict[str, set[int]]:
    """The GPUs that these clouds sell, each with how many an instance can have."""
    catalog = _lazy.load("byoc.pricing.catalog")
    found: dict[str, set[int]] = {}
    for name in names:
        for offer in catalog.offers(name):
            if offer.gpu_count:
                found.setdefault(offer.gpu, set()).add(offer.gpu_count)
    return dict(sorted(found.items()))


def _continued(incomplete: str, known: Iterable[str]) -> list[str]:
    """The names that go on from the last part of a comma list, with what stands before it."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in known if name.lower().startswith(last.lower())]
