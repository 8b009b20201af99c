"""The ladder: a pure function of a snapshot, so that a launch and a dry run are the same code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import PlacementError
from ..resources import Ladder, Offer, Resources, Rung
from ..settings import LOCAL
from .match import gpu_rank, refusal

_SHOWN = 8
"""Most kinds of refusal that an error lists; a dry run shows all of them."""


class Snapshot(NamedTuple):
    """All that placement looks at, taken at one moment.

    ``offers``: what the providers in use sell. ``configured``: whether the user named clouds; if
    not, this computer is the only choice. ``known``: the clouds this version can be told to use.
    """

    offers: tuple[Offer, ...]
    configured: bool = False
    known: tuple[str, ...] = ()


class Rules(NamedTuple):
    """What one request demands and allows, applied to offers: new ones and warm instances'."""

    resources: Resources
    market: str | None
    clouds: tuple[str, ...]
    regions: tuple[str, ...]
    max_price: float | None

    @classmethod
    def of(
        cls,
        resources: Resources,
        *,
        market: str | None = None,
        clouds: Sequence[str] = (),
        regions: Sequence[str] = (),
        max_price: float | None = None,
    ) -> Rules:
        """The request's own limits over the installation's, as :func:`ladder` says."""
        prices = [one for one in (resources.max_price, max_price) if one is not None]
        return cls(
            resources=resources,
            market=resources.market or market,
            clouds=tuple(resources.clouds or clouds),
            regions=tuple(resources.regions or regions),
            max_price=min(prices, default=None),
        )

    def refusal(self, offer: Offer) -> str:
        """Why the offer will not do, in a few words; empty when it will."""
        return self._forbidden(offer) or refusal(self.resources, offer)

    def order(self, offer: Offer) -> tuple[int, bool, float, str]:
        """Sorts offers, best first: the better liked GPU, the price, the key."""
        rank = gpu_rank(self.resources, offer)
        return (rank or 0, offer.price is None, offer.price or 0.0, offer.key())

    def _forbidden(self, offer: Offer) -> str:
        if self.clouds and offer.cloud not in self.clouds:
            return f"is on {offer.cloud}, allowed: {', '.join(self.clouds)}"
        if offer.cloud == LOCAL:
            return ""  # regions, markets and prices are matters of clouds
        if self.regions and offer.region not in self.regions:
            return f"is in {offer.region}, allowed: {', '.join(self.regions)}"
        if self.market and offer.market != self.market:
            return f"is {offer.market}, asked for {self.market}"
        return self._too_dear(offer)

    def _too_dear(self, offer: Offer) -> str:
        if self.max_price is None:
            return ""
        if offer.price is None:
            return f"has no known price, allowed: ${self.max_price:g} an hour"
        if offer.price > self.max_price:
            return f"costs ${offer.price:g} an hour, allowed: ${self.max_price:g}"
        return ""


def ladder(
    resources: Resources,
    snapshot: Snapshot,
    *,
    market: str | None = None,
    clouds: Sequence[str] = (),
    regions: Sequence[str] = (),
    max_price: float | None = None,
) -> Ladder:
    """Order the offers that can hold ``resources``, and say why the others cannot.

    The keywords are the installation's limits: what ``resources`` itself says about market, clouds
    and regions comes first, and the lower of the two prices counts. Order: the better liked GPU,
    then the price (unknown ones last), then the offer's key. Raises
    :class:`~byoc.errors.PlacementError` with the whole explanation when nothing fits.
    """
    rules = Rules.of(resources, market=market, clouds=clouds, regions=regions, max_price=max_price)
    good: list[Offer] = []
    refused: list[Rung] = []
    for offer in sorted(snapshot.offers, key=Offer.key):
        if reason := rules.refusal(offer):
            refused.append(Rung(offer, reason))
        else:
            good.append(offer)
    if not good:
        raise _nothing(resources, snapshot, refused)
    good.sort(key=rules.order)
    rungs = tuple(Rung(offer, _reason(resources, offer)) for offer in good)
    return Ladder(rungs, tuple(refused))


def _reason(resources: Resources, offer: Offer) -> str:
    cost = "price unknown" if offer.price is None else f"${offer.price:g} an hour"
    if offer.cloud == LOCAL:
        cost = "this computer"
    rank = gpu_rank(resources, offer)
    return f"choice {rank + 1} of GPU, {cost}" if rank else cost


# --- when nothing fits -------------------------------------------------------------------------


def _nothing(resources: Resources, snapshot: Snapshot, refused: list[Rung]) -> PlacementError:
    only_local = not snapshot.configured and all(r.offer.cloud == LOCAL for r in refused)
    if only_local and refused:
        reasons = "; it ".join(dict.fromkeys(r.reason for r in refused))
        message = (
            f"this computer {reasons}, and it is the only choice because no cloud is configured"
        )
        return PlacementError(message, hints=_local_hints(resources, snapshot, refused))
    if not refused:
        names = ", ".join(resources.clouds) or "the configured clouds"
        return PlacementError(
            f"nothing is offered by {names}", hints=("see `byoc check` for what is wrong there",)
        )
    lines = _by_reason(refused)
    return PlacementError(
        f"no offer can hold {resources.describe()}: {'; '.join(lines)}",
        hints=("ask for less, or allow more clouds, regions, markets or a higher price",),
    )


def _local_hints(resources: Resources, snapshot: Snapshot, refused: list[Rung]) -> tuple[str, ...]:
    hints = []
    if snapshot.known:
        hints.append(f'configure a cloud: clouds = ["{snapshot.known[0]}"] in byoc.toml')
    if resources.gpus and all(gpu_rank(resources, r.offer) is None for r in refused):
        here = next((r.offer.gpu for r in refused if r.offer.gpu_count), "")
        hints.append(f'ask for what is here (gpu="{here}")' if here else "drop gpu=")
    else:
        hints.append("ask for less")
    if not snapshot.known:
        hints.append("or run byoc on a computer that has it: this version rents from no cloud yet")
    return tuple(hints)


def _by_reason(refused: list[Rung]) -> list[str]:
    """``cloud/region/zone/type/spot and 3 more: has no GPU``: the refusals, grouped."""
    groups: dict[str, list[Offer]] = {}
    for rung in refused:
        groups.setdefault(rung.reason, []).append(rung.offer)
    lines = []
    for reason, offers in list(groups.items())[:_SHOWN]:
        more = f" and {len(offers) - 1} more" if len(offers) > 1 else ""
        lines.append(f"{offers[0].key()}{more}: {reason}")
    if len(groups) > _SHOWN:
        lines.append(f"and {len(groups) - _SHOWN} other kinds of refusal")
    return lines
