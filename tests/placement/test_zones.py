"""The ladder with what surveys, memory and history tell: zones, quotas, refusals, order."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import CapacityError, PlacementError, ProviderError
from byoc.placement import History, Rules, Snapshot, Tries, ladder
from byoc.placement.cost import expect
from byoc.placement.memory import Memory, refusal_of
from byoc.placement.told import Told
from byoc.providers.base import Draw, Quota, Survey
from byoc.resources import Ladder, Offer, Resources, parse_gpus
from byoc.state import Refusal
from tests.placement.sold import ASKED, DRAWS, ERRORS, OFFERS, SURVEYS, ZONED, offer

ONE = offer()
PLACE = ("one", "r1")


def made(
    *offers: Offer,
    survey: Survey | None = None,
    asked: Resources | None = None,
    memory: tuple[Refusal, ...] = (),
    now: float = 0.0,
    **more: object,
) -> Ladder:
    """The ladder of offers, all of one region when there is a survey."""
    surveys = {PLACE: survey} if survey else {}
    snapshot = Snapshot(offers, True, surveys=surveys, memory=memory, now=now)
    return ladder(asked or Resources(), snapshot, **more)  # type: ignore[arg-type]


def zones(found: Ladder) -> list[str]:
    return [rung.offer.zone for rung in found.rungs]


def reasons(found: Ladder) -> dict[str, str]:
    return {rung.offer.zone: rung.reason for rung in found.refused}


def test_surveyed_region_becomes_its_zones() -> None:
    """One rung for each zone that sells the type, in the cloud's order; without a survey, one of
    the region that says so."""
    (whole,) = made(ONE).rungs
    assert (whole.offer.zone, whole.reason.rpartition(", ")[2]) == ("", "zone chosen when tried")
    assert zones(made(ONE, survey=Survey("r1", {"t1": ("c", "a")}))) == ["c", "a"]


def test_untold_types_stay_as_they_are() -> None:
    """A type that the survey does not speak of is not concluded to be unsold."""
    assert zones(made(ONE, survey=Survey("r1", {"t2": ("a",)}))) == [""]


def test_unsold_types_are_refused() -> None:
    """A type that no zone sells, or not the zone of the offer."""
    with pytest.raises(PlacementError, match="is not sold in any zone of r1"):
        made(ONE, survey=Survey("r1", {"t1": ()}))
    with pytest.raises(PlacementError, match="is not sold in z"):
        made(offer(zone="z"), survey=Survey("r1", {"t1": ("a",)}))


def test_hinted_zones_come_first() -> None:
    """Where the cloud said that there is some, before the order of the survey."""
    error = CapacityError("no", zones=("c",), scope="offer", remember=60.0)
    known = refusal_of(error, offer(zone="a"), (), 0.0)
    assert known is not None
    found = made(ONE, survey=Survey("r1", {"t1": ("a", "b", "c")}), memory=(known,), now=1.0)
    assert zones(found) == ["c", "b"]
    assert reasons(found)["a"] == "was refused 1 s ago: no (capacity); not asked again for 59 s"


def test_fresher_prices_count() -> None:
    """A zone's own price of now decides about its place and about the ceiling."""
    survey = Survey(
        "r1", {"t1": ("a", "b")}, prices={("t1", "b", "on-demand"): 0.5, ("t1", "a", "spot"): 9.0}
    )
    found = made(ONE, survey=survey)
    assert [(rung.offer.zone, rung.offer.price) for rung in found.rungs] == [("b", 0.5), ("a", 1.0)]
    dear = survey._replace(prices={("t1", "a", "on-demand"): 3.0})
    found = made(ONE, survey=dear, max_price=2.0)
    assert zones(found) == ["b"]
    assert reasons(found)["a"] == "costs $3 an hour, allowed: $2"


def test_price_under_a_ceiling_may_be_told_by_the_survey() -> None:
    """An offer without a price waits for its region's survey, an approved one of a zone too; what
    the survey does not price is refused, and what it prices too high."""
    dark, asked = offer(price=None), Resources(max_price=2.0)
    zoned = dark._replace(zone="a").key()
    told = Survey("r1", {"t1": ("a", "b", "c")})._replace(
        prices={("t1", "a", "on-demand"): 1.5, ("t1", "b", "on-demand"): 2.5}
    )
    assert zones(made(dark, asked=asked)) == [""]
    assert zones(made(dark, asked=asked, only=(zoned,))) == ["a"]
    found = made(dark, asked=asked, survey=told)
    assert zones(found) == ["a"]
    assert reasons(found) == {
        "b": "costs $2.5 an hour, allowed: $2",
        "c": "has no known price, allowed: $2 an hour",
    }
    assert zones(made(dark, asked=asked, survey=told, only=(zoned,))) == ["a"]
    with pytest.raises(PlacementError, match="no known price"):
        made(offer(price=None, zone="a"), asked=asked)


def test_excluded_zones_are_left_out() -> None:
    """A pattern that names a zone applies once zones are known."""
    found = made(ONE, survey=Survey("r1", {"t1": ("a", "b")}), exclude=("one/r1/a",))
    assert zones(found) == ["b"]


def test_cloud_that_says_none_is_believed() -> None:
    """A capacity report is as good as a refusal, for that zone and market."""
    survey = Survey("r1", {"t1": ("a", "b")}, capacity={("t1", "a", "on-demand"): False})
    found = made(ONE, survey=survey)
    assert zones(found) == ["b"]
    assert reasons(found)["a"] == "one says that there is none now"


@pytest.mark.parametrize(
    ("limit", "used", "nodes", "fits"),
    [
        (8, 0, 1, True),
        (8, 8, 1, False),
        (8, 1, 1, False),
        (7, None, 1, False),
        (8, None, 1, True),
        (0, 0, 1, False),
        (16, 0, 2, True),
        (15, 0, 2, False),
    ],
)
def test_quota_room(limit: float, used: float | None, nodes: int, fits: bool) -> None:
    """Limit less use against what all nodes need; a use that was not told counts as none."""
    survey = Survey(
        "r1",
        {"t1": ("a",)},
        (Quota("B1", "r1", limit, used, "vCPU"),),
        {("t1", "on-demand"): (Draw("B1", 8),)},
    )
    if fits:
        assert zones(made(ONE, survey=survey, nodes=nodes)) == ["a"]
    else:
        with pytest.raises(PlacementError, match="of the quota B1") as caught:
            made(ONE, survey=survey, nodes=nodes)
        assert "have the quota B1 raised" in caught.value.hints[0]


def test_untold_quota_is_not_zero() -> None:
    """A bucket whose limit nobody told stands in nobody's way, nor does another region's."""
    draws = {("t1", "on-demand"): (Draw("B1", 8),)}
    elsewhere = (Quota("B2", "r1", 0), Quota("B1", "r2", 0))
    assert made(ONE, survey=Survey("r1", {"t1": ("a",)}, elsewhere, draws)).rungs


def test_quota_of_a_zone_counts_there_only() -> None:
    """OCI counts some limits by availability domain."""
    survey = Survey(
        "r1",
        {"t1": ("a", "b")},
        (Quota("B1", "r1", 0, 0, "core", "a"), Quota("B1", "r1", 9, 0, "core", "b")),
        {("t1", "on-demand"): (Draw("B1", 8),)},
    )
    assert zones(made(ONE, survey=survey)) == ["b"]


def test_markets_have_quotas_of_their_own() -> None:
    """Spot without room does not shut on-demand."""
    survey = Survey(
        "r1",
        {"t1": ("a",)},
        (Quota("SPOT", "r1", 0, 0), Quota("OD", "r1", 9, 0)),
        {("t1", "spot"): (Draw("SPOT", 8),), ("t1", "on-demand"): (Draw("OD", 8),)},
    )
    found = made(ONE, offer(market="spot", price=0.1), survey=survey)
    assert [rung.offer.market for rung in found.rungs] == ["on-demand"]
    assert reasons(found)["a"] == "needs 8 of the quota SPOT (spot) in r1: limit 0, 0 used"


def test_gpu_hosts_are_not_taken_for_plain_work() -> None:
    """Work without a GPU takes plain machines, also when only GPU hosts are left to be had."""
    host = offer("gpu", 50.0, gpu="H100", gpu_count=8)
    found = made(ONE, host)
    assert [rung.offer.type for rung in found.rungs] == ["t1"]
    known = refusal_of(CapacityError("no", remember=60.0), ONE, (), 0.0)
    assert known is not None
    with pytest.raises(PlacementError, match="has a GPU that nobody asked for"):
        made(ONE, host, memory=(known,), now=1.0)
    assert made(host).rungs, "the only machines there are have GPUs"
    assert made(ONE, host._replace(price=0.5)).rungs[0].offer.type == "gpu"


def test_arm_needs_a_gpu_that_exists_nowhere_else() -> None:
    """Named, but on x86 as well: the x86 machine; named and on arm alone: the arm machine."""
    arm = offer("arm", gpu="T4G", gpu_count=1, arch="arm64", price=0.1)
    intel = offer("x86", gpu="T4G", gpu_count=1)
    asked = Resources(gpus=parse_gpus("T4G"))
    assert [rung.offer.type for rung in made(arm, asked=asked).rungs] == ["arm"]
    both = made(arm, intel, asked=asked)
    assert [rung.offer.type for rung in both.rungs] == ["x86"]
    assert "others have T4G as well" in both.refused[0].reason


def test_history_decides_between_like_prices() -> None:
    """What failed often comes after what is a little dearer and worked."""
    tries = {("one", "r1", "t1", "on-demand"): Tries(0, 10, 2.0)}
    other = offer("t2", 1.3)
    snapshot = Snapshot((ONE, other), True, history=History(tries, {}))
    found = ladder(Resources(), snapshot)
    assert [rung.offer.type for rung in found.rungs] == ["t2", "t1"]
    assert "0 % of 10 tries worked" in found.rungs[1].reason


def test_hour_of_minimum_billing_is_reckoned_with() -> None:
    """A cheaper machine that is billed by the hour comes after a dearer one that is not."""
    metal = offer("metal", 0.8, minimum=3600.0)
    assert [rung.offer.type for rung in made(ONE, metal).rungs] == ["t1", "metal"]


def test_only_what_was_approved_in_its_order() -> None:
    """Keys with and without zones; what is not sold any more is left out; rules still hold."""
    offers = [offer(kind) for kind in ("t1", "t2", "t3")]
    survey = Survey("r1", {"t2": ("a", "b")})
    only = ("one/r1/b/t3/on-demand", "one/r1//t2/on-demand", "one/r1//gone/on-demand")
    found = made(*offers, survey=survey, only=only)
    assert [rung.offer.key() for rung in found.rungs] == [
        "one/r1/b/t3/on-demand",
        "one/r1/a/t2/on-demand",
        "one/r1/b/t2/on-demand",
    ]
    with pytest.raises(PlacementError):
        made(*offers, only=("one/r1//gone/on-demand",))
    with pytest.raises(PlacementError, match="is excluded"):
        made(*offers, only=("one/r1//t1/on-demand",), exclude=("*/*/*/t1",))


# -- properties -----------------------------------------------------------------------------------

REFUSALS = st.lists(
    st.builds(
        lambda error, one, draws: refusal_of(error, one, draws, 0.0), ERRORS, ZONED, DRAWS
    ).filter(bool),
    max_size=5,
)
Asked = tuple[Resources, list[Offer], dict[tuple[str, str], Survey], list[Refusal]]
WORLDS = st.tuples(ASKED, OFFERS, SURVEYS, REFUSALS)


def attempt(world: Asked, offers: list[Offer]) -> Ladder | None:
    resources, _, surveys, memory = world
    snapshot = Snapshot(tuple(offers), True, surveys=surveys, memory=memory, now=1.0)
    try:
        return ladder(resources, snapshot)
    except PlacementError as raised:
        error = raised
    assert error.message
    assert error.hints
    return None


@given(WORLDS)
def test_nothing_that_is_ruled_out_is_offered(world: Asked) -> None:
    """No rung breaks a rule, lies in a zone that does not sell it, is covered by a refusal, is said
    to be out, or lacks room in a quota that was told."""
    resources, offers, surveys, refusals = world
    found = attempt(world, offers)
    rules, memory = Rules.of(resources), Memory(refusals, 1.0)
    for rung in found.rungs if found else ():
        one = rung.offer
        told = Told(surveys.get((one.cloud, one.region), Survey(one.region)))
        surveyed = (one.cloud, one.region) in surveys
        assert not rules.refusal(one, price_to_come=not surveyed)
        assert memory.find(one, told.draws(one)) is None
        assert told.capacity(one) is not False
        assert told.lacking(one) is None
        sold = told.zones(one.type)
        assert sold is None or one.zone in sold


@given(WORLDS, st.randoms(use_true_random=False))
def test_ladder_does_not_depend_on_the_order_of_offers(world: Asked, random: object) -> None:
    """The same snapshot gives the same ladder, however its offers and refusals are ordered, and
    every offer is in it: as a rung, or refused with its reason."""
    offers = world[1]
    found = attempt(world, offers)
    mixed = list(offers)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert attempt(world, mixed) == found
    if found is not None:
        keys = {one._replace(zone="").key() for one in offers}
        told = [*found.rungs, *found.refused]
        assert {rung.offer._replace(zone="").key() for rung in told} == keys
        assert all(rung.reason for rung in told)
        assert len({rung.offer.key() for rung in told}) == len(told)


@given(WORLDS, st.data())
def test_fewer_offers_are_never_better(world: Asked, data: st.DataObject) -> None:
    """Taking an offer away never makes the best rung cheaper within its GPU choice, nor its choice
    a better one."""
    resources, offers, _, _ = world
    before = attempt(world, offers)
    if before is None or not resources.gpus:
        return  # without a GPU, GPU hosts come in when the plain offers are taken away
    lost = data.draw(st.sampled_from(offers))
    after = attempt(world, [one for one in offers if one != lost])
    if after is None or any(one.arch == "arm64" for one in offers):
        return  # arm comes in when the same GPU on x86 is taken away
    rules, history = Rules.of(resources), History()
    first, second = before.rungs[0].offer, after.rungs[0].offer
    rank = rules.order(first)[0]
    assert rules.order(second)[0] >= rank
    if rules.order(second)[0] == rank:
        assert expect(second, history).cost >= expect(first, history).cost


@given(WORLDS, ERRORS, ZONED, DRAWS)
def test_one_more_refusal_only_takes_away(
    world: Asked, error: ProviderError, one: Offer, draws: tuple[Draw, ...]
) -> None:
    """Remembering more never adds a rung."""
    resources, offers, surveys, refusals = world
    before = attempt(world, offers)
    more = refusal_of(error, one, draws, 0.0)
    after = attempt((resources, offers, surveys, [*refusals, *([more] if more else [])]), offers)
    had = {rung.offer.key() for rung in before.rungs} if before else set()
    assert {rung.offer.key() for rung in after.rungs} <= had if after else True


def test_ladder_of_four_thousand_offers_is_quick() -> None:
    """A launch does not wait for placement: a tenth of a second, six regions surveyed included,
    where this takes 30 ms on two idle cores."""
    offers = [
        offer(f"t{n % 50}", 1 + n / 1000, region=f"r{n // 100}", market=market, gpu="H100",
              gpu_count=1 + n % 8)
        for n in range(2000) for market in ("spot", "on-demand")
    ]  # fmt: skip
    surveys = {
        ("one", f"r{n}"): Survey(f"r{n}", {f"t{k}": ("a", "b", "c") for k in range(50)})
        for n in range(6)
    }
    snapshot = Snapshot(offers, True, surveys=surveys)
    asked = Resources(gpus=parse_gpus(["H100:2", "any"]))
    seconds = []
    for _ in range(5):
        begun = time.process_time()
        ladder(asked, snapshot)
        seconds.append(time.process_time() - begun)
    assert min(seconds) < 0.1
