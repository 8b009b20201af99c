"""Where types are sold and how much the project may hold, asked side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from ...errors import NotOfferedError, ProviderError, TransientError
from ...resources import Offer
from ...tasks import side_by_side
from ..base import Quota, Survey
from . import body, quotas
from .clients import Google

AT_ONCE = 8
"""Questions that are asked side by side: all of one region's."""
NAMES_AT_ONCE = 40
"""Types in one filter: the address of a request stays below 2 KiB."""
HASTE = 2.0
"""Seconds for which a question is asked again: a launch waits for it and goes on without."""
Question = Callable[[], Any]


def survey(google: Google, region: str, offers: Sequence[Offer]) -> Survey:
    """See :meth:`byoc.providers.base.Provider.survey`.

    Zones are asked one by one: a list over all of Google's zones has thousands of rows.
    """
    google.account()  # raises when nobody is logged in: then there is nothing to ask
    project = google.project
    first: dict[str, Question] = {
        "region": lambda: google.call("regions", "get", HASTE, project=project, region=region),
        "project": lambda: google.call("projects", "get", HASTE, project=project),
    }
    answers, failed = _ask(first)
    told: list[Quota] = []
    zones: list[str] = []
    if "region" in answers:
        told += quotas.read(region, answers["region"].quotas)
        zones = sorted(link.rpartition("/")[2] for link in answers["region"].zones)
    if "project" in answers:
        told += quotas.read("", answers["project"].quotas)
    kinds = {offer.type: body.split(offer.type) for offer in offers}
    sold, unknown = _ask(_in_zones(google, zones, kinds.values()))
    return Survey(
        region=region,
        zones=_zones(kinds, zones, sold),
        quotas=tuple(told),
        draws={(offer.type, offer.market): quotas.draws(offer, told) for offer in offers},
        failed={**failed, **unknown},
    )


def choose(google: Google, offer: Offer) -> str:
    """A zone for a launch of which none is known: the first of the region that has the type.

    Raises NotOfferedError when none has it. Where the region does not tell, its refusal; a
    TransientError says that the region cannot be asked, so that nothing was launched there.
    """
    told = survey(google, offer.region, [offer])
    zones = told.zones.get(offer.type)
    if zones:
        return zones[0]
    if zones is None and told.failed:
        error = next(iter(told.failed.values()))
        if isinstance(error, TransientError):
            error.scope = "region"
        raise error
    raise NotOfferedError(
        f"no zone of {offer.region} has {offer.type}", provider="gcp", scope="type@zone"
    )


def _in_zones(
    google: Google, zones: Sequence[str], kinds: Collection[body.Kind]
) -> dict[str, Question]:
    """By zone, the question which of the machines and accelerators it has."""
    wanted = {
        "machine_types": sorted({kind.machine for kind in kinds}),
        "accelerator_types": sorted({kind.accelerator for kind in kinds if kind.number}),
    }

    def question(zone: str) -> Question:
        return lambda: {
            name
            for service, names in wanted.items()
            for name in _sold(google, service, zone, names)
        }

    return {zone: question(zone) for zone in zones}


def _sold(google: Google, service: str, zone: str, names: Sequence[str]) -> set[str]:
    """Those of the names that a zone has."""
    found: set[str] = set()
    for at in range(0, len(names), NAMES_AT_ONCE):
        query = " OR ".join(f'(name = "{name}")' for name in names[at : at + NAMES_AT_ONCE])
        pages = google.pages(
            service, "list", HASTE, project=google.project, zone=zone, filter=query
        )
        found |= {item.name for page in pages for item in page.items}
    return found


def _zones(
    kinds: Mapping[str, body.Kind], zones: Sequence[str], sold: Mapping[str, set[str]]
) -> dict[str, tuple[str, ...]]:
    """By type its zones. Of a type that no zone is known to have nothing is said when some zone
    did not answer."""
    found: dict[str, tuple[str, ...]] = {}
    for name, kind in kinds.items():
        needed = {part for part in (kind.machine, kind.accelerator) if part}
        having = tuple(zone for zone in zones if needed <= sold.get(zone, set()))
        if having or (zones and len(sold) == len(zones)):
            found[name] = having
    return found


def _ask(questions: Mapping[str, Question]) -> tuple[dict[str, Any], dict[str, ProviderError]]:
    answers: dict[str, Any] = {}
    failed: dict[str, ProviderError] = {}

    def ask(name: str) -> None:
        try:
            answers[name] = questions[name]()
        except ProviderError as error:
            failed[name] = error

    side_by_side([partial(ask, name) for name in questions], AT_ONCE)
    return answers, failed
