"""`ps`, `down` and the sweep: the provider's truth, merged with the journal."""

from __future__ import annotations

import os

import pytest

from byoc.errors import AccessError, InstanceError, NotFoundError
from byoc.fleet.policy import LIST_GRACE
from byoc.providers.base import OWNER_TAG
from byoc.state import Run
from tests.fleet.client import SMALL
from tests.fleet.world import World


def test_nothing_rented_nothing_shown(world: World) -> None:
    """A fresh installation has no instances."""
    assert world.fleet().ps() == []


def test_shows_busy_idle_and_where(world: World) -> None:
    """Each row has the provider's state and who uses it."""
    fleet = world.fleet()
    busy, idle = (fleet.acquire(SMALL, f"run-{n}") for n in "12")
    idle.release(60)
    rows = {row.id: row for row in fleet.ps()}
    assert (rows[busy.instance.id].use, rows[busy.instance.id].pid) == ("busy", os.getpid())
    row = rows[idle.instance.id]
    assert (row.use, row.run, row.idle_until) == ("idle", "run-2", world.clock.wall() + 60)
    assert (row.state, row.price, row.port, row.user) == ("running", 1.0, 22, "user")
    assert row.host_key == idle.host_key


def test_vanished_instance_is_not_shown(world: World) -> None:
    """What the provider says is gone is gone, whatever the journal thought."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    held.release(60)
    world.cloud.end(held.instance.id, "lease expired")
    assert fleet.ps() == []
    row = fleet.journal.instance("sim", held.instance.id)
    assert row is not None
    assert (row.state, row.detail) == ("gone", "lease expired")


def test_row_of_a_held_instance_is_its_holders(world: World) -> None:
    """A sweep does not write the row of an instance that a live client holds."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    fleet.journal.update_instance("sim", held.instance.id, address="192.0.2.99")
    world.fleet().sweep()
    row = fleet.journal.instance("sim", held.instance.id)
    assert row is not None
    assert row.address == "192.0.2.99"
    held.release(60)
    world.fleet().sweep()
    row = fleet.journal.instance("sim", held.instance.id)
    assert row is not None
    assert row.address == held.instance.address


def test_lagging_list_is_not_believed(world: World) -> None:
    """An instance that the list lacks but the provider knows by id stays live in the journal."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    held.release(60)
    world.cloud.hides.add(held.instance.id)
    fleet.sweep()
    assert [row.id for row in fleet.journal.instances()] == [held.instance.id]


def test_unexplained_absence_needs_the_grace(world: World) -> None:
    """`No such instance` without a reason is believed only when the instance is old enough."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    held.release(60)
    (world.cloud.folder / "machines.json").write_text("{}")
    fleet.sweep()
    assert len(fleet.journal.instances()) == 1
    world.clock.sleep(LIST_GRACE + 1)
    fleet.sweep()
    assert not fleet.journal.instances()


def test_foreign_instances_are_invisible(world: World) -> None:
    """Instances of another owner are neither shown, used nor ended."""
    theirs = world.fleet(world.home.parent / "other").acquire(SMALL, "run-x")
    theirs.release(60)
    fleet = world.fleet()
    assert fleet.ps() == []
    assert fleet.acquire(SMALL, "run-1").instance.id != theirs.instance.id
    fleet.down()
    assert [one.id for one in world.cloud.live()] == [theirs.instance.id]
    assert world.cloud.live()[0].tags[OWNER_TAG] != fleet.journal.owner


def test_down_all(world: World) -> None:
    """Ends everything of ours, busy or idle, and waits until it is gone."""
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1")
    fleet.acquire(SMALL, "run-2").release(60)
    assert len(fleet.down()) == 2
    assert not world.cloud.live()
    assert not fleet.journal.instances()


def test_down_by_id_beginning_and_run(world: World) -> None:
    """An id, the beginning of one, or a run names instances."""
    fleet = world.fleet()
    for number in range(3):
        fleet.acquire(SMALL, f"run-{number}")
    assert [row.id for row in fleet.down(["sim-0"])] == ["sim-0"]
    assert [row.id for row in fleet.down(["run-2"])] == ["sim-2"]
    assert [row.id for row in fleet.down(["si"])] == ["sim-1"]


def test_down_refuses_what_it_does_not_know_before_ending_anything(world: World) -> None:
    """One unknown or ambiguous name among several: nothing is ended."""
    fleet = world.fleet()
    for number in range(2):
        fleet.acquire(SMALL, f"run-{number}")
    with pytest.raises(NotFoundError, match="'nope'"):
        fleet.down(["sim-0", "nope"])
    with pytest.raises(NotFoundError, match="several"):
        fleet.down(["sim-"])
    assert len(world.cloud.live()) == 2


def test_down_that_is_ignored_is_an_error(world: World) -> None:
    """`down` does not claim an end that the provider has not confirmed."""
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1")
    world.cloud.deaf_to_terminate = True
    with pytest.raises(InstanceError, match="still running"):
        fleet.down()


def test_unreachable_provider_is_a_notice(world: World) -> None:
    """`ps` tells which provider could not be asked and keeps what the journal knows."""
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1")
    world.cloud.down = AccessError("expired credentials")
    assert fleet.ps() == []
    assert world.watcher.notices == ["sim could not be asked: expired credentials"]
    assert len(fleet.journal.instances()) == 1


def test_lost_journal_is_rebuilt_from_the_list(world: World) -> None:
    """With the journal deleted, the same owner finds its instances again and can end them."""
    fleet = world.fleet()
    held = fleet.acquire(SMALL, "run-1")
    held.release(60)
    world.close()
    for file in (world.home / "state").iterdir():
        file.unlink()
    again = world.fleet()
    assert again.journal.owner == fleet.journal.owner
    (row,) = again.ps()
    assert (row.id, row.run, row.price) == (held.instance.id, "run-1", 1.0)
    assert "missing" in world.watcher.notices[-1]
    assert [one.id for one in again.down()] == [held.instance.id]
    assert not world.cloud.live()


def test_instance_without_a_known_key_is_never_entered(world: World) -> None:
    """After a lost journal, an instance whose host key nobody can tell is not used as warm."""
    held = world.fleet().acquire(SMALL, "run-1")
    held.release(60)
    world.close()
    for file in (world.home / "state").iterdir():
        file.unlink()
    assert world.fleet().acquire(SMALL, "run-2").instance.id != held.instance.id


def test_runs_of_dead_clients_are_lost(world: World) -> None:
    """A run whose process is no more is marked lost; one whose process lives is not."""
    fleet = world.fleet()
    dead = 2**22 + 1  # above the kernel's largest process id
    fleet.journal.put_run(Run("run-dead", "run", pid=dead, started=1.0))
    fleet.journal.put_run(Run("run-live", "run", pid=os.getpid(), started=2.0))
    fleet.sweep()
    assert fleet.journal.run("run-dead").status == "lost"
    assert fleet.journal.run("run-live").status == "running"


def test_what_may_not_be_ended_says_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud that refuses to end an instance was asked all the same, and its hints are shown."""
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1").release(60)
    refusal = AccessError("not allowed", provider="sim", hints=("allow it",))

    def refuse(instance_id: str) -> None:
        raise refusal

    monkeypatch.setattr(world.cloud, "terminate", refuse)
    with pytest.raises(InstanceError, match=r"not ended: .*not allowed") as caught:
        fleet.down()
    assert caught.value.hints[0] == "allow it" and "lease" in caught.value.hints[1]
    assert len(fleet.ps()) == 1
    assert not [one for one in world.watcher.notices if "could not be asked" in one]
