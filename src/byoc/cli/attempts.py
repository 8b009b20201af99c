"""What was tried for a run, in words: one attempt at length, or many of them grouped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..state import Attempt

OUTCOMES = {
    "open": "being tried",
    "warm": "taken, warm",
    "ok": "taken",
    "refused": "refused",
    "failed": "failed",
    "unknown": "outcome unknown",
    "skipped": "not asked",
    "beaten": "ended unused",
}
CLASSES = {
    "capacity": "no capacity",
    "not-offered": "not sold there",
    "quota": "over quota",
    "bad-request": "refused as a wrong request",
    "access": "no access",
    "throttle": "asked too often",
    "transient": "the cloud failed to answer",
    "token": "the launch token was taken",
    "unclassified": "refused for a reason that byoc does not know",
    "boot": "did not come up",
    "bad-host": "was not sound, and was ended",
    "host-key": "another machine answered",
    "connection-lost": "the connection was lost",
}
"""Our code of an error's class -> what happened, for people."""
_EACH = 3
"""Attempts of one kind that a failure lists; ``byoc why`` lists all."""
_LONG = 200
"""Characters of a vendor's message in a list; some clouds send an encoded page with theirs."""


def scope(one: Attempt) -> str:
    """What a refusal was about, in words."""
    cloud, region, zone, kind, market = [*one.offer.split("/"), *[""] * 5][:5]
    place = zone or region
    return {
        "offer": f"{kind}, {market}, in {place}",
        "type@zone": f"{kind} in {place}",
        "type": f"{kind} on {cloud}",
        "zone": f"all of {place}",
        "bucket": f"what draws on the quota {one.bucket} in {region}".replace("  ", " "),
        "spot": f"all spot offers of {cloud}",
        "region": f"all of {cloud} {region}",
        "cloud": f"all of {cloud}",
    }.get(one.scope, one.offer)


def failed(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Those that came to nothing."""
    return [one for one in attempts if one.outcome in ("refused", "failed", "unknown")]


def grouped(attempts: Sequence[Attempt]) -> list[str]:
    """Attempts that came to nothing, by what was wrong, the most frequent first."""
    groups: dict[str, list[Attempt]] = {}
    for one in attempts:
        groups.setdefault(one.error, []).append(one)
    found = []
    for error, members in sorted(groups.items(), key=lambda group: -len(group[1])):
        count = "" if len(members) == 1 else f" ({len(members)} offers)"
        found.append(f"{CLASSES.get(error, error or 'failed')}{count}")
        for one in members[:_EACH]:
            found += [f"  {one.offer}", f"    {_said(one)}"]
        if len(members) > _EACH:
            found.append(f"  and {len(members) - _EACH} more")
    return found


def _said(one: Attempt) -> str:
    text = one.message if len(one.message) <= _LONG else f"{one.message[:_LONG]}..."
    code = f" [{one.code}]" if one.code else ""
    request = f" (request {one.request_id})" if one.request_id else ""
    return f"{text}{code}{request}"
