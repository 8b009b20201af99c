"""A bill is the sum of its intervals at the copied price, under each cloud's rules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.pricing import bill
from byoc.pricing.bill import Stay, total
from byoc.pricing.tariff import MONTH, tariffs
from byoc.resources import Offer

CLOUDS = sorted(tariffs())
SECONDS = st.floats(0, 1e6, allow_nan=False)


def offer(cloud: str = "aws", market: str = "on-demand", price: float | None = 3.6) -> Offer:
    return Offer(cloud, "r", "", "t", market, price, 4, 1024, minimum=60.0)


def dollars(stay: Stay, now: float = 1e9) -> float:
    found = total(bill.bill(stay, now))
    assert found is not None
    return found


def lines(stay: Stay, now: float = 1e9) -> dict[str, tuple[float, float | None]]:
    return {line.what: (line.seconds, line.dollars) for line in bill.bill(stay, now)}


@given(st.sampled_from(CLOUDS), SECONDS, SECONDS, st.floats(0.01, 200))
def test_the_total_is_seconds_times_the_copied_price(
    cloud: str, began: float, ran: float, price: float
) -> None:
    """On demand: begun seconds, at least the minimum, times the price; and never less."""
    stay = Stay(offer(cloud, price=price), 1 + began, 1 + began + ran, public=False)
    least = max(60.0, math.ceil(max(0.0, stay.ended - stay.began)))
    assert dollars(stay) == pytest.approx(price * least / 3600)
    assert dollars(stay) >= price * ran / 3600 - 1e-6


@given(SECONDS, st.lists(SECONDS, min_size=1, max_size=6))
def test_looking_often_bills_the_same(began: float, looks: list[float]) -> None:
    """A bill grows with time and ends where it ends, however often it was looked at."""
    stay = Stay(offer(), 1 + began)
    seen = [dollars(stay, 1 + began + after) for after in sorted(looks)]
    assert seen == sorted(seen)
    ended = stay._replace(ended=1 + began + max(looks))
    assert dollars(ended) == dollars(stay, ended.ended) == pytest.approx(seen[-1])


@given(st.sampled_from(CLOUDS), st.floats(1, 1e5))
def test_a_spot_instance_that_is_taken_early_is_free(cloud: str, ran: float) -> None:
    """Within the cloud's window it costs nothing; a second later all of it."""
    window = tariffs()[cloud].free
    stay = Stay(offer(cloud, "spot"), 1.0, 1.0 + ran, taken=True, public=False)
    free = math.ceil(ran) <= window
    assert (dollars(stay) == 0.0) is free
    assert dollars(stay._replace(taken=False)) > 0


def test_an_hour_is_billed_for_bare_metal() -> None:
    """Five minutes of a machine with an hour's minimum: the rest is a line of its own."""
    stay = Stay(offer("oci", price=80.0)._replace(minimum=3600.0), 100.0, 400.0)
    assert lines(stay)["run"] == (300, pytest.approx(80 / 12))
    assert lines(stay)["minimum"] == (3300, pytest.approx(80 * 11 / 12))
    assert dollars(stay) == pytest.approx(80.0)


def test_disk_and_address_are_billed_until_they_are_gone() -> None:
    """A disk costs until the cloud shows it gone, an address for as long as the machine runs."""
    stay = Stay(offer("gcp", "spot"), 1000.0, 4600.0, 8200.0, disk=100.0)
    assert lines(stay)["disk"] == (7200, pytest.approx(100 * 0.10 / MONTH * 2))
    assert lines(stay)["address"] == (3600, pytest.approx(0.0025))
    assert "address" not in lines(stay._replace(public=False))
    assert lines(stay._replace(gone=0.0), 4600.0)["disk"][0] == 3600


def test_what_is_not_known_is_not_nothing() -> None:
    """A bill with an unknown price has an unknown total."""
    stay = Stay(offer(price=None), 1.0, 100.0)
    assert total(bill.bill(stay, 1e9)) is None
    assert lines(stay)["run"][1] is None


def test_what_never_began_costs_nothing() -> None:
    """No billing without a beginning, and none on this computer."""
    assert bill.bill(Stay(offer(), 0.0), 1e9) == ()
    assert bill.bill(Stay(offer("local", price=0.0), 1.0), 1e9) == ()
    assert total(()) == 0.0


def test_a_clock_that_was_set_back_bills_no_time() -> None:
    """An end before the beginning is no time, so only the minimum is billed."""
    stay = Stay(offer(), 1000.0, 900.0, public=False)
    assert dollars(stay) == pytest.approx(3.6 * 60 / 3600)
