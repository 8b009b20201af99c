"""What ``byoc iam`` does: work out what is needed, print the least policy for it."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _lazy
from ..errors import InvalidError
from ..providers import policies
from ..providers.needs import SPOT, Needs, Printed, Target
from ..resources import Offer, Resources
from ..sdk import load
from ..settings import Settings
from . import drive, ladders, launch, records
from .console import Console
from .ladders import Ask
from .options import Asked, Common

if TYPE_CHECKING:
    from types import ModuleType

MOST_TYPES = 40
"""Types that a policy names one by one; of more it names families (``g6.*``): AWS takes 6,144
characters in all."""
MOST_FAMILIES = 60
"""Families that it names; a program that takes whatever there is gets no such condition."""


class Wanted(NamedTuple):
    """As typed. ``program``: of ``--for``, or empty. ``owner_only``: only this installation may end
    what it has made."""

    cloud: str
    program: str
    owner_only: bool
    target: Target


def show(console: Console, settings: Settings, wanted: Wanted) -> int:
    """Print the policy on stdout, and how to apply it on stderr. Returns the exit code."""
    needs = _needs(console, settings, wanted)
    options = settings.of_cloud(wanted.cloud)
    found = policies.printed(wanted.cloud, needs, wanted.target, options)
    if console.as_json:
        console.json_object("iam", 0, _data(wanted.cloud, needs, found))
        return 0
    for line in found.text.rstrip("\n").split("\n"):
        console.data(line)
    for line in found.lines():
        console.say(line)
    for command in found.commands:
        console.say(f"apply it with: {command}")
    return 0


def _data(cloud: str, needs: Needs, found: Printed) -> dict[str, Any]:
    return {
        "cloud": cloud,
        "features": sorted(needs.features),
        "regions": needs.regions,
        "types": needs.types,
        "owner": needs.owner,
        "policy": found.document,
        "text": found.text,
        "why": dict(found.why),
        "commands": found.commands,
        "notes": found.notes,
    }


# --- what is needed ---------------------------------------------------------------------------


def _needs(console: Console, settings: Settings, wanted: Wanted) -> Needs:
    needs = policies.needs(wanted.cloud, settings.of_cloud(wanted.cloud))
    if wanted.owner_only:
        needs = needs._replace(owner=_owner(console, settings))
    if not wanted.program:
        return needs
    offers = _offers(console, settings, wanted)
    if all(offer.market != "spot" for offer in offers):
        needs = needs._replace(features=needs.features - {SPOT})
    return needs._replace(regions=_regions(wanted.cloud, offers), types=_types(offers))


def _owner(console: Console, settings: Settings) -> str:
    with records.opened(settings, console) as journal:
        return str(journal.owner)


def _offers(console: Console, settings: Settings, wanted: Wanted) -> list[Offer]:
    """Everything in the catalogue that some function of the program might be run on."""
    catalog, rules = _lazy.load("byoc.pricing.catalog"), _lazy.load("byoc.placement.rules:Rules")
    limits = {
        "market": settings.market,
        "regions": settings.regions,
        "max_price": settings.max_price,
        "exclude": settings.exclude,
    }
    sold = catalog.offers(wanted.cloud)
    found = {
        offer.key(): offer
        for ask in _asks(console, settings, wanted.program)
        for rule in (rules.of(ask.resources._replace(clouds=_clouds(ask, wanted)), **limits),)
        for offer in sold
        if not rule.refusal(offer, price_to_come=True)
    }
    if not found:
        raise InvalidError(
            f"nothing of {wanted.program} can be run on {wanted.cloud}",
            hints=("Look at `byoc plan` of it, or leave out --for.",),
        )
    return list(found.values())


def _clouds(ask: Ask, wanted: Wanted) -> tuple[str, ...]:
    """The clouds of the request; the one that was asked for where it names none."""
    return ask.resources.clouds or (wanted.cloud,)


def _asks(console: Console, settings: Settings, reference: str) -> Sequence[Ask]:
    """All functions of the program, with what the settings add to them."""
    typed = Asked(reference, False, (), (), "")
    opened = launch.open_program(typed)
    if opened.program is None:
        asks = [Ask(Path(opened.asked.target).stem, Resources())]
    else:
        asks = _of_module(opened.program, opened.asked)
    if not asks:
        raise InvalidError(
            f"{reference} names nothing that runs on instances",
            hints=(f"name a function or a class of it, or give {opened.asked.target} alone",),
        )
    return drive.applied(console, settings, Common(), asks, "run")


def _of_module(program: ModuleType, asked: load.Reference) -> list[Ask]:
    app_class = _lazy.load("byoc.sdk.app:App")
    apps = [one for one in vars(program).values() if isinstance(one, app_class)]
    several = [
        one.spec
        for app in apps
        for one in (*app.registered_functions.values(), *app.registered_classes.values())
    ]
    return [ladders.ask_of(spec) for spec in several if not asked.name or spec.name == asked.name]


def _regions(cloud: str, offers: Sequence[Offer]) -> tuple[str, ...]:
    """The regions, empty where they are all that the catalogue has."""
    every = set(_lazy.load("byoc.pricing.catalog").regions(cloud))
    found = {offer.region for offer in offers}
    return () if found >= every else tuple(sorted(found))


def _types(offers: Sequence[Offer]) -> tuple[str, ...]:
    types = sorted({offer.type for offer in offers})
    if len(types) <= MOST_TYPES:
        return tuple(types)
    families = sorted({f"{one.partition('.')[0]}.*" for one in types})
    left = [one for one in types if not any(fnmatch.fnmatchcase(one, f) for f in families)]
    return tuple(families) if len(families) <= MOST_FAMILIES and not left else ()
