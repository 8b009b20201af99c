"""The world that most of the fleet's tests play in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from tests.fleet.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One installation with one cloud."""
    made = World(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def shared_world(tmp_path: Path) -> Iterator[World]:
    """The same under the system's clock, for clients in other processes to share."""
    made = World(tmp_path / "home", SYSTEM)
    yield made
    made.close()
