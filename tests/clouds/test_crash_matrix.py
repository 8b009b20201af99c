"""A client that dies at any step on a real adapter leaves nothing that is not found and ended.

The same is swept in the fleet's own tests over a scripted cloud; here every step is a vendor's SDK
against its emulated account, a real machine, and a real SSH connection.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from byoc.clock import SYSTEM
from byoc.emulator import accounts
from byoc.emulator.world import EmulatedWorld
from byoc.state import Journal
from tests.clouds.conftest import CloudWorld, MakeWorld
from tests.clouds.mines import DIED
from tests.clouds.rehearsal import real_machines
from tests.helpers import ROOT, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), real_machines]

CLOUDS = ("aws", "gcp", "oci")
LEASE = 20.0
"""Seconds of boot lease where nobody comes back: more than one client needs for its whole life."""
SHORTEST = {"gcp": 30.0}
"""Seconds of the shortest lifetime that a cloud takes; where a machine that shuts itself down is
only stopped, it is what removes it."""


class Miner:
    """The process in which clients die; see :mod:`tests.clouds.mines`."""

    def __init__(self, process: subprocess.Popen[str], world: EmulatedWorld) -> None:
        self._process = process
        self._world = world

    def ask(self, **order: Any) -> dict[str, Any]:
        """Do one order; what became of it, and how many instances it had made."""
        before = len(self._world.ledger.all())
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return {**answer, "made": len(self._world.ledger.all()) - before}

    def deaths(self) -> list[dict[str, Any]]:
        """One death before each step of a life, until one is lived to its end."""
        found: list[dict[str, Any]] = []
        while (last := self.ask(home=f"{len(found):02d}", dies=len(found)))["code"] == DIED:
            found.append(last)
        assert last["code"] == 0 and last["made"] == 1, last
        assert len(found) > 20
        return found


@contextmanager
def mining(made: CloudWorld, cloud: str, **settings: str) -> Iterator[Miner]:
    """A miner on one account; ``settings``: variables for its clients."""
    environ = {**accounts.scrubbed(os.environ), **made.environ, **settings}
    environ["PYTHONPATH"] = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    command = [sys.executable, "-m", "tests.clouds.mines", cloud, str(homes(made))]
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(process.terminate)
        yield Miner(process, made.world)


def homes(made: CloudWorld) -> Path:
    """Where the clients' data folders are."""
    return made.home.parent / "homes"


def warm(made: CloudWorld, death: dict[str, Any]) -> list[str]:
    """The instances that a client had given back, to stay for a while, before it died."""
    journal = Journal.open(homes(made) / death["home"], SYSTEM)
    try:
        return [row.id for row in journal.instances() if row.state == "idle"]
    finally:
        journal.close()


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_reap_after_any_death_leaves_nothing(cloud: str, cloud_world: MakeWorld) -> None:
    """Whatever step a client died before, a reap from its data folder ends what it had launched,
    at most one instance, unless it had been given back to stay warm; a living neighbour's is
    left alone."""
    made = cloud_world(clouds=[cloud], machines="real")
    with mining(made, cloud) as miner:
        neighbour = miner.ask(home="neighbour", holds=True)
        deaths = miner.deaths()
        assert all(death["made"] <= 1 for death in deaths), deaths
        assert len(made.world.ledger.alive()) > len(deaths) / 2
        for death in deaths:
            reaped = miner.ask(home=death["home"], reap=True)
            assert reaped["code"] in (0, 1), reaped
        left = {entry.id.rpartition("/")[2] for entry in made.world.ledger.alive()}
        kept = {neighbour["instance"], *(one for death in deaths for one in warm(made, death))}
        assert left == {name.rpartition("/")[2] for name in kept}
        assert len(left) < len(deaths) / 2


@pytest.mark.parametrize("cloud", CLOUDS)
def test_leases_alone_end_what_any_death_left(cloud: str, cloud_world: MakeWorld) -> None:
    """Nobody comes back and nothing is reaped: every machine ends by itself."""
    made = cloud_world(clouds=[cloud], machines="real")
    lifetime = SHORTEST.get(cloud, 3600.0)
    settings = {"BYOC_BOOT_LEASE": str(LEASE), "BYOC_LIFETIME": str(lifetime)}
    with mining(made, cloud, **settings) as miner:
        deaths = miner.deaths()
        assert sum(death["made"] for death in deaths) > len(deaths) / 2
        until(lambda: not made.world.ledger.alive(), 90.0, "every machine to end by its lease")
