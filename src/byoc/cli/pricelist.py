"""What ``byoc prices`` does: the age of the prices in use, and fresh ones from the clouds."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from .. import providers
from ..clock import SYSTEM
from ..errors import AccessError, Error, InvalidError
from ..pricing import catalog
from ..pricing.refresh import store
from ..pricing.refresh.merge import EMULATED, Held, Merged, merge
from ..pricing.refresh.quotes import Live
from ..providers.lists import Asking
from ..resources import MARKETS
from ..settings import Settings
from ..tasks import side_by_side
from . import context, failure, logged, pages
from .console import Console

LISTED = 10
"""Prices of one kind that are told unless JSON is asked for."""


class Outcome(NamedTuple):
    """What came of one cloud. ``error``: why nothing was replaced; ``left``: it is one that was not
    asked for and that this computer has no access to."""

    cloud: str
    live: Live | None = None
    merged: Merged | None = None
    error: Error | None = None
    left: bool = False


def run(console: Console, what: str, clouds: Sequence[str], accept: bool) -> int:
    """The command. Raises InvalidError for a word that it does not know."""
    for name in clouds:
        if name not in providers.with_prices():
            raise InvalidError(
                f"invalid value for '--cloud': {name!r} has no prices",
                hints=(f"choose from {', '.join(providers.with_prices())}",),
            )
    if what == "refresh":
        return _refresh(console, clouds, accept)
    if what != "status":
        raise InvalidError(
            f"there is no 'byoc prices {what}'", hints=("choose from status, refresh",)
        )
    if accept:
        raise InvalidError("--accept is an option of 'byoc prices refresh'")
    return _status(console, clouds or providers.with_prices())


# --- how old they are ---------------------------------------------------------------------------


def _status(console: Console, clouds: Sequence[str]) -> int:
    with logged.told(console):
        found = {cloud: _state(cloud) for cloud in clouds}
    if console.as_json:
        console.json_object("prices", 0, {"clouds": found})
        return 0
    rows = [("CLOUD", "PRICES", "UNKNOWN", "OLDEST", "NEWEST", "FROM")]
    for cloud, one in found.items():
        known = " + ".join(f"{one[market]['known']} {market}" for market in MARKETS)
        unknown = str(sum(one[market]["unknown"] for market in MARKETS))
        origin = "refreshed" if one["refreshed"] else "packaged"
        rows.append((cloud, known, unknown, one["oldest"] or "-", one["newest"] or "-", origin))
    console.table(rows[0], rows[1:])
    for cloud, one in found.items():
        if one["ignored"]:
            console.data(f"{cloud}: {one['file']} is not used: {one['ignored']}")
    if not any(one["refreshed"] for one in found.values()):
        pages.wrapped(console, "`byoc prices refresh` asks the clouds for today's.", 0)
    return 0


def _state(cloud: str) -> dict[str, Any]:
    """Counts by market, the ends of the dates, and which file they are from."""
    used = catalog.in_use(cloud)
    markets: dict[str, Counter[bool]] = {market: Counter() for market in MARKETS}
    dates: list[str] = []
    for offer, source in zip(used.snapshot.offers, used.snapshot.sources, strict=True):
        markets[offer.market][offer.price is not None] += 1
        dates += [source.date] if offer.price is not None else []
    told = {name: {"known": n[True], "unknown": n[False]} for name, n in markets.items()}
    return {
        **told,
        "oldest": min(dates, default=None),
        "newest": max(dates, default=None),
        "refreshed": used.own,
        "file": str(catalog.own_file(cloud)),
        "ignored": used.ignored or None,
    }


# --- newer ones ---------------------------------------------------------------------------------


def _refresh(console: Console, asked: Sequence[str], accept: bool) -> int:
    settings = context.merged()
    configured = tuple(one for one in settings.clouds if one in providers.with_prices())
    wanted = tuple(asked) or configured
    found = _outcomes(console, wanted or providers.with_prices(), settings, accept)
    if not wanted and any(one.error is None for one in found):
        # whoever has one cloud is not told of three
        found = [one._replace(left=isinstance(one.error, AccessError)) for one in found]
    errors = [one.error for one in found if one.error is not None and not one.left]
    code = failure.exit_code(errors[0]) if errors else 0
    if console.as_json:
        console.json_object("prices", code, {"clouds": {one.cloud: _data(one) for one in found}})
        return code
    for one in found:
        _tell(console, one)
    return code


def _outcomes(
    console: Console, clouds: Sequence[str], settings: Settings, accept: bool
) -> list[Outcome]:
    progress = _Progress()
    with logged.told(console):
        console.start_live(progress.line)
        try:
            works = [partial(_one, name, settings, progress, accept) for name in clouds]
            return side_by_side(works, len(works))
        finally:
            console.stop_live()


class _Progress:
    """How far each cloud is, for the live line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, str] = {}

    def tell(self, cloud: str, text: str) -> None:
        """A cloud is at this; nothing when it is done."""
        with self._lock:
            self._now[cloud] = text

    def line(self) -> str:
        """All of them."""
        with self._lock:
            told = [f"{cloud}: {text}" for cloud, text in self._now.items() if text]
        return "asking for prices: " + "; ".join(told)


def _one(cloud: str, settings: Settings, progress: _Progress, accept: bool) -> Outcome:
    """Ask, judge and keep one cloud's prices; an error is its outcome, and then nothing of it was
    replaced."""
    last = _last(cloud)
    options = settings.of_cloud(cloud)
    asking = Asking(os.environ, SYSTEM, options, last, partial(progress.tell, cloud))
    try:
        live = providers.live(cloud, asking)
        merged = merge(cloud, last, live, _today(), accept)
        store.write(cloud, store.text(merged))
    except Error as error:
        return Outcome(cloud, error=error)
    finally:
        progress.tell(cloud, "")
    catalog.forget()
    return Outcome(cloud, live, merged)


def _last(cloud: str) -> catalog.Snapshot:
    """The catalogue that new prices are held against: never an emulated account's."""
    found = catalog.in_use(cloud).snapshot
    made_up = any(source.text.startswith(EMULATED) for source in found.sources)
    return catalog.packaged(cloud) if made_up else found


def _today() -> str:
    return dt.datetime.fromtimestamp(SYSTEM.wall(), dt.timezone.utc).date().isoformat()


# --- what came of it ----------------------------------------------------------------------------


def _data(one: Outcome) -> dict[str, Any]:
    if one.merged is None or one.live is None:
        error = one.error.as_dict() if one.error else None
        return {"refreshed": False, "skipped": one.left, "error": error}
    merged, live = one.merged, one.live
    return {
        "refreshed": True,
        "skipped": False,
        "error": None,
        "prices": merged.fresh,
        "changed": merged.changed,
        "added": merged.added,
        "kept": merged.kept,
        "held": merged.held,
        "doubts": merged.doubts,
        "new": live.new,
        "regions_skipped": live.skipped,
        "unread": live.unread,
        "file": str(catalog.own_file(one.cloud)),
    }


def _tell(console: Console, one: Outcome) -> None:
    if one.error is not None:
        if one.left:
            console.data(f"{one.cloud}: left out: {one.error.message}")
            return
        console.error(f"{one.cloud}: {one.error.message}")
        console.say(f"the last prices of {one.cloud} are kept")
        for hint in one.error.hints:
            console.hint(hint)
        return
    merged, live = one.merged, one.live
    assert merged is not None and live is not None
    console.data(
        f"{one.cloud}: {merged.fresh} prices of today, {merged.changed} of them changed and "
        f"{merged.added} new; {merged.kept} kept from before"
    )
    _some(console, "held back", [_jump(held) for held in merged.held])
    if merged.held:
        console.data("    `byoc prices refresh --accept` takes them")
    doubts = [f"{d.region} {d.type} {d.market}: {d.why}".lstrip() for d in merged.doubts]
    _some(console, "not taken", doubts)
    _some(console, "not in this catalogue", live.new)
    _some(console, "skipped", [f"{region}: {why}" for region, why in live.skipped.items()])
    if live.emulated:
        console.say(
            f"warning: {one.cloud} is emulated here: real prices come with a refresh without it"
        )
    if live.unread:
        console.data(f"  {live.unread} entries of the lists could not be read")


def _jump(held: Held) -> str:
    before = "unknown before" if held.old is None else f"${held.old:g} before"
    return f"{held.region} {held.type} {held.market}: ${held.new:g}, {before}"


def _some(console: Console, what: str, told: Sequence[str]) -> None:
    if not told:
        return
    console.data(f"  {what}: {len(told)}")
    for line in told[:LISTED]:
        pages.wrapped(console, line, 4)
    if len(told) > LISTED:
        console.data(f"    and {len(told) - LISTED} more (--json has all)")
