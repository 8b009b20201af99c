"""Programs instead of functions (``byoc exec``): the same breaks, the same promises."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import f_work
import pytest

from byoc.errors import ConnectionLostError, InstanceError
from tests.faults.world import World, guardian_of, kill
from tests.gate import Gate
from tests.helpers import until

MIB = 1024 * 1024
REPORT = """
import socket, sys
def report(name):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as line:
        line.sendall(name.encode() + b"\\n"); line.recv(1)
"""


class Program:
    """A program that runs in a thread. ``code``/``error``: how it ended."""

    def __init__(self, session: Any, folder: Path, text: str, gate: Gate, **options: Any) -> None:
        (folder / "program.py").write_text(REPORT + text)
        self.code: int | None = None
        self.error: BaseException | None = None
        argv = ["python", "-u", "program.py", str(gate.port)]
        work = threading.Thread(
            target=self._run, args=(session, argv, folder), kwargs=options, daemon=True
        )
        work.start()
        self._thread = work

    def _run(self, session: Any, argv: list[str], folder: Path, **options: Any) -> None:
        try:
            self.code = session.command(argv, folder, **options)
        except (InstanceError, OSError) as error:
            self.error = error

    def end(self, seconds: float = 60.0) -> int | None:
        """Wait for it; its exit code."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"no end after {seconds} s"
        return self.code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that is synced."""
    path = tmp_path / "project"
    path.mkdir()
    return path


def test_output_over_cuts(world: World, gate: Gate, folder: Path) -> None:
    """A program's output arrives whole and in order over cuts, and so does its exit code."""
    text = """
for n in range(5):
    for i in range(2000):
        print(n, i)
    report(f"p{n}")
sys.exit(5)
"""
    with world.run(f_work.app) as session:
        program = Program(session, folder, text, gate)
        for n in range(5):
            gate.wait_for(n + 1)
            (world.relay.cut if n % 2 else world.relay.reset)()
            gate.let_go()
        assert program.end() == 5
    expected = "".join(f"{n} {i}\n" for n in range(5) for i in range(2000))
    assert world.reporter.output.decode() == expected
    assert world.reporter.losses == 0


def test_input_over_cuts(world: World, gate: Gate, folder: Path) -> None:
    """What a program reads from our stdin arrives whole over cuts."""
    read, write = os.pipe()
    text = """
for n in range(4):
    report(sys.stdin.readline().strip())
print(len(sys.stdin.buffer.read()))
"""
    with world.run(f_work.app) as session, open(read, "rb") as stdin:
        program = Program(session, folder, text, gate, stdin=stdin)
        for n in range(4):
            os.write(write, b"line %d\n" % n)
            gate.wait_for(n + 1)
            world.relay.cut()
            gate.let_go()
        feeder = threading.Thread(target=_feed, args=(write, b"x" * MIB, 8))
        feeder.start()
        until(lambda: world.relay.up > 2 * MIB, 60, "some of it")
        world.relay.reset()
        assert program.end() == 0
        feeder.join(10)
    assert gate.begun == [f"line {n}" for n in range(4)]
    assert world.reporter.output.decode() == f"{8 * MIB}\n"


def _feed(handle: int, data: bytes, times: int) -> None:
    with open(handle, "wb") as file:
        for _ in range(times):
            file.write(data)


def test_program_whose_machine_dies(world: World, gate: Gate, folder: Path) -> None:
    """A program is not begun again elsewhere: its end is told at once, with its reason."""
    with world.run(f_work.app) as session:
        program = Program(session, folder, 'report("a")', gate)
        gate.wait_for(1)
        kill(guardian_of(world.home, world.ids()[0]))
        program.end()
        assert isinstance(program.error, ConnectionLostError)
    assert (gate.begun, world.ids()) == (["a"], [])


def test_artifacts_over_cuts(world: World, gate: Gate, folder: Path) -> None:
    """Files that come back over cuts are whole."""
    text = """
import os
for name in "ab":
    with open(name + ".bin", "wb") as file:
        file.write(name.encode() * (24 << 20))
"""
    with world.run(f_work.app) as session:
        program = Program(session, folder, text, gate, artifacts=["*.bin"])
        for part in (8, 30):
            until(lambda part=part: world.relay.down > part * MIB, 60, f"{part} MiB")
            world.relay.reset()
        assert program.end() == 0
    for name in "ab":
        assert (folder / f"{name}.bin").read_bytes() == name.encode() * (24 * MIB)


def test_machine_that_dies_during_artifacts(world: World, gate: Gate, folder: Path) -> None:
    """When the machine dies while files come back, it is said at once and nothing waits."""
    text = 'open("a.bin", "wb").write(bytes(64 << 20))'
    with world.run(f_work.app) as session:
        program = Program(session, folder, text, gate, artifacts=["a.bin"])
        until(lambda: world.relay.down > 4 * MIB, 60, "some of it")
        kill(guardian_of(world.home, world.ids()[0]))
        program.end()
        assert isinstance(program.error, ConnectionLostError)
    assert not (folder / "a.bin").exists()


def test_artifacts_that_cannot_be_written(world: World, gate: Gate, folder: Path) -> None:
    """A file that finds no place here fails the fetch, and the run ends in good order."""
    (folder / ".a.bin.byoc-part").mkdir()
    text = 'open("a.bin", "wb").write(bytes(160 << 20))'
    with world.run(f_work.app) as session:
        program = Program(session, folder, text, gate, artifacts=["a.bin"])
        program.end()
        assert isinstance(program.error, IsADirectoryError)
        assert session.command(["true"], folder) == 0
    assert world.reporter.losses == 0
