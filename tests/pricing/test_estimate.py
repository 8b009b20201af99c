"""An estimate is a range with lines that add up, and it holds what short work is dear by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.pricing import bill, catalog
from byoc.pricing.estimate import Estimate, Work, estimate
from byoc.pricing.tariff import tariffs
from byoc.resources import Offer

H100 = Offer("", "", "", "", "", None, 4, 16384, gpu="H100", gpu_count=1)


def of(cloud: str, kind: str, market: str, work: Work) -> Estimate:
    found = catalog.find(cloud, tariffs()[cloud].home, kind, market)
    assert found is not None
    return estimate(found, work, H100)


@given(
    st.sampled_from(sorted(tariffs())),
    st.floats(0, 1e5),
    st.floats(0, 1e5),
    st.floats(0, 900),
    st.floats(0.1, 1),
    st.integers(1, 20),
)
def test_the_range_is_the_sum_of_its_lines(
    cloud: str, least: float, more: float, boot: float, chance: float, instances: int
) -> None:
    """Low is not above high, both are what the lines add up to, and each bill lies between."""
    offer = Offer(cloud, "r", "", "t", "spot", 2.0, 4, 1024, minimum=60.0)
    work = Work(least, least + more, boot, chance, disk=100, instances=instances)
    found = estimate(offer, work, H100)
    assert found.low is not None and found.high is not None
    assert found.low <= found.high + 1e-9
    assert found.low == pytest.approx(sum(part.low or 0 for part in found.parts))
    assert found.high == pytest.approx(sum(part.high or 0 for part in found.parts))
    stay = bill.Stay(offer, 1.0, 1.0 + boot + least, 1.0 + boot + least, disk=100)
    billed = bill.total(bill.bill(stay, 1e9))
    assert billed is not None  # the bill rounds seconds up
    billed *= instances
    assert found.low - 1e-6 <= billed <= found.low + instances * 2.0 * 2 / 3600 + 1e-6


def test_an_hours_minimum_is_named() -> None:
    """Five minutes on bare metal cost its hour, which is a line and is told as what makes it
    dear."""
    found = of("oci", "BM.GPU.H100.8", "on-demand", Work(10, 300, 600))
    assert found.low == pytest.approx(80.0, rel=0.01)
    assert found.minimum == 3600
    assert {part.what for part in found.parts} >= {"boot", "run", "minimum"}
    assert of("oci", "BM.GPU.H100.8", "on-demand", Work(7200, 7200, 600)).minimum == 0


def test_spot_pays_for_what_is_taken_away() -> None:
    """The worse the chance, the higher the high end; the low end does not know of it."""
    sure, shaky = (
        of("aws", "p5.48xlarge", "spot", Work(3600, 3600, 60, chance)) for chance in (1.0, 0.5)
    )
    assert sure.low == shaky.low and sure.high is not None and shaky.high is not None
    assert sure.high < shaky.high
    assert not any(part.what == "again" for part in sure.parts)


def test_modal_bills_the_work_alone() -> None:
    """GPU, cores and memory by the second; no boot and no idle. None for a GPU it lacks."""
    work = Work(100, 200, 60, idle=60)
    found = of("aws", "p5.4xlarge", "on-demand", work)
    each = 3.9492 / 3600 + 4 * 0.0000131 + 16 * 0.00000222
    assert found.modal == pytest.approx((100 * each, 200 * each))
    offer = Offer("aws", "r", "", "t", "spot", 1.0, 4, 1024)
    assert estimate(offer, work, H100._replace(gpu="B300")).modal is None


def test_an_unknown_price_stays_unknown() -> None:
    """No range is told where the price is not known, and this computer costs nothing."""
    offer = Offer("aws", "r", "", "t", "spot", None, 4, 1024, minimum=60)
    assert estimate(offer, Work(1, 2, 3), H100).low is None
    here = estimate(offer._replace(cloud="local", price=0.0), Work(1, 2, 3), H100)
    assert (here.low, here.high) == (0.0, 0.0)
