"""What a piece of work will cost on an offer, as a range with its lines. Pure arithmetic.

The low end: it boots as it usually does, works as short as was said, nothing is taken away, and the
instance ends at once. The high end: the work takes as long as was said, tries that fail and spot
machines that are taken away are paid and their work is done again, and the idle window runs out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from ..resources import Offer
from .bill import HOUR
from .gpus import gpu
from .tariff import MONTH, Tariff, tariffs

CORE_SECOND, GIB_SECOND = 0.0000131, 0.00000222
"""Dollars that Modal asks for a physical core and for a GiB of memory, each second (modal.com's
price list as the catalogue's research found it, 2026-05)."""


class Work(NamedTuple):
    """What is to be done on one instance.

    ``least``, ``most``: seconds of it. ``boot``: seconds from the launch until it begins.
    ``chance``: that one instance lasts for it, 0 to 1. ``idle``: seconds that the instance stays
    warm afterwards at most. ``disk``: GiB of the boot disk. ``out``: GiB that leave the cloud.
    ``instances``: so many side by side, each with this work. ``public``: with an address.
    """

    least: float
    most: float
    boot: float
    chance: float = 1.0
    idle: float = 0.0
    disk: float = 0.0
    out: float = 0.0
    instances: int = 1
    public: bool = True


class Part(NamedTuple):
    """One line: ``boot`` | ``run`` | ``minimum`` | ``disk`` | ``address`` | ``egress`` | ``again``
    (failed tries and preemptions) | ``idle``. Dollars; None when not known."""

    what: str
    low: float | None
    high: float | None


class Estimate(NamedTuple):
    """The range for an offer, its lines, and Modal's for the same work (None where it has no such
    GPU). ``minimum``: seconds that are billed at least, where that is what makes it dear."""

    offer: Offer
    low: float | None
    high: float | None
    parts: tuple[Part, ...]
    modal: tuple[float, float] | None
    minimum: float


def estimate(offer: Offer, work: Work, modal_host: Offer) -> Estimate:
    """The estimate for doing ``work`` on instances of an offer. ``modal_host``: the GPUs, cores and
    memory that were asked for, which is what Modal would bill."""
    tariff = tariffs().get(offer.cloud)
    parts = _parts(offer, work, tariff)
    low, high = _sum(part.low for part in parts), _sum(part.high for part in parts)
    short = max(0.0, offer.minimum - work.boot - work.least)
    dear = offer.minimum if short > work.boot + work.least else 0.0
    return Estimate(offer, low, high, parts, _modal(modal_host, work), dear)


def _parts(offer: Offer, work: Work, tariff: Tariff | None) -> tuple[Part, ...]:
    rate = None if offer.price is None else offer.price / HOUR * work.instances
    if tariff is None:
        rate = 0.0  # this computer
    tries = 1.0 / work.chance
    lost = (tries - 1.0) * (work.boot + work.most / 2.0)
    least, most = work.boot + work.least, work.boot + work.most + work.idle + lost
    parts = [
        _part("boot", rate, work.boot, work.boot),
        _part("run", rate, work.least, work.most),
        _part("again", rate, 0.0, lost),
        _part("idle", rate, 0.0, work.idle),
        _part("minimum", rate, offer.minimum - least, offer.minimum - most),
    ]
    if tariff is not None:
        disk = tariff.disk * work.disk / MONTH / HOUR * work.instances
        parts.append(_part("disk", disk, least, most))
        if work.public:
            address = tariff.address.get(offer.market, 0.0) / HOUR * work.instances
            parts.append(_part("address", address, least, most))
        # whether this month's free part is used up is not known
        free = max(0.0, work.out - tariff.egress_free) * tariff.egress
        parts.append(Part("egress", free, work.out * tariff.egress))
    return tuple(part for part in parts if part.low != 0 or part.high != 0)


def _part(what: str, rate: float | None, least: float, most: float) -> Part:
    low, high = (None if rate is None else rate * max(0.0, seconds) for seconds in (least, most))
    return Part(what, low, high)


def _sum(amounts: Iterable[float | None]) -> float | None:
    found = list(amounts)
    return None if any(one is None for one in found) else math.fsum(filter(None, found))


def _modal(asked: Offer, work: Work) -> tuple[float, float] | None:
    """What Modal would bill: GPUs, cores and memory for the seconds of the work, and no others."""
    each = 0.0
    if asked.gpu:
        known = gpu(asked.gpu)
        if known is None or known.modal is None:
            return None
        each = known.modal * asked.gpu_count / HOUR
    rate = each + asked.cpus * CORE_SECOND + asked.memory / 1024 * GIB_SECOND
    return (rate * work.least * work.instances, rate * work.most * work.instances)
