"""What `byoc audit`, `byoc reap` and `byoc ps --everywhere` print of the things in the clouds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Error, NotFoundError
from ..fleet.audit import Audit, Item, Unasked
from ..fleet.leases import lease_of
from ..providers.base import Provider
from . import failure, records
from .console import Console

HEADER = ("THING", "WHERE", "STATE", "AGE", "$/DAY", "OWNER", "RUN", "VERDICT")


def exit_code(found: bool, unasked: Sequence[Unasked]) -> int:
    """1 when something was found; when nothing was, 0, or 4 when not all could be asked."""
    if found:
        return failure.NO
    return failure.INSTANCE if unasked else 0


def known(names: Sequence[str], providers: Mapping[str, Provider]) -> list[str]:
    """The clouds that were named, once each. Raises NotFoundError for one that there is not."""
    for name in names:
        if name not in providers:
            listed = ", ".join(sorted(providers))
            raise NotFoundError(f"there is no cloud {name!r}", hints=(f"choose from {listed}",))
    return list(dict.fromkeys(names))


def row(item: Item) -> tuple[str, ...]:
    """One line of the table."""
    thing = item.thing
    place = thing.offer.zone or thing.offer.region
    what = thing.offer.type if thing.kind == "instance" else thing.kind
    price = "-" if item.per_day is None else f"{item.per_day:.2f}"
    owner = f"{item.owner} (this)" if item.mine else item.owner
    cells = (
        thing.id,
        "/".join(part for part in (thing.provider, place, what) if part),
        thing.state,
        records.span(item.age) if item.age else "-",
        price,
        owner,
        item.run or "-",
        f"{item.verdict.word}: {item.verdict.why}",
    )
    return tuple(printable(cell) for cell in cells)


def printable(text: str) -> str:
    """A text that anybody may have written, without what a terminal would act on."""
    return "".join(one if one.isprintable() else "?" for one in text)


def fields(item: Item) -> dict[str, Any]:
    """One thing in ``--json``. Times are seconds since the epoch, prices dollars."""
    thing, lease = item.thing, lease_of(item.thing.tags)
    return {
        "provider": thing.provider,
        "id": thing.id,
        "kind": thing.kind,
        "state": thing.state,
        "detail": thing.detail,
        "region": thing.offer.region,
        "zone": thing.offer.zone,
        "type": thing.offer.type,
        "market": thing.offer.market,
        "address": thing.address,
        "owner": item.owner,
        "mine": item.mine,
        "run": item.run,
        "started": thing.started or None,
        "age": item.age or None,
        "expires": lease.expires or None,
        "until": lease.until or None,
        "price": item.price,
        "per_day": item.per_day,
        "verdict": item.verdict.word,
        "why": item.verdict.why,
    }


def asked(audit: Audit) -> dict[str, Any]:
    """What of ``--json`` tells where was looked."""
    return {
        "clouds": audit.clouds,
        "not_set_up": audit.absent,
        "failed": [
            {"cloud": one.cloud, "region": one.region, "error": one.error.as_dict()}
            for one in audit.unasked
        ],
    }


def tell_asked(console: Console, audit: Audit) -> None:
    """Say where was looked and what could not be asked."""
    for one in audit.unasked:
        place = f"{one.cloud}/{one.region}" if one.region else one.cloud
        console.error(f"{place} could not be asked: {one.error.message}")
        _hint(console, one.error)
    if audit.absent:
        console.say(f"not asked, for want of credentials: {', '.join(audit.absent)}")


def _hint(console: Console, error: Error) -> None:
    if error.hints:
        console.hint(error.hints[0])
