"""The whole way with real parts: the local provider, SSH, the journal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from byoc.errors import HostKeyError, PlacementError
from byoc.fleet.core import Fleet, open_fleet
from byoc.fleet.watch import open_watch
from byoc.resources import Resources, parse_gpus
from byoc.settings import load
from tests.fleet.world import Watcher
from tests.helpers import ROOT, gone, until

SMALL = Resources()


@contextmanager
def fleet_of(home: Path, watcher: Watcher | None = None) -> Iterator[Fleet]:
    settings = load(home, dict(os.environ, BYOC_HOME=str(home)), {"boot_lease": 60})
    with open_fleet(settings, watcher or Watcher(), os.environ) as fleet:
        yield fleet


def test_acquire_use_release_and_use_again(byoc_home: Path) -> None:
    """A new instance is reached over SSH, released, and met again warm with the same files."""
    with fleet_of(byoc_home) as fleet:
        held = fleet.acquire(SMALL, "run-1")
        assert not held.warm
        connection = held.connect()
        assert connection.run("echo kept > note; echo $HOME").exit == 0
        connection.close()
        held.release(60)
    with fleet_of(byoc_home) as fleet:
        again = fleet.acquire(SMALL, "run-2")
        assert again.warm
        assert again.instance.id == held.instance.id
        second = again.connect()
        assert second.run("cat note").out == b"kept\n"
        second.close()
        again.end()
        assert fleet.ps() == []
    gone(held.instance.id)


def test_reconnect_after_a_cut(byoc_home: Path) -> None:
    """After its connection is closed, a held instance can be connected to again."""
    with fleet_of(byoc_home) as fleet:
        held = fleet.acquire(SMALL, "run-1")
        held.connect().close()
        again = held.connect()
        assert again.run("echo back").out == b"back\n"
        again.close()
        held.end()


def test_stages_and_attempts(byoc_home: Path) -> None:
    """The stages are told in order, and the journal has the attempt with its seconds."""
    watcher = Watcher()
    with fleet_of(byoc_home, watcher) as fleet:
        held = fleet.acquire(SMALL, "run-1")
        (attempt,) = fleet.journal.attempts("run-1")
        held.end()
    told = [(name, status) for name, status, _ in watcher.stages]
    assert told == [
        ("place", "start"),
        ("place", "done"),
        ("boot", "start"),
        ("boot", "done"),
        ("connect", "start"),
    ]
    assert attempt.outcome == "ok"
    assert 0 < attempt.seconds < 30


def test_no_private_host_key_is_left(byoc_home: Path) -> None:
    """The only private keys on this side are the client's own and, inside the machine's folder,
    the machine's."""
    with fleet_of(byoc_home) as fleet:
        held = fleet.acquire(SMALL, "run-1")
        ours = {
            path.relative_to(byoc_home)
            for path in byoc_home.rglob("*")
            if path.is_file() and b"OPENSSH PRIVATE KEY" in path.read_bytes()
        }
        held.end()
    outside = {path for path in ours if path.parts[0] != "local"}
    assert outside == {Path("keys/id_ed25519")}


def test_wrong_pinned_key_is_refused(byoc_home: Path) -> None:
    """A warm instance whose key is not the pinned one is an alarm, and nothing else is rented."""
    with fleet_of(byoc_home) as fleet:
        held = fleet.acquire(SMALL, "run-1")
        held.release(60)
        other = fleet._shop.dialer.new_host_key().public
        fleet.journal.update_instance("local", held.instance.id, host_key=other)
        with pytest.raises(HostKeyError):
            fleet.acquire(SMALL, "run-2")
        assert [row.id for row in fleet.ps()] == [held.instance.id]
        fleet.down()


def test_ended_by_itself_is_noticed(byoc_home: Path) -> None:
    """An instance that shuts itself down is gone from `ps`, with the reason in the journal."""
    with fleet_of(byoc_home) as fleet:
        held = fleet.acquire(SMALL, "run-1")
        connection = held.connect()
        connection.exec(" ".join(held.traits.end_command))
        until(lambda: held.look().state == "gone", 10, "the instance to be gone")
        connection.close()
        held.release(60)
        assert fleet.ps() == []
        row = fleet.journal.instance("local", held.instance.id)
        assert row is not None
        assert row.state == "gone"
        assert row.detail


def test_gpu_that_is_not_here(byoc_home: Path) -> None:
    """A GPU this computer lacks is refused with the explanation, before anything is made."""
    with fleet_of(byoc_home) as fleet:
        with pytest.raises(PlacementError, match="this computer has no B200") as caught:
            fleet.acquire(Resources(gpus=parse_gpus("B200:16")), "run-1")
        assert "no cloud is configured" in caught.value.message
        assert fleet.ps() == []


def test_lost_journal_finds_and_reuses_the_instance(byoc_home: Path) -> None:
    """The local provider tells host keys, so after a lost journal the instance is even warm."""
    with fleet_of(byoc_home) as fleet:
        held = fleet.acquire(SMALL, "run-1")
        held.release(60)
    for file in (byoc_home / "state").glob("journal.db*"):
        file.unlink()
    watcher = Watcher()
    with fleet_of(byoc_home, watcher) as fleet:
        assert [row.id for row in fleet.ps()] == [held.instance.id]
        assert fleet.acquire(SMALL, "run-2").instance.id == held.instance.id
        fleet.down()
    assert "missing" in watcher.notices[0]


def test_killed_client_leaves_an_instance_that_is_taken_over(byoc_home: Path) -> None:
    """A client killed after the acquire: its instance is unattended, and the next one takes it."""
    code = (
        "import os, sys, pathlib; from tests.fleet.test_local import fleet_of, SMALL\n"
        "with fleet_of(pathlib.Path(sys.argv[1])) as fleet:\n"
        "    held = fleet.acquire(SMALL, 'run-1'); print(held.instance.id, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    environ = dict(os.environ, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{ROOT}")
    with subprocess.Popen(
        [sys.executable, "-c", code, str(byoc_home)],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        theirs = client.stdout.readline().strip()
        client.send_signal(signal.SIGKILL)
    with fleet_of(byoc_home) as fleet:
        assert [(row.id, row.use) for row in fleet.ps()] == [(theirs, "unattended")]
        assert fleet.acquire(SMALL, "run-2").instance.id == theirs
        fleet.down()


def test_watch_needs_neither_paramiko_nor_placement(byoc_home: Path) -> None:
    """`byoc ps` and `byoc down` load no SSH and see what the fleet sees."""
    with fleet_of(byoc_home) as fleet:
        held = fleet.acquire(SMALL, "run-1")
        held.release(60)
    code = (
        "import os, pathlib, sys\n"
        "from byoc.fleet.watch import open_watch\n"
        "from byoc.settings import load\n"
        "class Nobody:\n"
        "    def stage(self, *told, **more): pass\n"
        "    def notice(self, message): pass\n"
        "with open_watch(load(pathlib.Path('/'), os.environ), Nobody(), os.environ) as watch:\n"
        "    print(watch.ps()[0].id, [row.id for row in watch.down()] != [])\n"
        "heavy = ('paramiko', 'cryptography', 'byoc.transport.ssh', 'byoc.placement.ladder')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ, PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{held.instance.id} True", "[]"]


def test_open_watch_here_too(byoc_home: Path) -> None:
    """Opening a watch on a fresh data folder rents nothing and shows nothing."""
    settings = load(byoc_home, dict(os.environ, BYOC_HOME=str(byoc_home)))
    with open_watch(settings, Watcher(), os.environ) as watch:
        assert watch.ps() == []
