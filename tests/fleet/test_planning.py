"""Plans, sights of capacity, surveys and many acquires at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.errors import AccessError, CapacityError, PlacementError, TransientError
from byoc.fleet import route
from byoc.fleet import survey as surveys
from byoc.fleet.held import Held
from byoc.fleet.survey import FRESH, Surveyor
from byoc.providers.base import TOKEN_TAG, Survey
from byoc.resources import Offer, Resources
from tests.fleet.regions import always, cloud, draws, quota, survey, whole, world_of
from tests.fleet.world import World
from tests.helpers import until

SMALL = Resources(cpu=1, memory=512)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """No cloud yet."""
    made = world_of(tmp_path)
    yield made
    made.close()


def out(scope: str = "offer") -> CapacityError:
    return CapacityError("none left", vendor_code="Stockout", scope=scope, remember=180.0)


# -- plans ----------------------------------------------------------------------------------------


def test_plan_is_what_acquire_climbs(world: World) -> None:
    """Nothing is launched by a plan, and the first rung of it is what an acquire takes."""
    one = cloud(world, "one", whole("one"), whole("one", type="big", price=0.9))
    fleet = world.fleet()
    ladder = fleet.plan(SMALL)
    assert not one.launched
    assert [rung.offer.zone for rung in ladder.rungs[:3]] == ["r1a", "r1b", "r1c"]
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.offer.key() == ladder.rungs[0].offer.key()
    assert one.calls.count("survey") == 1


def test_gang_needs_room_for_all_of_it(world: World) -> None:
    """A quota that has room for two is no place for three."""
    one = cloud(world, "one", whole("one"))
    one.surveys["r1"] = survey(
        "r1", *one.sold, quotas=(quota("L-1", 8),), draws=draws("L-1", *one.sold)
    )
    fleet = world.fleet()
    assert len(fleet.plan(SMALL, nodes=2).rungs) == 3
    with pytest.raises(PlacementError, match="needs 12 vCPU of the quota L-1") as caught:
        fleet.plan(SMALL, nodes=3)
    assert caught.value.hints[0] == "have the quota L-1 raised, or end what uses it"


def test_approved_offers_and_no_others(world: World) -> None:
    """An approved plan is tried in its own order; what it does not name is not asked, cheaper or
    not, and the zones of a key without one are."""
    one = cloud(world, "one", *(whole("one", type=kind, price=1.0) for kind in "xyz"))
    one.refuses = lambda offer: None if offer.zone == "r1b" and offer.type == "x" else out()
    only = ("one/r1/r1c/z/on-demand", "one/r1//x/on-demand")
    held = world.fleet().acquire(SMALL, "run-1", only=only)
    assert held.instance.offer.key() == "one/r1/r1b/x/on-demand"
    assert [key.split("/")[2:4] for key in one.launched] == [
        ["r1c", "z"], ["r1a", "x"], ["r1b", "x"]
    ]  # fmt: skip


def test_exhausted_plan_does_not_go_beyond(world: World) -> None:
    """When no approved offer works, that is the end of it."""
    one = cloud(world, "one", *(whole("one", type=kind) for kind in "xy"))
    one.refuses = lambda offer: out() if offer.type == "x" else None
    with pytest.raises(CapacityError):
        world.fleet().acquire(SMALL, "run-1", only=("one/r1/r1a/x/on-demand",))
    assert len(one.launched) == 1


def test_warm_instance_must_be_approved_too(world: World) -> None:
    """A plan is not served by a warm instance of an offer that it does not name."""
    cloud(world, "one", whole("one", type="x"), whole("one", type="y", price=2.0))
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1").release(60)
    held = fleet.acquire(SMALL, "run-2", only=("one/r1/r1a/y/on-demand",))
    assert (held.warm, held.instance.offer.type) == (False, "y")
    assert fleet.acquire(SMALL, "run-3", only=("one/r1/r1a/x/on-demand",)).warm


# -- capacity -------------------------------------------------------------------------------------


def test_sights_tell_all_that_is_known(world: World) -> None:
    """Per zone: what the cloud says, what was refused, what quotas leave, where nothing is sold."""
    sold = [whole("one", type=kind, price=1.0) for kind in ("free", "full", "over", "none")]
    one = cloud(world, "one", *sold)
    free, _, over, _ = sold
    told = survey("r1", *sold, zones=("a", "b"), quotas=(quota("L-1", 6, 4),))
    one.surveys["r1"] = told._replace(
        zones={**told.zones, "none": ()},
        draws=draws("L-1", over),
        capacity={("free", "r1a", "on-demand"): True, ("full", "r1a", "on-demand"): False},
        prices={("free", "r1b", "on-demand"): 0.5},
    )
    two = cloud(world, "two", whole("two", price=9.0))
    two.surveys["r1"] = AccessError("denied")
    fleet = world.fleet()
    one.refuses = always(out())
    with pytest.raises(PlacementError):
        fleet.acquire(
            SMALL, "run-1", only=("one/r1/r1b/free/on-demand", "one/r1/r1b/full/on-demand")
        )
    seen = {(s.offer.cloud, s.offer.type, s.offer.zone): s for s in fleet.capacity(SMALL)}
    states = {key: sight.state for key, sight in seen.items()}
    assert states == {
        ("one", "free", "r1a"): "free",
        ("one", "free", "r1b"): "refused",
        ("one", "full", "r1a"): "full",
        ("one", "full", "r1b"): "refused",
        ("one", "over", "r1a"): "quota",
        ("one", "over", "r1b"): "quota",
        ("one", "none", ""): "unsold",
        ("two", "small", ""): "denied",
    }
    (room,) = seen["one", "over", "r1a"].rooms
    assert (room.quota.limit, room.quota.used, room.need) == (6, 4, 4)
    refused = seen["one", "free", "r1b"]
    assert refused.offer.price == 0.5
    assert refused.refusal is not None
    assert refused.refusal.code == "Stockout"
    assert refused.expected.seen.tries == 1
    assert free.zone == ""
    assert len(one.launched) == 2  # by the acquire, none by the look


# -- surveys --------------------------------------------------------------------------------------


def test_who_gives_up_is_told_of_no_slow_region(world: World) -> None:
    """Ctrl-C while regions are asked is not their fault: nothing is said of them."""
    answer = threading.Event()
    one = cloud(world, "one", whole("one"))

    def slowly() -> Survey:
        answer.wait(30)
        return survey("r1", *one.sold)

    one.surveys["r1"] = slowly
    surveyor = Surveyor({"one": one}, world.watcher, SYSTEM)
    surveyor.ask({("one", "r1"): one.sold}, 10, stop=lambda: True)
    assert not surveyor.known() and not world.watcher.notices
    answer.set()


def test_slow_region_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that does not answer in time is told, and tried without knowing its zones; its late
    answer serves the next ladder."""
    answer = threading.Event()
    one = cloud(world, "one", whole("one"))

    def slowly() -> Survey:
        answer.wait(30)
        return survey("r1", *one.sold)

    one.surveys["r1"] = slowly
    world.clock = SYSTEM
    one.clock = SYSTEM
    monkeypatch.setattr(route, "WAIT", 0.1)
    fleet = world.fleet()
    (rung,) = fleet.plan(SMALL).rungs
    assert rung.offer.zone == ""
    assert rung.reason.endswith("zone chosen when tried")
    (notice,) = world.watcher.notices
    assert notice.startswith("one/r1 did not answer within 0.1 s")
    answer.set()
    until(lambda: len(fleet.plan(SMALL).rungs) == 3, 5, "the late answer to be used")


def test_best_region_is_enough_for_a_launch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch begins when its best region has answered; what the others answer meanwhile is used
    when the climb comes to them."""
    answer = threading.Event()
    one = cloud(world, "one", whole("one"), whole("one", "r2", price=2.0))

    def slowly() -> Survey:
        assert answer.wait(30)
        return survey("r2", *one.sold)

    one.surveys["r2"] = slowly
    world.clock = SYSTEM
    one.clock = SYSTEM
    monkeypatch.setattr(surveys, "SOON", 0.05)
    fleet = world.fleet()
    assert fleet.acquire(SMALL, "run-1").instance.offer.region == "r1"
    assert not world.watcher.notices

    def refuse(offer: Offer) -> CapacityError | None:
        answer.set()
        return out() if offer.region == "r1" else None

    one.refuses = refuse
    assert fleet.acquire(SMALL, "run-2").instance.offer.zone == "r2a"


def test_survey_is_asked_once_a_minute(world: World) -> None:
    """Fresh answers are used again; other types of the region are asked for beside the old ones."""
    one = cloud(world, "one", whole("one"), whole("one", type="big", cpus=32))
    fleet = world.fleet()
    fleet.plan(Resources(cpu=16))
    fleet.plan(Resources(cpu=16))
    assert one.calls.count("survey") == 1
    fleet.plan(SMALL)
    assert one.calls.count("survey") == 2
    fleet.plan(Resources(cpu=16))
    assert one.calls.count("survey") == 2
    world.clock.sleep(FRESH)
    fleet.plan(SMALL)
    assert one.calls.count("survey") == 3


def test_mistake_of_an_adapter_stops_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A survey that breaks is logged with its traceback, told, and the other cloud is used."""
    one = cloud(world, "one", whole("one", price=9.0))

    def broken() -> Survey:
        raise KeyError("zones")

    one.surveys["r1"] = broken
    cloud(world, "two", whole("two"))
    assert world.fleet().acquire(SMALL, "run-1").instance.provider == "two"
    assert any("KeyError: 'zones'" in text for text in world.watcher.notices)
    assert "the survey of one/r1 failed" in caplog.text


def test_surveys_run_side_by_side(world: World) -> None:
    """Eight regions answer together although each waits for the others."""
    barrier = threading.Barrier(8, timeout=10)
    sold = [whole("one", f"r{number}") for number in range(8)]
    one = cloud(world, "one", *sold)

    def together(region: str) -> Survey:
        barrier.wait()
        return Survey(region)

    for each in sold:
        one.surveys[each.region] = lambda region=each.region: together(region)
    surveyor = Surveyor({"one": one}, world.watcher, SYSTEM)
    wanted: dict[tuple[str, str], list[Offer]] = {("one", each.region): [each] for each in sold}
    surveyor.ask(wanted, 10)
    assert len(surveyor.known()) == 8
    assert not world.watcher.notices


# -- many at once ---------------------------------------------------------------------------------


def test_fifty_at_once(world: World) -> None:
    """Fifty acquires of one run on fifty threads: fifty instances, each with its own token, the
    region asked once, zones that run out left by all."""
    one = cloud(world, "one", whole("one"))
    world.clock = SYSTEM
    one.clock = SYSTEM
    left = {"r1a": 10, "r1b": 20, "r1c": 50}
    guard = threading.Lock()

    def room(offer: Offer) -> CapacityError | None:
        with guard:
            left[offer.zone] -= 1
            return out() if left[offer.zone] < 0 else None

    one.refuses = room
    fleet = world.fleet()
    got: list[Held | BaseException] = []

    def work(node: int) -> None:
        try:
            got.append(fleet.acquire(SMALL, "run-1", node=node))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            got.append(error)

    threads = [threading.Thread(target=work, args=(node,)) for node in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [one for one in got if isinstance(one, Held)]
    assert len(held) == 50, [error for error in got if not isinstance(error, Held)]
    assert len({each.instance.id for each in held}) == 50
    assert len({each.instance.tags[TOKEN_TAG] for each in held}) == 50
    assert one.calls.count("survey") == 1
    assert len(fleet.journal.attempts("run-1")) == len(one.launched)
    assert not fleet.journal.intents()


# -- sweeps ---------------------------------------------------------------------------------------


def test_only_regions_with_something_of_ours_are_asked(world: World) -> None:
    """No instance, no request; one, and its region is asked, for an hour after its end too."""
    one = cloud(world, "one", whole("one"), whole("one", "r2", price=9.0))
    fleet = world.fleet()
    assert fleet.ps() == []
    assert "list" not in one.calls
    held = fleet.acquire(SMALL, "run-1")
    fleet.ps()
    assert one.listed == [("r1",)]
    held.end()
    fleet.ps()
    assert one.listed == [("r1",)] * 2
    world.clock.sleep(3601)
    fleet.ps()
    assert one.listed == [("r1",)] * 2


def test_lost_journal_is_rebuilt_from_every_region(world: World) -> None:
    """With the journal gone, each cloud is asked everywhere, by later commands too until it has
    answered once."""
    one = cloud(world, "one", whole("one"))
    held = world.fleet().acquire(SMALL, "run-1")
    held.release(600)
    world.close()
    for file in (world.home / "state").iterdir():
        file.unlink()
    one.listed.clear()
    one.down = TransientError("timeout")
    assert world.fleet().ps() == []
    one.down = None
    (row,) = world.fleet().ps()
    assert row.id == held.instance.id
    world.fleet().ps()
    assert one.listed == [(), ("r1",)]


@pytest.mark.parametrize(("self_end", "ended"), [("stopped", True), ("gone", False)])
def test_stopped_instance_is_ended_by_the_sweep(world: World, self_end: str, ended: bool) -> None:
    """Where a machine that shut itself down is still paid for, the sweep ends it for good."""
    one = cloud(world, "one", whole("one"))
    one.self_end = self_end
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    held.release(60)
    one.stop(held.instance.id)
    fleet.sweep()
    assert (one.live() == []) is ended


class Queue:
    """A lock that counts who came for it."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), threading.Lock()
        self.came = 0

    def __enter__(self) -> None:
        with self._count:
            self.came += 1
        self._lock.acquire()

    def __exit__(self, *raised: object) -> None:
        self._lock.release()


def test_callers_share_a_sweep(world: World) -> None:
    """Who comes while a sweep is under way does not ask for another of their own each."""
    one = cloud(world, "one", whole("one"))
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1")
    begun, go = threading.Event(), threading.Event()
    really = one.list

    def slowly(*args: object, **more: object) -> object:
        begun.set()
        assert go.wait(10)
        return really(*args, **more)  # type: ignore[arg-type]

    one.list = slowly  # type: ignore[method-assign, assignment]
    queue = Queue()
    fleet._sweeper._turn = queue  # type: ignore[assignment]
    threads = [threading.Thread(target=fleet.sweep) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    until(lambda: queue.came == 20, 10, "the others to wait")
    go.set()
    for thread in threads:
        thread.join()
    assert len(one.listed) == 2
