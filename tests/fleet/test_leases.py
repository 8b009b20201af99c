"""Leases in the clouds' tags: when they are written, how far ahead, and what a failure does."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from byoc.errors import AccessError
from byoc.fleet.leases import (
    IDLE_MARGIN,
    NEVER,
    TRY_AGAIN,
    Keeper,
    Lease,
    granted,
    lease_of,
)
from byoc.limits import TAG_LEASE
from byoc.providers.base import EXPIRES_TAG, RUN_TAG, UNTIL_TAG, Instance
from tests.fleet.world import HandClock, offer
from tests.helpers import until

LIFETIME = 86_400.0


class Notes:
    """Takes notices."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        raise AssertionError("a lease is no stage")

    def notice(self, message: str) -> None:
        self.notices.append(message)


class Marked:
    """The part of a provider that a keeper uses: it remembers what was written."""

    name = "sim"

    def __init__(self) -> None:
        self.marks: list[tuple[str, dict[str, str]]] = []
        self.error: Exception | None = None
        self.gate = threading.Barrier(1)

    def mark(self, instance_id: str, tags: Mapping[str, str]) -> None:
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.marks.append((instance_id, dict(tags)))


class Scene:
    """A keeper without a thread, with one provider, under a clock that tests turn."""

    def __init__(self, *, threaded: bool = False) -> None:
        self.clock = HandClock()
        self.notes = Notes()
        self.cloud: Any = Marked()
        self.keeper = Keeper(self.notes, self.clock, threaded=threaded)

    def instance(self, name: str = "sim-1", run: str = "run-a", **tags: str) -> Instance:
        told = {RUN_TAG: run, **granted(self.clock.at, LIFETIME), **tags}
        return Instance("sim", name, "running", offer(), told)

    def turn(self, seconds: float = 0.0) -> float:
        self.clock.at += seconds
        return self.keeper.turn(self.clock.at)


def expires(tags: Mapping[str, str]) -> float:
    return float(tags[EXPIRES_TAG])


def test_a_launch_grants_a_lease_within_its_lifetime() -> None:
    """The first lease is never longer than the run may be; one without a lifetime has no limit."""
    assert lease_of(granted(1000.0, LIFETIME)) == Lease(1000.0 + TAG_LEASE, 1000.0 + LIFETIME)
    assert lease_of(granted(1000.0, 60.0)) == Lease(1060.0, 1060.0)
    assert lease_of(granted(1000.0, 0.0)) == Lease(1000.0 + TAG_LEASE, 0.0)


def test_a_short_run_asks_for_nothing() -> None:
    """Within half a lease no tag is written: neither while it is held nor when it is given back."""
    scene = Scene()
    one = scene.instance()
    scene.keeper.hold(scene.cloud, one, "run-a")
    assert scene.turn(TAG_LEASE / 2 - 1) == scene.clock.at + 1
    scene.keeper.idle(one, scene.clock.at + 60.0)
    assert scene.cloud.marks == [] and scene.turn(9 * TAG_LEASE) == NEVER


def test_a_lease_is_moved_on_at_half_time() -> None:
    """Once half of it is over it is a whole one again, over and over, and nothing else is."""
    scene = Scene()
    begun = scene.clock.at
    scene.keeper.hold(scene.cloud, scene.instance(), "run-a")
    scene.turn(TAG_LEASE / 2)
    scene.turn(TAG_LEASE / 2)
    assert [(name, expires(tags)) for name, tags in scene.cloud.marks] == [
        ("sim-1", begun + 1.5 * TAG_LEASE), ("sim-1", begun + 2 * TAG_LEASE)
    ]  # fmt: skip
    assert all(set(tags) == {EXPIRES_TAG} for _, tags in scene.cloud.marks)


def test_no_renewal_goes_beyond_the_lifetime() -> None:
    """The last lease ends with the lifetime; from then on nothing is written."""
    scene = Scene()
    end = scene.clock.at + TAG_LEASE + 100
    scene.keeper.hold(scene.cloud, scene.instance(**{UNTIL_TAG: str(int(end))}), "run-a")
    assert scene.turn(TAG_LEASE / 2) == NEVER
    assert [expires(tags) for _, tags in scene.cloud.marks] == [end]
    assert scene.turn(LIFETIME) == NEVER and len(scene.cloud.marks) == 1


def test_a_long_warm_time_is_covered_before_it_begins() -> None:
    """Given back for longer than its lease, an instance is marked first, and then no more."""
    scene = Scene()
    one = scene.instance()
    scene.keeper.hold(scene.cloud, one, "run-a")
    until_when = scene.clock.at + 3 * TAG_LEASE
    scene.keeper.idle(one, until_when)
    assert [expires(tags) for _, tags in scene.cloud.marks] == [until_when + IDLE_MARGIN]
    scene.turn(TAG_LEASE)
    assert len(scene.cloud.marks) == 1


def test_an_instance_of_another_run_is_marked_with_this_one() -> None:
    """A warm instance that a second run holds says so soon, so that its name finds it."""
    scene = Scene()
    scene.keeper.hold(scene.cloud, scene.instance(run="run-before"), "run-now")
    scene.turn()
    ((_, tags),) = scene.cloud.marks
    assert tags[RUN_TAG] == "run-now" and expires(tags) >= scene.clock.at + TAG_LEASE
    scene.turn(1)
    assert len(scene.cloud.marks) == 1


def test_a_failure_is_told_once_and_tried_again() -> None:
    """A tag that cannot be written disturbs nobody: one notice for the cloud, another try a minute
    later, and the lease is moved as soon as one succeeds."""
    scene = Scene()
    scene.cloud.error = AccessError("not authorized", provider="sim", scope="cloud")
    for name in ("sim-1", "sim-2"):
        scene.keeper.hold(scene.cloud, scene.instance(name), "run-a")
    scene.turn(TAG_LEASE / 2)
    assert scene.turn(1) == scene.clock.at - 1 + TRY_AGAIN
    scene.turn(TRY_AGAIN)
    assert len(scene.notes.notices) == 1 and "not authorized" in scene.notes.notices[0]
    scene.cloud.error = None
    scene.turn(TRY_AGAIN)
    assert sorted(name for name, _ in scene.cloud.marks) == ["sim-1", "sim-2"]


def test_many_are_marked_side_by_side() -> None:
    """Four leases that are due together are written together, not one after the other."""
    scene = Scene()
    scene.cloud.gate = threading.Barrier(4)
    for number in range(4):
        scene.keeper.hold(scene.cloud, scene.instance(f"sim-{number}"), "run-a")
    scene.turn(TAG_LEASE / 2)
    assert len(scene.cloud.marks) == 4


def test_what_has_ended_is_not_marked() -> None:
    """An instance that was dropped is forgotten, twice without an error."""
    scene = Scene()
    one = scene.instance()
    scene.keeper.hold(scene.cloud, one, "run-a")
    scene.keeper.drop(one)
    scene.keeper.drop(one)
    scene.keeper.idle(one, scene.clock.at + 99 * TAG_LEASE)
    assert scene.turn(TAG_LEASE) == NEVER and scene.cloud.marks == []


def test_one_thread_works_while_something_is_held() -> None:
    """The keeper's own thread writes what is due, is one for many instances, and ends when nothing
    is held; a new hold begins another."""
    others = threading.enumerate()
    scene = Scene(threaded=True)
    for _ in range(2):
        many = [scene.instance(f"sim-{number}", "run-before") for number in range(3)]
        before = len(scene.cloud.marks)
        for one in many:
            scene.keeper.hold(scene.cloud, one, "run-a")
        assert _threads(others) <= 1
        until(lambda before=before: len(scene.cloud.marks) == before + 3)  # type: ignore[misc]
        for one in many:
            scene.keeper.drop(one)
        until(lambda: _threads(others) == 0, what="the keeper's thread to end")


def _threads(others: list[threading.Thread]) -> int:
    """Keepers' threads but for those of other tests."""
    return sum(one.name == "byoc-leases" and one not in others for one in threading.enumerate())
