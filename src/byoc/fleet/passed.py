"""What would have come before the best rung, had something known not spoken against it.

`byoc why` tells these beside what was tried: a quota that leaves no room is part of the story of a
run, whether a cloud refused for it or was not asked at all.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import CapacityError, QuotaError
from ..placement.cost import Expected, expect, words
from ..placement.ladder import remembered
from ..placement.match import gpu_rank
from ..placement.memory import Memory
from ..placement.told import Told
from ..resources import Offer
from .route import Route
from .workshop import Wish, Workshop

MOST = 8
"""Rows that one run is told: one for each cloud and cause."""


class Passed(NamedTuple):
    """An offer that was not asked for. ``error`` to ``message``: as in an attempt. ``alike``: how
    many offers were passed over for the same."""

    offer: Offer
    expected: Expected
    error: str
    code: str
    scope: str
    bucket: str
    message: str
    request_id: str
    alike: int = 1


def note_passed(shop: Workshop, route: Route, wish: Wish) -> None:
    """Write down what was not asked for although it is better than what is tried first."""
    for one in passed_over(route):
        more = f" (so are {one.alike - 1} more offers)" if one.alike > 1 else ""
        attempt = shop.attempt(wish, one.offer, "skipped", words(one.offer, one.expected))
        shop.journal.close_attempt(
            attempt._replace(
                error=one.error,
                code=one.code,
                scope=one.scope,
                bucket=one.bucket,
                message=one.message + more,
                request_id=one.request_id,
                step="not asked",
            )
        )


def passed_over(route: Route) -> list[Passed]:
    """One for each cloud and cause, the best offer that it concerns; best first."""
    router, resources = route.router, route.demand.resources
    history = router.history(router.names(resources))
    first = route.ladder.rungs[0].offer

    def order(offer: Offer) -> tuple[int, bool, float, str]:
        cost = expect(offer, history).cost
        return (gpu_rank(resources, offer) or 0, offer.price is None, cost, offer.key())

    better = [
        rung.offer
        for rung in route.ladder.refused
        if not route.rules.refusal(rung.offer) and order(rung.offer) < order(first)
    ]
    surveys, now = router.surveyor.known(), router.clock.wall()
    memory = Memory(route.memory(), now)
    found: dict[tuple[str, str, str], Passed] = {}
    for offer in sorted(better, key=order):
        survey = surveys.get((offer.cloud, offer.region))
        told = Told(survey, route.demand.nodes) if survey else None
        one = _cause(offer, expect(offer, history), told, memory, now)
        if one is None:
            continue
        key = (offer.cloud, one.error, one.bucket or one.code)
        known = found.setdefault(key, one)
        if known is not one:
            found[key] = known._replace(alike=known.alike + 1)
    return list(found.values())[:MOST]


def _cause(
    offer: Offer, expected: Expected, told: Told | None, memory: Memory, now: float
) -> Passed | None:
    known = memory.find(offer, told.draws(offer) if told else ())
    if known is not None:
        text = remembered(known, now)
        return Passed(
            offer, expected, known.error, known.code, known.scope, known.bucket, text,
            known.request_id,
        )  # fmt: skip
    if told is None:
        return None
    if told.capacity(offer) is False:
        text = f"{offer.cloud} says that there is none now"
        return Passed(offer, expected, CapacityError.code, "", "offer", "", text, "")
    room = told.lacking(offer)
    if room is None:
        return None
    bucket = room.quota.bucket
    text = room.words(offer)
    return Passed(offer, expected, QuotaError.code, bucket, "bucket", bucket, text, "")
