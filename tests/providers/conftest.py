"""Machines of the local provider, in every way this host can make them."""

from __future__ import annotations

from pathlib import Path

import pytest

from byoc.errors import SettingsError
from byoc.providers.local.modes import ISOLATION_SETTING, ISOLATIONS, SERVER_SETTING, SERVERS
from tests.providers.world import World

MODES = [(isolation, server) for isolation in ISOLATIONS for server in SERVERS]


@pytest.fixture(params=MODES, ids="+".join)
def world(request: pytest.FixtureRequest, byoc_home: Path) -> World:
    """An installation in each mode; skipped where the host lacks a part of it."""
    isolation, server = request.param
    return _world(byoc_home, {ISOLATION_SETTING: isolation, SERVER_SETTING: server})


@pytest.fixture
def best(byoc_home: Path) -> World:
    """An installation in the mode this host would choose: for what does not depend on it."""
    return _world(byoc_home, {})


@pytest.fixture(params=SERVERS)
def sandboxed(request: pytest.FixtureRequest, byoc_home: Path) -> World:
    """An installation whose machines are isolated, with either server."""
    return _world(byoc_home, {ISOLATION_SETTING: "bwrap", SERVER_SETTING: request.param})


def _world(home: Path, settings: dict[str, str]) -> World:
    world = World(home, settings)
    try:
        world.provider.mode()
    except SettingsError as error:
        pytest.skip(error.message)
    return world
