"""What every room's tests share: waiting for a condition, and looking at processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
"""The top of the repository."""
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
"""Seconds between two looks at a condition: short at first, then backing off to spare the CPU."""


def until(condition: Callable[[], T], seconds: float = 10.0, what: str = "") -> T:
    """Call ``condition`` until it returns something true, and return that.

    Raises AssertionError after ``seconds``, naming ``what`` was waited for. This is the only place
    in the tests that sleeps.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"waited {seconds:g} s for {name}; last seen: {value!r}")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


@dataclass(frozen=True)
class Process:
    """One process of this host: its id and its command line."""

    pid: int
    command: str


def processes_with(text: str) -> list[Process]:
    """Every other process whose command line or environment at its start contains ``text``.

    Zombies are left out: they have ended and only wait for their parent. The environment of another
    user's process can be read by root only.
    """
    found = _from_proc(text) if Path("/proc/self/cmdline").exists() else _from_ps(text)
    return [p for p in found if p.pid != os.getpid()]


def _from_proc(text: str) -> list[Process]:
    wanted = text.encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        command = _read(folder / "cmdline")
        if wanted in command or wanted in _read(folder / "environ"):
            line = command.replace(b"\0", b" ").decode(errors="replace").strip()
            found.append(Process(int(folder.name), line))
    return [p for p in found if alive(p.pid)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile, or belongs to another user
        return b""


def _from_ps(text: str) -> list[Process]:
    listing = subprocess.run(
        ["ps", "-axeww", "-o", "pid=,stat=,command="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listing.stdout.splitlines() if text in line]
    return [Process(int(r[0]), r[2]) for r in rows if len(r) == 3 and not r[1].startswith("Z")]


def alive(pid: int) -> bool:
    """Whether the process exists and has not ended (a zombie has)."""
    stat = _read(Path(f"/proc/{pid}/stat"))
    if stat:
        return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not sys.platform.startswith("linux")


def gone(text: str, seconds: float = 10.0) -> None:
    """Wait until no other process mentions ``text``; raises AssertionError naming those left."""
    try:
        until(lambda: not processes_with(text), seconds)
    except AssertionError:
        left = processes_with(text)
        assert not left, f"still running after {seconds:g} s: {left}"
