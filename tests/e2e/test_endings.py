"""Code that is broken off gets to the end of its ``finally`` blocks, and then of its exit hooks."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import e2e_endings
import pytest

from tests.e2e.conftest import PROGRAMS
from tests.helpers import until

WAYS = sorted(e2e_endings.WAYS)


@pytest.fixture
def notes(shared: Path) -> Path:
    """What containers note, in a folder that they share with the tests."""
    notes = shared / "notes"
    notes.touch()
    return notes


@pytest.mark.parametrize("waits", ["--waits", "--no-waits"])
@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c(notes: Path, way: str, waits: str) -> None:
    """Whether somebody waits for the call, which is then cancelled before, or nobody."""
    program = f"{PROGRAMS}/e2e_endings.py"
    options = ["--way", way, "--folder", str(notes.parent), waits]
    argv = [sys.executable, "-m", "byoc", "run", "--quiet", program, *options]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        until(lambda: notes.read_text() == "runs\n", 30)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert notes.read_text().split() == ["runs", "stops", "stopped", "exit"]


@pytest.mark.parametrize("way", WAYS)
def test_cancelled_calls(notes: Path, way: str) -> None:
    """A call is cancelled once, however often the client has to say so."""
    with e2e_endings.app.run():
        call = e2e_endings.WAYS[way](str(notes.parent)).spawn()
        until(lambda: notes.read_text() == "runs\n", 30)
        call.cancel()
        until(lambda: "stopped" in notes.read_text(), 10)
    assert notes.read_text().split() == ["runs", "stops", "stopped", "exit"]
