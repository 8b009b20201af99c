"""Limits and nets: caps, pace, patrols, orphans, forged tags, leases and notices."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.errors import AccessError, BootError, PlacementError, StateError
from byoc.fleet.hours import Hours
from byoc.fleet.locks import UseLock
from byoc.fleet.pace import LAUNCH_BURST, Pace
from byoc.fleet.patrol import Patrol, pause_after
from byoc.fleet.policy import ORPHAN_GRACE, SWEEP_LATER, SWEEP_ROUNDS, SWEEP_SOON, WARM_GRACE
from byoc.limits import TAG_LEASE
from byoc.providers.base import EXPIRES_TAG, TOKEN_TAG, UNTIL_TAG
from tests.fleet.client import SMALL
from tests.fleet.world import Fault, FileCloud, HandClock, Watcher, World, offer


def abandoned(world: World) -> str:
    """The id of a reached instance whose client died."""
    held = world.fleet().acquire(SMALL, "run-dead")
    held.connect().close()
    held._lock.release()  # as the kernel does when its process ends
    return held.instance.id


# -- caps -----------------------------------------------------------------------------------------


def test_cap_refuses_before_a_launch_and_says_what_to_do(world: World) -> None:
    """With as many instances as allowed nothing is asked of the cloud; one less, and it is."""
    world.settings["max_instances"] = 2
    fleet = world.fleet()
    held = [fleet.acquire(SMALL, "run-1", node=node) for node in range(2)]
    with pytest.raises(PlacementError, match="max_instances") as caught:
        fleet.acquire(SMALL, "run-1", node=2)
    assert world.cloud.calls.count("launch") == 2
    assert "byoc down" in caught.value.hints[0]
    assert not fleet.journal.intents()
    held[0].end()
    assert fleet.acquire(SMALL, "run-1", node=2).connect().alive


def test_cap_counts_what_other_clients_have(world: World) -> None:
    """It is one for all clients of the data folder."""
    world.settings["max_instances"] = 1
    world.fleet().acquire(SMALL, "run-1")
    with pytest.raises(PlacementError, match="max_instances"):
        world.fleet().acquire(SMALL, "run-2")


def test_refusal_by_the_cap_leaves_no_lock(world: World) -> None:
    """What was not begun is not held."""
    world.settings["max_instances"] = 1
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1")
    with pytest.raises(PlacementError):
        fleet.acquire(SMALL, "run-1", node=1)
    assert len(list((world.home / "locks").iterdir())) == 1


def test_gone_instances_make_room(world: World) -> None:
    """A node whose machines die is launched again up to a limit of its own, not of the cap."""
    world.settings["max_instances"] = 1
    world.cloud.sold = [offer(type=f"t{n}", price=1.0 + n) for n in range(4)]
    world.cloud.script = [Fault(boot=60, dies="bad luck")] * 2
    assert world.fleet().acquire(SMALL, "run-1").connect().alive
    assert world.cloud.ever() == 3


# -- pace -----------------------------------------------------------------------------------------


def test_launch_calls_are_paced() -> None:
    """After a burst calls come no faster than the rate; each cloud has a bucket of its own."""
    clock = HandClock()
    pace = Pace(clock, per_minute=60, burst=5)
    assert [pace.wait("sim") for _ in range(6)] == [0] * 6
    assert pace.wait("sim") == pytest.approx(1, abs=0.01)
    assert pace.wait("other") == 0
    begun = clock.mono()
    for _ in range(30):
        pace.wait("sim")
    assert clock.mono() - begun == pytest.approx(30, abs=0.1)


def test_pace_hears_a_stop() -> None:
    """Who gives up does not wait for their turn."""
    clock = HandClock()
    pace = Pace(clock, per_minute=1, burst=1)
    for _ in range(3):
        pace.wait("sim", stop=lambda: True)
    assert clock.mono() == HandClock().mono()


def test_fifty_at_once_need_not_wait() -> None:
    """A large gang begins without a pause."""
    pace = Pace(HandClock())
    assert {pace.wait("sim") for _ in range(LAUNCH_BURST)} == {0.0}


# -- time -----------------------------------------------------------------------------------------


class Stepping(HandClock):
    """A wall clock that somebody sets, beside seconds that pass."""

    def __init__(self) -> None:
        super().__init__()
        self.off = 0.0

    def wall(self) -> float:
        return self.at + self.off


def test_hours_never_go_back() -> None:
    """Set back, the wall is not followed until it has caught up; set forward, it is."""
    clock = Stepping()
    hours = Hours(clock)
    begun = hours.now()
    clock.off = -600
    clock.at += 10
    assert hours.now() == pytest.approx(begun + 10)
    clock.at += 10
    assert hours.now() == pytest.approx(begun + 20)
    clock.off = 600
    assert hours.now() == pytest.approx(begun + 620)


def test_boot_is_waited_for_although_the_clock_is_set_back(tmp_path: Path) -> None:
    """A step of the wall clock neither ends a boot early nor keeps it for ever."""
    clock = Stepping()
    true = HandClock()
    true.sleep = clock.sleep  # type: ignore[method-assign]
    true.wall = clock.mono  # type: ignore[method-assign]
    world = World(tmp_path / "home", clock, [FileCloud(tmp_path / "cloud", true)])
    world.cloud.script = [Fault(boot=None)]
    begun = clock.mono()

    def stop() -> bool:
        clock.off = -600 if world.cloud.launched else 0
        return False

    with pytest.raises(BootError):
        world.fleet().acquire(SMALL, "run-1", stop=stop)
    assert 290 < clock.mono() - begun < 330
    world.close()


# -- patrols --------------------------------------------------------------------------------------


def test_patrol_is_dense_at_first() -> None:
    """Every ten seconds twenty times, then once a minute."""
    pauses = [pause_after(rounds) for rounds in range(SWEEP_ROUNDS + 2)]
    assert pauses == [SWEEP_SOON] * SWEEP_ROUNDS + [SWEEP_LATER] * 2


def test_patrol_sweeps_until_stopped_and_survives_a_failure() -> None:
    """One failed look is told once and the next one comes; a journal that is closed ends it."""
    watcher, rounds = Watcher(), []

    def sweep() -> None:
        rounds.append(len(rounds))
        if len(rounds) < 3:
            raise AccessError("expired credentials")
        if len(rounds) == 5:
            raise StateError("closed")

    Patrol(sweep, watcher, lambda seconds: False).run()
    assert len(rounds) == 5
    assert watcher.notices == ["a look at what is rented failed: expired credentials"]
    patrol = Patrol(sweep, watcher, lambda seconds: True)
    patrol.run()
    assert len(rounds) == 5


def test_patrol_is_one_thread_that_ends(world: World) -> None:
    """Many acquires begin one; the end of the fleet stops it."""
    begun, go, sweeps = threading.Event(), threading.Event(), []

    def wait(seconds: float) -> bool:
        begun.set()
        return go.wait(10)

    patrol = Patrol(lambda: sweeps.append(1), Watcher(), wait)
    patrol.begin()
    thread = patrol._thread
    patrol.begin()
    assert begun.wait(10)
    assert thread is not None
    assert patrol._thread is thread
    go.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not sweeps


# -- orphans --------------------------------------------------------------------------------------


def test_orphan_of_a_dead_client_is_ended_by_a_later_sweep(world: World) -> None:
    """For a lease it may be taken over; then whoever sweeps ends it."""
    orphan = abandoned(world)
    fleet = world.fleet()
    fleet.sweep()
    world.clock.sleep(ORPHAN_GRACE - 1)
    fleet.sweep()
    assert [one.id for one in world.cloud.live()] == [orphan]
    world.clock.sleep(1)
    fleet.sweep()
    assert not world.cloud.live()
    fleet.sweep()
    assert not fleet.journal.instances()
    assert not list((world.home / "locks").iterdir())


def test_orphan_that_was_taken_over_is_none(world: World) -> None:
    """A new client has a lease's time again, and is not disturbed."""
    orphan = abandoned(world)
    fleet = world.fleet()
    fleet.sweep()
    held = fleet.acquire(SMALL, "run-1")
    assert held.instance.id == orphan
    world.clock.sleep(ORPHAN_GRACE * 3)
    fleet.sweep()
    world.fleet().sweep()
    assert [one.id for one in world.cloud.live()] == [orphan]
    row = fleet.journal.instance("sim", orphan)
    assert row is not None
    assert (row.orphaned, row.run) == (0.0, "run-1")


def test_orphan_that_is_taken_while_it_is_judged_lives(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at who holds it and its end, somebody has taken it: the lock decides."""
    orphan = abandoned(world)
    fleet = world.fleet()
    fleet.sweep()
    world.clock.sleep(ORPHAN_GRACE)
    token = world.cloud.live()[0].tags[TOKEN_TAG]
    taken = UseLock.take(world.home, token)
    monkeypatch.setattr("byoc.fleet.book.holder", lambda home, key: 0)
    fleet.sweep()
    assert taken is not None
    assert [one.id for one in world.cloud.live()] == [orphan]
    row = fleet.journal.instance("sim", orphan)
    assert row is not None
    assert row.state == "running"


def test_warm_instance_is_left_until_its_time_is_over(world: World) -> None:
    """Then its agent should have ended it, and the sweep does."""
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1").release(600)
    world.clock.sleep(600 + WARM_GRACE)
    fleet.sweep()
    assert len(world.cloud.live()) == 1
    world.clock.sleep(1)
    fleet.sweep()
    assert not world.cloud.live()


def test_instance_that_died_before_its_end_is_asked_for_only(world: World) -> None:
    """Right before a kill it is looked at again: what is gone by then is not asked to end."""
    orphan = abandoned(world)
    fleet = world.fleet()
    fleet.sweep()
    world.clock.sleep(ORPHAN_GRACE)
    shown = world.cloud.live()
    world.cloud.list = lambda *args, **more: shown  # type: ignore[method-assign]
    world.cloud.end(orphan, "lease expired")
    fleet.sweep()
    assert "terminate" not in world.cloud.calls
    row = fleet.journal.instance("sim", orphan)
    assert row is not None
    assert row.state == "gone"


# -- foreign things -------------------------------------------------------------------------------


def test_forged_tags_are_neither_shown_nor_used_nor_ended(world: World) -> None:
    """An instance with a copy of our tags, of which the cloud says that we did not launch it."""
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1").release(600)
    world.cloud.forge(fleet.journal.owner, "0" * 32)
    (forged,) = [one for one in world.cloud.live() if one.id == "forged"]
    assert forged.tags[TOKEN_TAG]
    assert [row.id for row in fleet.ps()] == ["sim-0"]
    assert [text for text in world.watcher.notices if "forged" in text] == [
        "left alone at sim: byoc's tags are on forged, which byoc did not make"
    ]
    assert fleet.acquire(SMALL, "run-2").instance.id == "sim-0"
    world.clock.sleep(10_000)
    fleet.down()
    fleet.sweep()
    assert [one.id for one in world.cloud.live()] == ["forged"]


# -- leases and notices ---------------------------------------------------------------------------


def test_lease_is_in_the_tags_of_the_launch(world: World) -> None:
    """The cloud's record says until when it may live, and beyond what no renewal goes."""
    world.settings["lifetime"] = 7200.0
    held = world.fleet().acquire(SMALL, "run-1")
    now = world.clock.wall()
    assert int(held.instance.tags[EXPIRES_TAG]) == pytest.approx(now + TAG_LEASE, abs=2)
    assert int(held.instance.tags[UNTIL_TAG]) == pytest.approx(now + 7200, abs=2)


def test_notice_makes_an_instance_drain(world: World) -> None:
    """It is no warm one any more: releasing it ends it; what is rented next is elsewhere."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    held.noticed(30)
    row = fleet.journal.instance("sim", held.instance.id)
    assert row is not None
    assert row.state == "draining"
    held.release(600)
    assert not world.cloud.live()
    assert not fleet.journal.instances()


def test_draining_instance_of_a_dead_client_is_not_taken(world: World) -> None:
    """Its cloud is about to take it away."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    held.noticed(120)
    held._lock.release()
    assert world.fleet().acquire(SMALL, "run-2").instance.id != held.instance.id


def test_real_clock_is_the_wall() -> None:
    """Without a step both are the same."""
    assert Hours(SYSTEM).now() == pytest.approx(SYSTEM.wall(), abs=1)
