"""Where types are sold and how much the project may hold, asked side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...errors import ProviderError
from ...resources import Offer
from ..base import Quota, Survey
from . import body, quotas
from .clients import Google

NAMES_AT_ONCE = 40
"""Types in one filter: the address of a request stays below 2 KiB."""


def survey(google: Google, region: str, offers: Sequence[Offer]) -> Survey:
    """See :meth:`byoc.providers.base.Provider.survey`."""
    google.account()  # raises when nobody is logged in: then there is nothing to ask
    types = sorted({offer.type for offer in offers})
    kinds = {name: body.split(name) for name in types}
    machines = sorted({kind.machine for kind in kinds.values()})
    gpus = sorted({kind.accelerator for kind in kinds.values() if kind.number})
    questions: dict[str, Callable[[], Any]] = {
        "region": lambda: google.call("regions", "get", project=google.project, region=region),
        "project": lambda: google.call("projects", "get", project=google.project),
        "types": lambda: _sold(google, "machine_types", machines),
        "accelerators": lambda: _sold(google, "accelerator_types", gpus),
    }
    answers, failed = _ask(questions)
    told: list[Quota] = []
    if "region" in answers:
        told += quotas.read(region, answers["region"].quotas)
    if "project" in answers:
        told += quotas.read("", answers["project"].quotas)
    zones: dict[str, tuple[str, ...]] = {}
    if {"region", "types", "accelerators"} <= set(answers):
        open_zones = [link.rpartition("/")[2] for link in answers["region"].zones]
        pairs = answers["types"] | answers["accelerators"]
        zones = {name: _zones(kind, open_zones, pairs) for name, kind in kinds.items()}
    return Survey(
        region=region,
        zones=zones,
        quotas=tuple(told),
        draws={(offer.type, offer.market): quotas.draws(offer, told) for offer in offers},
        failed=failed,
    )


def _zones(kind: body.Kind, zones: Iterable[str], sold: set[tuple[str, str]]) -> tuple[str, ...]:
    wanted = [name for name in (kind.machine, kind.accelerator) if name]
    return tuple(sorted(zone for zone in zones if all((zone, name) in sold for name in wanted)))


def _sold(google: Google, service: str, names: Sequence[str]) -> set[tuple[str, str]]:
    """(zone, name) of machine or accelerator types, everywhere."""
    found: set[tuple[str, str]] = set()
    for at in range(0, len(names), NAMES_AT_ONCE):
        query = " OR ".join(f'(name = "{name}")' for name in names[at : at + NAMES_AT_ONCE])
        found |= {(zone, item.name) for zone, item in google.everywhere(service, service, query)}
    return found


def _ask(
    questions: dict[str, Callable[[], Any]],
) -> tuple[dict[str, Any], dict[str, ProviderError]]:
    answers: dict[str, Any] = {}
    failed: dict[str, ProviderError] = {}
    with ThreadPoolExecutor(len(questions), "byoc-gcp-survey") as pool:
        asked = {name: pool.submit(question) for name, question in questions.items()}
        for name, future in asked.items():
            try:
                answers[name] = future.result()
            except ProviderError as error:
                failed[name] = error
    return answers, failed
