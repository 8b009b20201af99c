"""No room is left on a disk, the machine's or ours: it is said, and what was promised still holds.

The disks are small file systems in memory, which only root can mount.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import f_work
import pytest

import byoc
from byoc.clock import SYSTEM
from byoc.errors import AgentError, ExecutionError, ImageBuildError, StateError
from tests.conftest import end_instances, new_home
from tests.faults.world import Puller, World, passed
from tests.gate import Gate
from tests.helpers import gone
from tests.runtime_agent.wheels import Index, wheel

MIB = 1024 * 1024
BALLAST = "ballast"


class Disk:
    """A folder with a limited room. ``full()`` takes all of it, ``leave(n)`` all but n bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave(self, size: int) -> None:
        """Have so many bytes free."""
        self.clear()
        room = os.statvfs(self.folder)
        take = room.f_bavail * room.f_frsize - size
        with (self.folder / BALLAST).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, take))

    def clear(self) -> None:
        """Free what :meth:`leave` took."""
        (self.folder / BALLAST).unlink(missing_ok=True)


def mounted(*argv: str) -> None:
    """Mount, or skip the test."""
    done = subprocess.run(["mount", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")


@pytest.fixture
def home() -> Iterator[Path]:
    """A data folder; whatever is mounted in it is taken away."""
    if os.getuid():
        pytest.skip("only root can mount a small disk")
    home = new_home()
    yield home
    end_instances(home)
    gone(str(home))
    for folder in (home / "local", home):
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
    shutil.rmtree(home)


@pytest.fixture
def machines_disk(home: Path) -> Disk:
    """The disk that machines have: 48 MiB. Ours is another."""
    folder = home / "local"
    folder.mkdir(mode=0o700)
    mounted("-t", "tmpfs", "-o", "size=48m,mode=0700", "tmpfs", str(folder))
    return Disk(folder)


@pytest.fixture
def our_disk(home: Path, tmp_path: Path) -> Disk:
    """The client's disk: 16 MiB. Machines have another."""
    mounted("-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(home))
    (home / "local").mkdir(mode=0o700)
    mounted("--bind", str(tmp_path), str(home / "local"))
    return Disk(home)


@pytest.fixture
def world(home: Path) -> Iterator[World]:
    """A world in that data folder."""
    world = World(home)
    yield world
    world.detour.close()


# --- the machine's ---------------------------------------------------------------------------


def test_full_while_files_are_synced(
    machines_disk: Disk, world: World, gate: Gate, tmp_path: Path
) -> None:
    """Files that find no room are an error that says so, and other functions still run there."""
    gate.open()
    (tmp_path / "large.bin").write_bytes(os.urandom(64 * MIB))
    app = byoc.App("large")
    image = byoc.Image.debian_slim().add_local_file(tmp_path / "large.bin", "/root/large.bin")
    heavy = app.function(image=image)(f_work.heavy)
    light = app.function()(f_work.at_gate.raw_f)
    with world.run(app):
        begun = SYSTEM.mono()
        with pytest.raises(ExecutionError, match="disk is full"):
            heavy.remote(gate.port, "a")
        assert SYSTEM.mono() - begun < 20
        assert light.remote(gate.port, "b") == "b done"
    assert world.ids() == []


def test_full_while_an_image_is_built(
    machines_disk: Disk, world: World, gate: Gate, tmp_path: Path
) -> None:
    """An environment that finds no room is a failed build that says so; others are still built."""
    gate.open()
    with zipfile.ZipFile(wheel(tmp_path, "bulky"), "a") as package:
        package.writestr("bulky_data.bin", os.urandom(24 * MIB))
    index = Index(tmp_path)
    app = byoc.App("build")
    plain = byoc.Image.debian_slim()
    ready = app.function()(f_work.numbered.raw_f)
    bulky = app.function(image=plain.pip_install("bulky", index_url=index.url()))(f_work.heavy)
    other = app.function(image=plain.env({"A": "1"}))(f_work.at_gate.raw_f)
    with index.serving(), world.run(app):
        assert ready.remote(gate.port, 3) == 9
        machines_disk.leave(8 * MIB)
        with pytest.raises(ImageBuildError) as caught:
            bulky.remote(gate.port, "a")
        assert "No space left" in caught.value.log + str(caught.value)
        assert ready.remote(gate.port, 4) == 16
        assert other.remote(gate.port, "b") == "b done"
    assert world.ids() == []


def test_full_before_the_agent_came(machines_disk: Disk, world: World, gate: Gate) -> None:
    """A machine with no room for the agent is told of at once, and ends."""
    gate.open()
    world.reporter.watch = filler(machines_disk)
    with world.run(f_work.app):
        begun = SYSTEM.mono()
        with pytest.raises(AgentError, match="No space left"):
            f_work.at_gate.remote(gate.port, "a")
        assert SYSTEM.mono() - begun < 30
    assert world.ids() == []


def filler(disk: Disk) -> Any:
    """Fills the disk once the machine answers."""

    def watch(name: str, status: str) -> None:
        if (name, status) == ("boot", "done"):
            disk.leave(0)

    return watch


def test_full_while_functions_run(machines_disk: Disk, world: World, gate: Gate) -> None:
    """Code that finds no room gets its OSError; leases, calls and cuts go on without any room."""
    gate.open()
    with world.run(f_work.app, lease=4):
        with pytest.raises(OSError, match="No space left") as caught:
            f_work.fills.remote(200)
        assert caught.value.errno == errno.ENOSPC
        machines_disk.leave(0)
        assert f_work.numbered.remote(gate.port, 2) == 4
        passed(6)  # longer than the lease, which is renewed in a file
        world.relay.reset()
        squares = Puller(f_work.numbered.map([gate.port] * 60, range(60)))
        assert squares.all() == [n * n for n in range(60)]
        machines_disk.clear()
        assert f_work.fills.remote(2) == 2 * MIB
    assert world.reporter.losses == 0
    assert world.ids() == []


# --- ours -------------------------------------------------------------------------------------


def test_ours_full_before_a_run(our_disk: Disk, world: World, gate: Gate) -> None:
    """Without room for the journal nothing is launched, and the error names the disk."""
    our_disk.leave(0)
    with pytest.raises(StateError, match="full"), world.run(f_work.app):
        f_work.at_gate.remote(gate.port, "a")
    assert (gate.begun, world.ids()) == ([], [])


def test_ours_full_in_a_run(our_disk: Disk, world: World, gate: Gate) -> None:
    """Results still come without room for the journal; the machine is ended, and that is said."""
    with suppress(StateError), world.run(f_work.app):
        squares = Puller(f_work.numbered.map([gate.port] * 30, range(30)))
        gate.wait_for(2)
        our_disk.leave(0)
        gate.open()
        assert squares.all() == [n * n for n in range(30)]
        assert squares.error is None
    assert world.ids() == []
    our_disk.clear()
    with world.run(f_work.app):
        assert f_work.at_gate.remote(gate.port, "a") == "a done"
