"""The plan document: what may be run, where and at what price, for somebody to read and approve.

Its ``id`` is a digest of all the rest, so a document that was changed after it was made is known.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .._version import __version__
from ..clock import Clock
from ..errors import BudgetError, InvalidError, PlacementError
from ..resources import Rung
from .console import SCHEMA_VERSION, plain
from .ladders import Ask, Asking, dates, price

if TYPE_CHECKING:
    from ..images.mounts import FileEntry

KIND = "byoc-plan"
MOST_BYTES = 16 * 1024 * 1024
"""Largest document that is read: thousands of times what one holds."""
_AGAIN = ("make a new plan with byoc plan",)
_FIELDS = (
    "schema_version", "kind", "created", "expires", "byoc", "line", "folder", "program",
    "functions", "price_ceiling", "prices", "hedge",
)  # fmt: skip
_SHOWN = 5
"""Offers that an error about prices lists."""

T = TypeVar("T")


class Offered(NamedTuple):
    """One approved offer: its key, the price that was seen, and what people want to know of it."""

    offer: str
    price: float
    gpus: str
    reason: str


class Part(NamedTuple):
    """One function: its request, as data, and its approved offers in the order to try. ``nodes``:
    so many instances of one of them side by side."""

    name: str
    resources: str
    request: Mapping[str, Any]
    offers: tuple[Offered, ...]
    price_ceiling: float
    nodes: int = 1


class Plan(NamedTuple):
    """A plan. Times are seconds since the epoch here and ISO 8601 in the document.

    ``line``: the words after ``byoc`` that it stands for. ``folder``: where they were typed.
    ``digest``: of the program's ``files``. ``prices``: how old the catalogue's are. ``hedge``: so
    many offers are asked at once for the first instance, which costs up to ``extra`` dollars more;
    the document has them where it is more than one.
    """

    created: float
    expires: float
    byoc: str
    line: tuple[str, ...]
    folder: str
    files: int
    digest: str
    functions: tuple[Part, ...]
    price_ceiling: float
    prices: Mapping[str, Any]
    hedge: int = 1
    extra: float = 0.0

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        found = {
            "schema_version": SCHEMA_VERSION,
            "kind": KIND,
            "created": _iso(self.created),
            "expires": _iso(self.expires),
            "byoc": self.byoc,
            "line": list(self.line),
            "folder": self.folder,
            "program": {"files": self.files, "digest": self.digest},
            "functions": plain(self.functions),
            "price_ceiling": self.price_ceiling,
            "prices": plain(self.prices),
        }
        if self.hedge > 1:
            found["hedge"] = {"offers": self.hedge, "extra": self.extra}
        return {"id": identity(found), **found}


class Terms(NamedTuple):
    """``top``: so many rungs of each ladder are approved, for ``valid`` seconds."""

    top: int
    valid: float


def make(
    line: Sequence[str],
    folder: str,
    contents: Sequence[FileEntry],
    found: Sequence[Asking],
    terms: Terms,
    clock: Clock,
) -> Plan:
    """A plan of a command line. Raises PlacementError when no price is known."""
    parts = tuple(_part(one, terms.top) for one in found)
    now = float(round(clock.wall()))
    return Plan(
        created=now,
        expires=now + terms.valid,
        byoc=__version__,
        line=tuple(line),
        folder=folder,
        files=len(contents),
        digest=digest(contents),
        functions=parts,
        price_ceiling=max(part.price_ceiling for part in parts),
        prices=dates(rung.offer for one in found for rung in approved(one, terms.top)),
        **_hedge(found, terms.top),
    )


def _hedge(found: Sequence[Asking], top: int) -> dict[str, Any]:
    """The widest hedge and the dearest one. Raises what forbids it."""
    hedges = [one.hedge for one in found if one.hedge is not None]
    if not hedges:
        return {}
    widest = max(len(one.keys) for one in hedges)
    if widest > top:
        raise InvalidError(
            f"a hedge of {widest} asks for more offers at once than --top {top} approves",
            hints=(f"approve {widest} offers or more: --top {widest}",),
        )
    extras = [one.extra for one in hedges if one.extra is not None]
    if len(extras) < len(hedges):
        raise PlacementError(
            "what the hedge costs is not known, so it cannot be approved",
            hints=("see the prices: byoc run --dry-run", "leave out --hedge"),
        )
    return {"hedge": widest, "extra": round(max(extras), 4)}


def approved(asking: Asking, top: int) -> tuple[Rung, ...]:
    """The rungs that a plan approves: the first ones whose price is known."""
    return tuple(rung for rung in asking.ladder.rungs if rung.offer.price is not None)[:top]


def _part(asking: Asking, top: int) -> Part:
    priced = approved(asking, top)
    if not priced:
        raise PlacementError(
            f"no offer for {asking.name} has a known price, so none can be approved",
            hints=("see them: byoc run --dry-run",),
        )
    offers = []
    for rung in priced:
        offer, dollars = rung.offer, rung.offer.price or 0.0
        gpus = f"{offer.gpu}:{offer.gpu_count}" if offer.gpu_count else ""
        offers.append(Offered(offer.key(), dollars, gpus, rung.reason))
    ceiling = max(one.price for one in offers)
    request = plain(asking.resources)
    told = asking.resources.describe()
    return Part(asking.name, told, request, tuple(offers), ceiling, asking.nodes)


def digest(contents: Sequence[FileEntry]) -> str:
    """Of files, by where they go and what they hold: the same on every computer."""
    whole = hashlib.sha256()
    for entry in sorted(contents, key=lambda one: one.path):
        line = f"{entry.path}\0{entry.mode:o}\0{entry.digest}\n"
        whole.update(line.encode("utf-8", "surrogateescape"))
    return f"sha256:{whole.hexdigest()}"


def identity(document: Mapping[str, Any]) -> str:
    """The id of a document, whatever id it has."""
    rest = {name: document[name] for name in sorted(document) if name in _FIELDS}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return f"plan-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


# --- reading ------------------------------------------------------------------------------------


def parse(data: bytes, name: str) -> tuple[Plan, dict[str, Any]]:
    """A plan and its document. ``name``: of the file, for errors.

    Raises :class:`InvalidError` for what is no plan, or one of another version of byoc's plans.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or far too deep
        raise InvalidError(f"{name} is not JSON, so it is no plan", hints=_AGAIN) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InvalidError(f"{name} is not a plan", hints=_AGAIN)
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InvalidError(
            f"{name} is a plan of version {version!r}, and this byoc reads version "
            f"{SCHEMA_VERSION}",
            hints=_AGAIN,
        )
    try:
        return _plan(document), document
    except _Wrong as error:
        raise InvalidError(f"{name} is not a whole plan: {error}", hints=_AGAIN) from None


class _Wrong(ValueError):
    """What is wrong with a document."""


def _plan(document: Mapping[str, Any]) -> Plan:
    program = _of(document, "program", dict)
    return Plan(
        created=_time(document, "created"),
        expires=_time(document, "expires"),
        byoc=_of(document, "byoc", str),
        line=tuple(_each(document, "line", str)),
        folder=_of(document, "folder", str),
        files=_of(program, "files", int),
        digest=_of(program, "digest", str),
        functions=tuple(map(_function, _each(document, "functions", dict))),
        price_ceiling=_number(document, "price_ceiling"),
        prices=_of(document, "prices", dict),
        **_hedged(document),
    )


def _hedged(document: Mapping[str, Any]) -> dict[str, Any]:
    if "hedge" not in document:
        return {}
    hedge = _of(document, "hedge", dict)
    return {"hedge": _of(hedge, "offers", int), "extra": _number(hedge, "extra")}


def _function(part: Mapping[str, Any]) -> Part:
    offers = tuple(
        Offered(_of(one, "offer", str), _number(one, "price"), _of(one, "gpus", str),
                _of(one, "reason", str))
        for one in _each(part, "offers", dict)
    )  # fmt: skip
    return Part(
        _of(part, "name", str),
        _of(part, "resources", str),
        _of(part, "request", dict),
        offers,
        _number(part, "price_ceiling"),
        int(_number(part, "nodes")) if "nodes" in part else 1,
    )


def _of(holder: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = holder.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _Wrong(f"it has no {name!r}" if value is None else f"its {name!r} is {value!r:.80}")
    return value


def _each(holder: Mapping[str, Any], name: str, kind: type[T]) -> list[T]:
    values: list[Any] = _of(holder, name, list)
    if not values or not all(isinstance(one, kind) for one in values):
        raise _Wrong(f"its {name!r} is {values!r:.80}")
    return values


def _number(holder: Mapping[str, Any], name: str) -> float:
    value = holder.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e9:
        raise _Wrong(f"its {name!r} is {value!r:.80}")
    return float(value)


def _time(holder: Mapping[str, Any], name: str) -> float:
    try:
        when = dt.datetime.fromisoformat(_of(holder, name, str))
    except ValueError:
        raise _Wrong(f"its {name!r} is no time") from None
    if when.tzinfo is None:
        raise _Wrong(f"its {name!r} lacks a time zone")
    return when.timestamp()


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat()


# --- refusing -----------------------------------------------------------------------------------


def check_valid(plan: Plan, document: Mapping[str, Any], clock: Clock) -> None:
    """Refuse a plan that has expired, or that was changed after it was made."""
    late = clock.wall() - plan.expires
    if late > 0:
        ago = f"{late:.0f} s" if late < 120 else f"{late / 60:.0f} min"
        raise InvalidError(f"the plan expired {ago} ago", hints=_AGAIN)
    if document.get("id") != identity(document):
        raise InvalidError("the plan was changed after it was made", hints=_AGAIN)


def check_program(plan: Plan, contents: Sequence[FileEntry]) -> None:
    """Refuse a program that is not the one that was planned."""
    if digest(contents) != plan.digest:
        count = f": it has {len(contents)} files, and had {plan.files}"
        raise InvalidError(
            "the program has changed since the plan was made"
            + (count if len(contents) != plan.files else ""),
            hints=_AGAIN,
        )


def check_requests(plan: Plan, asks: Sequence[Ask]) -> None:
    """Refuse when functions ask for something else than was planned."""
    asked = {one.name: (plain(one.resources), one.nodes) for one in asks}
    planned = {part.name: (part.request, part.nodes) for part in plan.functions}
    for name in sorted(asked.keys() | planned.keys()):
        if asked.get(name) != planned.get(name):
            raise InvalidError(
                f"{name} asks for something else than when the plan was made",
                hints=("the settings, the environment or the program changed", *_AGAIN),
            )


def check_prices(plan: Plan, found: Sequence[Asking]) -> None:
    """Refuse when an approved offer costs more today than the plan allows. Raises BudgetError."""
    dearer = []
    for part, asking in zip(plan.functions, found, strict=True):
        approved = {one.offer: one.price for one in part.offers}
        for rung in (*asking.ladder.rungs, *asking.ladder.refused):
            offer = rung.offer
            before = approved.get(offer.key())
            if before is not None and offer.price is not None and offer.price > part.price_ceiling:
                dearer.append(f"{offer.key()} was {price(before)} and is {price(offer.price)}")
    if dearer:
        more = f" and {len(dearer) - _SHOWN} more" if len(dearer) > _SHOWN else ""
        raise BudgetError(
            f"prices are above the approved ${plan.price_ceiling:g} an hour: "
            f"{'; '.join(dearer[:_SHOWN])}{more}",
            hints=_AGAIN,
        )
