"""Worlds in which things break."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import World
from tests.gate import Gate


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Where functions report and wait."""
    gate = Gate()
    yield gate
    gate.close()


@pytest.fixture
def world(byoc_home: Path) -> Iterator[World]:
    """A data folder, with relays before its machines; no process is left afterwards."""
    world = World(byoc_home)
    yield world
    world.detour.close()
