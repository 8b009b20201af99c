"""Firewalls follow their client, and go with the last instance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from byoc.clock import Clock
from byoc.errors import AccessError, ConnectionLostError, ProviderError, TransientError
from byoc.fleet.audit import Auditor
from byoc.fleet.closing import MOVED_AGAIN, Closing
from byoc.fleet.core import Fleet
from byoc.fleet.ports import Stop, Target
from byoc.fleet.reap import FOREIGN, LEFTOVER
from byoc.providers.base import OWNER_TAG, TOKEN_TAG, Instance, LaunchRequest
from byoc.resources import Resources
from byoc.settings import Settings
from byoc.state import Intent, Journal, Run
from tests.fleet.world import CloudDialer, FileCloud, HandClock, World, offer

SMALL = Resources(cpu=1, memory=512)
HERE, THERE = "203.0.113.7/32", "198.51.100.9/32"


class GatedCloud(FileCloud):
    """A cloud whose machines are behind a firewall for each region.

    ``at``: where this client is. As the real adapters do, it looks at a firewall once and then
    relies on what it found, until it has ended the firewall itself. ``busy``: so many times an
    instance that is ending still uses the firewall. ``around``: called when the firewall is closed,
    before the answer.
    """

    def __init__(self, folder: Path, clock: Clock, name: str = "sim") -> None:
        super().__init__(folder, clock, name)
        self.at = HERE
        self.busy = 0
        self.trouble: ProviderError | None = None
        self.around: Callable[[], None] = lambda: None
        self.prepared: set[str] = set()

    def gates(self) -> dict[str, list[str]]:
        """Region -> who may come in; a closed firewall that is still there has nobody."""
        path = self.folder / "gates.json"
        found: dict[str, list[str]] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def set_gate(self, region: str, networks: list[str] | None) -> None:
        found = self.gates()
        found.pop(region, None)
        (self.folder / "gates.json").write_text(
            json.dumps(found if networks is None else {**found, region: networks})
        )

    def gate(self, region: str) -> str:
        return region

    def admit(self, region: str, owner: str) -> bool:
        self._called("admit")
        if self.trouble is not None:
            raise self.trouble
        changed = self.gates().get(region) != [self.at]
        self.set_gate(region, [self.at])
        self.prepared.add(region)
        return changed

    def launch(self, request: LaunchRequest) -> Instance:
        if request.offer.region not in self.prepared:
            self.set_gate(request.offer.region, [self.at])
            self.prepared.add(request.offer.region)
        return super().launch(request)

    def list(
        self, tags: Mapping[str, str], regions: Sequence[str] = (), everything: bool = False
    ) -> list[Instance]:
        found = super().list(tags, regions, everything)
        if everything:
            nothing = offer(cloud=self.name)
            found += [
                Instance(
                    self.name, f"fw/{region}", "running", nothing._replace(region=region),
                    {OWNER_TAG: tags[OWNER_TAG]}, kind="firewall",
                )
                for region in self.gates()
                if not regions or region in regions
            ]  # fmt: skip
        return found

    def terminate(self, instance_id: str) -> None:
        if not instance_id.startswith("fw/"):
            super().terminate(instance_id)
            return
        self._called("close")
        if self.trouble is not None:
            raise self.trouble
        region = instance_id[3:]
        self.prepared.discard(region)
        self.set_gate(region, [] if self.busy else None)
        self.around()
        if self.busy:
            self.busy -= 1
            raise TransientError("still in use")


class GatedDialer(CloudDialer):
    """Reaches a machine only where its firewall lets this client in."""

    def _machine(self, target: Target) -> dict[str, Any] | None:
        machine = super()._machine(target)
        for cloud in self.clouds:
            assert isinstance(cloud, GatedCloud)
            if machine is not None and cloud.at not in cloud.gates().get(target.region, []):
                return None
        return machine

    def knock(self, target: Target, timeout: float, stop: Stop) -> Any:
        door = super().knock(target, timeout, stop)
        if door is None:
            self.clock.sleep(timeout)
        return door


@pytest.fixture
def cloud(tmp_path: Path) -> GatedCloud:
    return GatedCloud(tmp_path / "cloud", HandClock())


@pytest.fixture
def gated(tmp_path: Path, cloud: GatedCloud) -> Any:
    made = World(tmp_path / "home", cloud.clock, [cloud])
    made.dialer = GatedDialer([cloud], cloud.clock)
    yield made
    made.close()


def closing(world: World, fleet: Fleet) -> Closing:
    return fleet._shop.closing


def test_the_door_goes_with_the_last_instance(gated: World, cloud: GatedCloud) -> None:
    """A run opens the firewall for where its client is; when it has ended its instance nobody is
    let in any more, and nothing of the firewall is left."""
    fleet = gated.fleet()
    held = fleet.acquire(SMALL, "run-1")
    assert cloud.gates() == {"region": [HERE]}
    held.end()
    fleet.settle()
    assert cloud.gates() == {}
    assert not list((gated.home / "gates").iterdir())


def test_it_closes_beside_the_wait_for_the_end(gated: World, cloud: GatedCloud) -> None:
    """The door is closed while the instance is still ending: a firewall that is in use is closed at
    once, and removed when the instance is gone."""
    fleet = gated.fleet()
    held = fleet.acquire(SMALL, "run-1")
    cloud.busy = 1
    held.end()
    fleet.settle()
    assert cloud.calls.count("close") == 2
    assert cloud.gates() == {}


def test_an_instance_that_is_kept_keeps_its_door(gated: World, cloud: GatedCloud) -> None:
    """A warm instance can be reached by the next run; the run that ends it closes the door."""
    fleet = gated.fleet()
    fleet.acquire(SMALL, "run-1").release(60)
    fleet.settle()
    assert cloud.gates() == {"region": [HERE]}
    after = gated.fleet()
    held = after.acquire(SMALL, "run-2")
    assert held.warm
    held.end()
    after.settle()
    assert cloud.gates() == {}


def test_the_door_of_one_that_ended_by_itself_is_closed_later(
    gated: World, cloud: GatedCloud
) -> None:
    """Nobody is there when a warm instance's time is up: the next client closes its door, although
    it has nothing to do there."""
    fleet = gated.fleet()
    held = fleet.acquire(SMALL, "run-1")
    held.release(60)
    fleet.settle()
    cloud.end(held.instance.id, "its idle time is over")
    gated.clock.sleep(3600)
    after = gated.fleet()
    after.sweep()
    after.settle()
    assert cloud.gates() == {}


def test_what_the_journal_does_not_know_keeps_the_door_open(
    gated: World, cloud: GatedCloud
) -> None:
    """A live instance of ours that only the cloud's list shows is not shut in."""
    fleet = gated.fleet()
    held = fleet.acquire(SMALL, "run-1")
    other = gated.fleet().acquire(SMALL, "run-2")
    fleet.journal.update_instance("sim", other.instance.id, state="gone")
    held.end()
    fleet.settle()
    assert cloud.gates() == {"region": [HERE]}


def test_what_was_tagged_by_hand_does_not_keep_the_door_open(
    gated: World, cloud: GatedCloud
) -> None:
    """A machine that somebody gave this installation's tags is none of ours: with the last one of
    ours the door closes."""
    fleet = gated.fleet()
    held = fleet.acquire(SMALL, "run-1")
    cloud.forge(fleet.journal.owner, held.instance.tags[TOKEN_TAG])
    held.end()
    fleet.settle()
    assert cloud.gates() == {}
    cloud.set_gate("region", [HERE])  # as a client leaves it that died just then
    auditor = Auditor(Settings(gated.home), fleet.journal, {"sim": cloud}, {}, gated.clock)
    verdicts = {
        item.thing.kind: item.verdict.word for item in auditor.look(["sim"], mine=True).items
    }
    assert verdicts == {"instance": FOREIGN, "firewall": LEFTOVER}


def test_other_clients_at_work_keep_the_door_open(gated: World, cloud: GatedCloud) -> None:
    """A client that runs beside relies on the door that it found: the last one closes it."""
    fleet = gated.fleet()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        fleet.journal.put_run(Run("run-of-another", "run", pid=other.pid, started=1.0))
        fleet.acquire(SMALL, "run-1").end()
        fleet.settle()
        assert cloud.gates() == {"region": [HERE]}
        assert other.stdin is not None
        other.stdin.close()
    again = gated.fleet()
    again.settle()
    assert cloud.gates() == {}


def test_a_launch_that_begins_while_the_door_closes_is_let_in(
    gated: World, cloud: GatedCloud
) -> None:
    """Another client's intent comes to be between the look and the closing: the door is opened
    anew at once, for it had found it open."""
    fleet = gated.fleet()
    fleet.acquire(SMALL, "run-1").end()

    def begins() -> None:
        journal = Journal.open(gated.home, gated.clock)
        gated.journals.append(journal)
        known = ("token-2", "sim", offer(), {}, "key", "run-2", 0.0, 0.0)
        journal.open_intent(Intent(*known))
        (gated.home / "gates" / "sim--region").write_text("region")

    if "region" not in cloud.gates():  # it was closed with the instance: open it for the test
        cloud.set_gate("region", [HERE])
        closing(gated, fleet).opens("sim", "region")
    cloud.around = begins
    fleet.settle()
    assert cloud.gates() == {"region": [HERE]}
    assert [path.name for path in (gated.home / "gates").iterdir()] == ["sim--region"]


def test_a_door_that_cannot_be_closed_is_told_and_tried_again(
    gated: World, cloud: GatedCloud
) -> None:
    """A refusal is told once, keeps no run from ending, and the next client tries again."""
    fleet = gated.fleet()
    held = fleet.acquire(SMALL, "run-1")
    cloud.trouble = AccessError("may not", scope="cloud")
    held.end()
    fleet.settle()
    assert [n for n in gated.watcher.notices if "still open" in n and "byoc reap" in n]
    assert cloud.gates() == {"region": [HERE]}
    cloud.trouble = None
    gated.fleet().settle()
    assert cloud.gates() == {}


def test_a_laptop_that_moved_reaches_its_warm_instance(gated: World, cloud: GatedCloud) -> None:
    """A warm instance does not answer where the laptop is now: its firewall is changed, which is
    told, and the second attempt reaches it. Where the laptop was is shut out."""
    gated.fleet().acquire(SMALL, "run-1").release(600)
    cloud.at = THERE
    cloud.prepared.clear()
    held = gated.fleet().acquire(SMALL, "run-2")
    assert held.warm
    assert cloud.gates() == {"region": [THERE]}
    assert [notice for notice in gated.watcher.notices if "another network" in notice]


def test_a_laptop_that_moves_during_a_run_connects_again(gated: World, cloud: GatedCloud) -> None:
    """The same for a connection that was cut, by one look; who has not moved is told nothing, and
    a machine that is off costs no look with each attempt."""
    held = gated.fleet().acquire(SMALL, "run-1")
    held.connect().close()
    cloud.at = THERE
    assert held.connect().alive
    assert len(gated.watcher.notices) == 1
    cloud.hides.add(held.instance.id)
    gated.dialer.cut.add(held.instance.id)
    cloud.calls.clear()
    gated.clock.sleep(MOVED_AGAIN)
    for _ in range(3):
        with pytest.raises(ConnectionLostError):
            held.connect()
    assert cloud.calls.count("admit") == 1
    assert len(gated.watcher.notices) == 1


def test_a_laptop_that_moves_while_its_machine_boots_gets_it(
    gated: World, cloud: GatedCloud
) -> None:
    """A machine that has an address and is silent for half a minute has its firewall looked at."""
    cloud.set_gate("region", [THERE])
    cloud.prepared.add("region")  # as if it had been prepared from elsewhere
    held = gated.fleet().acquire(SMALL, "run-1")
    assert held.connect().alive
    assert cloud.gates() == {"region": [HERE]}


def test_a_look_that_fails_changes_nothing(gated: World, cloud: GatedCloud) -> None:
    """Without a network nothing can be asked either: the connection is lost, and that is said."""
    held = gated.fleet().acquire(SMALL, "run-1")
    held.connect().close()
    cloud.at, cloud.trouble = THERE, AccessError("this computer's public address cannot be told")
    with pytest.raises(ConnectionLostError):
        held.connect()
    assert cloud.gates() == {"region": [HERE]}


def test_clouds_without_gates_are_left_alone(world: World) -> None:
    """Where byoc makes no firewall nothing is listed and nothing is noted for one."""
    fleet = world.fleet()
    fleet.acquire(SMALL, "run-1").end()
    before = len(world.cloud.listed)
    fleet.settle()
    assert len(world.cloud.listed) == before
    assert not os.path.exists(world.home / "gates")
