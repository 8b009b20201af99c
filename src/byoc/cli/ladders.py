"""The ladders that functions would climb, for people and as data: ``--dry-run`` and ``plan``."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import _lazy
from ..clock import SYSTEM, Clock
from ..resources import Ladder, Offer, Resources, Rung
from ..settings import Settings
from . import logged, pages
from .console import Console
from .view import View

if TYPE_CHECKING:
    from ..engine.spec import FunctionSpec
    from ..fleet.core import Fleet
    from ..placement.cost import Hedge

TOP = 10
"""Rungs that are shown unless all are asked for: they fit on one screen with what stands around."""
_GROUPS = 8
"""Kinds of refusal that are shown, the most frequent first."""
_COST = re.compile(r"\$\S+ an hour, ")
"""What a reason says of the price, which stands in a column of its own."""


class Ask(NamedTuple):
    """One function and what it asks for; ``nodes``: so many instances side by side."""

    name: str
    resources: Resources
    nodes: int = 1


def ask_of(spec: FunctionSpec) -> Ask:
    """What a declared function asks for."""
    return Ask(spec.name, spec.resources, spec.nodes)


class Asking(NamedTuple):
    """One function, what it asks for (merged with the run's options) and where it would go.
    ``hedge``: what asking several offers at once costs, None where only one is asked."""

    name: str
    resources: Resources
    ladder: Ladder
    hedge: Hedge | None = None
    nodes: int = 1


@contextmanager
def opened(console: Console, settings: Settings) -> Iterator[Fleet]:
    """A fleet that is only asked; what it waits for is shown."""
    view = View(console, SYSTEM)
    view.start()
    open_fleet = _lazy.load("byoc.fleet.core:open_fleet")
    try:
        with logged.told(console), open_fleet(settings, view, os.environ) as fleet:
            yield fleet
    finally:
        view.stop()


def survey(
    console: Console,
    settings: Settings,
    asks: Sequence[Ask],
    only: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Asking]:
    """The ladder of each function, as a launch would find it now. Nothing is rented.

    ``asks``: with merged requests. ``only``: by name, keys of the only offers to look at.
    Raises PlacementError when nothing can hold one of them.
    """
    with opened(console, settings) as fleet:
        found = []
        for name, resources, nodes in asks:
            ladder = fleet.plan(resources, nodes, only.get(name, ()))
            hedge = fleet.hedge(resources, ladder) if nodes == 1 else None
            found.append(Asking(name, resources, ladder, hedge, nodes))
        return found


def as_data(found: Iterable[Asking]) -> list[dict[str, Any]]:
    """For ``--json``: every rung and every refusal."""
    return [
        {
            "name": one.name,
            "resources": one.resources.describe(),
            "request": one.resources,
            "nodes": one.nodes,
            "ladder": one.ladder,
            "prices": dates(rung.offer for rung in one.ladder.rungs),
            **({"hedge": one.hedge} if one.hedge else {}),
        }
        for one in found
    ]


def show(console: Console, found: Iterable[Asking], top: int | None = TOP) -> None:
    """For people: the first ``top`` rungs of each, all of them when it is None."""
    for number, one in enumerate(found):
        if number:
            console.data("")
        console.data(f"{one.name}: {one.resources.describe()}")
        _together(console, one)
        _rungs(console, one.ladder.rungs, top)
        _refused(console, one.ladder.refused, None if top is None else _GROUPS)
        if one.hedge:
            pages.wrapped(console, _lazy.load("byoc.placement.cost:hedge_words")(one.hedge), 2)
        told = age(dates(rung.offer for rung in one.ladder.rungs[:top]), SYSTEM)
        if told:
            pages.wrapped(console, told, 2)


# --- rungs --------------------------------------------------------------------------------------


def _together(console: Console, one: Asking) -> None:
    """What a gang costs: the prices of the ladder are of each instance."""
    if one.nodes > 1 and one.ladder.rungs:
        dollars = one.ladder.rungs[0].offer.price
        whole = price(None if dollars is None else dollars * one.nodes)
        console.data(f"  {one.nodes} instances of one offer side by side: {whole} on the first")


def _rungs(console: Console, rungs: Sequence[Rung], top: int | None) -> None:
    shown = rungs[:top]
    rows = [(str(number), *cells_of(rung.offer)) for number, rung in enumerate(shown, 1)]
    pages.table(console, rows, [_COST.sub("", rung.reason) for rung in shown])
    if len(rungs) > len(shown):
        console.data(f"  and {len(rungs) - len(shown)} more (-v shows all)")


def cells_of(offer: Offer) -> tuple[str, str, str, str, str]:
    """Price, GPUs, market, place and type of an offer, for a table."""
    gpus = f"{offer.gpu}:{offer.gpu_count}" if offer.gpu_count else f"{offer.cpus:g} CPU"
    place = f"{offer.cloud} {offer.zone or offer.region}"
    return price(offer.price), gpus, offer.market, place, offer.type


def price(dollars: float | None) -> str:
    """``$1.25/h``; small ones with what tells them apart."""
    if dollars is None:
        return "price unknown"
    return f"${dollars:.2f}/h" if dollars >= 0.1 or not dollars else f"${dollars:.4f}/h"


# --- refusals -----------------------------------------------------------------------------------

_KINDS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"is on .*, allowed: (.*)", r"is not on \1"),
        (r"is in .*, allowed: (.*)", r"is not in \1"),
        (r"costs .*, allowed: (.*)", r"costs more than \1 an hour"),
        (r"has no (.*) \(it has .*\)", r"has no \1"),
        (r"has [\d.]+ (.*), asked for ([\d.]+)", r"has less than \2 \1"),
        (r"has .*, asked for (.*)", r"has fewer than \1"),
        (r"needs \S+ (?:\S+ )?of (the quota .*)", r"needs more than is left of \1"),
        (r"(is not sold in) .*", r"\1 that place"),
        (r"was refused .* ago: (.*); not asked again for .*", r"was refused: \1"),
    )
)
"""Reasons that differ in figures only, as one for people; the data of ``--json`` has each."""


def _refused(console: Console, refused: Sequence[Rung], most: int | None) -> None:
    groups: dict[str, list[Rung]] = {}
    for rung in refused:
        groups.setdefault(_kind(rung.reason), []).append(rung)
    if not groups:
        return
    console.data(f"  left out: {len(refused)} {'offer' if len(refused) == 1 else 'offers'}")
    # The fewest first: what almost fitted says more than the thousands of another kind.
    listed = sorted(groups.items(), key=lambda one: len(one[1]))
    for kind, rungs in listed[:most]:
        key = rungs[0].offer.key()
        if len(rungs) == 1:
            pages.wrapped(console, f"{key} {rungs[0].reason}", 4)
        else:
            pages.wrapped(console, f"{len(rungs)}, such as {key}: {kind}", 4)
    if most is not None and len(listed) > most:
        rest = sum(len(rungs) for _, rungs in listed[most:])
        console.data(f"    and {rest} for {len(listed) - most} other reasons (-v shows all)")


def _kind(reason: str) -> str:
    for pattern, words in _KINDS:
        match = pattern.fullmatch(reason)
        if match:
            return match.expand(words)
    return reason


# --- how old prices are -------------------------------------------------------------------------


def dates(offers: Iterable[Offer]) -> dict[str, Any]:
    """Since when the catalogue's prices of these offers have been true: ``oldest``, ``newest`` (a
    date or a month) and ``asked``, how many prices the clouds told just now."""
    catalog = _lazy.load("byoc.pricing.catalog")
    told: list[str] = []
    asked = 0
    for offer in offers:
        known = catalog.find(offer.cloud, offer.region, offer.type, offer.market)
        if known is None:
            continue
        if known.price == offer.price:
            told.append(catalog.source(offer).date)
        else:
            asked += 1
    ends = (min(told), max(told)) if told else (None, None)
    return {"oldest": ends[0], "newest": ends[1], "asked": asked}


def age(found: dict[str, Any], clock: Clock) -> str:
    """``prices: of 2026-07-20 (124 days old)``; nothing where no price is the catalogue's."""
    if found["oldest"] is None:
        return "prices: as the clouds tell them now" if found["asked"] else ""
    ends = [found["oldest"]]
    if found["newest"] != found["oldest"]:
        ends.append(found["newest"])
    days = max(0, (_day(clock) - _first_day(found["oldest"])).days)
    some = f"; {found['asked']} as the clouds tell them now" if found["asked"] else ""
    return f"prices: of {' to '.join(ends)} (up to {days} days old){some}"


def _day(clock: Clock) -> dt.date:
    return dt.datetime.fromtimestamp(clock.wall(), dt.timezone.utc).date()


def _first_day(text: str) -> dt.date:
    """``2026-07-20`` or ``2026-07``."""
    return dt.date.fromisoformat(text if text.count("-") == 2 else f"{text}-01")
