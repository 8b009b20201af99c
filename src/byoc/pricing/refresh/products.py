"""Quotes out of Oracle's public list of products: one price for all commercial regions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ...resources import Offer
from .quotes import ON_DEMAND, SPOT, Collector, Doubt, Key, Quote, number

PREEMPTIBLE = 0.5
"""Of the on-demand price: what a preemptible instance costs, of shapes that can be one (Oracle,
preemptible instances)."""
_SHAPE = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_FLEX = re.compile(r"(?P<shape>.+\.Flex):(?P<cores>\d+)o-(?P<memory>\d+)g")


class Bill(NamedTuple):
    """What a shape is billed by. ``gpu``: the part for each GPU; ``core`` and ``memory``: those for
    each OCPU and GB of a flexible one; texts that begin with ``name:`` are looked up by what the
    product is called, as a regular expression."""

    gpu: str = ""
    core: str = ""
    memory: str = ""


BILLS: tuple[tuple[str, Bill], ...] = (
    ("VM.GPU2.", Bill("B88518")),
    ("BM.GPU2.", Bill("B88517")),
    ("VM.GPU3.", Bill("B89734")),
    ("BM.GPU3.", Bill("B89734")),
    ("VM.GPU.A10.", Bill("B95909")),
    ("BM.GPU.A10.", Bill("B95909")),
    ("BM.GPU4.", Bill("B92740")),
    ("BM.GPU.A100-v2.", Bill("B95907")),
    ("BM.GPU.L40S.", Bill("B109479")),
    ("BM.GPU.H100.", Bill("B98415")),
    ("BM.GPU.H200.", Bill("B110519")),
    ("BM.GPU.B200.", Bill("B110978")),
    ("BM.GPU.GB200.", Bill("B110979")),
    ("BM.GPU.B300.", Bill(r"name:\bGPU\b.*(?<!G)\bB300\b")),
    ("BM.GPU.GB300.", Bill(r"name:\bGPU\b.*\bGB300\b")),
    ("BM.GPU.RTXPRO.", Bill(r"name:\bGPU\b.*\bRTX[ -]?PRO\b")),
    ("VM.Standard.E4.Flex", Bill("", "B93113", "B93114")),
    ("VM.Standard.E5.Flex", Bill("", "B97384", "B97385")),
    ("VM.Standard.E6.Flex", Bill("", "B111129", "B111130")),
    ("VM.Standard.A1.Flex", Bill("", "B93297", "B93298")),
    ("VM.Standard.A2.Flex", Bill("", "B109529", "B109530")),
)
"""By the beginning of a shape's name."""


class Products:
    """Takes products one by one, and then prices shapes. ``source``: what the list is called."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._parts = Collector()
        self._names: dict[str, str] = {}
        self.unread = 0

    def product(self, item: Mapping[str, Any]) -> None:
        """One item of the list."""
        try:
            part, name = str(item["partNumber"]), str(item["displayName"])
            if "hour" not in str(item.get("metricName", "hour")).lower():
                return
            price = _price(item["currencyCodeLocalizations"])
            self._names[part] = name
            self._parts.add(("", part, ON_DEMAND), price, f"{self._source}, {part}")
        except _SHAPE:
            self.unread += 1

    @property
    def new(self) -> tuple[str, ...]:
        """GPUs that are priced and that no shape of the table is billed by."""
        used = {part for _, bill in BILLS for part in self._found(bill.gpu)}
        return tuple(
            sorted(
                f"{name} ({part})"
                for part, name in self._names.items()
                if re.search(r"\bGPU\b", name) and part not in used
            )
        )

    def doubts(self) -> tuple[Doubt, ...]:
        """Prices of parts of the table that cannot be."""
        used = {part for _, bill in BILLS for one in bill for part in self._found(one)}
        return tuple(one for one in self._parts.told() if one.type in used)

    def quotes(self, types: Mapping[str, Offer], places: Iterable[Key]) -> dict[Key, Quote]:
        """A quote for each of these places whose parts have prices; spot prices for shapes that
        can be preempted, as the places tell. ``types``: hardware."""
        parts = self._parts.quotes()
        priced = {name: self._quote(kind, parts) for name, kind in types.items()}
        found: dict[Key, Quote] = {}
        for key in places:
            quote = priced.get(key[1])
            if quote is not None:
                share = PREEMPTIBLE if key[2] == SPOT else 1.0
                found[key] = Quote(quote.dollars * share, quote.source)
        return found

    def _quote(self, kind: Offer, parts: Mapping[Key, Quote]) -> Quote | None:
        bill = next((bill for start, bill in BILLS if kind.type.startswith(start)), None)
        if bill is None:
            return None
        flex = _FLEX.fullmatch(kind.type)
        needed = [(bill.gpu, float(kind.gpu_count))]
        if flex:
            needed = [(bill.core, float(flex["cores"])), (bill.memory, float(flex["memory"]))]
        total, names = 0.0, []
        for wanted, count in needed:
            numbers = self._found(wanted)
            price = parts.get(("", numbers[0], ON_DEMAND)) if len(numbers) == 1 else None
            if price is None or not count:
                return None
            total += price.dollars * count
            names.append(numbers[0])
        return Quote(total, f"{self._source}, {'/'.join(names)}")

    def _found(self, wanted: str) -> list[str]:
        """The part that is meant; none or several where a name tells no single one."""
        if not wanted.startswith("name:"):
            return [wanted] if wanted else []
        pattern = re.compile(wanted.removeprefix("name:"), re.IGNORECASE)
        return [part for part, name in self._names.items() if pattern.search(name)]


def _price(localizations: Iterable[Mapping[str, Any]]) -> float:
    """Dollars of the highest tier; the first may be free. Raises ValueError without dollars."""
    for one in localizations:
        if one["currencyCode"] == "USD":
            tiers = [tier for tier in one["prices"] if tier.get("model", _PAYG) == _PAYG]
            return number(max(tiers, key=lambda tier: number(tier.get("rangeMin") or 0))["value"])
    raise ValueError("not in dollars")


_PAYG = "PAY_AS_YOU_GO"
