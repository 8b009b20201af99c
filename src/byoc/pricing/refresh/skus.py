"""Quotes out of Google's list: SKUs of the Cloud Billing Catalog.

A SKU prices a part: a core, a GiB of memory, a GPU, a GiB of local SSD, in some regions. A machine
type's price is the sum of its parts. Where a type exists is not told: a SKU's regions are more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ...resources import Offer
from ..tariff import MONTH
from .quotes import ON_DEMAND, SPOT, Collector, Doubt, Key, Quote, number

SERVICE = "services/6F81-5844-456A"
"""Compute Engine."""
_GIB = 1024
_SHAPE = (KeyError, TypeError, ValueError, AttributeError, IndexError)

REJECT = re.compile(
    r"commitment|\bDWS\b|defined duration|calendar mode|reserv|sole tenancy|\bcustom\b|premium"
    r"|suspended|\bvWS\b|virtual workstation|capacity planning|overcommit",
    re.IGNORECASE,
)
"""Prices that no plain instance has. Those of DWS are half, and marked as on demand."""
_SPOT_TEXT = re.compile(r"\b(spot|preemptible)\b", re.IGNORECASE)
_TAIL = re.compile(r" (running )?in .*$")
_MARKET_WORDS = re.compile(
    r"^spot preemptible |^preemptible | attached to (spot )?preemptible vms?", re.IGNORECASE
)

PARTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), part)
    for pattern, part in (
        (r"(\w+)( Predefined| Arm)? Instance Core", r"core \1"),
        (r"(\w+)( Predefined| Arm)? Instance Ram", r"ram \1"),
        (r"Compute optimized( Instance)? Core", "core C2"),
        (r"Compute optimized( Instance)? Ram", "ram C2"),
        (r"Memory-optimized( Instance)? Core", "core M1"),
        (r"Memory-optimized( Instance)? Ram", "ram M1"),
        (r"Nvidia Tesla (T4|P4|P100|V100) GPU", r"gpu \1"),
        (r"Nvidia Tesla A100 80GB GPU", "gpu A100-80GB"),
        (r"Nvidia Tesla A100 GPU", "gpu A100-40GB"),
        (r"Nvidia L4 GPU", "gpu L4"),
        (r"Nvidia H100 (80GB )?(Mega|Plus)( 80GB)? GPU", "gpu H100-MEGA"),
        (r"Nvidia H100 80GB GPU", "gpu H100"),
        (r"Nvidia H200( 141GB)? GPU", "gpu H200"),
        (r"(G4 )?(Nvidia )?RTX (PRO )?6000 96GB( GPU)?", "gpu RTX-PRO-6000"),
        (r"A4 Nvidia B200 \(1 gpu slice\)", "gpu A4-SLICE"),
        (r"SSD backed Local Storage", "ssd"),
    )
)
"""The whole of a SKU's description, without its market and its place, and the part it prices. The
first that fits counts."""


class Make(NamedTuple):
    """What types of one kind are made of. ``family``: of cores and memory; empty where the GPUs'
    price is the whole machine's. ``gpu``: the part that each of its GPUs is, empty for the one that
    is called like the GPU. ``ssd``: GiB of local SSD for each GPU. ``cores``: billed ones, where
    they are not all."""

    family: str
    gpu: str = ""
    ssd: int = 0
    cores: float = 0.0


MAKES: tuple[tuple[str, Make], ...] = (
    ("a2-ultragpu-", Make("A2", ssd=375)),
    ("a2-", Make("A2")),
    ("a3-highgpu-", Make("A3", ssd=750)),
    ("a3-megagpu-", Make("A3Plus", "gpu H100-MEGA", ssd=750)),
    ("a3-ultragpu-", Make("A3Ultra", ssd=1500)),
    ("a4-highgpu-", Make("", "gpu A4-SLICE")),
    ("c2-", Make("C2")),
    ("c3-", Make("C3")),
    ("c4a-", Make("C4A")),
    ("e2-medium", Make("E2", cores=1.0)),
    ("e2-standard-", Make("E2")),
    ("g2-", Make("G2")),
    ("g4-", Make("G4")),
    ("m1-", Make("M1")),
    ("n1-", Make("N1")),
    ("n2-", Make("N2")),
)
"""By the beginning of a type's name, the first that fits. Bundled SSD and the shared cores of E2 as
in Google's pages on machine families; a type without a row is not priced anew."""


class Skus:
    """Takes SKUs one by one, and then prices types. ``source``: what the list is called."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._parts = Collector()
        self._new: set[str] = set()
        self.unread = 0

    @property
    def new(self) -> tuple[str, ...]:
        """GPUs that are priced and that the table lacks."""
        return tuple(sorted(self._new))

    def sku(self, told: Mapping[str, Any]) -> None:
        """One SKU of a page."""
        try:
            text, about = str(told["description"]), told["category"]
            usage = about["usageType"]
            if REJECT.search(text) or usage not in ("OnDemand", "Preemptible"):
                return
            market = SPOT if usage == "Preemptible" or _SPOT_TEXT.search(text) else ON_DEMAND
            part = self._part(text)
            if not part:
                return
            dollars = _price(told["pricingInfo"][-1]["pricingExpression"])
            for region in told["serviceRegions"]:
                self._parts.add((str(region), part, market), dollars, self._source)
        except _SHAPE:
            self.unread += 1

    def _part(self, text: str) -> str:
        bare = _MARKET_WORDS.sub("", _TAIL.sub("", text)).strip()
        for pattern, part in PARTS:
            match = pattern.fullmatch(bare)
            if match:
                return match.expand(part).upper()
        if re.search(r"\bnvidia\b.*\b(gpu|slice)\b", bare, re.IGNORECASE):
            self._new.add(bare)
        return ""

    def doubts(self) -> tuple[Doubt, ...]:
        """Parts whose price cannot be."""
        return self._parts.told()

    def quotes(self, types: Mapping[str, Offer], places: Iterable[Key]) -> dict[Key, Quote]:
        """A quote for each of these places whose parts all have prices. ``types``: hardware."""
        parts = {key: quote.dollars for key, quote in self._parts.quotes().items()}
        found: dict[Key, Quote] = {}
        for key in places:
            region, kind, market = key
            make = next((one for start, one in MAKES if kind.startswith(start)), None)
            if make is None:
                continue
            needed = _needed(types[kind], make)
            prices = [(parts.get((region, part, market)), number) for part, number in needed]
            if all(price is not None for price, _ in prices):
                total = sum((price or 0.0) * number for price, number in prices)
                found[key] = Quote(total, self._source)
        return found


def _needed(kind: Offer, make: Make) -> list[tuple[str, float]]:
    """The parts of a type and how many of each."""
    found: list[tuple[str, float]] = []
    if make.family:
        family = make.family.upper()
        found.append((f"CORE {family}", make.cores or kind.vcpus))
        found.append((f"RAM {family}", kind.memory / _GIB))
    if kind.gpu:
        found.append(((make.gpu or f"gpu {kind.gpu}").upper(), float(kind.gpu_count)))
    if make.ssd:
        found.append(("SSD", make.ssd * kind.gpu_count / MONTH))
    return found


def _price(expression: Mapping[str, Any]) -> float:
    """Dollars for a unit in the first tier that is not free; 0 where all are. Raises ValueError for
    another currency."""
    paid = 0.0
    for tier in expression["tieredRates"]:
        price = tier["unitPrice"]
        if price.get("currencyCode", "USD") != "USD":
            raise ValueError("not in dollars")
        paid = number(price.get("units") or 0) + number(price.get("nanos") or 0) / 1e9
        if paid:
            break
    return paid
