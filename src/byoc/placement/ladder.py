"""The ladder: a pure function of a snapshot, so that a launch and a dry run are the same code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ..providers.base import Survey
from ..resources import Ladder, Offer, Resources, Rung
from ..settings import LOCAL
from ..state import Refusal
from .cost import WORK, Expected, expect, span, words
from .explain import Standing, nothing
from .history import History
from .match import ARM, gpu_rank
from .memory import Memory
from .rules import Rules
from .told import Told

AFTER_ONE_WAS_TAKEN = 3.0
"""By so much an offer counts as dearer for a while after its cloud took an instance of it back: the
pool is short there, and work that is begun a third time costs as much. Other zones of a type cost
about the same, and so come first; what is far dearer does not."""
_LONGEST = 160
"""Characters of a vendor's message that a reason quotes."""

Place = tuple[str, str]
"""A cloud and one of its regions."""


class Snapshot(NamedTuple):
    """All that placement looks at, taken at one moment.

    ``offers``: what the providers in use sell. ``configured``: whether the user named clouds; if
    not, this computer is the only choice. ``known``: the clouds this version can be told to use.
    ``surveys``: what was asked of regions, by (cloud, region). ``memory``: refusals, those that
    have ended by ``now`` (seconds since the epoch) included or not. ``history``: of past tries.
    """

    offers: Sequence[Offer]
    configured: bool = False
    known: tuple[str, ...] = ()
    surveys: Mapping[Place, Survey] = MappingProxyType({})
    memory: Sequence[Refusal] = ()
    history: History = History()
    now: float = 0.0


class _Step(NamedTuple):
    """A rung on its way: the offer, where its zone stands among those to try, what it may cost."""

    offer: Offer
    rank: int
    zone: int
    expected: Expected
    taken: Refusal | None = None

    def order(self) -> tuple[int, bool, float, str, str, str, str, int, str]:
        one = self.offer
        cost = self.expected.cost * (AFTER_ONE_WAS_TAKEN if self.taken else 1.0)
        place = (one.cloud, one.region, one.type, one.market)
        unknown = one.price is None
        return (self.rank, unknown, cost, *place, self.zone, one.zone)


class _Scene:
    """One request over one snapshot. ``approved``: only the offers of a plan, zones and all."""

    def __init__(
        self, rules: Rules, snapshot: Snapshot, nodes: int, work: float, approved: bool
    ) -> None:
        self.rules = rules
        self.approved = approved
        self.snapshot = snapshot
        self.work = work
        self.memory = Memory(snapshot.memory, snapshot.now)
        self.told = {place: Told(one, nodes) for place, one in snapshot.surveys.items()}
        self.refused: list[Rung] = []
        self.wait, self.bucket = math.inf, ""

    def able(self, offers: Iterable[Offer]) -> list[Offer]:
        """Those that hold the request and are allowed, zones and all else aside."""
        found, refuse = [], self.rules.refusal
        for offer in offers:
            # a survey may tell the price; where it does not, steps() refuses what has none
            if reason := refuse(offer, price_to_come=self.approved or not offer.zone):
                self.refused.append(Rung(offer, reason))
            else:
                found.append(offer)
        if any(offer.arch == ARM and offer.cloud != LOCAL for offer in found):
            found = self._without_needless_arm(found)
        if not self.rules.resources.gpus:
            found = self._without_idle_gpus(found)
        return found

    def _without_needless_arm(self, offers: list[Offer]) -> list[Offer]:
        elsewhere = {one.gpu for one in self.snapshot.offers if one.arch != ARM}
        found = []
        for offer in offers:
            if offer.arch == ARM and offer.cloud != LOCAL and offer.gpu in elsewhere:
                self.refused.append(Rung(offer, f"is arm64, and others have {offer.gpu} as well"))
            else:
                found.append(offer)
        return found

    def _without_idle_gpus(self, offers: list[Offer]) -> list[Offer]:
        """Work that needs no GPU does not take a machine that has one where a plain one costs less.

        Whether that one can be had now or not: a GPU host may cost a hundred times as much, and no
        shortage of plain machines is a reason to rent one without having been asked.
        """
        hosts = [one for one in offers if one.gpu_count and one.cloud != LOCAL]
        if not hosts or len(hosts) == len(offers):
            return offers
        history, work = self.snapshot.history, self.work
        least = min(expect(one, history, work).cost for one in offers if not one.gpu_count)
        idle = {one for one in hosts if expect(one, history, work).cost > least}
        reason = "has a GPU that nobody asked for, and offers without one cost less"
        self.refused += [Rung(one, reason) for one in hosts if one in idle]
        return [one for one in offers if one not in idle]

    def steps(self, offers: Iterable[Offer]) -> Iterator[_Step]:
        """The offers in each zone that may be asked; what may not goes to the refused."""
        resources, history = self.rules.resources, self.snapshot.history
        for offer in offers:
            rank = gpu_rank(resources, offer) or 0
            surveyed = (offer.cloud, offer.region) in self.told
            for number, one in enumerate(self._zones(offer)):
                reason = self.rules.of_zone(one) if surveyed else ""
                if reason := reason or self._shut(one):
                    self.refused.append(Rung(one, reason))
                else:
                    cost = expect(one, history, self.work)
                    yield _Step(one, rank, number, cost, self.memory.taken(one))

    def _zones(self, offer: Offer) -> list[Offer]:
        """The offer in each zone that sells it, as it is while that is not known; none when no
        zone does."""
        told = self.told.get((offer.cloud, offer.region))
        if told is None:
            return [offer]
        zones = told.zones(offer.type)
        if zones is None:
            return [told.priced(offer)]
        if offer.zone:
            if offer.zone in zones:
                return [told.priced(offer)]
            self.refused.append(Rung(offer, f"is not sold in {offer.zone}"))
            return []
        if not zones:
            self.refused.append(Rung(offer, f"is not sold in any zone of {offer.region}"))
            return []
        hinted = self.memory.hinted(offer)
        zones = (*(z for z in hinted if z in zones), *(z for z in zones if z not in hinted))
        return [told.priced(offer._replace(zone=zone)) for zone in zones]

    def _shut(self, offer: Offer) -> str:
        """Why asking for it would be in vain; empty when nobody knows that."""
        told = self.told.get((offer.cloud, offer.region))
        draws = told.draws(offer) if told else ()
        if found := self.memory.find(offer, draws):
            self.wait = min(self.wait, found.until - self.snapshot.now)
            return remembered(found, self.snapshot.now)
        if told is None:
            return ""
        if told.capacity(offer) is False:
            return f"{offer.cloud} says that there is none now"
        if room := told.lacking(offer):
            self.bucket = self.bucket or room.quota.bucket
            return room.words(offer)
        return ""

    def standing(self) -> Standing:
        """What the error says when nothing is left."""
        one = self.snapshot
        wait = self.wait if self.wait < math.inf else 0.0
        return Standing(one.configured, one.known, wait, self.bucket)


def ladder(
    resources: Resources,
    snapshot: Snapshot,
    *,
    market: str | None = None,
    clouds: Sequence[str] = (),
    regions: Sequence[str] = (),
    max_price: float | None = None,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
    nodes: int = 1,
    work: float = WORK,
) -> Ladder:
    """Order the offers that can hold ``resources``, and say why the others cannot.

    ``market`` to ``exclude`` are the installation's limits, see :meth:`Rules.of`. ``only``: the
    keys of an approved plan, tried in that order and no others; one without a zone stands for each
    zone. ``nodes``: so many side by side, all in the zone of the rung. ``work``: seconds of work to
    reckon with.

    An offer of a whole region becomes a rung for each zone that sells it, once the region has been
    surveyed. Order: the better liked GPU, the expected cost to finish
    (:func:`~byoc.placement.cost.expect`; unknown prices last), the offer's names, its zones in the
    order in which the cloud told them, those that it named when it last refused first.

    Raises :class:`~byoc.errors.PlacementError` with the whole explanation when nothing fits.
    """
    rules = Rules.of(
        resources,
        market=market,
        clouds=clouds,
        regions=regions,
        max_price=max_price,
        exclude=exclude,
    )
    scene = _Scene(rules, snapshot, nodes, work, bool(only))
    offers = chosen(snapshot.offers, only) if only else sorted(snapshot.offers, key=Offer.key)
    steps = list(scene.steps(scene.able(offers)))
    if only:
        place = {key: number for number, key in reversed(list(enumerate(only)))}
        steps.sort(key=lambda step: (_position(step.offer, place), step.zone))
    else:
        steps.sort(key=_Step.order)
    if not steps:
        raise nothing(resources, scene.refused, scene.standing())
    rungs = tuple(Rung(step.offer, _reason(step, work, snapshot.now)) for step in steps)
    return Ladder(rungs, tuple(scene.refused))


def chosen(offers: Iterable[Offer], only: Sequence[str]) -> list[Offer]:
    """The offers of these keys, in their order; a key with a zone also picks that zone of an offer
    of the whole region. Keys that nothing is sold under are left out."""
    sold = {one.key(): one for one in offers}
    found = []
    for key in dict.fromkeys(only):
        parts = key.split("/")
        if key in sold:
            found.append(sold[key])
        elif len(parts) == 5 and (whole := sold.get("/".join((*parts[:2], "", *parts[3:])))):
            found.append(whole._replace(zone=parts[2]))
    return found


def remembered(refusal: Refusal, now: float) -> str:
    """For people: ``was refused 40 s ago: no capacity (InsufficientInstanceCapacity); not asked
    again for 2 min``."""
    message = refusal.message
    if len(message) > _LONGEST:
        message = message[: _LONGEST - 3] + "..."
    code = refusal.code or refusal.error
    text = f"was refused {span(max(0.0, now - refusal.at))} ago: {message} ({code})"
    if math.isinf(refusal.until):
        return f"{text}; left out for the rest of this run"
    return f"{text}; not asked again for {span(refusal.until - now)}"


def _position(offer: Offer, place: Mapping[str, int]) -> int:
    """Where an approved plan has the offer: by its own key, or by that of its region."""
    return place.get(offer.key(), place.get(offer._replace(zone="").key(), len(place)))


def _reason(step: _Step, work: float, now: float) -> str:
    text = words(step.offer, step.expected, work)
    if step.taken is not None:
        text += f"; one was taken back {span(max(0.0, now - step.taken.at))} ago"
    return f"choice {step.rank + 1} of GPU, {text}" if step.rank else text
