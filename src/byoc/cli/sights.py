"""What ``byoc capacity`` does: ask for each offer that fits, and tell what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..clock import SYSTEM
from ..errors import PlacementError
from ..resources import Offer, Resources
from ..settings import LOCAL, Settings
from . import context, drive, failure, ladders, names, pages, records
from .console import Console, plain
from .options import Common

if TYPE_CHECKING:
    from ..fleet.sights import Sight
    from ..placement.told import Room

TOP = 15
"""Lines that are shown unless all are asked for: a screen of them."""
MAY_BE_HAD = ("free", "unknown")
"""States in which asking makes sense."""


def show(console: Console, common: Common) -> int:
    """Look, tell, and answer with the exit code: 0 when something may be had."""
    settings = context.merged(common.flags())
    names.check(common.gpu or (), common.region, settings.used_clouds())
    asks = (ladders.Ask("", Resources()),)
    (ask,) = drive.applied(console, settings, common, asks, "exec")
    resources = ask.resources
    sights, why = _look(console, settings, resources)
    reason = why.message if why else ""
    code = 0 if any(one.state in MAY_BE_HAD for one in sights) else failure.NO
    if console.as_json:
        offers = [_as_data(one) for one in sights]
        fields = {"request": resources, "offers": offers, "reason": reason}
        console.json_object("capacity", code, fields)
        return code
    console.data(resources.describe())
    if sights:
        _table(console, sights, None if common.verbose else TOP)
        age = ladders.age(ladders.dates(one.offer for one in sights), SYSTEM)
        if age:
            pages.wrapped(console, age, 2)
    if code:
        console.say(reason or "nothing of this can be had now")
        for hint in why.hints if why else ():
            console.hint(hint)
    return code


def _look(
    console: Console, settings: Settings, resources: Resources
) -> tuple[Sequence[Sight], PlacementError | None]:
    """The sights, best first; and why there is none, where nothing that is sold fits."""
    with ladders.opened(console, settings) as fleet:
        found: list[Sight] = fleet.capacity(resources)
        if found:
            return found, None
        try:
            fleet.plan(resources)
        except PlacementError as error:
            return found, error
        return found, None


# --- for people ---------------------------------------------------------------------------------


def _table(console: Console, sights: Sequence[Sight], top: int | None) -> None:
    """One line for zones that differ in nothing else."""
    groups: dict[tuple[Any, ...], list[Sight]] = {}
    for one in sights:
        offer = one.offer
        place = (offer.cloud, offer.region, offer.type, offer.market, offer.price)
        groups.setdefault((*place, _words(one)), []).append(one)
    shown = list(groups.values())[:top]
    rows = [_row(members) for members in shown]
    pages.table(console, rows, [_words(members[0]) for members in shown])
    left = len(groups) - len(shown)
    if left:
        console.data(f"  and {left} more (-v shows all)")


def _row(members: Sequence[Sight]) -> tuple[str, ...]:
    price, gpus, market, _, kind = ladders.cells_of(members[0].offer)
    mark = "+" if members[0].state in MAY_BE_HAD else "-"
    return mark, price, gpus, market, _place([one.offer for one in members]), kind


def _place(offers: Sequence[Offer]) -> str:
    """``aws us-east-1 a,b``: the zones without what they have of their region."""
    region = offers[0].region
    zones = ",".join(one.zone.removeprefix(region).lstrip("-") for one in offers if one.zone)
    return f"{offers[0].cloud} {region} {zones}".rstrip()


def _words(one: Sight) -> str:
    """What is known of getting it."""
    if one.offer.cloud == LOCAL:
        return "this computer"
    said = {
        "free": "some are there now",
        "unknown": "may be had" if one.told else "may be had; the region did not answer",
        "full": "the cloud says that it has none",
        "unsold": "no zone sells it",
        "denied": one.error.message if one.error else "the cloud cannot be asked",
    }.get(one.state, "")
    parts = [said] if said else []
    if one.refusal is not None:
        parts.append(_refused(one))
    short = [_short(room) for room in one.rooms if not room.enough]
    parts += short or _room(one.rooms)
    seen = one.expected.seen
    if seen.tries:
        parts.append(f"{seen.good:g} of {seen.tries:g} tries worked")
    return "; ".join(parts)


def _refused(one: Sight) -> str:
    refusal, now = one.refusal, SYSTEM.wall()
    if refusal is None:
        return ""
    code = refusal.code or refusal.error
    ago, left = records.span(now - refusal.at), records.span(refusal.until - now)
    return f"refused {ago} ago ({code}), not asked again for {left}"


def _room(rooms: Sequence[Room]) -> list[str]:
    """How many of them all quotas together leave room for, where it is known."""
    known = [room for room in rooms if room.quota.used is not None and room.need > 0]
    if not known:
        return []
    return [f"quotas have room for {min(int(_left(room) // room.need) for room in known)}"]


def _short(room: Room) -> str:
    quota = room.quota
    unit = f" {quota.unit}" if quota.unit else ""
    left = f"the limit is {quota.limit:g}"
    if quota.used is not None:
        left = f"{_left(room):g} left of {quota.limit:g}"
    return f"no room in the quota {quota.bucket}: needs {room.need:g}{unit}, {left}"


def _left(room: Room) -> float:
    return max(0.0, room.quota.limit - (room.quota.used or 0.0))


# --- for machines -------------------------------------------------------------------------------


def _as_data(one: Sight) -> dict[str, Any]:
    found: dict[str, Any] = plain(one._replace(error=None))
    found["key"] = one.offer.key()
    found["may_be_had"] = one.state in MAY_BE_HAD
    found["error"] = one.error.as_dict() if one.error else None
    for told, room in zip(found["rooms"], one.rooms, strict=True):
        told["left"] = None if room.quota.used is None else room.quota.limit - room.quota.used
    if one.refusal is not None:
        found["refusal"]["age"] = max(0.0, SYSTEM.wall() - one.refusal.at)
    return found
