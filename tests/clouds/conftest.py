"""Worlds of emulated clouds for tests, and the clouds that a suite runs against."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from byoc import clock, providers, settings
from byoc.emulator import accounts, scenario
from byoc.emulator.world import EmulatedWorld
from byoc.providers.base import Provider
from tests.conftest import new_home

EMULATED = ("aws", "gcp", "oci")
WORLD_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")


class CloudWorld(NamedTuple):
    """A running world. ``environ``: what programs need to find its accounts; it is in effect in
    the test's own process too, since vendors' SDKs look nowhere else."""

    world: EmulatedWorld
    environ: dict[str, str]
    home: Path

    def provider(self, cloud: str, **options: str) -> Provider:
        """The adapter as ``byoc`` would make it, with more options of that cloud."""
        loaded = settings.load(self.home, self.environ)
        merged = {**loaded.of_cloud(cloud), **options}
        return providers.get(cloud, self.home, self.environ, clock.SYSTEM, merged)


class MakeWorld(Protocol):
    """What the fixture ``cloud_world`` is."""

    def __call__(
        self,
        text: str = "",
        clouds: Sequence[str] = EMULATED,
        machines: str = "banner",
        seed: int = 0,
    ) -> CloudWorld:
        """A world with the scenario ``text``, its accounts started."""


@pytest.fixture
def cloud_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWorld]:
    """Makes worlds, all of which end with the test, together with whatever is rented in them."""
    endings: list[Callable[[], None]] = []

    def make(
        text: str = "",
        clouds: Sequence[str] = EMULATED,
        machines: str = "banner",
        seed: int = 0,
    ) -> CloudWorld:
        folder = new_home()
        endings.append(lambda: shutil.rmtree(folder))
        world = EmulatedWorld(scenario.parse(text), folder, machines=machines, seed=seed)
        endings.append(lambda: accounts.stop(world))
        told = accounts.start(world, clouds, folder / "accounts")
        _use(monkeypatch, told)
        home = folder / "home"
        home.mkdir()
        world.begin()
        return CloudWorld(world, {**_own_environ(), **told, "BYOC_HOME": str(home)}, home)

    yield make
    for end in reversed(endings):
        end()


def _own_environ() -> dict[str, str]:
    return {name: os.environ[name] for name in WORLD_VARIABLES if name in os.environ}


def _use(monkeypatch: pytest.MonkeyPatch, told: dict[str, str]) -> None:
    kept = accounts.scrubbed(os.environ)
    for name in set(os.environ) - set(kept):
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)


def chosen(config: pytest.Config) -> list[str]:
    """The providers that ``--cloud`` names: ``emulated`` stands for all emulated clouds.

    An emulated one is ``emulated-aws`` and so on; ``aws`` itself is a real account.
    """
    words = config.getoption("--cloud") or ["local", "emulated"]
    found: dict[str, None] = {}
    for word in words:
        names = [f"emulated-{cloud}" for cloud in EMULATED] if word == "emulated" else [word]
        found.update(dict.fromkeys(names))
    return list(found)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes ``target`` runs once for each provider that ``--cloud`` names."""
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", chosen(metafunc.config))
