"""Giving an instance back: released, ended or lost, each once."""

from __future__ import annotations

import pytest

from byoc.errors import CapacityError, InstanceError, StateError, TransientError
from byoc.fleet.held import Held
from byoc.fleet.locks import UseLock
from byoc.fleet.policy import END_WAIT
from byoc.providers.base import TOKEN_TAG
from byoc.state import InstanceRow
from tests.fleet.client import SMALL
from tests.fleet.regions import survey, whole
from tests.fleet.world import World, offer


def acquired(world: World, **more: bool) -> Held:
    return world.fleet().acquire(SMALL, "run-1", **more)


def row_of(world: World, held: Held) -> InstanceRow:
    row = world.journals[-1].instance("sim", held.instance.id)
    assert row is not None
    return row


def test_release_leaves_it_idle_and_free(world: World) -> None:
    """A released instance lives on, its row says until when, and its lock is free."""
    held = acquired(world)
    held.release(60)
    row = row_of(world, held)
    assert (row.state, row.idle_until) == ("idle", world.clock.wall() + 60)
    assert len(world.cloud.live()) == 1
    assert UseLock.take(world.home, held.instance.tags[TOKEN_TAG]) is not None


@pytest.mark.parametrize(("idle", "keep"), [(0.0, True), (60.0, False)])
def test_release_without_keeping_ends_it(world: World, idle: float, keep: bool) -> None:
    """No idle time, or `--no-keep`: releasing is ending."""
    acquired(world, keep=keep).release(idle)
    assert not world.cloud.live()


def test_end_waits_until_gone_and_removes_the_lock(world: World) -> None:
    """After end the provider says gone, the row says so with the reason, no lock file is left."""
    held = acquired(world)
    held.end()
    row = row_of(world, held)
    assert (row.state, row.detail, row.ended) == ("gone", "terminated", world.clock.wall())
    assert not (world.home / "locks" / held.instance.tags[TOKEN_TAG]).exists()


def test_only_the_first_giving_back_counts(world: World) -> None:
    """A second end, release or loss does nothing."""
    held = acquired(world)
    held.release(60)
    held.end()
    held.lost("silence")
    held.release(0)
    assert len(world.cloud.live()) == 1
    assert row_of(world, held).state == "idle"


def test_giving_back_closes_a_connection_nobody_took(world: World) -> None:
    """The connection that acquire made does not leak when connect is never called."""
    held = acquired(world)
    held.release(60)
    assert [one.alive for one in world.dialer.connected] == [False]


def test_overheard_terminate_is_repeated(world: World) -> None:
    """An instance that goes on as if nobody had asked is asked again within seconds."""
    held = acquired(world)
    world.cloud.overheard = 1
    begun = world.clock.mono()
    held.end()
    assert not world.cloud.live()
    assert world.clock.mono() - begun < 10


def test_overheard_end_of_a_lost_instance_is_repeated_at_the_end(world: World) -> None:
    """What was given up and went on all the same is ended before its client exits."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    world.cloud.overheard = 1
    held.lost("it stopped answering")
    assert world.cloud.live()
    fleet.settle()
    assert not world.cloud.live()
    assert row_of(world, held).state == "gone"


def test_ignored_terminate_is_told_and_asked_again(world: World) -> None:
    """An accepted terminate is not gone: after a minute it is an error, the row stays `ending`, and
    the next sweep ends it again."""
    held = acquired(world)
    world.cloud.deaf_to_terminate = True
    begun = world.clock.mono()
    with pytest.raises(InstanceError, match="has not ended"):
        held.end()
    assert world.clock.mono() - begun >= END_WAIT
    assert row_of(world, held).state == "ending"
    world.cloud.deaf_to_terminate = False
    fleet = world.fleet()
    fleet.sweep()
    fleet.sweep()
    assert not world.cloud.live()
    assert row_of(world, held).state == "gone"


def test_lost_instance_is_ended(world: World) -> None:
    """A lost instance is asked to end, for its work goes elsewhere; the reason is kept."""
    held = acquired(world)
    held.lost("it stopped answering")
    assert not world.cloud.live()
    row = row_of(world, held)
    assert row.state == "gone"
    assert "stopped answering" in row.detail


def test_zone_that_takes_instances_away_is_left_for_a_while(world: World) -> None:
    """After a preemption the next instance is had elsewhere, until that is over."""
    world.cloud.sold = [offer(zone="a"), offer(price=1.5, zone="b")]
    held = acquired(world)
    taken = CapacityError("preempted", scope="offer", remember=900.0)
    world.cloud.preempt(held.instance.id, taken)
    held.lost("it stopped answering")
    fleet = world.fleet()
    assert fleet.acquire(SMALL, "run-2").instance.offer.zone == "b"
    assert "one was taken back" in fleet.plan(SMALL).rungs[-1].reason
    world.clock.sleep(1801)
    assert fleet.acquire(SMALL, "run-3").instance.offer.zone == "a"


@pytest.mark.parametrize("dearer", [None, 4.0])
def test_a_zone_that_gave_notice_is_asked_again_where_nothing_is_as_good(
    world: World, dearer: float | None
) -> None:
    """It is scored down and not shut: the only zone, or one far cheaper than others, serves."""
    others = [] if dearer is None else [offer(price=dearer, zone="b")]
    world.cloud.sold = [offer(zone="a"), *others]
    held = acquired(world)
    held.noticed(30.0)
    assert world.fleet().acquire(SMALL, "run-2").instance.offer.zone == "a"
    held.end()


def test_lost_with_an_unreachable_provider_is_a_notice(world: World) -> None:
    """When the provider cannot be asked, the user is told that the lease will end it, and the
    instance is not offered again as a warm one."""
    held = acquired(world)
    world.cloud.down = TransientError("timeout")
    held.lost("it stopped answering")
    assert "its own lease ends it" in world.watcher.notices[-1]
    world.cloud.down = None
    assert row_of(world, held).state == "lost"
    assert world.fleet().acquire(SMALL, "run-2").instance.id != held.instance.id


def test_look_tells_what_became_of_it(world: World) -> None:
    """The provider's word on a vanished instance is there for the error message."""
    held = acquired(world)
    world.cloud.end(held.instance.id, "preempted")
    assert (held.look().state, held.look().detail) == ("gone", "preempted")


def test_traits_and_target(world: World) -> None:
    """What the engine and `byoc ssh` need is at hand."""
    held = acquired(world)
    assert held.traits.end_command == ("shutdown",)
    assert held.target.host_key == held.host_key
    assert (held.target.address, held.target.port, held.target.user) == ("192.0.2.1", 22, "user")


def test_unwritable_journal_does_not_keep_it_alive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end whose note cannot be written still ends the instance; the error is raised."""
    held = acquired(world)

    def full(*values: object, **more: object) -> None:
        raise StateError("the journal cannot be used: database or disk is full")

    monkeypatch.setattr(world.journals[-1], "change", full)
    with pytest.raises(StateError):
        held.end()
    assert not world.cloud.live()


def test_a_notice_counts_for_the_very_next_acquire(world: World) -> None:
    """Also within the second for which a ladder is used again."""
    sold = whole("sim")
    world.cloud.sold = [sold]
    world.cloud.surveys["r1"] = survey("r1", sold)
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    second = fleet.acquire(SMALL, "run-1", node=1)
    assert held.instance.offer.zone == second.instance.offer.zone == "r1a"
    held.noticed(30.0)
    assert fleet.acquire(SMALL, "run-1", node=2).instance.offer.zone == "r1b"
    held.end()
