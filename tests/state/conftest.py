"""A journal of the test's own, and other processes that open it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.state import Journal
from tests.helpers import ROOT

Opener = Callable[[], Journal]
Client = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture
def open_journal(home: Path) -> Iterator[Opener]:
    """Opens the journal of ``home``, any number of times; all are closed afterwards."""
    opened: list[Journal] = []

    def opener() -> Journal:
        opened.append(Journal.open(home, SYSTEM))
        return opened[-1]

    yield opener
    for journal in opened:
        journal.close()


@pytest.fixture
def client() -> Client:
    """Starts :mod:`tests.state.client` as a process."""

    def start(*words: str) -> subprocess.Popen[str]:
        environ = dict(os.environ, PYTHONPATH=f"{ROOT / 'src'}{os.pathsep}{ROOT}")
        return subprocess.Popen(
            [sys.executable, "-m", "tests.state.client", *words],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
