"""The expected cost to finish, and what past tries say about it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.placement.cost import BOOT, WEIGHT, dollars, expect, span, words
from byoc.placement.history import History, Tries, history_of
from byoc.state import Attempt
from tests.placement.sold import offer

KEY = ("aws", "r1", "t1", "on-demand")
AWS = offer(price=3.6, cloud="aws")


def seen(good: int, tries: int, lost: float = 0.0) -> History:
    return History({KEY: Tries(good, tries, lost)}, {})


def test_formula() -> None:
    """Price times boot and work over the chance, and the failed tries on top."""
    found = expect(AWS, History(), 600.0)
    assert found.boot == BOOT
    assert found.chance == 0.95
    run = 3.6 * (BOOT + 600) / 3600
    again = (1 / 0.95 - 1) * 2.0 / 3600 * (3.6 + 1.0)
    assert found.cost == pytest.approx(run / 0.95 + again)


def test_minimum_billing_counts() -> None:
    """Ten minutes on a machine that is billed by the hour cost the hour."""
    metal = AWS._replace(minimum=3600.0)
    assert expect(metal, History()).cost > 5 * expect(AWS, History()).cost
    assert "60 min billed at least" in words(metal, expect(metal, History()))


def test_our_own_tries_outvote_the_guess() -> None:
    """Many failures make an offer dear, many successes cheap; a few move it a little."""
    base = expect(AWS, History()).cost
    assert expect(AWS, seen(0, 1)).cost > base
    assert expect(AWS, seen(0, 50)).cost > 5 * base
    assert expect(AWS, seen(50, 50)).cost < base
    assert expect(AWS, seen(2, 4)).chance == pytest.approx((2 + WEIGHT * 0.95) / (4 + WEIGHT))


def test_boots_that_time_out_cost_their_minutes() -> None:
    """A failed try that took five paid minutes weighs more than a refusal."""
    assert expect(AWS, seen(5, 10, 300.0)).cost > expect(AWS, seen(5, 10, 1.0)).cost * 1.1


def test_seen_boots_replace_the_guess() -> None:
    """The median of past boots of the type counts, whatever region they were in."""
    slow = History({}, {("aws", "t1"): 300.0})
    assert expect(AWS, slow).boot == 300.0
    assert expect(AWS._replace(region="r2"), slow).boot == 300.0
    assert expect(AWS._replace(type="t2"), slow).boot == BOOT
    assert expect(AWS, History(usual={"aws": 45.0})).boot == 45.0


def test_unknown_price_is_infinitely_dear() -> None:
    """Nothing can be said of what an unknown price comes to."""
    assert math.isinf(expect(AWS._replace(price=None), History()).cost)


@given(
    st.floats(0, 100), st.floats(0.001, 100), st.integers(0, 50), st.integers(0, 50),
    st.floats(0, 7200), st.floats(0, 600),
)  # fmt: skip
def test_cost_rises_with_the_price_and_falls_with_success(
    price: float, more: float, good: int, bad: int, minimum: float, lost: float
) -> None:
    """Cheaper is never dearer, one more success never makes it dearer, and no try is certain to
    fail."""
    one = AWS._replace(price=price, minimum=minimum)
    history = seen(good, good + bad, lost)
    found = expect(one, history)
    assert 0 < found.chance <= 1
    assert found.cost >= 0
    assert expect(one._replace(price=price + more), history).cost >= found.cost
    assert expect(one, seen(good + 1, good + bad + 1, lost)).cost <= found.cost * (1 + 1e-9)


def test_words_are_for_people() -> None:
    """Price, cost, work, boot and past tries in one line."""
    history = History({KEY: Tries(11, 12, 1.0)}, {("aws", "t1"): 90.0})
    one = AWS._replace(price=1.01, zone="a")
    assert words(one, expect(one, history)) == (
        "$1.01 an hour, about $0.21 for 10 min of work with boot 90 s, 92 % of 12 tries worked"
    )
    assert words(AWS, expect(AWS, History())).endswith(", zone chosen when tried")
    assert words(one._replace(price=None), expect(one, History())) == "price unknown"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.0, "$0.00"),
        (0.00001, "less than $0.0001"),
        (0.0045, "$0.0045"),
        (0.25, "$0.25"),
        (98.3, "$98.30"),
    ],
)
def test_small_amounts_keep_their_digits(amount: float, text: str) -> None:
    """A price of half a cent is not shown as nothing."""
    assert dollars(amount) == text


def test_spans() -> None:
    """Seconds, minutes, hours."""
    assert [span(one) for one in (45, 180, 3600, 86400)] == ["45 s", "3 min", "60 min", "24 h"]


def tried(offer: str, outcome: str, error: str = "", seconds: float = 1.0) -> Attempt:
    return Attempt("r", 1, "aws", offer, 0.0, outcome, error=error, seconds=seconds)


def test_history_counts_by_region_and_boots_by_type() -> None:
    """Zones of a region count together; quotas and permissions are no matter of chance."""
    found = history_of(
        [
            tried("aws/r1/a/t1/spot", "ok", seconds=40.0),
            tried("aws/r1/b/t1/spot", "ok", seconds=60.0),
            tried("aws/r2/a/t1/on-demand", "ok", seconds=90.0),
            tried("aws/r1/a/t1/spot", "refused", "capacity", 2.0),
            tried("aws/r1/a/t1/spot", "failed", "boot", 300.0),
            tried("aws/r1/a/t1/spot", "refused", "quota"),
            tried("aws/r1/a/t1/spot", "refused", "access"),
            tried("not a key", "ok"),
        ]
    )
    assert found.tries["aws", "r1", "t1", "spot"] == Tries(2, 4, 151.0)
    assert found.tries["aws", "r2", "t1", "on-demand"] == Tries(1, 1, 0.0)
    assert found.boots == {("aws", "t1"): 60.0}
