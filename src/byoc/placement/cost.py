"""What it will have cost when the work is done, as far as one can know before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..resources import Offer
from ..settings import LOCAL
from .history import History, Tries

WORK = 600.0
"""Seconds of work that are reckoned with: nobody says how long a function takes before it has run.
Ten minutes is long enough for the price to count for more than the boot, and short enough for an
hour's minimum billing to show."""
BOOT = 60.0
"""Seconds from a launch to a usable machine where neither a past boot nor the provider's traits say
more: the order of magnitude of all clouds. One boot of ours replaces it."""
_CHANCES = {
    ("on-demand", False): 0.95,
    ("spot", False): 0.85,
    ("on-demand", True): 0.8,
    ("spot", True): 0.6,
}
"""(market, with a GPU) -> the chance of a try before anything is known: that it gives a machine
which lasts for the work. Nobody publishes such figures; these only say that GPUs are scarcer than
CPUs and that spot machines are taken away, so that spot must be cheaper by a tenth (CPU) or a
quarter (GPU) to come first. Our own tries outvote them soon."""
_CHANCE = 0.9
WEIGHT = 4.0
"""How many tries the chance above is worth: after four of our own, ours count for half."""
REFUSED = 2.0
"""Seconds that a refused try costs where none has been seen: what a failover may take."""
WAITING = 1.0
"""Dollars that an hour of waiting is worth: low, so that it decides between like prices only."""


class Expected(NamedTuple):
    """``cost``: dollars to finish, infinite when the price is not known. ``boot``: seconds.
    ``chance``: of one try, 0 to 1. ``seen``: the tries that it rests on."""

    cost: float
    boot: float
    chance: float
    seen: Tries


_NONE = Tries()


def expect(offer: Offer, history: History, work: float = WORK) -> Expected:
    """The expected cost to finish ``work`` seconds of work on an offer. The formula::

        run    = price * max(minimum billing, boot + work)
        chance = (good tries + WEIGHT * first guess) / (tries + WEIGHT)
        cost   = run / chance + (1 / chance - 1) * seconds of a failed try * (price + WAITING)

    ``run / chance``: a machine that is taken away has to be paid and its work done again, and on
    the average it takes ``1 / chance`` tries. The second term is what the failed tries cost
    beyond: the time, and a machine that was paid and never came up (a refusal takes
    :data:`REFUSED` seconds and weighs nothing; boots that time out weigh minutes). Tries are
    counted by cloud, region, type and market; the boot is the median of past ones of the type at
    that cloud, else what its provider's traits say; where nothing is known the constants of this
    module stand in.
    """
    kind = (offer.cloud, offer.region, offer.type, offer.market)
    seen = history.tries.get(kind, _NONE)
    boot = history.boots.get((offer.cloud, offer.type))
    if boot is None:
        boot = history.usual.get(offer.cloud, BOOT)
    guess = _CHANCES.get((offer.market, offer.gpu_count > 0), _CHANCE)
    chance = (seen.good + WEIGHT * guess) / (seen.tries + WEIGHT)
    if offer.price is None:
        return Expected(float("inf"), boot, chance, seen)
    hours = max(offer.minimum, boot + work) / 3600
    lost = (seen.lost or REFUSED) / 3600
    again = 1 / chance - 1
    cost = offer.price * hours / chance + again * lost * (offer.price + WAITING)
    return Expected(0.0 if offer.cloud == LOCAL else cost, boot, chance, seen)


def billed(offer: Offer, seconds: float) -> float | None:
    """Dollars for an instance that ran so long; None when its price is not known."""
    if offer.price is None:
        return None
    return offer.price * max(offer.minimum, seconds) / 3600


class Hedge(NamedTuple):
    """What asking for several offers at once costs beside the one that is kept. ``extra``: dollars
    at most; None when a price is not known. ``keys``: of the offers. ``hourly``: those that bill
    far more than a boot, each with the seconds. ``dearest``: dollars an hour of the dearest, on
    which the work may run."""

    extra: float | None
    keys: tuple[str, ...]
    hourly: tuple[tuple[str, float], ...]
    dearest: float | None


def hedge(offers: Sequence[Offer], history: History) -> Hedge:
    """The price of hedging with these offers.

    Each one that is not kept has cost its smallest bill, or the time that it booted, whichever is
    longer. Nobody knows which is kept: the sum leaves out the cheapest to give up, so it is the
    most.
    """
    lost, hourly = [], []
    for one in offers:
        boot = expect(one, history).boot
        if one.minimum > 2 * boot:
            hourly.append((one.key(), one.minimum))
        lost.append(billed(one, boot))
    known = [each for each in lost if each is not None]
    unknown = len(known) < len(lost)
    extra = None if unknown else sum(known) - min(known, default=0.0)
    dearest = None if unknown else max((one.price or 0.0 for one in offers), default=0.0)
    return Hedge(extra, tuple(one.key() for one in offers), tuple(hourly), dearest)


def hedge_words(found: Hedge) -> str:
    """For people, a sentence without an end."""
    count = len(found.keys)
    if found.extra is None or found.dearest is None:
        price = "costs more, how much is not known: a price is missing"
    else:
        price = (
            f"costs up to {dollars(found.extra)} more, and the work may run on the dearest of them "
            f"at {dollars(found.dearest)} an hour"
        )
    text = f"a hedge of {count}: {count} offers are asked for at once, the first sound one is kept"
    text = f"{text} and the others are ended; it {price}"
    billed = [f"{key} bills {span(seconds)} at least" for key, seconds in found.hourly]
    return "; ".join((text, *billed))


def words(offer: Offer, expected: Expected, work: float = WORK) -> str:
    """For people: ``$1.01 an hour, about $0.21 for 10 min of work with boot 90 s, 92 % of 12 tries
    worked``."""
    if offer.cloud == LOCAL:
        return "this computer"
    if offer.price is None:
        text = "price unknown"
    else:
        text = (
            f"{dollars(offer.price)} an hour, about {dollars(expected.cost)} for {span(work)} of "
            f"work with boot {span(expected.boot)}"
        )
        if offer.minimum > expected.boot + work:
            text += f", {span(offer.minimum)} billed at least"
    if expected.seen.tries:
        share = 100 * expected.seen.good / expected.seen.tries
        tries = "1 try" if expected.seen.tries == 1 else f"{expected.seen.tries} tries"
        text += f", {share:.0f} % of {tries} worked"
    return text if offer.zone else text + ", zone chosen when tried"


def dollars(amount: float) -> str:
    """``$1.01``; small amounts with two digits that say something."""
    if amount >= 0.1 or amount == 0:
        return f"${amount:.2f}"
    return f"${amount:.2g}" if amount >= 0.0001 else "less than $0.0001"


def span(seconds: float) -> str:
    """``90 s``, ``10 min``, ``2 h``."""
    if seconds < 180:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
