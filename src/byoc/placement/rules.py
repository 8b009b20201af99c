"""What one request demands and allows, applied to offers: new ones and warm instances' alike."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ..resources import Offer, Resources
from ..settings import LOCAL
from .match import gpu_rank, refusal


class Rules(NamedTuple):
    """The request's own limits over the installation's. ``exclude``: patterns, see
    :class:`~byoc.resources.Resources`."""

    resources: Resources
    market: str | None
    clouds: tuple[str, ...]
    regions: tuple[str, ...]
    max_price: float | None
    exclude: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        resources: Resources,
        *,
        market: str | None = None,
        clouds: Sequence[str] = (),
        regions: Sequence[str] = (),
        max_price: float | None = None,
        exclude: Sequence[str] = (),
    ) -> Rules:
        """The keywords are the installation's: what ``resources`` itself says about market, clouds
        and regions comes first, the lower of the two prices counts, and so does each exclusion."""
        prices = [one for one in (resources.max_price, max_price) if one is not None]
        return cls(
            resources=resources,
            market=resources.market or market,
            clouds=tuple(resources.clouds or clouds),
            regions=tuple(resources.regions or regions),
            max_price=min(prices, default=None),
            exclude=(*resources.exclude, *exclude),
        )

    def refusal(self, offer: Offer, *, price_to_come: bool = False) -> str:
        """Why the offer will not do, in a few words; empty when it will. ``price_to_come``: a price
        that is not known yet is no reason."""
        dear = "" if price_to_come and offer.price is None else self._too_dear(offer)
        # the price last: what does not hold the request is not too dear
        return self._forbidden(offer) or refusal(self.resources, offer) or dear

    def of_zone(self, offer: Offer) -> str:
        """The rest of :meth:`refusal` for an offer of which only zone and price are new."""
        return self._excluded(offer) or self._too_dear(offer)

    def order(self, offer: Offer) -> tuple[int, bool, float, str]:
        """Sorts what is there already, best first: the better liked GPU, the price, the key."""
        rank = gpu_rank(self.resources, offer)
        return (rank or 0, offer.price is None, offer.price or 0.0, offer.key())

    def unpriced(self, offer: Offer) -> bool:
        """Whether there is a ceiling, and no price to hold against it."""
        return offer.price is None and bool(self._too_dear(offer))

    def zone_matters(self, offer: Offer) -> bool:
        """Whether some zone of an offer without one may be excluded."""
        return any(_may_match(pattern, offer) for pattern in self.exclude)

    def _forbidden(self, offer: Offer) -> str:
        if self.clouds and offer.cloud not in self.clouds:
            return f"is on {offer.cloud}, allowed: {', '.join(self.clouds)}"
        if self.exclude and (reason := self._excluded(offer)):
            return reason
        if offer.cloud == LOCAL:
            return ""  # regions, markets and prices are matters of clouds
        if self.regions and offer.region not in self.regions:
            return f"is in {offer.region}, allowed: {', '.join(self.regions)}"
        if self.market and offer.market != self.market:
            return f"is {offer.market}, asked for {self.market}"
        return ""

    def _excluded(self, offer: Offer) -> str:
        for pattern in self.exclude:
            if excludes(pattern, offer):
                return f"is excluded by {pattern!r}"
        return ""

    def _too_dear(self, offer: Offer) -> str:
        if self.max_price is None or offer.cloud == LOCAL:
            return ""
        if offer.price is None:
            return f"has no known price, allowed: ${self.max_price:g} an hour"
        if offer.price > self.max_price:
            return f"costs ${offer.price:g} an hour, allowed: ${self.max_price:g}"
        return ""


def excludes(pattern: str, offer: Offer) -> bool:
    """Whether the pattern is the beginning of the offer's key, part by part."""
    parts = (offer.cloud, offer.region, offer.zone, offer.type, offer.market)
    return all(one.match(part) for one, part in zip(_parts(pattern), parts, strict=False))


def _may_match(pattern: str, offer: Offer) -> bool:
    """Whether the pattern names zones and matches this offer but for its zone, which is not known
    yet."""
    texts = pattern.split("/")
    if len(texts) < 3 or texts[2] == "*":
        return False
    parts = (offer.cloud, offer.region, "", offer.type, offer.market)
    matched = [one.match(part) for one, part in zip(_parts(pattern), parts, strict=False)]
    return all(found for number, found in enumerate(matched) if number != 2)


@lru_cache(maxsize=256)
def _parts(pattern: str) -> tuple[re.Pattern[str], ...]:
    """One expression for each part of a key. Only ``*`` and ``?`` are special."""
    texts = pattern.rstrip("/").replace("[", "[[]").split("/")
    if len(texts) > 5:
        return (re.compile(r"(?!)"),)  # no key has so many parts
    return tuple(re.compile(fnmatch.translate(text)) for text in texts)
