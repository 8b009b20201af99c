"""What a survey told of one region, ready to be asked about single offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..providers.base import Draw, Quota, Survey
from ..resources import Offer


class Room(NamedTuple):
    """What is left of a quota for an offer: ``need`` of ``quota.bucket`` for all the nodes."""

    quota: Quota
    need: float

    @property
    def enough(self) -> bool:
        """Whether it is; a use that was not told counts as none, so that only the limit speaks."""
        return self.quota.limit - (self.quota.used or 0.0) >= self.need

    def words(self, offer: Offer) -> str:
        """``needs 96 vCPU of the spot quota L-3819A6DF: 64 of 64 used``."""
        quota, unit = self.quota, f" {self.quota.unit}" if self.quota.unit else ""
        used = "use not told" if quota.used is None else f"{quota.used:g} used"
        where = quota.zone or quota.region or "all regions"
        return (
            f"needs {self.need:g}{unit} of the quota {quota.bucket} ({offer.market}) in {where}: "
            f"limit {quota.limit:g}, {used}"
        )


def draws_of(survey: Survey | None, offer: Offer) -> tuple[Draw, ...]:
    """What one instance takes of quotas; empty when not told."""
    return survey.draws.get((offer.type, offer.market), ()) if survey else ()


class Told:
    """One survey. ``nodes``: how many instances are wanted side by side."""

    def __init__(self, survey: Survey, nodes: int = 1) -> None:
        self._survey = survey
        self._nodes = nodes
        self._quotas: dict[str, list[Quota]] = {}
        for quota in survey.quotas:
            if quota.region in ("", survey.region):
                self._quotas.setdefault(quota.bucket, []).append(quota)

    def zones(self, type: str) -> tuple[str, ...] | None:
        """The zones that sell the type, None when that was not told."""
        return self._survey.zones.get(type)

    def draws(self, offer: Offer) -> tuple[Draw, ...]:
        """What one instance takes of quotas; empty when not told."""
        return draws_of(self._survey, offer)

    def priced(self, offer: Offer) -> Offer:
        """The offer at the price that the cloud tells now, where it tells one."""
        prices: Mapping[tuple[str, str, str], float] = self._survey.prices
        price = prices.get((offer.type, offer.zone, offer.market))
        if price is None or price == offer.price:
            return offer
        return offer._replace(price=price)

    def capacity(self, offer: Offer) -> bool | None:
        """Whether the cloud says that there is one now; None when it says nothing."""
        return self._survey.capacity.get((offer.type, offer.zone, offer.market))

    def rooms(self, offer: Offer) -> list[Room]:
        """Every quota that the offer draws on, where its limit is known. A quota that is counted
        by zone is left out as long as the offer has none."""
        return [
            Room(quota, draw.amount * self._nodes)
            for draw in self.draws(offer)
            for quota in self._quotas.get(draw.bucket, ())
            if quota.zone in ("", offer.zone)
        ]

    def lacking(self, offer: Offer) -> Room | None:
        """The first quota that leaves no room for the offer; None when none is known to."""
        return next((room for room in self.rooms(offer) if not room.enough), None)
