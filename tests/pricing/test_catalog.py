"""The packaged catalogue: its prices, its hardware, and how fast it is read."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from byoc.errors import StateError
from byoc.pricing import catalog, gpus
from byoc.resources import MARKETS, Offer
from tests.helpers import ROOT

CLOUDS = ("aws", "gcp", "oci")
DATA = ROOT / "src" / "byoc" / "pricing" / "data"
LARGEST = 150 * 1024
"""Bytes that the packaged data may have in all."""
GOLDEN = list(
    csv.DictReader((Path(__file__).parent / "golden.csv").read_text().splitlines(), strict=True)
)
"""The cheapest host for each GPU, number, cloud and market, worked out from the research itself."""


def everything() -> list[Offer]:
    return [offer for cloud in CLOUDS for offer in catalog.offers(cloud)]


def cheapest(gpu: str, count: int, cloud: str, market: str) -> Offer | None:
    """As the table was made: the least price of those with exactly so many, else of larger ones."""
    held = [
        offer
        for offer in catalog.offers(cloud)
        if offer.gpu == gpu and offer.market == market and offer.price is not None
    ]
    exact = [offer for offer in held if offer.gpu_count == count]
    larger = [offer for offer in held if offer.gpu_count > count]
    return min(exact or larger, key=lambda offer: offer.price or 0.0, default=None)


@pytest.mark.parametrize("row", GOLDEN, ids=lambda r: ":".join(list(r.values())[:4]))
def test_the_cheapest_offer_is_the_researched_one(row: dict[str, str]) -> None:
    """Every row of the golden table is what a query of the catalogue gives."""
    market = row["market"].replace("_", "-")
    best = cheapest(row["gpu"], int(row["count"]), row["cloud"], market)
    assert best is not None and best.price == pytest.approx(float(row["usd_h"]), abs=1e-4)
    named = catalog.find(row["cloud"], row["region"], row["instance_type"], market)
    assert named is not None and named.price == pytest.approx(best.price)
    assert (best.gpu_count == int(row["count"])) is (row["match"] == "exact")


def test_nothing_is_sold_that_the_golden_table_lacks() -> None:
    """A GPU, number, cloud and market without a golden row has no priced offer either."""
    told = {(r["gpu"], r["count"], r["cloud"], r["market"].replace("_", "-")) for r in GOLDEN}
    for gpu in gpus.known():
        for count in ("1", "2", "4", "8"):
            for cloud in CLOUDS:
                for market in MARKETS:
                    found = cheapest(gpu.name, int(count), cloud, market)
                    assert (found is not None) is ((gpu.name, count, cloud, market) in told)


def test_every_offer_is_possible() -> None:
    """Prices are positive or unknown; hardware is whole and known; a zone is never named."""
    names = {gpu.name: gpu for gpu in gpus.known()}
    for offer in everything():
        assert offer.price is None or 0 < offer.price < 400
        assert offer.zone == "" and offer.disk == 0 and offer.market in MARKETS
        assert offer.cpus in (offer.vcpus, offer.vcpus / 2) and offer.memory > 0
        assert offer.arch in ("x86_64", "arm64")
        assert offer.minimum in (60.0, 3600.0)
        if offer.gpu:
            assert offer.gpu_count >= 1 and offer.gpu_memory == names[offer.gpu].memory
        else:
            assert offer.gpu_count == 0 and offer.gpu_memory == 0


def test_keys_are_unique() -> None:
    """No two offers have the same cloud, region, type and market."""
    keys = [offer.key() for offer in everything()]
    assert len(keys) == len(set(keys))


def test_spot_costs_no_more_than_on_demand() -> None:
    """Where both are known, spot is the cheaper one or, at its cap, the same."""
    for offer in everything():
        other = catalog.find(offer.cloud, offer.region, offer.type, "on-demand")
        if offer.market == "spot" and offer.price and other and other.price:
            assert offer.price <= other.price * 1.0005, offer.key()


def test_every_price_has_a_date_and_a_source() -> None:
    """A spot price has the date of the spot price, not of the on-demand one beside it."""
    for offer in everything():
        said = catalog.source(offer)
        assert said is not None and re.fullmatch(r"20\d\d-\d\d(-\d\d)?", said.date) and said.text
    both = [catalog.find("aws", "us-east-1", "g5.xlarge", market) for market in MARKETS]
    told = [catalog.source(offer) for offer in both if offer]
    assert [one.date for one in told if one] == ["2026-07-20", "2026-02"]
    assert told[0] and "spot" not in told[0].text
    assert told[1] and "karpenter" not in told[1].text


@pytest.mark.parametrize(
    ("cloud", "type", "market"),
    [
        ("gcp", "a3-highgpu-1g", "on-demand"),
        ("gcp", "a3-ultragpu-8g", "on-demand"),
        ("gcp", "a4-highgpu-8g", "on-demand"),
        ("aws", "p5e.48xlarge", "on-demand"),
        ("oci", "BM.GPU.H100.8", "spot"),
        ("oci", "VM.GPU.A10.1", "spot"),
        ("aws", "g6f.xlarge", "on-demand"),
    ],
)
def test_what_cannot_be_launched_is_not_offered(cloud: str, type: str, market: str) -> None:
    """Reservation-only types, shapes without preemptible capacity, and fractions of a GPU."""
    assert not [o for o in catalog.offers(cloud) if (o.type, o.market) == (type, market)]


def test_a_spot_offer_without_a_known_price_is_still_offered() -> None:
    """Sold, price not known: the price is None and the source says so."""
    offer = catalog.find("aws", "us-east-1", "g4dn.2xlarge", "spot")
    assert offer is not None and offer.price is None
    said = catalog.source(offer)
    assert said is not None and "no price" in said.text


@pytest.mark.parametrize(
    ("cloud", "type", "vcpus", "cpus", "memory", "minimum"),
    [
        ("aws", "g5.xlarge", 4, 2, 16384, 60),
        ("aws", "m7g.xlarge", 4, 4, 16384, 60),
        ("gcp", "n1-standard-4+nvidia-tesla-t4x1", 4, 2, 15360, 60),
        ("oci", "VM.Standard.E4.Flex:2o-16g", 4, 2, 16384, 60),
        ("oci", "VM.Standard.A1.Flex:2o-12g", 2, 2, 12288, 60),
        ("oci", "BM.GPU.H100.8", 224, 112, 2048 * 1024, 3600),
    ],
)
def test_cores_are_physical_ones(
    cloud: str, type: str, vcpus: int, cpus: int, memory: int, minimum: int
) -> None:
    """Two threads are one x86 core; an Arm processor's cores have one; bare metal bills an hour."""
    kind = catalog.spec(cloud, type)
    assert kind is not None
    assert (kind.vcpus, kind.cpus, kind.memory, kind.minimum) == (vcpus, cpus, memory, minimum)
    assert (kind.region, kind.market, kind.price) == ("", "", None)


def test_unknown_things_are_not_found() -> None:
    """A cloud, region or type that the catalogue lacks gives nothing, and no error."""
    assert catalog.offers("cumulus") == [] and catalog.regions("cumulus") == []
    assert catalog.spec("aws", "z9.metal") is None
    assert catalog.find("aws", "mars-1", "g5.xlarge", "spot") is None
    assert catalog.source(catalog.offers("aws")[0]._replace(region="mars-1")) is None


def test_a_list_given_out_is_the_callers_own() -> None:
    """Changing what offers() returned changes nothing for the next caller."""
    before = len(catalog.offers("aws"))
    catalog.offers("aws").clear()
    assert len(catalog.offers("aws")) == before
    assert len(catalog.regions("aws")) == 14 and "g5.xlarge" in catalog.types("aws")


def test_a_file_of_another_layout_is_refused() -> None:
    """A price list that this byoc cannot read is an error, not an empty catalogue."""
    with pytest.raises(StateError, match="price list of aws"):
        catalog.parse("aws", "byoc catalogue 2\n[sources]\n[types]\n[prices]\n")


def test_the_data_is_small_and_plain() -> None:
    """The packaged files stay small, ASCII and sorted, so that a refresh reads as a diff."""
    files = sorted(DATA.glob("*.tsv"))
    assert [file.stem for file in files] == ["aws", "gcp", "gpus", "oci", "tariffs"]
    assert sum(file.stat().st_size for file in files) < LARGEST
    for file in files:
        text = file.read_bytes()
        assert text.isascii() and b"\r" not in text and zlib.compress(text)
        prices = text.decode().partition("[prices]\n")[2].splitlines()
        assert prices == sorted(prices, key=lambda line: line.split("\t")[:5])


def test_one_cloud_is_read_without_the_others() -> None:
    """A query of one cloud opens that cloud's file only."""
    program = (
        "import sys\nopened = []\n"
        "sys.addaudithook(lambda e, a: opened.append(str(a[0])) if e == 'open' else None)\n"
        "from byoc.pricing import catalog\n"
        "catalog.find('gcp', 'us-central1', 'g2-standard-4', 'spot')\n"
        "print(*[name for name in opened if name.endswith('.tsv')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert [Path(name).name for name in done.stdout.split()] == ["gcp.tsv"]
