"""Failing over: which offer is asked next, what is left out, what `byoc why` can tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.errors import (
    AccessError,
    BadRequestError,
    BootError,
    CapacityError,
    NotOfferedError,
    PlacementError,
    ProviderError,
    QuotaError,
    ThrottleError,
    TokenError,
    TransientError,
    UnclassifiedError,
)
from byoc.fleet import climb, route
from byoc.fleet.policy import LAUNCH_TRIES, THROTTLE_TRIES
from byoc.providers.base import TOKEN_TAG
from byoc.resources import Resources, parse_gpus
from tests.fleet.regions import always, cloud, draws, quota, survey, told, whole, world_of
from tests.fleet.world import Fault, World

SMALL = Resources(cpu=1, memory=512)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """No cloud yet."""
    made = world_of(tmp_path)
    yield made
    made.close()


def out(
    scope: str = "offer", zones: tuple[str, ...] = (), remember: float = 180.0
) -> CapacityError:
    return CapacityError(
        "none left", vendor_code="Stockout", request_id="req-c", scope=scope, zones=zones,
        remember=remember, hints=("try again later",),
    )  # fmt: skip


def test_story_of_four_clouds(world: World) -> None:
    """Out of capacity in every zone, over quota, forbidden, then one that works: a single acquire,
    and each answer kept with its code, message and request id."""
    first = cloud(world, "one", whole("one", price=1.0))
    second = cloud(world, "two", whole("two", price=2.0))
    third = cloud(world, "three", whole("three", price=3.0))
    cloud(world, "four", whole("four", price=4.0))
    first.refuses = always(out())
    second.surveys["r1"] = survey("r1", *second.sold, draws=draws("L-1", *second.sold))
    second.refuses = always(
        QuotaError("over", vendor_code="Limit", request_id="req-q", scope="bucket", bucket="L-1",
                   remember=900.0, hints=("have L-1 raised",))
    )  # fmt: skip
    third.refuses = always(
        AccessError("denied", vendor_code="Forbidden", request_id="req-a", scope="cloud",
                    remember=3600.0)
    )  # fmt: skip
    fleet = world.fleet()
    begun = world.clock.mono()
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.provider == "four"
    assert told(world) == [
        ("one/r1/r1a/small/on-demand", "refused", "capacity", "Stockout"),
        ("one/r1/r1b/small/on-demand", "refused", "capacity", "Stockout"),
        ("one/r1/r1c/small/on-demand", "refused", "capacity", "Stockout"),
        ("two/r1/r1a/small/on-demand", "refused", "quota", "Limit"),
        ("three/r1/r1a/small/on-demand", "refused", "access", "Forbidden"),
        ("four/r1/r1a/small/on-demand", "ok", "", ""),
    ]
    capacity, _, _, over, denied, taken = fleet.journal.attempts("run-1")
    assert (capacity.message, capacity.request_id, capacity.hint) == (
        "none left", "req-c", "try again later"
    )  # fmt: skip
    assert capacity.step == "one/r1/r1a/small/on-demand is left out for 3 min"
    assert capacity.remembered == pytest.approx(world.clock.wall() + 180, abs=5)
    assert (over.scope, over.bucket) == ("bucket", "L-1")
    assert over.step == "what draws on L-1 in two/r1 is left out for 15 min"
    assert (denied.remembered, denied.step) == (0.0, "three is left out for the rest of this run")
    assert taken.reason.startswith("$4.00 an hour, about ")
    assert taken.instance_id == held.instance.id
    assert world.clock.mono() - begun < 0.5  # no pause between rungs
    assert not fleet.journal.intents()


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (out("offer"), ["r1a", "r1b", "r1c"]),
        (out("zone"), ["r1a", "r1b", "r1c"]),
        (NotOfferedError("no such type", scope="type@zone", remember=1.0), ["r1a", "r1b", "r1c"]),
        (out("region"), ["r1a"]),
        (out("cloud"), ["r1a"]),
        (QuotaError("over", scope="bucket", bucket="L-1", remember=9.0), ["r1a"]),
        (AccessError("denied"), ["r1a"]),
        (AccessError("denied", scope="region", remember=9.0), ["r1a"]),
        (BadRequestError("bad"), ["r1a"]),
        (BadRequestError("bad", scope="request"), ["r1a"]),
        (UnclassifiedError("what?"), ["r1a", "r1b", "r1c"]),
        (UnclassifiedError("what?", scope="offer", remember=9.0), ["r1a", "r1b", "r1c"]),
        (ProviderError("odd"), ["r1a", "r1b", "r1c"]),
    ],
)
def test_what_a_refusal_shuts_is_not_asked(
    world: World, error: ProviderError, asked: list[str]
) -> None:
    """Zones of one offer: as many are asked as the scope of the refusal leaves, then the other
    cloud serves."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = survey("r1", *one.sold, draws=draws("L-1", *one.sold))
    one.refuses = always(error)
    cloud(world, "two", whole("two", price=9.0))
    assert world.fleet().acquire(SMALL, "run-1").instance.provider == "two"
    assert [key.split("/")[2] for key in one.launched] == asked


def test_spot_may_be_shut_alone(world: World) -> None:
    """A missing role for spot leaves on-demand of the same cloud."""
    spot, fixed = whole("one", market="spot", price=0.3), whole("one", price=1.0)
    one = cloud(world, "one", spot, fixed, whole("one", "r2", market="spot", price=0.3))
    error = AccessError("no role", scope="spot", remember=9.0)
    one.refuses = lambda offer: error if offer.market == "spot" else None
    held = world.fleet().acquire(SMALL, "run-1")
    assert held.instance.offer.market == "on-demand"
    assert len(one.launched) == 2


def test_bigger_draws_on_a_full_quota_are_not_asked(world: World) -> None:
    """A quota that had no room for 8 is not asked for 8 or 16 elsewhere, but for 4."""
    big, bigger, little = (
        whole("one", type="big", price=1.0),
        whole("one", type="bigger", price=2.0),
        whole("one", type="little", price=3.0),
    )
    one = cloud(world, "one", big, bigger, little)
    amounts = draws("L-1", big, amount=8) | draws("L-1", bigger, amount=16)
    one.surveys["r1"] = survey("r1", *one.sold, draws=amounts | draws("L-1", little, amount=4))
    over = QuotaError("over", scope="bucket", bucket="L-1", remember=9.0)
    one.refuses = lambda offer: over if offer.type != "little" else None
    assert world.fleet().acquire(SMALL, "run-1").instance.offer.type == "little"
    assert [key.split("/")[3] for key in one.launched] == ["big", "little"]


def test_quota_without_room_is_never_asked(world: World) -> None:
    """The preflight: what the survey says has no room is refused with its figures."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = survey(
        "r1", *one.sold, quotas=(quota("L-1", 10, 8),), draws=draws("L-1", *one.sold)
    )
    cloud(world, "two", whole("two", price=9.0))
    fleet = world.fleet()
    (refused,) = {rung.reason for rung in fleet.plan(SMALL).refused}
    assert refused == ("needs 4 vCPU of the quota L-1 (on-demand) in r1: limit 10, 8 used")
    assert fleet.acquire(SMALL, "run-1").instance.provider == "two"
    assert not one.launched


def test_what_was_not_asked_is_part_of_the_story(world: World) -> None:
    """`byoc why` learns of the better offers that a quota, the cloud's word or the memory spoke
    against: the best one of each, once for the run; what is dearer than the rung taken is not
    told."""
    over, full, shut = (whole("one", type=kind, price=1.0) for kind in ("over", "full", "shut"))
    one = cloud(world, "one", over, full, shut, whole("one", type="dear", price=9.0))
    one.surveys["r1"] = survey(
        "r1",
        *one.sold,
        quotas=(quota("L-1", 2),),
        draws=draws("L-1", over, *one.sold[3:]),
        capacity={("full", "r1" + zone, "on-demand"): False for zone in "abc"},
    )
    cloud(world, "two", whole("two", price=5.0))
    one.refuses = always(out("type@zone"))
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-0")
    fleet.acquire(SMALL, "run-1", node=0)
    fleet.acquire(SMALL, "run-1", node=1)
    rows = fleet.journal.attempts("run-1")
    assert [row.outcome for row in rows] == ["skipped"] * 3 + ["ok"] * 2
    assert {(row.error, row.code, row.bucket) for row in rows[:3]} == {
        ("quota", "L-1", "L-1"),
        ("capacity", "", ""),
        ("capacity", "Stockout", ""),
    }
    assert all(row.message.endswith("(so are 2 more offers)") for row in rows[:3])
    assert all(row.offer.startswith("one/r1/r1a/") for row in rows[:3])
    assert len(one.launched) == 3  # by the first run


def test_zones_that_the_cloud_names_come_first(world: World) -> None:
    """A refusal that says where there is some is believed."""
    one = cloud(world, "one", whole("one"), whole("one", type="other", price=1.01))
    one.refuses = lambda offer: None if offer.zone == "r1c" else out(zones=("r1c", "r1b"))
    assert world.fleet().acquire(SMALL, "run-1").instance.offer.zone == "r1c"
    assert [key.split("/")[2] for key in one.launched] == ["r1a", "r1c"]


def test_remembered_refusals_are_not_asked_again(world: World) -> None:
    """Another run, even of another process, keeps off until the time is over; then it asks."""
    one = cloud(world, "one", whole("one"))
    cloud(world, "two", whole("two", price=9.0))
    one.refuses = always(out())
    world.fleet().acquire(SMALL, "run-1")
    assert len(one.launched) == 3
    fleet = world.fleet()
    assert fleet.acquire(SMALL, "run-2").instance.provider == "two"
    assert len(one.launched) == 3
    reasons = {rung.reason for rung in fleet.plan(SMALL).refused}
    assert all("was refused" in text and "none left (Stockout)" in text for text in reasons)
    world.clock.sleep(181)
    world.fleet().acquire(SMALL, "run-3")
    assert len(one.launched) == 6


def test_only_memory_in_the_way_says_how_long(world: World) -> None:
    """With nothing else to try, the error tells what was refused and when to come back."""
    one = cloud(world, "one", whole("one"))
    one.refuses = always(out())
    with pytest.raises(PlacementError, match="none of the 3 offers"):
        world.fleet().acquire(SMALL, "run-1")
    with pytest.raises(PlacementError, match="none left") as caught:
        world.fleet().acquire(SMALL, "run-2")
    assert caught.value.hints[0] == "wait 3 min: what was refused is asked for again then"
    assert len(one.launched) == 3


def test_denied_access_is_asked_again_by_the_next_run(world: World) -> None:
    """Permissions are mended between runs: the memory of a refusal must not outlive that."""
    one = cloud(world, "one", whole("one"))
    cloud(world, "two", whole("two", price=9.0))
    denied = AccessError("denied", scope="cloud", remember=3600.0)
    one.script = [Fault(error=denied)]
    fleet = world.fleet()
    assert fleet.acquire(SMALL, "run-1", node=0).instance.provider == "two"
    assert fleet.acquire(SMALL, "run-1", node=1).instance.provider == "two"
    assert len(one.launched) == 1  # the run's own memory
    assert world.fleet().acquire(SMALL, "run-2").instance.provider == "one"


def test_success_clears_what_it_disproves(world: World) -> None:
    """Once an offer could be had, older refusals of it are forgotten."""
    one = cloud(world, "one", whole("one"))
    one.script = [Fault(error=out("type@zone", remember=600.0))]
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.offer.zone == "r1b"
    (kept,) = fleet.journal.refusals(world.clock.wall())
    world.clock.sleep(601)
    assert not fleet.journal.refusals(world.clock.wall())
    one.end(held.instance.id, "gone")
    assert fleet.acquire(SMALL, "run-2").instance.offer.zone == "r1a"
    assert fleet.journal.forget([kept.key]) == 0  # it was dropped, not only over


def test_wrong_requests_leave_their_cloud(world: World) -> None:
    """A request that is wrong for three types of a cloud is our mistake there: the next cloud is
    asked, and the mistake stays in the story."""
    types = [whole("one", type=f"t{n}", price=1 + n / 10) for n in range(5)]
    one = cloud(world, "one", *types)
    one.refuses = always(BadRequestError("bad image", vendor_code="InvalidAMI"))
    cloud(world, "two", whole("two", price=9.0))
    assert world.fleet().acquire(SMALL, "run-1").instance.provider == "two"
    assert len(one.launched) == climb.WRONG
    assert [code for *_, code in told(world)] == ["InvalidAMI"] * 3 + [""]


def test_wrong_everywhere_is_raised_as_it_is(world: World) -> None:
    """When each cloud finds our request wrong, that is the error."""
    for name in ("one", "two"):
        cloud(world, name, whole(name)).refuses = always(BadRequestError("bad image"))
    with pytest.raises(BadRequestError, match="bad image"):
        world.fleet().acquire(SMALL, "run-1")


def test_clouds_take_turns_when_one_is_short(world: World) -> None:
    """After eight refusals the other cloud is asked, however many dearer offers the first has."""
    one = cloud(world, "one", *(whole("one", type=f"t{n}", price=1 + n / 100) for n in range(30)))
    one.refuses = always(out())
    cloud(world, "two", whole("two", price=50.0))
    assert world.fleet().acquire(SMALL, "run-1").instance.provider == "two"
    assert len(one.launched) == climb.TURN


def test_markets_take_turns_before_a_less_liked_gpu(world: World) -> None:
    """Spot that is out in every region makes way for on-demand of the same GPU first, then for
    other clouds, and only then for the next choice of GPU."""
    regions = [f"r{number}" for number in range(6)]
    sold = [
        whole("one", region, "t", gpu="T4", gpu_count=1, market=market, price=price)
        for region in regions
        for market, price in (("spot", 0.2), ("on-demand", 0.5))
    ]
    one = cloud(world, "one", *sold)
    one.refuses = lambda offer: out() if offer.market == "spot" else out("region")
    cloud(world, "two", whole("two", type="a", gpu="A10", gpu_count=1, price=0.1))
    asked = Resources(gpus=parse_gpus(["T4", "A10"]))
    assert world.fleet().acquire(asked, "run-1").instance.offer.gpu == "A10"
    markets = [key.split("/")[4] for key in one.launched]
    assert markets == ["spot"] * climb.TURN + ["on-demand"] * len(regions)


def test_every_kind_of_offer_has_its_turn(world: World) -> None:
    """Three clouds, two markets, three GPU choices, the first two out everywhere: the last choice
    is reached before the climb ends."""
    for name in ("one", "two", "three"):
        sold = [
            whole(name, f"r{n}", gpu, gpu=gpu, gpu_count=1, market=market, price=price)
            for n in range(6)
            for gpu, price in (("H100", 9.0), ("A100-80GB", 5.0), ("T4", 0.5))
            for market in ("spot", "on-demand")
        ]
        cloud(world, name, *sold).refuses = lambda offer: None if offer.gpu == "T4" else out()
    asked = Resources(gpus=parse_gpus(["H100", "A100", "any"]))
    assert world.fleet().acquire(asked, "run-1").instance.offer.gpu == "T4"


def test_no_more_than_so_many_are_asked(world: World) -> None:
    """A climb that gets nothing ends, and says that there is more."""
    one = cloud(world, "one", *(whole("one", type=f"t{n}", price=1 + n / 100) for n in range(40)))
    one.refuses = always(out())
    with pytest.raises(PlacementError, match="none of the first 64 of 120 offers") as caught:
        world.fleet().acquire(SMALL, "run-1")
    assert caught.value.hints[0].startswith("run it again for the others")
    assert len(one.launched) == climb.MAX_RUNGS


def test_gpu_choices_come_in_their_order(world: World) -> None:
    """All of the better liked GPU first, whatever it costs; `any` last."""
    sold = [
        whole("one", type="h", gpu="H100", gpu_count=1, price=9.0),
        whole("one", type="a", gpu="A100-80GB", gpu_count=1, price=5.0),
        whole("one", type="t", gpu="T4", gpu_count=1, price=0.5),
    ]
    one = cloud(world, "one", *sold)
    one.refuses = lambda offer: None if offer.gpu == "T4" else out()
    asked = Resources(gpus=parse_gpus(["H100", "A100", "any"]))
    assert world.fleet().acquire(asked, "run-1").instance.offer.gpu == "T4"
    assert [key.split("/")[3] for key in one.launched] == ["h"] * 3 + ["a"] * 3 + ["t"]


# -- the same offer again -----------------------------------------------------------------------


def test_throttled_launch_comes_back_with_the_same_token(world: World) -> None:
    """Too often: the same request again after pauses that stay short."""
    one = cloud(world, "one", whole("one"))
    cloud(world, "two", whole("two", price=9.0))
    one.script = [Fault(error=ThrottleError("slow down"))] * (THROTTLE_TRIES - 1)
    begun = world.clock.mono()
    assert world.fleet().acquire(SMALL, "run-1").instance.provider == "one"
    assert len({request.token for request in one.requests}) == 1
    assert world.clock.mono() - begun <= 20
    assert len(told(world)) == 1


def test_throttling_that_goes_on_leaves_the_region(world: World) -> None:
    """After four tries another region is asked, and no other zone of this one."""
    one = cloud(world, "one", whole("one"), whole("one", "r2", price=2.0))
    error = ThrottleError("slow down", vendor_code="RequestLimitExceeded")
    one.refuses = lambda offer: error if offer.region == "r1" else None
    begun = world.clock.mono()
    assert world.fleet().acquire(SMALL, "run-1").instance.offer.region == "r2"
    assert one.launched.count("one/r1/r1a/small/on-demand") == THROTTLE_TRIES
    assert len(one.launched) == THROTTLE_TRIES + 1
    assert world.clock.mono() - begun <= 20
    assert told(world)[0][1:3] == ("unknown", "throttle")


def test_last_offer_is_waited_for(world: World) -> None:
    """With no other offer left, throttling is waited out for longer."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = survey("r1", *one.sold, zones=("a",))
    one.script = [Fault(error=ThrottleError("slow down"))] * (THROTTLE_TRIES + 2)
    assert world.fleet().acquire(SMALL, "run-1").instance.provider == "one"


def test_lost_answers_fail_over_within_a_second(world: World) -> None:
    """Three tries with one token, a look by tag, then the next offer; the intent stays open."""
    one = cloud(world, "one", whole("one"))
    error = TransientError("timeout")
    one.refuses = lambda offer: error if offer.zone == "r1a" else None
    fleet, begun = world.fleet(), world.clock.mono()
    assert fleet.acquire(SMALL, "run-1").instance.offer.zone == "r1b"
    assert len(one.launched) == LAUNCH_TRIES + 1
    assert one.listed == [("r1",)]
    assert world.clock.mono() - begun < 2
    assert [intent.state for intent in fleet.journal.intents()] == ["open"]


def test_region_that_answers_nothing_is_left_and_then_its_cloud(world: World) -> None:
    """One that neither launches nor lists is not asked for its other offers, and after two such
    regions the cloud is left for a minute."""
    sold = [whole("one", f"r{n}", kind, price=1.0) for n in range(4) for kind in ("a", "b")]
    one = cloud(world, "one", *sold)
    cloud(world, "two", whole("two", price=500.0))
    fleet = world.fleet()
    fleet.plan(SMALL)
    one.down = TransientError("no route to host")
    assert fleet.acquire(SMALL, "run-1").instance.provider == "two"
    assert one.calls.count("launch") == LAUNCH_TRIES * climb.DEAF
    first, second = fleet.journal.attempts("run-1")[: climb.DEAF]
    assert first.step == "one/r0 is left out for 60 s"
    assert second.step == "one is left out for 60 s"


def test_region_that_cannot_tell_its_zones_is_asked_once(world: World) -> None:
    """Where nothing can have been launched nothing is asked again or looked for."""
    one = cloud(world, "one", whole("one"))
    one.refuses = always(TransientError("no zones", scope="region"))
    with pytest.raises(TransientError, match="no zones"):
        world.fleet().acquire(SMALL, "run-1")
    assert (len(one.launched), one.listed) == (1, [])


def test_refusal_after_a_lost_answer_proves_nothing(world: World) -> None:
    """The first try made it and its answer was lost; the second was refused: it is looked up by tag
    and used, not left behind."""
    one = cloud(world, "one", whole("one"))
    one.script = [Fault(error=TransientError("timeout"), made=True), Fault(error=out())]
    held = world.fleet().acquire(SMALL, "run-1")
    assert one.ever() == 1
    assert held.instance.tags[TOKEN_TAG] == one.requests[0].token


def test_given_up_launch_is_ended_when_it_shows(world: World) -> None:
    """A launch whose answers were all lost, and that no list showed in time: another offer serves,
    and at the end of the fleet the first one is looked for again and ended."""
    one = cloud(world, "one", whole("one"))
    one.lag = 5
    one.script = [
        Fault(error=TransientError("timeout"), made=True),
        Fault(error=UnclassifiedError("what?"), made=False),
        Fault(boot=10),
    ]
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert one.ever() == 2
    assert [row[1] for row in told(world)] == ["unknown", "ok"]
    fleet.settle()
    assert [each.id for each in one.live()] == [held.instance.id]
    assert not fleet.journal.intents()


def test_given_up_launch_that_a_sweep_has_seen_is_ended(world: World) -> None:
    """Its answers were lost, a later sweep shows it, nobody waits for it: the end of the client is
    its end, too."""
    one = cloud(world, "one", whole("one"), whole("one", "r2", price=2.0))
    one.lag = 5
    lost = TransientError("timeout")
    one.script = [Fault(error=lost, made=True), Fault(error=lost), Fault(error=lost), Fault(boot=6)]
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    fleet.sweep()
    assert one.ever() == len(one.live()) == 2 and not fleet.journal.intents()
    fleet.settle()
    assert [each.id for each in one.live()] == [held.instance.id]


def test_taken_token_gets_a_new_attempt_once(world: World) -> None:
    """A token that stands for something else: a new attempt number, hence a new token."""
    one = cloud(world, "one", whole("one"))
    conflict = TokenError("mismatch", vendor_code="IdempotentParameterMismatch")
    one.script = [Fault(error=conflict)]
    assert world.fleet().acquire(SMALL, "run-1").instance.offer.zone == "r1a"
    assert len({request.token for request in one.requests}) == 2
    assert [row[1:3] for row in told(world)] == [("refused", "token"), ("ok", "")]
    one.script = [Fault(error=conflict)] * 2
    assert world.fleet().acquire(SMALL, "run-2").instance.offer.zone == "r1b"


def test_token_of_our_own_instance_is_adopted(world: World) -> None:
    """When the token's instance is there, it is ours: taken, without a second launch."""
    one = cloud(world, "one", whole("one"))
    one.script = [Fault(error=TokenError("exists"), made=True)]
    held = world.fleet().acquire(SMALL, "run-1")
    assert one.ever() == 1
    assert held.instance.tags[TOKEN_TAG] == one.requests[0].token


# -- after it was accepted -----------------------------------------------------------------------


def test_stockout_after_acceptance_is_a_refusal(world: World) -> None:
    """An instance that the cloud accepted and could not make: its own error, remembered, nothing
    left in the journal, and the next zone within the same acquire."""
    one = cloud(world, "one", whole("one"))
    one.script = [Fault(boot=60, fails=out())]
    fleet = world.fleet()
    assert fleet.acquire(SMALL, "run-1").instance.offer.zone == "r1b"
    assert told(world)[0] == ("one/r1/r1a/small/on-demand", "refused", "capacity", "Stockout")
    first = fleet.journal.attempts("run-1")[0]
    assert (first.instance_id, first.step) == (
        "one-0", "one/r1/r1a/small/on-demand is left out for 3 min"
    )  # fmt: skip
    row = fleet.journal.instance("one", "one-0")
    assert row is not None
    assert row.state == "gone"
    assert "terminate" not in one.calls
    assert not fleet.journal.intents()


def test_dead_boot_shows_its_console(world: World) -> None:
    """What the machine printed last is in the error, and in the attempt when another one served."""
    one = cloud(world, "one", whole("one"))
    one.printed = "\n".join(f"line {number}" for number in range(100)) + "\npanic: no root\n\n"
    one.script = [Fault(boot=None)]
    fleet = world.fleet()
    assert fleet.acquire(SMALL, "run-1").instance.offer.zone == "r1b"
    first = fleet.journal.attempts("run-1")[0]
    assert first.console.splitlines()[-1] == "panic: no root"
    assert len(first.console.splitlines()) == 20
    assert one.calls.index("console") < one.calls.index("terminate")


def test_dead_boot_says_which_hop_failed(world: World) -> None:
    """With one offer the error itself says what was waited for, and carries the console."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = survey("r1", *one.sold, zones=("a",))
    one.printed = "panic: no root"
    one.script = [Fault(boot=None)]
    with pytest.raises(BootError) as caught:
        world.fleet().acquire(SMALL, "run-1")
    assert caught.value.hop == "its SSH server at 192.0.2.1:22"
    assert caught.value.hop in caught.value.message
    assert caught.value.as_dict()["console"] == "panic: no root"


def test_silent_machines_leave_their_cloud(world: World) -> None:
    """Three machines of a cloud that never answered: the next cloud is asked, and says so."""
    sold = [whole("one", f"r{n}", market=name) for n in range(5) for name in ("spot", "on-demand")]
    one = cloud(world, "one", *sold)
    one.script = [Fault(boot=None)] * 9
    cloud(world, "two", whole("two", price=500.0))
    fleet = world.fleet()
    assert fleet.acquire(SMALL, "run-1").instance.provider == "two"
    assert len(one.launched) == climb.SILENT
    last = fleet.journal.attempts("run-1")[climb.SILENT - 1]
    assert (last.error, last.step) == ("boot", "one is left out for the rest of this run")


def test_machines_that_are_silent_everywhere_are_the_error(world: World) -> None:
    """When no machine of any cloud answers, the first one's silence is raised, console included."""
    one = cloud(world, "one", *(whole("one", f"r{n}") for n in range(5)))
    one.printed, one.script = "panic: no root", [Fault(boot=None)] * 9
    with pytest.raises(BootError) as caught:
        world.fleet().acquire(SMALL, "run-1")
    assert caught.value.as_dict()["console"] == "panic: no root"
    assert len(one.launched) == climb.SILENT


def test_what_is_waited_for_is_told(world: World) -> None:
    """While a machine boots, the reporter hears which hop is next, once each."""
    one = cloud(world, "one", whole("one"))
    one.script = [Fault(boot=30)]
    world.fleet().acquire(SMALL, "run-1")
    waits = [detail for name, status, detail in world.watcher.stages if status == "wait"]
    assert waits == [
        "asking one/r1 what they have",
        "waiting for its SSH server at 192.0.2.1:22",
    ]


def test_disk_and_lifetime_travel_with_the_launch(world: World) -> None:
    """The disk that is asked for and the cloud's own last net are in the create call."""
    one = cloud(world, "one", whole("one")._replace(disk=0))
    world.settings["lifetime"] = 7200.0
    world.fleet().acquire(SMALL._replace(disk=50_000), "run-1")
    (request,) = one.requests
    assert (request.disk, request.lifetime) == (50_000, 7200.0)


# -- surveys --------------------------------------------------------------------------------------


def test_cloud_that_cannot_be_asked_is_left_out(world: World) -> None:
    """A survey that is denied shuts the cloud for the run, and is part of the story."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = AccessError("expired credentials", vendor_code="ExpiredToken")
    cloud(world, "two", whole("two", price=9.0))
    assert world.fleet().acquire(SMALL, "run-1").instance.provider == "two"
    assert not one.launched
    assert told(world)[0] == ("one/r1//small/on-demand", "refused", "access", "ExpiredToken")
    assert any("expired credentials" in text for text in world.watcher.notices)


def test_only_cloud_that_cannot_be_asked_is_the_error(world: World) -> None:
    """With one cloud, its denial is the answer, and `byoc why` knows of it."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = AccessError("expired credentials", vendor_code="ExpiredToken")
    with pytest.raises(AccessError, match="expired"):
        world.fleet().acquire(SMALL, "run-1")
    assert [row[2] for row in told(world)] == ["access"]


def test_failed_survey_is_told_and_tried_without(world: World) -> None:
    """A region that cannot be surveyed for another reason is asked without knowing its zones."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = TransientError("timeout")
    assert world.fleet().acquire(SMALL, "run-1").instance.offer.zone == ""
    assert "one/r1 could not be surveyed: timeout" in world.watcher.notices


def test_further_regions_are_surveyed_when_the_climb_comes_to_them(world: World) -> None:
    """The best six regions first; the others once the climb reaches them, some at a time."""
    sold = [whole("one", f"r{n}", price=1 + n / 10) for n in range(9)]
    one = cloud(world, "one", *sold)
    assert len(world.fleet().plan(SMALL).rungs) == route.FIRST * 3 + 3
    assert one.calls.count("survey") == route.FIRST
    one.refuses = lambda offer: None if offer.region == "r7" else out("region")
    held = world.fleet().acquire(SMALL, "run-1")
    assert (held.instance.offer.region, held.instance.offer.zone) == ("r7", "r7a")
    assert one.calls.count("survey") == route.FIRST + 9


def test_surveys_that_leave_nothing_say_why(world: World) -> None:
    """When the regions that are surveyed last have no room either, the error names the quota."""
    sold = [whole("one", f"r{n}", price=1 + n / 10) for n in range(9)]
    one = cloud(world, "one", *sold)
    for n, each in enumerate(sold):
        one.surveys[f"r{n}"] = survey(
            f"r{n}", each, draws=draws("L-1", each), quotas=(quota("L-1", 0, region=f"r{n}"),)
        )
    with pytest.raises(PlacementError, match="L-1"):
        world.fleet().acquire(SMALL, "run-1")
    assert not one.launched


def test_offer_without_a_price_is_not_taken_under_a_ceiling(world: World) -> None:
    """Under a ceiling the region tells the price first; where it does not, nothing is launched."""
    one = cloud(world, "one", whole("one", price=None))
    one.surveys["r1"] = TransientError("timeout")
    with pytest.raises(PlacementError):
        world.fleet().acquire(SMALL._replace(max_price=2.0), "run-1")
    assert not one.launched
    told_now = survey("r1", *one.sold)._replace(prices={("small", "r1b", "on-demand"): 1.5})
    one.surveys["r1"] = told_now
    held = world.fleet().acquire(SMALL._replace(max_price=2.0), "run-2")
    assert (held.instance.offer.zone, held.instance.offer.price) == ("r1b", 1.5)


def test_excluded_zone_is_not_met_by_chance(world: World) -> None:
    """Where a zone is excluded, the cloud is not left to choose one."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = TransientError("timeout")
    cloud(world, "two", whole("two", price=9.0))
    asked = SMALL._replace(exclude=("one/r1/r1a",))
    assert world.fleet().acquire(asked, "run-1").instance.provider == "two"
    assert not one.launched
