"""What refusals shut: the pure part of the capacity memory.

A refusal is kept under the narrowest thing that failed. Which part of an offer that is, by scope:

``offer``       cloud, region, zone, type, market
``type@zone``   cloud, region, zone, type
``zone``        cloud, region, zone
``bucket``      cloud, region, quota bucket: whatever takes as much of it, or more
``type``        cloud, type (a request of ours that the cloud finds wrong)
``spot``        cloud, market
``region``      cloud, region
``cloud``       cloud

A refusal of an offer without a zone, where the cloud chose one, speaks for every zone. Where a
quota's bucket was not named, or nobody knows what an offer draws on, its refusal speaks for the
same type and market in the region. A bucket that is not among those that the refused offer is known
to draw on is one that every machine draws on (addresses, disks, instances): its refusal speaks for
all of that market in the region, and has no type.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from ..errors import (
    AccessError,
    BadRequestError,
    NotOfferedError,
    ProviderError,
    QuotaError,
    ThrottleError,
    TokenError,
    TransientError,
)
from ..providers.base import Draw
from ..resources import Offer
from ..state import Refusal

TAKEN = "preempted"
"""In place of a refusal's error: nothing was refused, an instance was taken back. Its offer is not
left out, since nobody said that there is no other, but what is as good is tried before it."""
_SCOPES = ("offer", "type@zone", "zone", "bucket", "spot", "region", "cloud")
_PERSONAL = ("cloud", "spot", "type")
_LOOKS_AT = {
    "offer": ("region", "zone", "type", "market"),
    "type@zone": ("region", "zone", "type"),
    "zone": ("region", "zone"),
    "type": ("type",),
    "region": ("region",),
    "cloud": (),
    "spot": (),
}
"""Scope -> the parts of an offer, besides its cloud, that tell whether it is shut."""
_Key = tuple[str, ...]


def scope_of(error: ProviderError) -> str:
    """The scope that placement works with; empty when the refusal shuts nothing.

    One that is missing or says ``request`` is read from the class: a permission that is missing is
    missing for the whole cloud, a request that is wrong is wrong for the type everywhere.
    """
    if error.scope in _SCOPES:
        return error.scope
    if isinstance(error, AccessError):
        return "cloud"
    if isinstance(error, BadRequestError):
        return "type"
    if isinstance(error, (ThrottleError, TransientError, TokenError)):
        return ""
    if error.scope == "request":
        return ""
    if isinstance(error, QuotaError):
        return "bucket"
    return "type@zone" if isinstance(error, NotOfferedError) else "offer"


def lasts(error: ProviderError) -> bool:
    """Whether a refusal is kept beyond the run.

    Not when the table gives it no time, and not what the user changes between two runs: wrong
    credentials, a missing permission or role, a wrong request. To be told "still forbidden" by
    byoc's own memory after the permission was granted would be wrong for an hour; asking costs one
    request. Regions and zones that are shut to an account are kept: opening one takes the cloud
    longer than that.
    """
    if error.remember <= 0 or not scope_of(error) or isinstance(error, BadRequestError):
        return False
    return not (isinstance(error, AccessError) and scope_of(error) in _PERSONAL)


def refusal_of(
    error: ProviderError,
    offer: Offer,
    draws: Sequence[Draw],
    now: float,
    everywhere: Collection[str] = (),
) -> Refusal | None:
    """What is shut by a refusal of ``offer``; None when nothing is.

    ``draws``: what the offer takes of quotas, empty when not known. ``everywhere``: the buckets
    that count for all regions together. It holds for ``error.remember`` seconds from ``now``, and
    for ever where it does not last beyond the run (:func:`lasts`).
    """
    scope = scope_of(error)
    if not scope:
        return None
    if scope == "type" and not offer.zone:
        scope = "offer"  # that it has no zone may be all that was wrong with it
    found = Refusal(
        key="",
        cloud=offer.cloud,
        scope=scope,
        region=offer.region,
        zone=offer.zone,
        type=offer.type,
        market=offer.market,
        error=error.code,
        code=error.vendor_code,
        message=error.message,
        request_id=error.request_id,
        hint=error.hints[0] if error.hints else "",
        zones=error.zones,
        at=now,
        until=now + error.remember if lasts(error) else math.inf,
    )
    if scope == "bucket":
        found = _of_quota(found, error.bucket, draws, everywhere)
    return found._replace(key="/".join(_key(found)))


def _of_quota(
    found: Refusal, bucket: str, draws: Sequence[Draw], everywhere: Collection[str]
) -> Refusal:
    """The refusal with what is known of its quota."""
    amounts = [draw.amount for draw in draws if draw.bucket == bucket]
    if bucket in everywhere:
        found = found._replace(region="")
    if bucket and draws and not amounts:
        found = found._replace(type="")  # every machine draws on it
    return found._replace(bucket=bucket, amount=amounts[0] if amounts else 0.0)


def covers(refusal: Refusal, offer: Offer, draws: Sequence[Draw] = ()) -> bool:
    """Whether asking for the offer would be asking for what was refused.

    ``draws``: what the offer takes of quotas; empty when not known.
    """
    if refusal.cloud != offer.cloud:
        return False
    if refusal.scope == "spot":
        return offer.market == "spot"
    if refusal.scope == "bucket":
        here = refusal.region in ("", offer.region)
        return here and _drained(refusal, offer, draws)
    for part in _LOOKS_AT[refusal.scope]:
        refused = getattr(refusal, part)
        if refused != getattr(offer, part) and not (part == "zone" and not refused):
            return False
    return True


def _drained(refusal: Refusal, offer: Offer, draws: Sequence[Draw]) -> bool:
    if refusal.type and refusal.bucket and draws:
        return any(
            draw.bucket == refusal.bucket and draw.amount >= refusal.amount for draw in draws
        )
    return refusal.type in ("", offer.type) and refusal.market == offer.market


def _key(one: Refusal) -> _Key:
    """What names the shut thing; a bucket without a name is named by the offer that met it."""
    if one.scope == "bucket":
        met = () if one.type and one.bucket else (one.type, one.market)
        return (one.cloud, one.scope, one.region, one.bucket, *met)
    return (one.cloud, one.scope, *(getattr(one, part) for part in _LOOKS_AT[one.scope]))


class Memory:
    """Refusals, found by offer without looking at each: :func:`covers` for many offers.

    ``now``: those that have ended by then count no more.
    """

    def __init__(self, refusals: Iterable[Refusal] = (), now: float = 0.0) -> None:
        self._plain: dict[_Key, Refusal] = {}
        self._buckets: dict[tuple[str, str], list[Refusal]] = {}
        self._clouds: set[str] = set()
        self._zones: dict[_Key, tuple[str, ...]] = {}
        self._taken: dict[_Key, Refusal] = {}
        for one in refusals:
            if one.until > now:
                self._add(one)

    def _add(self, one: Refusal) -> None:
        if one.error == TAKEN:
            self._taken[_key(one)] = one
            return
        self._clouds.add(one.cloud)
        if one.zones:
            self._zones.setdefault((one.cloud, one.region, one.type, one.market), one.zones)
        if one.scope == "bucket":
            self._buckets.setdefault((one.cloud, one.region), []).append(one)
        else:
            key = _key(one)
            known = self._plain.get(key)
            if known is None or known.until < one.until:
                self._plain[key] = one

    def find(self, offer: Offer, draws: Sequence[Draw] = ()) -> Refusal | None:
        """The refusal that covers the offer, the widest first; None when there is none."""
        cloud, region, zone = offer.cloud, offer.region, offer.zone
        if cloud not in self._clouds:
            return None
        plain = self._plain
        found = plain.get((cloud, "cloud")) or plain.get((cloud, "region", region))
        if found is None and offer.market == "spot":
            found = plain.get((cloud, "spot"))
        found = found or plain.get((cloud, "type", offer.type))
        for place in (zone, "") if zone else ("",):
            found = (
                found
                or plain.get((cloud, "zone", region, place))
                or plain.get((cloud, "type@zone", region, place, offer.type))
                or plain.get((cloud, "offer", region, place, offer.type, offer.market))
            )
        return found or self._drained(offer, draws)

    def taken(self, offer: Offer) -> Refusal | None:
        """What says that an instance of this offer was taken back lately."""
        parts = (getattr(offer, part) for part in _LOOKS_AT["offer"])
        return self._taken.get((offer.cloud, "offer", *parts)) if self._taken else None

    def hinted(self, offer: Offer) -> tuple[str, ...]:
        """The zones that the cloud named when it last refused this type and market."""
        if not self._zones:
            return ()
        return self._zones.get((offer.cloud, offer.region, offer.type, offer.market), ())

    def _drained(self, offer: Offer, draws: Sequence[Draw]) -> Refusal | None:
        for region in (offer.region, ""):
            for one in self._buckets.get((offer.cloud, region), ()):
                if _drained(one, offer, draws):
                    return one
        return None
