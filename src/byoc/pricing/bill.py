"""What an instance costs: its seconds, its smallest bill, its disk and address. Pure arithmetic.

The price is the one that was copied at launch. What cannot be known (a price that no catalogue
has) stays unknown and is never taken for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from ..resources import Offer
from .tariff import MONTH, Tariff, tariffs

HOUR = 3600.0
RUN, MINIMUM, FREE, DISK, ADDRESS = "run", "minimum", "free", "disk", "address"
"""Kinds of lines: the seconds that it ran; what its smallest bill adds to them; what is not billed
because the cloud took it away so early; its boot disk; its public address."""


class Stay(NamedTuple):
    """One instance's time on the bill, in the provider's own seconds since the epoch.

    ``offer``: with the price of its launch. ``began``: when billing began, 0 when it never did.
    ``ended``: when billing of its seconds ended, 0 while it runs. ``gone``: when the cloud showed
    it and its disk gone, 0 before. ``taken``: the cloud took it away. ``disk``: GiB of its boot
    disk. ``public``: it has a public address.
    """

    offer: Offer
    began: float
    ended: float = 0.0
    gone: float = 0.0
    taken: bool = False
    disk: float = 0.0
    public: bool = True


class Line(NamedTuple):
    """One line of a bill. ``seconds``: what it is reckoned from. ``dollars``: None when not
    known."""

    what: str
    seconds: float
    dollars: float | None


def bill(stay: Stay, now: float) -> tuple[Line, ...]:
    """The lines of one stay up to ``now``. A stay whose billing never began has none."""
    tariff = tariffs().get(stay.offer.cloud)
    if not stay.began or tariff is None:
        return ()
    ran = _whole(min(stay.ended or now, now) - stay.began)
    held = _whole(min(stay.gone or now, now) - stay.began)
    lines = list(_instance(stay, ran, tariff))
    if stay.disk:
        lines.append(Line(DISK, held, stay.disk * tariff.disk / MONTH * held / HOUR))
    rate = tariff.address.get(stay.offer.market, 0.0)
    if stay.public and rate:
        lines.append(Line(ADDRESS, ran, rate * ran / HOUR))
    return tuple(lines)


def _instance(stay: Stay, ran: float, tariff: Tariff) -> Iterable[Line]:
    price = stay.offer.price
    if stay.taken and stay.ended and stay.offer.market == "spot" and ran <= tariff.free:
        yield Line(FREE, ran, 0.0)
        return
    yield Line(RUN, ran, None if price is None else price * ran / HOUR)
    short = stay.offer.minimum - ran
    if short > 0:
        yield Line(MINIMUM, short, None if price is None else price * short / HOUR)


def _whole(seconds: float) -> float:
    """Begun seconds are billed; a clock that was set back bills nothing."""
    return float(math.ceil(max(0.0, seconds)))


def total(lines: Iterable[Line]) -> float | None:
    """Their dollars; None when one of them is not known."""
    found = [line.dollars for line in lines]
    return None if any(one is None for one in found) else math.fsum(filter(None, found))
