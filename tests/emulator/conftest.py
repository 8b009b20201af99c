"""Worlds without façades, for tests of what all clouds have in common."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest

from byoc.emulator import scenario
from byoc.emulator.world import EmulatedWorld
from tests.conftest import new_home
from tests.helpers import processes_with

MakeWorld = Callable[..., EmulatedWorld]


@pytest.fixture
def make_world() -> Iterator[MakeWorld]:
    """Makes worlds of a scenario's text; nothing of them may be left after their end."""
    made = []

    def make(text: str = "", machines: str = "real", **more: object) -> EmulatedWorld:
        folder = new_home()
        world = EmulatedWorld(scenario.parse(text), folder, machines=machines, **more)  # type: ignore[arg-type]
        made.append((world, folder))
        world.begin()
        return world

    yield make
    for world, folder in made:
        world.end()
        assert not processes_with(str(folder)), "processes of a world outlived it"
        assert list(folder.iterdir()) == [], "files of a world outlived it"
        shutil.rmtree(folder)
        assert world.problems() == []
