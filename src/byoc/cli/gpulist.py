"""What ``byoc gpus`` shows: deals of the catalogue, and what is known of having them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .. import providers
from ..clock import SYSTEM
from ..errors import InvalidError
from ..placement.history import MOST, WINDOW
from ..placement.match import is_gpu
from ..pricing import catalog
from ..pricing.deals import Deal, best, deals
from ..pricing.gpus import Gpu, known
from ..resources import GpuRequest, Offer
from ..settings import LOCAL
from ..state import Attempt, Journal
from . import context, failure, ladders, names, pages, records
from .console import Console, plain

WIDE = 120
"""Columns of a page on which the overview also has the types' names."""
TOP = 15
"""Offers of one GPU that are shown unless all are asked for: a screen of them."""
_GIB = 1024
_SAID = {"ok": "had", "refused": "refused", "failed": "failed"}


class Asked(NamedTuple):
    """What ``byoc gpus`` was asked. Empty tuples and texts, and 0, mean any."""

    gpus: tuple[GpuRequest, ...]
    number: int
    clouds: tuple[str, ...]
    regions: tuple[str, ...]
    market: str
    sort: str
    every: bool


class Listing(NamedTuple):
    """One GPU with its deals, cheapest first."""

    gpu: Gpu
    number: int
    deals: list[Deal]


Last = dict[tuple[str, str, str, str], Attempt]
"""By cloud, region, type and market: what came of the latest try there."""


def show(console: Console, asked: Asked) -> int:
    """Tell; 1 when nothing that is sold fits."""
    order = _order(asked.sort)
    clouds = tuple(one for one in asked.clouds or providers.names() if one != LOCAL)
    names.check(asked.gpus, asked.regions, clouds)
    offers = [one for cloud in clouds for one in catalog.offers(cloud) if _wanted(one, asked)]
    found = [one for one in _listings(offers, asked) if one.deals]
    found.sort(key=order)
    code = 0 if found else failure.NO
    last = _last()
    if console.as_json:
        console.json_object("gpus", code, {"gpus": [_data(one, asked, last) for one in found]})
        return code
    if not found:
        console.say("nothing of this is sold, as far as the catalogue knows")
    elif asked.gpus:
        for one in found:
            _one(console, one, None if asked.every else TOP, last)
    else:
        _overview(console, found)
    return code


def _order(sort: str) -> Callable[[Listing], Any]:
    """The order of GPUs. Raises InvalidError for one that there is not."""
    orders: dict[str, Callable[[Listing], Any]] = {
        "": lambda one: 0,  # as asked for, else as the catalogue lists them
        "price": lambda one: min((d.per_gpu for d in one.deals if d.per_gpu), default=1e9),
        "name": lambda one: one.gpu.name,
        "memory": lambda one: -one.gpu.memory,
    }
    if sort not in orders:
        raise InvalidError(
            f"invalid value for '--sort': there is no order {sort!r}",
            hints=(f"choose from {', '.join(filter(None, orders))}",),
        )
    return orders[sort]


def _wanted(offer: Offer, asked: Asked) -> bool:
    place = not asked.regions or offer.region in asked.regions
    return bool(offer.gpu) and place and asked.market in ("", offer.market)


def _listings(offers: Sequence[Offer], asked: Asked) -> list[Listing]:
    if not asked.gpus:
        number = asked.number or 1
        return [Listing(one, number, deals(offers, one.name, number)) for one in known()]
    return [
        Listing(one, number, deals(offers, one.name, number))
        for request in asked.gpus
        for one in known()
        if is_gpu(request, one.name)
        for number in (asked.number or request.count,)
    ]


# --- what is known ------------------------------------------------------------------------------


def _last() -> Last:
    """What this installation last met of each kind of offer; nothing where it has met none."""
    home = context.merged().home
    if not home.is_dir():
        return {}
    journal = Journal.open(home, SYSTEM)
    try:
        attempts = journal.past_attempts(SYSTEM.wall() - WINDOW, MOST)
    finally:
        journal.close()
    found: Last = {}
    for one in sorted(attempts, key=lambda attempt: attempt.at):
        parts = one.offer.split("/")
        if len(parts) == 5 and one.outcome in _SAID:
            found[parts[0], parts[1], parts[3], parts[4]] = one
    return found


def _met(offer: Offer, last: Last) -> Attempt | None:
    return last.get((offer.cloud, offer.region, offer.type, offer.market))


def _words(attempt: Attempt | None) -> str:
    """``had 3 min ago``, ``refused 2 h ago (InsufficientInstanceCapacity)``."""
    if attempt is None:
        return ""
    why = f" ({attempt.code or attempt.error})" if attempt.outcome != "ok" else ""
    return f"{_SAID[attempt.outcome]} {records.span(SYSTEM.wall() - attempt.at)} ago{why}"


# --- for people ---------------------------------------------------------------------------------


def _overview(console: Console, found: Sequence[Listing]) -> None:
    """A line for each GPU: the best of each market."""
    console.data(f"dollars an hour for each GPU, {found[0].number} in a host")
    rows: list[tuple[str, ...]] = []
    for one in found:
        cells: list[str] = []
        for market in ("on-demand", "spot"):
            deal = next((deal for deal in one.deals if deal.offer.market == market), None)
            cells += _cell(deal, pages.width() >= WIDE)
        rows.append(
            (f"  {one.gpu.name}", f"{one.gpu.memory // _GIB} GiB", *cells, _dollars(one.gpu.modal))
        )
    console.table(("  GPU", "MEMORY", "ON DEMAND", "", "SPOT", "", "MODAL"), rows)
    _notes(console, found, [deal for one in found for deal in best(one.deals)])


def _cell(deal: Deal | None, wide: bool) -> tuple[str, str]:
    if deal is None or deal.per_gpu is None:
        return ("-", "")
    size = "" if deal.exact else f" (of {deal.offer.gpu_count})"
    place = f"{deal.offer.cloud} {deal.offer.type}" if wide else deal.offer.cloud
    return (_dollars(deal.per_gpu), f"{place}{size}")


def _one(console: Console, one: Listing, top: int | None, last: Last) -> None:
    """Every offer of one GPU."""
    console.data(f"{one.gpu.name}:{one.number}, {one.gpu.memory // _GIB} GiB each")
    shown = one.deals[:top]
    rows = []
    for deal in shown:
        offer = deal.offer
        rows.append(
            (
                f"  {_dollars(deal.per_gpu)}",
                _dollars(offer.price),
                str(offer.gpu_count),
                offer.market,
                f"{offer.cloud} {offer.region}",
                offer.type,
                "; ".join(filter(None, (_minimum(offer), _words(_met(offer, last))))),
            )
        )
    console.table(("  $/GPU/H", "$/H", "GPUS", "MARKET", "WHERE", "TYPE", ""), rows)
    if len(one.deals) > len(shown):
        console.data(f"  and {len(one.deals) - len(shown)} more (--all shows them)")
    _notes(console, [one], shown)


def _minimum(offer: Offer) -> str:
    """What makes a short run dear."""
    return f"at least {records.span(offer.minimum)} billed" if offer.minimum > 60 else ""


def _notes(console: Console, found: Sequence[Listing], shown: Iterable[Deal]) -> None:
    if any(not deal.exact for deal in shown):
        pages.wrapped(
            console, "(of N): the smallest host there is, its whole price per GPU asked", 2
        )
    modal = sorted({one.gpu.modal_source for one in found if one.gpu.modal})
    if modal:
        each = ", ".join(f"{one.gpu.name} {_dollars(one.gpu.modal)}" for one in found[:1])
        what = f"Modal, {each} a GPU and hour" if len(found) == 1 else "Modal"
        pages.wrapped(console, f"{what}: {'; '.join(modal)}; CPU and memory on top", 2)
    told = ladders.age(ladders.dates(deal.offer for deal in shown), SYSTEM)
    if told:
        pages.wrapped(console, told, 2)


def _dollars(amount: float | None) -> str:
    return "-" if amount is None else f"${amount:.2f}"


# --- for machines -------------------------------------------------------------------------------


def _data(one: Listing, asked: Asked, last: Last) -> dict[str, Any]:
    """A GPU with its offers: the best of each cloud and market, or all when it was named."""
    shown = one.deals if asked.gpus or asked.every else best(one.deals)
    modal = {"per_gpu_hour": one.gpu.modal, "source": one.gpu.modal_source}
    return {
        "gpu": one.gpu.name,
        "count": one.number,
        "memory": one.gpu.memory,
        "capability": one.gpu.capability,
        "modal": modal if one.gpu.modal is not None else None,
        "offers": [_offer(deal, last) for deal in shown],
    }


def _offer(deal: Deal, last: Last) -> dict[str, Any]:
    offer = deal.offer
    said, met = catalog.source(offer), _met(offer, last)
    told: dict[str, Any] = plain(offer)
    return {
        **told,
        "key": offer.key(),
        "exact": deal.exact,
        "per_gpu_hour": deal.per_gpu,
        "price_date": said.date if said else None,
        "price_source": said.text if said else None,
        "last": {"outcome": _SAID[met.outcome], "at": met.at, "code": met.code} if met else None,
    }
