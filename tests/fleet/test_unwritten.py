"""A journal that fails between having an instance and handing it over: no lock, no instance, no
connection is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.errors import InstanceError, StateError
from byoc.fleet.closing import Closing
from byoc.fleet.locks import UseLock
from byoc.providers.base import TOKEN_TAG
from byoc.resources import Resources
from byoc.state import Attempt, Journal
from tests.fleet.regions import cloud, whole, world_of
from tests.fleet.world import FakeConnection, World, offer

SMALL = Resources(cpu=1, memory=512)


class Failing:
    """A journal of which some methods fail. ``when``: by the method's name, for which arguments."""

    def __init__(self, journal: Journal, when: dict[str, Callable[..., bool]]) -> None:
        self._journal = journal
        self.when = when

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._journal, name)

        def checked(*values: Any, **more: Any) -> Any:
            if self.when[name](*values, **more):
                raise StateError("the journal cannot be used: database or disk is full")
            return real(*values, **more)

        return checked if name in self.when else real


def always(*values: Any, **more: Any) -> bool:
    return True


def fails(world: World, name: str, when: Callable[..., bool] = always) -> None:
    """From the next fleet on, its journal's method fails."""
    world.wrap_journal = lambda journal: Failing(journal, {name: when})


def worked(attempt: Attempt) -> bool:
    return attempt.outcome == "ok"


def warm(world: World) -> str:
    """A warm instance; the name of its lock."""
    held = world.fleet().acquire(SMALL, "run-1")
    held.release(600)
    return held.instance.tags[TOKEN_TAG]


@pytest.fixture
def regional(tmp_path: Path) -> Iterator[World]:
    """No cloud yet."""
    made = world_of(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("name", ["open_attempt", "close_attempt", "add_run_instance"])
def test_a_warm_instance_that_cannot_be_noted_is_free_again(world: World, name: str) -> None:
    """Whatever cannot be written while one is taken over, nobody goes on holding it."""
    token = warm(world)
    fails(world, name)
    with pytest.raises(StateError):
        world.fleet().acquire(SMALL, "run-2")
    lock = UseLock.take(world.home, token)
    assert lock is not None
    lock.release()
    assert not any(one.alive for one in world.dialer.connected[1:])


def test_a_new_instance_whose_success_cannot_be_noted_ends(world: World) -> None:
    """Nobody gets it, so it does not live on."""
    fails(world, "close_attempt", worked)
    with pytest.raises(StateError):
        world.fleet().acquire(SMALL, "run-1")
    assert world.cloud.ever() == 1
    assert not world.cloud.live()


@pytest.mark.parametrize("number", range(3))
def test_a_gang_of_which_one_cannot_be_noted_ends(regional: World, number: int) -> None:
    """Whichever it is, the first or another one, none is left."""
    one = cloud(regional, "one", whole("one"))
    fails(regional, "close_attempt", lambda done: worked(done) and done.seq == number + 1)
    fleet = regional.fleet()
    with pytest.raises(StateError):
        fleet.gang(SMALL, "run-1", (0, 1, 2))
    fleet.settle()
    assert one.ever() == 3
    assert not one.live()


def test_a_hedge_gives_what_was_ready_first_all_the_same(shared_world: World) -> None:
    """That of the others nothing can be written is told, and costs nobody the instance."""
    world = shared_world
    world.settings = {"hedge": 3}
    world.cloud.sold = [offer(price=1.0 + n, zone=zone) for n, zone in enumerate("abc")]
    fails(world, "close_attempt", lambda done: done.outcome == "beaten")
    for number in range(5):
        fleet = world.fleet()
        held = fleet.acquire(SMALL, f"run-{number}", keep=False)
        fleet.settle()
        assert [one.id for one in world.cloud.live()] == [held.instance.id]
        held.end()


def test_an_instance_ends_whose_journal_cannot_even_be_read(world: World) -> None:
    """From the launch's answer on the journal neither takes nor gives anything."""
    answered: list[bool] = []
    world.wrap_journal = lambda journal: Failing(
        journal,
        {name: lambda *values, **more: bool(answered) for name in ("change", "launched")},
    )
    launch = world.cloud.launch

    def launched(request: Any) -> Any:
        answered.append(True)
        return launch(request)

    world.cloud.launch = launched  # type: ignore[method-assign]
    with pytest.raises(StateError):
        world.fleet().acquire(SMALL, "run-1")
    assert world.cloud.ever() == 1
    assert not world.cloud.live()


def test_a_release_that_cannot_be_written_lets_go_of_the_lock(world: World) -> None:
    """Others may have it: it stays warm by its own clock, whatever the journal says."""
    blocked: list[bool] = []
    fails(world, "change", lambda *values, **more: bool(blocked))
    held = world.fleet().acquire(SMALL, "run-1")
    blocked.append(True)
    with pytest.raises(StateError):
        held.release(60)
    assert UseLock.take(world.home, held.instance.tags[TOKEN_TAG]) is not None


def test_an_instance_that_the_journal_does_not_know_is_ended_when_lost(world: World) -> None:
    """Its row is gone, and this process has not led its life."""
    held = world.fleet().acquire(SMALL, "run-1")
    fleet = world.fleet()  # of another process, whose memory is empty
    held._around = fleet._shop.around("sim")
    (world.home / "state" / "journal.db").unlink()
    held._around = world.fleet()._shop.around("sim")
    held.lost("silence")
    assert not world.cloud.live()


def test_who_asks_for_its_end_while_it_boots_is_heard(world: World) -> None:
    """`byoc down` in the moment in which it answers: it is not handed over as if nothing were."""
    connect = world.dialer.connect

    def ended_meanwhile(*values: Any, **more: Any) -> FakeConnection:
        connection: FakeConnection = connect(*values, **more)
        world.fleet().down()
        return connection

    world.dialer.connect = ended_meanwhile  # type: ignore[method-assign]
    with pytest.raises(InstanceError):
        world.fleet().acquire(SMALL, "run-1")
    assert not any(one.alive for one in world.dialer.connected)
    assert not world.cloud.live()


def test_a_door_that_another_client_has_just_closed_is_no_trouble(world: World) -> None:
    """Its note goes between the look at the folder and the look into the note."""
    fleet = world.fleet()
    (world.home / "gates").mkdir()
    (world.home / "gates" / "sim--region").symlink_to("gone")
    closing: Closing = fleet._shop.closing
    assert closing._noted() == []
    fleet.settle()
