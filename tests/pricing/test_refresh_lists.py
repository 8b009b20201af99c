"""Quotes out of the clouds' lists: what counts as a price, and what never does."""

from __future__ import annotations

from typing import Any

import pytest

from byoc.pricing import catalog
from byoc.pricing.refresh.pricelist import PriceList, plain_zones
from byoc.pricing.refresh.products import BILLS, Products
from byoc.pricing.refresh.quotes import Collector, Key
from byoc.pricing.refresh.skus import MAKES, Skus
from tests.pricing.lists import history, part, product, sku

EAST = "us-east-1"
ZONES = {"us-east-1a": "use1-az6", "us-east-1b": "use1-az1"}


def told(found: Collector) -> dict[Key, float]:
    return {key: quote.dollars for key, quote in found.quotes().items()}


# --- products and spot history ------------------------------------------------------------------


def priced(*items: Any) -> PriceList:
    found = PriceList(("p5.48xlarge", "g4dn.metal", "g6.xlarge"), "a list", "history")
    for item in items:
        found.product(item)
    return found


def test_products_become_prices() -> None:
    """A virtual machine's shared tenancy and a whole host's dedicated one are its prices."""
    found = priced(
        product("p5.48xlarge", EAST, "55.0400000000"),
        product("g4dn.metal", EAST, "7.8240000000"),
    )
    assert told(found.collector) == {
        (EAST, "p5.48xlarge", "on-demand"): 55.04,
        (EAST, "g4dn.metal", "on-demand"): 7.824,
    }
    assert found.unread == 0 and found.new == ()


@pytest.mark.parametrize(
    "other",
    [
        {"operatingSystem": "Windows"},
        {"tenancy": "Dedicated"},
        {"tenancy": "Host"},
        {"preInstalledSw": "SQL Web"},
        {"capacitystatus": "UnusedCapacityReservation"},
        {"marketoption": "CapacityBlock"},
    ],
)
def test_other_products_of_a_type_are_not_its_price(other: dict[str, str]) -> None:
    """The same type is listed under other systems, tenancies and markets at other prices."""
    found = priced(product("p5.48xlarge", EAST, "98.32", **other))
    assert told(found.collector) == {} and found.unread == 0


@pytest.mark.parametrize(
    "item",
    [
        product("p5.48xlarge", EAST, "55.04")[:-40],
        "null",
        "[]",
        "{}",
        '{"product": {"attributes": {"regionCode": "us-east-1"}}}',
        product("p5.48xlarge", EAST, "360.10", currency="CNY"),
        product("p5.48xlarge", EAST, "55.04", unit="Quantity"),
        product("p5.48xlarge", EAST, "much"),
        7,
    ],
)
def test_items_that_are_none_are_counted(item: Any) -> None:
    """A text cut short, a missing field, another currency or unit: no price, and no crash."""
    found = priced(item, product("g6.xlarge", EAST, "0.8048"))
    assert told(found.collector) == {(EAST, "g6.xlarge", "on-demand"): 0.8048}
    assert found.unread == 1


def test_nothing_is_free_and_nothing_has_two_prices() -> None:
    """A price of 0, or beyond what any machine costs, is dropped; of two that differ none counts;
    the same one twice does."""
    found = priced(
        product("p5.48xlarge", EAST, "0.0000000000"),
        product("g6.xlarge", EAST, "0.8048"),
        product("g6.xlarge", EAST, "0.9"),
        product("g4dn.metal", EAST, "7.824"),
        product("g4dn.metal", EAST, "7.824"),
        product("g4dn.metal", EAST, "0.0"),
        product("p5.48xlarge", "us-west-2", "nan"),
        product("g6.xlarge", "us-west-2", "99999"),
    )
    assert told(found.collector) == {(EAST, "g4dn.metal", "on-demand"): 7.824}
    assert [(one.region, one.type, one.why.split()[0]) for one in found.collector.told()] == [
        (EAST, "g6.xlarge", "two"),
        (EAST, "p5.48xlarge", "a"),
        ("us-west-2", "g6.xlarge", "a"),
        ("us-west-2", "p5.48xlarge", "a"),
    ]


def test_new_types_are_told_and_not_guessed() -> None:
    """A new size of a known family, and anything with GPUs, is named; other types are of no
    interest; none of them gets a price."""
    found = priced(
        product("g6.96xlarge", EAST, "20"),
        product("p9.48xlarge", EAST, "200", gpu="8"),
        product("x2idn.metal", EAST, "26"),
        product("c9.large", EAST, "0.1"),
    )
    assert found.new == ("g6.96xlarge", "p9.48xlarge") and told(found.collector) == {}


def test_the_spot_price_is_the_cheapest_zones_newest() -> None:
    """Of a zone the newest entry counts, of a region the cheapest zone; local zones, other systems
    and types never do."""
    found = priced()
    for entry in (
        history("p5.48xlarge", "us-east-1a", "20.5", 1),
        history("p5.48xlarge", "us-east-1a", "30.5", 2),
        history("p5.48xlarge", "us-east-1b", "25.5", 1),
        history("p5.48xlarge", "us-east-1-atl-2a", "1.0", 3),
        history("p5.48xlarge", "us-east-1b", "1.5", 3, ProductDescription="Windows"),
        history("g6.xlarge", "us-east-1b", "0.0", 3),
        history("t9.large", "us-east-1b", "0.1", 3),
        history("g6.xlarge", "us-east-1b", "cheap", 3),
        {"InstanceType": "g6.xlarge"},
    ):
        found.spot(EAST, entry, ZONES)
    found.settle(EAST, ZONES)
    [(key, quote)] = found.collector.quotes().items()
    assert key == (EAST, "p5.48xlarge", "spot") and quote.dollars == 25.5
    assert "use1-az1" in quote.source and found.unread == 2


def test_local_zones_are_known_by_their_names() -> None:
    """Who may not ask for zones still leaves out local ones and wavelength zones."""
    names = ["us-east-1a", "us-east-1-atl-2a", "us-east-1-wl1-bos-wlz-1", "us-east-12", "", "None"]
    assert plain_zones(EAST, names) == {"us-east-1a": "us-east-1a"}


# --- SKUs ---------------------------------------------------------------------------------------

CENTRAL = "us-central1"
SKUS = [
    sku("N1 Predefined Instance Core running in Americas", 0.031611, CENTRAL, "us-east1"),
    sku("N1 Predefined Instance Ram running in Americas", 0.004237, CENTRAL, "us-east1"),
    sku("Nvidia Tesla T4 GPU running in Americas", 0.35, CENTRAL, "us-east1"),
    sku("Spot Preemptible N1 Predefined Instance Core running in Americas", 0.00698, CENTRAL),
    sku("Spot Preemptible N1 Predefined Instance Ram running in Americas", 0.00094, CENTRAL),
    sku("Nvidia Tesla T4 GPU attached to Spot Preemptible VMs running in Americas", 0.2, CENTRAL),
    sku("A2 Instance Core running in Americas", 0.031611, CENTRAL),
    sku("A2 Instance Ram running in Americas", 0.004237, CENTRAL),
    sku("Nvidia Tesla A100 GPU running in Americas", 2.933908, CENTRAL),
    sku("Nvidia Tesla A100 80GB GPU running in Iowa", 3.92808, CENTRAL),
    sku("SSD backed Local Storage", 0.08, CENTRAL),
    sku("G2 Instance Core running in Americas", 0.02498844, CENTRAL),
    sku("G2 Instance Ram running in Americas", 0.00292729, CENTRAL),
    sku("Nvidia L4 GPU running in Americas", 0.56004, CENTRAL),
    sku("E2 Instance Core running in Americas", 0.02181159, CENTRAL, free=1),
    sku("E2 Instance Ram running in Americas", 0.00292353, CENTRAL, free=2),
    sku("C4A Arm Instance Core running in Americas", 0.03086, CENTRAL),
    sku("C4A Arm Instance Ram running in Americas", 0.003510, CENTRAL),
    sku(
        "Spot Preemptible A4 Nvidia B200 (1 gpu slice) running in Americas",
        4.0758, CENTRAL, usage="OnDemand",
    ),
]  # fmt: skip


def skus(*extra: Any) -> Skus:
    found = Skus("a list")
    for one in (*SKUS, *extra):
        found.sku(one)
    return found


def machines(found: Skus) -> dict[Key, float]:
    last = catalog.packaged("gcp")
    return {key: one.dollars for key, one in found.quotes(last.types, last.places).items()}


@pytest.mark.parametrize(
    "kind",
    [
        "n1-standard-4+nvidia-tesla-t4x1",
        "n1-standard-32+nvidia-tesla-t4x4",
        "a2-highgpu-1g",
        "a2-highgpu-8g",
        "a2-ultragpu-1g",
        "a2-ultragpu-8g",
        "g2-standard-4",
        "g2-standard-96",
        "e2-medium",
        "e2-standard-32",
    ],
)
def test_the_parts_of_a_type_add_up(kind: str) -> None:
    """Cores, memory, GPUs and bundled SSD at Google's listed prices are what the research has for
    the whole machine."""
    last = catalog.packaged("gcp")
    known = last.offers[last.places[CENTRAL, kind, "on-demand"]].price
    assert machines(skus())[CENTRAL, kind, "on-demand"] == pytest.approx(known, rel=2e-4)


def test_the_text_says_what_is_spot() -> None:
    """A spot SKU that is marked as on demand is a spot price, the whole machine's where its GPUs
    are slices of it; a type without all its parts' prices has none."""
    found = machines(skus())
    assert found[CENTRAL, "a4-highgpu-8g", "spot"] == pytest.approx(32.6064)
    t4 = "n1-standard-4+nvidia-tesla-t4x1"
    assert found[CENTRAL, t4, "spot"] == pytest.approx(4 * 0.00698 + 15 * 0.00094 + 0.2)
    assert ("us-east1", t4, "on-demand") in found and ("us-east1", t4, "spot") not in found
    assert (CENTRAL, "a3-highgpu-8g", "on-demand") not in found
    assert {key[0] for key in found} == {CENTRAL, "us-east1"}


@pytest.mark.parametrize(
    "other",
    [
        sku("Commitment v1: N1 Predefined Instance Core in Americas for 1 Year", 0.01, CENTRAL),
        sku("DWS Defined Duration Nvidia Tesla T4 GPU running in Americas", 0.1, CENTRAL),
        sku("Nvidia Tesla A100 GPU running in Americas (DWS Calendar Mode)", 0.1, CENTRAL),
        sku("Reserved Nvidia Tesla T4 GPU running in Americas", 0.1, CENTRAL),
        sku("N1 Custom Instance Core running in Americas", 0.1, CENTRAL),
        sku("N1 Sole Tenancy Instance Core running in Americas", 0.1, CENTRAL),
        sku("N1 Suspended Instance Ram running in Americas", 0.1, CENTRAL),
        sku("Nvidia Tesla T4 Virtual Workstation GPU running in Americas", 0.1, CENTRAL),
        sku("Nvidia Tesla T4 GPU vWS running in Americas", 0.1, CENTRAL),
        sku("N1 Predefined Instance Core running in Americas", 0.02, CENTRAL, usage="Commit1Yr"),
        sku("N2D AMD Instance Core running in Americas", 0.02, CENTRAL),
        sku("Nvidia Tesla T4 GPU running in Paris", 0.4, "europe-west9"),
    ],
)
def test_other_skus_change_nothing(other: dict[str, Any]) -> None:
    """Commitments, DWS, reservations, custom shapes and the like are nobody's price here."""
    found = skus(other)
    assert machines(found) == machines(skus())
    assert found.unread == 0 and not found.doubts() and not found.new


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"description": "N1 Predefined Instance Core running in X", "category": None},
        {**SKUS[0], "pricingInfo": []},
        {**SKUS[0], "serviceRegions": None},
        sku("N1 Predefined Instance Core running in Americas", 0.03, CENTRAL, currency="EUR"),
        "sku",
    ],
)
def test_skus_that_are_none_are_counted(broken: Any) -> None:
    """A missing field or another currency is no price and no crash."""
    found = skus(broken)
    assert found.unread == 1 and machines(found) == machines(skus())


def test_a_part_without_a_price_or_with_two_prices_nothing() -> None:
    """All tiers free, or two prices for one part: what is made of it is not priced, and told."""
    free = skus(sku("Nvidia H100 80GB GPU running in Americas", 0.0, CENTRAL, free=2))
    assert [one.type for one in free.doubts()] == ["GPU H100"]
    twice = skus(sku("Nvidia Tesla T4 GPU running in Somewhere", 0.4, CENTRAL))
    assert not any("t4" in key[1] and key[::2] == (CENTRAL, "on-demand") for key in machines(twice))
    assert [one.type for one in twice.doubts()] == ["GPU T4"]


def test_the_more_special_gpu_is_not_taken_for_the_plain_one() -> None:
    """H100 Mega and A100 80GB have prices of their own; a GPU that is not known is named."""
    found = skus(
        sku("Nvidia H100 80GB Mega GPU running in Americas", 9.1, CENTRAL),
        sku("Nvidia H100 80GB Plus GPU running in Iowa", 9.1, CENTRAL),
        sku("Nvidia H100 80GB GPU running in Americas", 9.8, CENTRAL),
        sku("Nvidia R500 300GB GPU running in Americas", 30, CENTRAL),
        sku("A3Plus Instance Core running in Americas", 0.03, CENTRAL),
        sku("A3Plus Instance Ram running in Americas", 0.0025, CENTRAL),
    )
    mega = machines(found)[CENTRAL, "a3-megagpu-8g", "on-demand"]
    assert mega == pytest.approx(208 * 0.03 + 1872 * 0.0025 + 8 * 9.1 + 6000 * 0.08 / 730)
    assert found.new == ("Nvidia R500 300GB GPU",) and not found.doubts()


def test_every_packaged_type_has_a_row() -> None:
    """No type of the catalogue is left out by a table without its family."""
    for kind in catalog.packaged("gcp").types:
        assert any(kind.startswith(start) for start, _ in MAKES), kind
    for kind in catalog.packaged("oci").types:
        assert any(kind.startswith(start) for start, _ in BILLS), kind


# --- products of Oracle's list ------------------------------------------------------------------

PARTS = [
    part("B98415", "Compute - GPU - H100", 10.0),
    part("B95909", "Compute - GPU - A10", 2.0),
    part("B88518", "Compute - GPU Standard - V2", 1.275),
    part("B93297", "Compute - Ampere A1 - OCPU", 0.0, 0.01, metric="OCPU Per Hour"),
    part("B93298", "Compute - Ampere A1 - Memory", 0.0, 0.0015, metric="Gigabyte Per Hour"),
    part("B93113", "Compute - Standard - E4 - OCPU", 0.025, metric="OCPU Per Hour"),
    part("B93114", "Compute - Standard - E4 - Memory", 0.0015, metric="Gigabyte Per Hour"),
    part("B112345", "Compute - GPU - B300", 15.0),
    part("B112346", "Compute - GPU - GB300", 18.0),
]


def shapes(*extra: Any) -> tuple[Products, dict[Key, float]]:
    found = Products("a list")
    for one in (*PARTS, *extra):
        found.product(one)
    last = catalog.packaged("oci")
    return found, {k: q.dollars for k, q in found.quotes(last.types, last.places).items()}


def test_parts_become_shapes() -> None:
    """Each GPU's part, or cores and memory, at the paid tier, in every region; half of it for what
    can be preempted; new GPUs are found by what they are called."""
    found, prices = shapes()
    last = catalog.packaged("oci")
    for kind in ("BM.GPU.H100.8", "VM.GPU.A10.2", "BM.GPU.A10.4", "VM.Standard.A1.Flex:2o-12g",
                 "VM.Standard.E4.Flex:16o-128g", "BM.GPU.B300.8", "BM.GPU.GB300.4"):  # fmt: skip
        for region in ("us-ashburn-1", "eu-frankfurt-1"):
            key = (region, kind, "on-demand")
            assert prices[key] == pytest.approx(last.offers[last.places[key]].price or 0)
    assert prices["us-ashburn-1", "VM.GPU2.1", "spot"] == pytest.approx(0.6375)
    assert not any(key[1] == "BM.GPU.H200.8" for key in prices) and not found.new


def test_wrong_parts_price_nothing() -> None:
    """Other currencies, missing fields, a price of 0 and other units of measure are no prices."""
    found, prices = shapes(
        part("B110519", "Compute - GPU - H200", 10.0, currency="EUR"),
        part("B109479", "Compute - GPU - L40S", 0.0),
        part("B95907", "Compute - GPU - A100 80GB", 4.0, metric="GPU Per Month"),
        part("B92740", "Compute - GPU - A100"),
        {"partNumber": "B89734"},
        part("B999999", "Compute - GPU - R500", 30.0),
        part("B112347", "Compute - GPU - B300 again", 15.0),
    )
    kinds = {key[1] for key in prices}
    assert not kinds & {"BM.GPU.H200.8", "BM.GPU.L40S.4", "BM.GPU.A100-v2.8", "BM.GPU4.8"}
    assert "BM.GPU.B300.8" not in kinds, "two products are called so"
    assert found.unread == 3 and [one.type for one in found.doubts()] == ["B109479"]
    assert [name for name in found.new if "R500" in name] == ["Compute - GPU - R500 (B999999)"]
