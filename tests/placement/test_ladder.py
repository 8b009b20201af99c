"""The ladder: what is tried, in which order, and why the rest is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import PlacementError
from byoc.placement import History, Rules, Snapshot, ladder
from byoc.placement.cost import expect
from byoc.placement.match import gpu_rank
from byoc.resources import MARKETS, Offer, Resources, parse_gpus


def offer(
    type: str = "small",
    price: float | None = 1.0,
    cpus: float = 4,
    memory: int = 8192,
    gpu: str = "",
    gpu_count: int = 0,
    *,
    cloud: str = "one",
    region: str = "r1",
    market: str = "on-demand",
    disk: int = 1000,
) -> Offer:
    return Offer(cloud, region, "z", type, market, price, cpus, memory, disk, gpu, gpu_count)


HOST = offer("host", 0.0, 2, 4096, cloud="local", region="local")


def types(resources: Resources, *offers: Offer, **limits: object) -> list[str]:
    made = ladder(resources, Snapshot(offers, configured=True), **limits)  # type: ignore[arg-type]
    return [rung.offer.type for rung in made.rungs]


def reasons(resources: Resources, *offers: Offer, **limits: object) -> dict[str, str]:
    made = ladder(resources, Snapshot(offers, configured=True), **limits)  # type: ignore[arg-type]
    return {rung.offer.type: rung.reason for rung in made.refused}


def test_cheapest_first_then_key() -> None:
    """Order is the price, then the offer's key; an unknown price comes last."""
    offers = [offer("c", 2.0), offer("x", None), offer("b", 1.0), offer("a", 1.0)]
    assert types(Resources(), *offers) == ["a", "b", "c", "x"]


def test_liked_gpu_comes_before_the_price() -> None:
    """A list of GPUs is an order of preference."""
    offers = [offer("t4", 0.5, gpu="T4", gpu_count=1), offer("h", 9.0, gpu="H100", gpu_count=1)]
    assert types(Resources(gpus=parse_gpus(["H100", "T4"])), *offers) == ["h", "t4"]
    made = ladder(Resources(gpus=parse_gpus(["H100", "T4"])), Snapshot(tuple(offers)))
    assert made.rungs[1].reason == (
        "choice 2 of GPU, $0.50 an hour, about $0.11 for 10 min of work with boot 60 s"
    )


@pytest.mark.parametrize(
    ("asked", "held", "count", "fits"),
    [
        ("H100", "H100", 1, True),
        ("H100", "H100", 8, True),
        ("H100:8", "H100", 4, False),
        ("H100", "H200", 1, False),
        ("A100", "A100-80GB", 1, True),
        ("A100-40GB", "A100-80GB", 1, False),
        ("A100", "A10", 1, False),
        ("A10", "A10G", 1, True),
        ("A10G", "A10", 1, True),
        ("A10!", "A10G", 1, False),
        ("H100!", "H100", 1, True),
        ("H100!", "H100-NVL", 1, False),
        ("any", "T4", 1, True),
        ("any", "", 0, False),
        ("B200+", "B300", 1, True),
        ("B200+", "H200", 1, False),
    ],
)
def test_gpu_names(asked: str, held: str, count: int, fits: bool) -> None:
    """Names match as in the SDK: families by prefix, `!` exactly, `any` anything."""
    one = offer(gpu=held, gpu_count=count)
    assert (Rules.of(Resources(gpus=parse_gpus(asked))).refusal(one) == "") is fits


def test_every_refusal_has_its_reason() -> None:
    """Each offer that is left out says in a few words what it lacks."""
    found = reasons(
        Resources(gpus=parse_gpus("H100:2"), cpu=8, memory=16384, disk=500),
        offer("good", cpus=8, memory=16384, gpu="H100", gpu_count=2),
        offer("none"),
        offer("other", gpu="T4", gpu_count=1),
        offer("few", gpu="H100", gpu_count=1),
        offer("slow", cpus=2, gpu="H100", gpu_count=2),
        offer("lean", cpus=8, memory=1024, gpu="H100", gpu_count=2),
        offer("full", cpus=8, memory=16384, gpu="H100", gpu_count=2, disk=1),
    )
    assert found == {
        "none": "has no H100:2 (it has no GPU)",
        "other": "has no H100:2 (it has T4)",
        "few": "has H100, asked for H100:2",
        "slow": "has 2 CPUs, asked for 8",
        "lean": "has 1024 MiB of memory, asked for 16384",
        "full": "has 1 MiB of disk, asked for 500",
    }


def test_limits_have_their_reasons() -> None:
    """Market, region, cloud and price limits are told as such."""
    found = reasons(
        Resources(market="spot", regions=("r1",), clouds=("one",), max_price=2.0),
        offer("good", market="spot"),
        offer("od"),
        offer("far", market="spot", region="r2"),
        offer("dear", 3.0, market="spot"),
        offer("dark", None, market="spot"),
        offer("else", market="spot", cloud="two"),
    )
    assert found == {
        "od": "is on-demand, asked for spot",
        "far": "is in r2, allowed: r1",
        "dear": "costs $3 an hour, allowed: $2",
        "dark": "has no known price, allowed: $2 an hour",
        "else": "is on two, allowed: one",
    }


def test_requests_own_limits_come_first_and_the_lower_price_counts() -> None:
    """The installation's limits apply where the request says nothing; the price is the minimum."""
    spot, fixed = offer("spot", market="spot"), offer("fixed")
    assert types(Resources(), spot, fixed, market="spot") == ["spot"]
    assert types(Resources(market="on-demand"), spot, fixed, market="spot") == ["fixed"]
    cheap, dear = offer("cheap", 1.0), offer("dear", 5.0)
    assert types(Resources(max_price=9.0), cheap, dear, max_price=2.0) == ["cheap"]
    assert types(Resources(max_price=2.0), cheap, dear, max_price=9.0) == ["cheap"]


def test_this_computer_knows_no_market_region_or_price() -> None:
    """Limits of clouds do not rule out the local host, except when other clouds are named."""
    asked = Resources(market="spot", regions=("r1",), max_price=0.01)
    assert types(asked, HOST) == ["host"]
    with pytest.raises(PlacementError):
        types(Resources(clouds=("one",)), HOST)


def test_no_gpu_here_is_said_plainly() -> None:
    """Without a configured cloud: what this computer lacks, why it is used, and what to do."""
    with pytest.raises(PlacementError) as caught:
        ladder(Resources(gpus=parse_gpus("H100")), Snapshot((HOST,), known=("cumulus",)))
    assert caught.value.message == (
        "this computer has no H100 (it has no GPU), and it is the only choice because no cloud is "
        "configured"
    )
    assert caught.value.hints == (
        'configure a cloud: clouds = ["cumulus"] in byoc.toml',
        "ask for no GPU: where gpu= in the program, --gpu or the setting gpu names one",
    )


def test_other_gpu_here_is_offered() -> None:
    """When the host has another GPU, it is named and suggested."""
    host = offer("host", 0.0, gpu="T4", gpu_count=2, cloud="local")
    with pytest.raises(PlacementError) as caught:
        ladder(Resources(gpus=parse_gpus("H100")), Snapshot((host,), known=("cumulus",)))
    assert "this computer has no H100 (it has T4:2)" in caught.value.message
    assert caught.value.hints[-1] == "ask for the GPU that is here: T4"


def test_too_little_here_says_how_much() -> None:
    """Too many CPUs asked: both numbers, and no talk of GPUs."""
    with pytest.raises(PlacementError, match="this computer has 2 CPUs, asked for 64") as caught:
        ladder(Resources(cpu=64), Snapshot((HOST,)))
    assert caught.value.hints[0] == "ask for less"
    assert "no cloud yet" in caught.value.hints[1]


def test_nothing_on_clouds_groups_the_refusals() -> None:
    """Many offers that lack the same thing are told in one breath."""
    offers = [offer(f"t{n}") for n in range(50)]
    with pytest.raises(PlacementError) as caught:
        ladder(Resources(gpus=parse_gpus("H100")), Snapshot(tuple(offers), configured=True))
    assert "and 49 more: has no H100" in caught.value.message
    assert len(caught.value.message) < 300


def test_no_offers_at_all() -> None:
    """A cloud that sells nothing points to `byoc check`."""
    with pytest.raises(PlacementError, match="nothing is offered by one") as caught:
        ladder(Resources(clouds=("one",)), Snapshot((), configured=True))
    assert "byoc check" in caught.value.hints[0]


GPUS = st.sampled_from([("", 0), ("T4", 1), ("H100", 1), ("H100", 8), ("A100-80GB", 2)])
OFFERS = st.lists(
    st.builds(
        lambda kind, price, cpus, memory, gpu, market: offer(
            kind, price, cpus, memory, *gpu, market=market
        ),
        st.text("abc", min_size=1, max_size=3),
        st.none() | st.sampled_from([0.1, 1.0, 3.0]),
        st.sampled_from([1, 4, 32]),
        st.sampled_from([512, 8192]),
        GPUS,
        st.sampled_from(MARKETS),
    ),
    max_size=12,
    unique_by=lambda one: one.key(),
)
ASKED = st.builds(
    lambda gpus, cpu, memory, market, price: Resources(
        parse_gpus(gpus), cpu, memory, market=market, max_price=price
    ),
    st.sampled_from([None, "T4", "H100:2", "any", "H100,any"]),
    st.sampled_from([0.125, 4, 16]),
    st.sampled_from([128, 1024]),
    st.sampled_from([None, *MARKETS]),
    st.none() | st.just(2.0),
)


@given(ASKED, OFFERS, st.randoms())
def test_ladder_is_complete_sorted_and_pure(
    resources: Resources, offers: list[Offer], random: st.DataObject
) -> None:
    """Every offer is either a rung that holds the request or refused with a reason, the better
    liked GPU and then the lower expected cost come first, and the order in which offers arrive does
    not matter."""
    rules = Rules.of(resources)
    try:
        made = ladder(resources, Snapshot(tuple(offers), configured=True))
    except PlacementError:
        assert all(rules.refusal(one) for one in offers)
        return

    def order(one: Offer) -> tuple[int, bool, float]:
        return (gpu_rank(resources, one) or 0, one.price is None, expect(one, History()).cost)

    rungs = [rung.offer for rung in made.rungs]
    refused = [rung.offer for rung in made.refused]
    assert sorted(rungs + refused, key=Offer.key) == sorted(offers, key=Offer.key)
    assert list(map(order, rungs)) == sorted(map(order, rungs))
    assert all(rung.reason for rung in made.refused)
    for one in rungs:
        assert one.cpus >= resources.cpu
        assert one.memory >= resources.memory
        assert not resources.gpus or one.gpu_count
    mixed = list(offers)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert ladder(resources, Snapshot(tuple(mixed), configured=True)) == made
