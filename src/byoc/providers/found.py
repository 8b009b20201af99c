"""What was found in a cloud, in byoc's words: its offer and price, and things that are gone."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..pricing import catalog
from ..resources import Offer
from .base import PRICE_TAG, Instance


def offer(bare: Offer, tags: Mapping[str, str]) -> Offer:
    """The offer of something that was found, from the catalogue by its type; its price is the one
    of its tag. ``bare``: what the cloud tells of it, kept where the catalogue does not know it."""
    known = (
        catalog.find(bare.cloud, bare.region, bare.type, bare.market)
        or catalog.spec(bare.cloud, bare.type)
        or bare
    )
    paid = price(tags)
    return known._replace(
        region=bare.region,
        zone=bare.zone,
        market=bare.market,
        price=known.price if paid is None else paid,
    )


def price(tags: Mapping[str, str]) -> float | None:
    """Dollars an hour at launch; None when no tag tells them."""
    try:
        told = float(tags.get(PRICE_TAG, ""))
    except ValueError:
        return None
    return told if math.isfinite(told) and told >= 0 else None


def bare(cloud: str, region: str, zone: str, type: str, market: str = "on-demand") -> Offer:
    """An offer of which nothing else is known."""
    return Offer(cloud, region, zone, type, market, None, 0.0, 0)


def gone(cloud: str, id: str, region: str = "", detail: str = "") -> Instance:
    """What is not there, or never was."""
    return Instance(cloud, id, "gone", bare(cloud, region, "", ""), {}, detail=detail)
