"""Make the packaged catalogue of prices from a folder of researched CSV files.

    python tools/make_catalog.py FOLDER [TARGET]

FOLDER holds ``offers.csv`` (a row for each cloud, region and type, with both markets' prices, a
date and where they are from) and ``gpus.csv``. TARGET defaults to the package's own data folder,
where ``gpus.tsv`` and a ``<cloud>.tsv`` for each cloud are written. The same input makes the same
bytes. Nothing is written when a row is wrong: each wrong row is printed, and the status is 1.

Left out: fractions of a GPU, which an offer cannot hold.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

if __package__ in (None, ""):  # run as a file, as the docstring says
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from byoc.pricing.catalog import FORMAT, NOT_SOLD, UNKNOWN

TARGET = Path(__file__).resolve().parent.parent / "src" / "byoc" / "pricing" / "data"
MIB = 1024

MOST_DOLLARS = 400.0
"""No instance of the three clouds costs as much an hour (the dearest, 8 B300, costs 142)."""
SPOT_SLACK = 1.0005
"""A spot price may exceed the on-demand price by its rounding only."""
GPU_COUNTS = frozenset({0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0})
ARCHES = ("arm64", "x86_64")
NO_PRICE = "sold, but no price was found"
"""The source of a price that is not known."""

MINIMUM: Mapping[str, Callable[[str], int]] = {
    "aws": lambda _: 60,
    "gcp": lambda _: 60,
    "oci": lambda name: 3600 if name.startswith("BM.") else 60,
}
"""Seconds billed at least, by cloud and type. AWS "Amazon EC2 per-second billing" (2017-10), Google
"VM instance pricing", and Oracle's announcement of billing by the second, bare metal by the hour.
"""
SPOT_WITHOUT_PRICE: Mapping[str, Callable[[str], bool]] = {
    "aws": lambda _: True,
    "gcp": lambda _: True,
    "oci": lambda _: False,
}
"""Is a type sold as spot although no price was found? AWS and Google sell each type here that way;
Oracle's preemptible shapes all have a price, half the usual one, and the others are not sold so."""


class Row(NamedTuple):
    """One line of ``offers.csv``, checked. Memory in MiB; prices in dollars an hour, or None."""

    cloud: str
    region: str
    type: str
    gpu: str
    gpu_count: float
    gpu_memory: int
    vcpus: int
    memory: int
    arch: str
    on_demand: str
    spot: str
    as_of: str
    source: str

    def hardware(self) -> tuple[str, ...]:
        """The type's line in the packaged file."""
        threads = 2 if self.arch == "x86_64" else 1  # threads of one core; Arm cores have one
        fields = (
            self.gpu,
            f"{self.gpu_count:g}",
            self.gpu_memory,
            self.vcpus,
            f"{self.vcpus / threads:g}",
            self.memory,
            self.arch,
            MINIMUM[self.cloud](self.type),
        )
        return (self.type, *(str(field) for field in fields))


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as mappings."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def row(raw: Mapping[str, str]) -> Row:
    """One CSV row with its numbers read. Raises ValueError or KeyError when one is not a number."""
    return Row(
        raw["cloud"],
        raw["region"],
        raw["instance_type"],
        raw["gpu"],
        float(raw["gpu_count"] or 0),
        round(float(raw["gpu_mem_gib"] or 0) * MIB),
        int(raw["vcpus"]),
        round(float(raw["memory_gib"]) * MIB),
        raw["arch"],
        raw["on_demand_usd_h"],
        raw["spot_usd_h"],
        raw["as_of"],
        raw["source"],
    )


def faults(rows: Iterable[Row], gpus: Mapping[str, Mapping[str, str]]) -> list[str]:
    """What is wrong with the rows, a sentence each; none when they may be packaged."""
    found = []
    seen: set[tuple[str, str, str]] = set()
    hardware: dict[tuple[str, str], tuple[str, ...]] = {}
    for one in rows:
        where = f"{one.cloud}/{one.region}/{one.type}"
        if (one.cloud, one.region, one.type) in seen:
            found.append(f"{where}: is there twice")
        seen.add((one.cloud, one.region, one.type))
        if hardware.setdefault((one.cloud, one.type), one.hardware()) != one.hardware():
            found.append(f"{where}: differs from the same type in another region")
        found += [f"{where}: {fault}" for fault in (*price_faults(one), *part_faults(one, gpus))]
    return found


def price_faults(one: Row) -> Iterable[str]:
    """Prices that cannot be, or that nobody can trace."""
    prices = {name: float(text) for name, text in _prices(one) if text}
    if not prices:
        yield "has no price"
    for name, price in prices.items():
        if not 0 < price < MOST_DOLLARS:
            yield f"{name} price {price} is out of range"
    if len(prices) == 2 and prices["spot"] > prices["on-demand"] * SPOT_SLACK:
        yield f"spot price {prices['spot']} is above the on-demand price {prices['on-demand']}"
    if not re.fullmatch(r"20\d\d-\d\d(-\d\d)?", one.as_of) or not one.source:
        yield "has no date or no source"


def _prices(one: Row) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("on-demand", one.on_demand), ("spot", one.spot)


def part_faults(one: Row, gpus: Mapping[str, Mapping[str, str]]) -> Iterable[str]:
    """Hardware that cannot be."""
    if one.cloud not in MINIMUM:
        yield "is of a cloud whose billing is not known here"
    if one.vcpus <= 0 or one.memory <= 0 or one.arch not in ARCHES:
        yield "has no processors, no memory or an unknown architecture"
    if not one.gpu:
        if one.gpu_count:
            yield "has a number of GPUs but no GPU"
        return
    if one.gpu not in gpus:
        yield f"has an unknown GPU, {one.gpu}"
        return
    if one.gpu_count not in GPU_COUNTS:
        yield f"has {one.gpu_count:g} GPUs"
    nominal = float(gpus[one.gpu]["memory_gib"]) * MIB * min(one.gpu_count, 1)
    if abs(one.gpu_memory - nominal) > 0.51 * MIB:
        yield f"has GPUs of {one.gpu_memory} MiB, not {nominal:g}"


def origin(one: Row, market: str) -> tuple[str, str]:
    """The date and the source of one market's price.

    A row's source is clauses parted by ``;``. ``od:`` and ``spot:`` begin clauses of one market;
    the row's date is the on-demand price's, so that a spot clause with a date of its own wins.
    """
    other = "od:" if market == "spot" else "spot:"
    kept = [part for part in one.source.split(";") if not part.strip().startswith(other)]
    date = one.as_of
    if market == "spot" and one.on_demand:
        own = next((part for part in kept if part.startswith("spot:")), "")
        dated = re.search(r"\(~?(20\d\d-\d\d(?:-\d\d)?)\)", own)
        date = dated.group(1) if dated else date
    return date, "; ".join(part.strip() for part in kept)


def packed(rows: list[Row]) -> str:
    """The packaged file of one cloud: its sources, its types and its prices, each by tabs.

    Regions with the same prices of a type from the same source share a line.
    """
    rows = sorted(one for one in rows if one.gpu_count >= 1 or not one.gpu)
    sources: dict[tuple[str, str], int] = {}
    lines: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for one in rows:
        cells = [one.type]
        for market, price in _prices(one):
            cells += _cell(one, market, price, sources)
        lines[tuple(cells)].append(one.region)
    body = [FORMAT, "[sources]"]
    body += ["\t".join(source) for source in sources]
    body += ["[types]", *sorted({"\t".join(one.hardware()) for one in rows})]
    body += ["[prices]"]
    body += ["\t".join((*cells, " ".join(regions))) for cells, regions in sorted(lines.items())]
    return "\n".join(body) + "\n"


def _cell(
    one: Row, market: str, price: str, sources: dict[tuple[str, str], int]
) -> tuple[str, str]:
    """A price and the index of its source, as the packaged file writes them."""
    if not price and not (market == "spot" and SPOT_WITHOUT_PRICE[one.cloud](one.type)):
        return NOT_SOLD, ""
    source = origin(one, market) if price else (one.as_of, NO_PRICE)
    return price or UNKNOWN, str(sources.setdefault(source, len(sources)))


def packed_gpus(rows: Iterable[Mapping[str, str]]) -> str:
    """The packaged table of GPUs: name, MiB, compute capability, Modal's $/h and its source.

    Modal's price is the dated one where there is one, since the undated ones disagree.
    """
    body = [FORMAT]
    for raw in rows:
        price, source = raw["modal_usd_h_external_2026_05"], "techbytes.app, checked 2026-05-07"
        if not price:
            price, source = raw["modal_usd_h_seed000"], "Modal's price list, undated"
        memory = round(float(raw["memory_gib"]) * MIB)
        cells = (raw["gpu"], str(memory), raw["compute_capability"], price, source if price else "")
        body.append("\t".join(cells))
    return "\n".join(body) + "\n"


def make(folder: Path, target: Path) -> list[str]:
    """Write the packaged files to ``target``; or, when rows are wrong, nothing: then what is."""
    raw_gpus = read(folder / "gpus.csv")
    rows = [row(raw) for raw in read(folder / "offers.csv")]
    found = faults(rows, {raw["gpu"]: raw for raw in raw_gpus})
    if found:
        return found
    target.mkdir(parents=True, exist_ok=True)
    (target / "gpus.tsv").write_text(packed_gpus(raw_gpus), encoding="utf-8", newline="\n")
    for cloud in sorted({one.cloud for one in rows}):
        text = packed([one for one in rows if one.cloud == cloud])
        (target / f"{cloud}.tsv").write_text(text, encoding="utf-8", newline="\n")
    return []


def main(arguments: list[str]) -> int:
    """The command line; see the module's text."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    found = make(Path(arguments[0]), Path(arguments[1]) if len(arguments) > 1 else TARGET)
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
