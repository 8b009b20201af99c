"""What emulated clouds charge: the catalogue's prices, and usual ones where it knows none."""

from __future__ import annotations

from typing import NamedTuple

from ..pricing import catalog

USUAL_SPOT = 0.4
"""Of the on-demand price: what a spot instance of a type without a known spot price costs here."""


class Price(NamedTuple):
    """``hourly``: dollars, None where even the on-demand price is unknown. ``minimum``: seconds
    that are billed at least."""

    hourly: float | None
    minimum: float


def price(cloud: str, region: str, type: str, market: str) -> Price:
    """The price of a type in a region."""
    offer = catalog.find(cloud, region, type, market)
    if offer is not None and offer.price is not None:
        return Price(offer.price, offer.minimum)
    usual = catalog.find(cloud, region, type, "on-demand")
    if market == "spot" and usual is not None and usual.price is not None:
        return Price(usual.price * USUAL_SPOT, usual.minimum)
    return Price(None, offer.minimum if offer else 0.0)
