"""What so many GPUs of a kind cost: the offers that hold them, cheapest first.

A host with exactly as many is the first choice; where a cloud sells none on a market, its larger
hosts are told instead, whose whole price is what the call costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..resources import Offer
from .tariff import tariffs


class Deal(NamedTuple):
    """One offer for ``asked`` GPUs. ``exact``: it holds no more than those."""

    offer: Offer
    asked: int
    exact: bool

    @property
    def per_gpu(self) -> float | None:
        """Dollars an hour for each GPU that was asked for, None when the price is not known."""
        return None if self.offer.price is None else self.offer.price / self.asked


def deals(offers: Iterable[Offer], gpu: str, count: int) -> list[Deal]:
    """The ways to have ``count`` GPUs called ``gpu`` (a canonical name), cheapest first, those of
    unknown price last. Of equal prices each cloud's home region comes first."""
    able = [one for one in offers if one.gpu == gpu and one.gpu_count >= count]
    exact = {(one.cloud, one.market) for one in able if one.gpu_count == count}
    found = [
        Deal(one, count, one.gpu_count == count)
        for one in able
        if one.gpu_count == count or (one.cloud, one.market) not in exact
    ]
    return sorted(found, key=_order)


def _order(deal: Deal) -> tuple[bool, float, bool]:
    offer = deal.offer
    tariff = tariffs().get(offer.cloud)
    # sources round to different places: what differs less than a hundredth of a cent is equal
    return (
        offer.price is None,
        round(offer.price or 0.0, 4),
        tariff is None or offer.region != tariff.home,
    )


def best(found: Sequence[Deal]) -> list[Deal]:
    """The first deal of each cloud and market, in the order of ``found``."""
    first: dict[tuple[str, str], Deal] = {}
    for deal in found:
        first.setdefault((deal.offer.cloud, deal.offer.market), deal)
    return list(first.values())
