"""Several clients of one data folder: an instance is never in two hands."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.fleet.client import SMALL
from tests.fleet.world import World
from tests.helpers import ROOT, until


def client(*words: str) -> subprocess.Popen[str]:
    """Another client, as a process."""
    environ = dict(os.environ, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{ROOT}")
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fleet.client", *words],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_held_instance_is_not_shared(shared_world: World) -> None:
    """While another process holds the warm instance, an acquire launches its own."""
    with client("hold", str(shared_world.home), str(shared_world.cloud.folder)) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().strip()
        fleet = shared_world.fleet()
        mine = fleet.acquire(SMALL, "run-1")
        assert theirs
        assert mine.instance.id != theirs
        shown = {row.id: (row.use, row.pid) for row in fleet.ps()}
        assert shown[theirs] == ("busy", other.pid)
        assert shown[mine.instance.id] == ("busy", os.getpid())
        other.communicate()
    assert other.returncode == 0
    shown = {row.id: (row.use, row.pid) for row in fleet.ps()}
    assert shown[theirs] == ("idle", 0)
    assert fleet.acquire(SMALL, "run-2").instance.id == theirs


def test_killed_client_frees_its_instance(shared_world: World) -> None:
    """After SIGKILL of its client an instance is unattended, and the next acquire takes it."""
    with client("hold", str(shared_world.home), str(shared_world.cloud.folder)) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().strip()
        other.kill()
        other.wait()
    fleet = shared_world.fleet()
    (row,) = fleet.ps()
    assert (row.id, row.use) == (theirs, "unattended")
    assert fleet.acquire(SMALL, "run-1").instance.id == theirs
    assert shared_world.cloud.ever() == 1


def test_many_clients_never_collide(shared_world: World) -> None:
    """Four processes that acquire and release as fast as they can never hold the same instance,
    and need no more instances than there are clients."""
    crowd = [
        client("churn", str(shared_world.home), str(shared_world.cloud.folder), "8")
        for _ in range(4)
    ]
    ended = [(one.communicate(timeout=50)[1], one.returncode) for one in crowd]
    assert [code for _, code in ended] == [0, 0, 0, 0], ended
    assert 1 <= len(shared_world.cloud.live()) <= 4
    fleet = shared_world.fleet()
    until(lambda: all(row.use == "idle" for row in fleet.ps()), 5, "all instances to be idle")
    assert not fleet.journal.intents()


def test_live_launch_of_another_client_is_left_alone(shared_world: World) -> None:
    """A sweep settles no intent, and an acquire takes no instance, that a live client boots."""
    with client("hold", str(shared_world.home), str(shared_world.cloud.folder)) as other:
        assert other.stdout is not None
        theirs = other.stdout.readline().strip()
        fleet = shared_world.fleet()
        token = next(
            one.tags["byoc-token"] for one in shared_world.cloud.live() if one.id == theirs
        )
        intent = fleet.journal.intent(token)
        assert intent is not None
        # as it stands while the other one boots, and old enough to be given up
        fleet.journal.open_intent(intent._replace(state="open", instance_id="", created=0.0))
        fleet.sweep()
        assert [intent.token for intent in fleet.journal.intents()] == [token]
        other.communicate()
    fleet.sweep()
    assert not fleet.journal.intents()
