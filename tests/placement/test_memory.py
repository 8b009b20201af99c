"""What a refusal shuts, exactly: no more, no less."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import (
    AccessError,
    BadRequestError,
    CapacityError,
    NotOfferedError,
    ProviderError,
    QuotaError,
    ThrottleError,
    TransientError,
)
from byoc.placement.memory import Memory, covers, lasts, refusal_of
from byoc.providers.base import Draw
from byoc.resources import Offer
from byoc.state import Refusal
from tests.placement.sold import DRAWS, ERRORS, ZONED, offer

NOW = 1000.0
BASE = offer(zone="a", market="spot")


def shut(error: ProviderError, *draws: Draw, everywhere: tuple[str, ...] = ()) -> Refusal:
    found = refusal_of(error, BASE, draws, NOW, everywhere)
    assert found is not None
    return found


OTHERS = {
    "same": BASE,
    "market": BASE._replace(market="on-demand"),
    "type": BASE._replace(type="t2"),
    "zone": BASE._replace(zone="b"),
    "no zone": BASE._replace(zone=""),
    "region": BASE._replace(region="r2", zone="ra"),
    "cloud": BASE._replace(cloud="two"),
}


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("offer", {"same"}),
        ("type@zone", {"same", "market"}),
        ("zone", {"same", "market", "type"}),
        ("bucket", {"same", "zone", "no zone"}),
        ("spot", {"same", "type", "zone", "no zone", "region"}),
        ("region", {"same", "market", "type", "zone", "no zone"}),
        ("cloud", {"same", "market", "type", "zone", "no zone", "region"}),
    ],
)
def test_each_scope_covers_what_it_says(scope: str, covered: set[str]) -> None:
    """The table of scopes, offer by offer; a quota without a name speaks for its own type and
    market in the region."""
    found = shut(CapacityError("no", scope=scope, remember=60.0))
    assert {name for name, one in OTHERS.items() if covers(found, one)} == covered


def test_quota_covers_by_bucket_and_amount() -> None:
    """Whatever takes as much of the same bucket, or more, in the same region; not less, nor what
    draws on another one; where draws are not known, the same type and market."""
    error = QuotaError("no", scope="bucket", bucket="B1", remember=60.0)
    found = shut(error, Draw("B1", 8.0))
    other = BASE._replace(type="t2", market="on-demand", zone="c")
    assert covers(found, other, (Draw("B1", 8.0),))
    assert covers(found, other, (Draw("B2", 1.0), Draw("B1", 9.0)))
    assert not covers(found, other, (Draw("B1", 4.0),))
    assert not covers(found, other, (Draw("B2", 8.0),))
    assert not covers(found, other)
    assert covers(found, BASE)
    assert not covers(found, BASE._replace(region="r2"), (Draw("B1", 8.0),))


def test_quota_that_nobody_reckoned_with_shuts_the_market() -> None:
    """Addresses, disks, instances: a bucket that the offer is not known to draw on is one that
    every machine draws on. The other market may have its own."""
    error = QuotaError("no", scope="bucket", bucket="IN_USE_ADDRESSES", remember=60.0)
    found = shut(error, Draw("B1", 8.0))
    assert covers(found, BASE._replace(type="t2"), (Draw("B2", 1.0),))
    assert not covers(found, BASE._replace(market="on-demand"), (Draw("B2", 1.0),))
    assert not covers(found, BASE._replace(region="r2"))


def test_quota_of_all_regions_covers_all_of_them() -> None:
    """A bucket that counts everywhere shuts every region."""
    error = QuotaError("no", scope="bucket", bucket="GPUS_ALL_REGIONS", remember=60.0)
    found = shut(error, Draw("GPUS_ALL_REGIONS", 1.0), everywhere=("GPUS_ALL_REGIONS",))
    far = BASE._replace(region="r2")
    assert covers(found, far, (Draw("GPUS_ALL_REGIONS", 1.0),))
    assert not covers(found, far, (Draw("CPUS", 1.0),))
    assert Memory([found], NOW).find(far, (Draw("GPUS_ALL_REGIONS", 4.0),)) == found


def test_refusal_without_a_zone_speaks_for_all_of_them() -> None:
    """Where the cloud chose the zone and found none, no zone of the region is asked."""
    found = refusal_of(CapacityError("no", remember=9.0), BASE._replace(zone=""), (), NOW)
    assert found is not None
    assert covers(found, BASE)
    assert covers(found, BASE._replace(zone="b"))
    assert not covers(found, BASE._replace(type="t2"))


@pytest.mark.parametrize(
    ("error", "scope"),
    [
        (CapacityError("no"), "offer"),
        (NotOfferedError("no"), "type@zone"),
        (QuotaError("no"), "bucket"),
        (AccessError("no"), "cloud"),
        (AccessError("no", scope="request"), "cloud"),
        (BadRequestError("no", scope="request"), "type"),
        (CapacityError("no", scope="nonsense"), "offer"),
    ],
)
def test_missing_scope_is_read_from_the_class(error: ProviderError, scope: str) -> None:
    """A table row without a scope, or with one nobody knows, still shuts something sensible."""
    assert shut(error).scope == scope


@pytest.mark.parametrize("error", [ThrottleError("no"), TransientError("no")])
def test_what_may_work_at_once_shuts_nothing(error: ProviderError) -> None:
    """An answer about the request alone is no reason to keep off."""
    assert refusal_of(error, BASE, (), NOW) is None


@pytest.mark.parametrize(
    ("error", "beyond"),
    [
        (CapacityError("no", remember=60.0), True),
        (CapacityError("no"), False),
        (QuotaError("no", remember=60.0), True),
        (AccessError("no", scope="cloud", remember=60.0), False),
        (AccessError("no", scope="spot", remember=60.0), False),
        (AccessError("no", scope="region", remember=60.0), True),
        (AccessError("no", scope="zone", remember=60.0), True),
        (BadRequestError("no", scope="offer", remember=60.0), False),
    ],
)
def test_what_people_mend_is_not_kept(error: ProviderError, beyond: bool) -> None:
    """Beyond the run only what another run would meet too: not credentials, roles and our own
    mistakes."""
    assert lasts(error) is beyond
    found = shut(error)
    assert found.until == (NOW + 60.0 if beyond else math.inf)


@given(ERRORS, ZONED, DRAWS)
def test_refused_offer_is_always_covered(
    error: ProviderError, one: Offer, draws: tuple[Draw, ...]
) -> None:
    """Whatever was refused, and however little was told with it, is covered itself, with its draws
    known or not."""
    found = refusal_of(error, one, draws, NOW)
    if found is None:
        return
    assert covers(found, one, draws) or (found.scope == "spot" and one.market != "spot")
    assert covers(found, one) or (found.scope == "spot" and one.market != "spot")


REFUSED = st.lists(
    st.builds(
        lambda error, one, draws: refusal_of(error, one, draws, NOW), ERRORS, ZONED, DRAWS
    ).filter(bool),
    max_size=8,
)


@given(REFUSED, ZONED, DRAWS)
def test_index_finds_exactly_what_covers(
    refusals: list[Refusal], one: Offer, draws: tuple[Draw, ...]
) -> None:
    """The quick look-up and the definition agree for every offer, and what it finds covers."""
    found = Memory(refusals, NOW).find(one, draws)
    assert (found is not None) == any(covers(refusal, one, draws) for refusal in refusals)
    if found is not None:
        assert covers(found, one, draws)


@given(REFUSED, ZONED, DRAWS)
def test_refusals_of_one_key_shut_the_same(
    refusals: list[Refusal], one: Offer, draws: tuple[Draw, ...]
) -> None:
    """A key names what is shut: two refusals that share it cover the same, amounts of a quota
    aside."""
    by_key: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        by_key.setdefault(refusal.key, []).append(refusal._replace(amount=0.0))
    for same in by_key.values():
        if same[0].bucket and not draws:
            continue  # then it speaks for the type that met it
        assert len({covers(each, one, draws) for each in same}) == 1


def test_ended_refusals_count_no_more() -> None:
    """After its time a refusal covers nothing."""
    found = shut(CapacityError("no", remember=60.0))
    assert Memory([found], NOW + 59).find(BASE) == found
    assert Memory([found], NOW + 60).find(BASE) is None


def test_hinted_zones_are_known() -> None:
    """The zones that a cloud named are kept with its refusal of that type and market."""
    memory = Memory([shut(CapacityError("no", zones=("c", "b"), remember=60.0))], NOW)
    assert memory.hinted(BASE._replace(zone="")) == ("c", "b")
    assert memory.hinted(BASE._replace(type="t2")) == ()
