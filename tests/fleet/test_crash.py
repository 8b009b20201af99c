"""A client that dies at any step leaves nothing unknown, and nothing is rented twice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from byoc.fleet.locks import UseLock
from byoc.fleet.policy import LIST_GRACE, LISTS
from byoc.providers.base import TOKEN_TAG
from tests.fleet.client import BEGIN, SMALL, regional
from tests.fleet.world import HandClock, World
from tests.helpers import ROOT


class Crashes:
    """Clients that died, kept once and copied for each test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, scenario: str, into: Path) -> list[Path]:
        """One data folder and cloud for each step, before and after which a client died."""
        kept = self._folder / scenario
        if not kept.exists():
            environ = dict(os.environ, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{ROOT}")
            command = [sys.executable, "-m", "tests.fleet.client", "crash", str(kept), scenario]
            done = subprocess.run(
                command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
        shutil.copytree(kept, into / scenario)
        return sorted(path for path in (into / scenario).iterdir() if path.name != "whole")


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Crashes:
    """The crashes of this module."""
    return Crashes(tmp_path_factory.mktemp("crashes"))


def world_after(place: Path, seconds: float) -> World:
    """What a client finds that comes ``seconds`` after the crash."""
    clock = HandClock(BEGIN + seconds)
    return World(place / "home", clock, [regional(place / "cloud", clock)])


def test_crash_while_acquiring_never_makes_a_second_instance(
    crashes: Crashes, tmp_path: Path
) -> None:
    """Whatever step the client died at, the next acquire ends with exactly one instance ever made:
    what was launched is adopted, what was not is launched now."""
    places = crashes.of("acquire", tmp_path)
    assert len(places) > 20
    for place in places:
        world = world_after(place, 1)
        launched = world.cloud.ever()
        held = world.fleet().acquire(SMALL, "run-next")
        assert world.cloud.ever() == 1, place.name
        assert held.connect().alive
        assert held.instance.tags[TOKEN_TAG]
        assert launched in (0, 1)
        world.close()


def test_crash_while_acquiring_is_settled_by_a_sweep(crashes: Crashes, tmp_path: Path) -> None:
    """A sweep leaves no unknown instance and no lock behind; after the grace for lagging lists
    there is no open intent, and no instance whose client is dead."""
    for place in crashes.of("acquire", tmp_path):
        world = world_after(place, LIST_GRACE + 1)
        fleet = world.fleet()
        fleet.sweep()
        assert not [one for one in fleet.journal.intents() if world.cloud.ever()], place.name
        live = {one.id: one for one in world.cloud.live()}
        rows = {row.id: row for row in fleet.journal.instances()}
        assert live.keys() == rows.keys(), place.name
        for row in rows.values():
            assert row.host_key, place.name
            assert row.price == 1.0
            lock = UseLock.take(world.home, row.token)
            assert lock is not None, place.name
            lock.release()
        for _ in range(2):
            world.clock.sleep(LIST_GRACE / 2)
            fleet.sweep()
        fleet.sweep()
        assert not fleet.journal.intents(), place.name
        assert not world.cloud.live(), place.name
        assert not fleet.journal.instances(), place.name
        world.close()


def test_young_intent_without_an_instance_is_left_open(crashes: Crashes, tmp_path: Path) -> None:
    """Right after a crash before the launch, absence from a list proves nothing yet."""
    places = [p for p in crashes.of("acquire", tmp_path) if p.name.endswith("cloud.launch")]
    (before,) = [place for place in places if "-before-" in place.name]
    world = world_after(before, 1)
    fleet = world.fleet()
    fleet.sweep()
    assert [intent.state for intent in fleet.journal.intents()] == ["open"]
    world.clock.sleep(LIST_GRACE)
    for _ in range(LISTS - 1):
        fleet.sweep()
    assert not fleet.journal.intents()
    world.close()


@pytest.mark.parametrize("scenario", ["end", "release"])
def test_crash_while_giving_back_is_settled(
    crashes: Crashes, tmp_path: Path, scenario: str
) -> None:
    """An end that was begun is finished by the next sweep; a release leaves it to be used again."""
    for place in crashes.of(scenario, tmp_path):
        world = world_after(place, 1)
        fleet = world.fleet()
        begun = [row.id for row in fleet.journal.instances() if row.state == "ending"]
        fleet.sweep()
        fleet.sweep()
        assert not [one.id for one in world.cloud.live() if one.id in begun], place.name
        assert not fleet.journal.instances(("ending",)), place.name
        held = fleet.acquire(SMALL, "run-next")
        assert len(world.cloud.live()) == 1, place.name
        assert held.connect().alive
        world.close()
