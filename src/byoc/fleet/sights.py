"""`byoc capacity`: what is known of getting each offer that fits, without launching any."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ProviderError
from ..placement.cost import Expected, expect
from ..placement.match import gpu_rank
from ..placement.memory import Memory
from ..placement.told import Room, Told
from ..providers.base import Survey
from ..resources import Offer, Resources
from ..state import Refusal
from .route import Router

WAIT = 30.0
"""Seconds that are waited for answers: who asks for capacity wants them all."""


class Sight(NamedTuple):
    """What is known of one offer.

    ``offer``: in a zone where zones are known, else of the region. ``state``: ``free`` (the cloud
    says so), ``unknown`` (nothing speaks against it, and the cloud does not tell), ``full`` (the
    cloud says that there is none), ``refused`` (so lately that it would not be asked: ``refusal``),
    ``quota`` (``rooms`` has one without room), ``unsold`` (no zone sells it), ``denied`` (the cloud
    lets itself not be asked: ``error``). ``zones``: those that sell the type, None when not told.
    ``rooms``: each quota that it draws on, its use, and what one instance needs. ``expected``: cost
    of ten minutes of work, boot, chance and the tries behind it. ``told``: the region answered.
    """

    offer: Offer
    state: str
    zones: tuple[str, ...] | None
    rooms: tuple[Room, ...]
    refusal: Refusal | None
    error: ProviderError | None
    expected: Expected
    told: bool


def capacity(router: Router, resources: Resources) -> list[Sight]:
    """A sight of each offer that rules allow, best first. See :meth:`Fleet.capacity`."""
    rules = router.rules(resources)
    names = router.names(resources)
    offers = router.offers(names)
    able = [offer for offer in offers if not rules.refusal(offer, price_to_come=True)]
    router.surveyor.ask(router.able(resources), WAIT)
    surveys, failed = router.surveyor.known(), router.surveyor.failed()
    now, history = router.clock.wall(), router.history(names)
    memory = Memory(router.recall.of(""), now)
    sights = []
    for offer in able:
        place = (offer.cloud, offer.region)
        for one in _in_zones(offer, surveys.get(place)):
            if (place in surveys or place in failed) and rules.of_zone(one):
                continue
            expected = expect(one, history)
            sights.append(_sight(one, surveys.get(place), failed.get(place), memory, expected))
    return sorted(sights, key=lambda sight: _order(resources, sight))


def _in_zones(offer: Offer, survey: Survey | None) -> list[Offer]:
    if survey is None:
        return [offer]
    told, zones = Told(survey), survey.zones.get(offer.type)
    if offer.zone or not zones:
        return [told.priced(offer)]
    return [told.priced(offer._replace(zone=zone)) for zone in zones]


def _sight(
    offer: Offer,
    survey: Survey | None,
    error: ProviderError | None,
    memory: Memory,
    expected: Expected,
) -> Sight:
    told = Told(survey or Survey(offer.region))
    zones = told.zones(offer.type)
    rooms = tuple(told.rooms(offer))
    refusal = memory.find(offer, told.draws(offer))
    free = told.capacity(offer)
    state = "unknown" if free is None else "free"
    if error is not None:
        state = "denied"
    elif zones is not None and (not zones or offer.zone not in ("", *zones)):
        state = "unsold"
    elif free is False:
        state = "full"
    elif any(not room.enough for room in rooms):
        state = "quota"
    elif refusal is not None:
        state = "refused"
    return Sight(offer, state, zones, rooms, refusal, error, expected, survey is not None)


def _order(resources: Resources, sight: Sight) -> tuple[int, bool, float, str]:
    offer = sight.offer
    rank = gpu_rank(resources, offer) or 0
    return (rank, offer.price is None, sight.expected.cost, offer.key())
