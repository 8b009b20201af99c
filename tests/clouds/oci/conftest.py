"""An emulated tenancy, and what a launch in it looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest

from byoc.emulator.faults import Call
from byoc.emulator.oci.facade import OciFacade
from byoc.emulator.world import EmulatedWorld
from byoc.pricing import catalog
from byoc.providers.base import OWNER_TAG, HostKey, Instance, LaunchRequest
from byoc.providers.oci.clients import Account
from byoc.providers.oci.provider import OciProvider
from byoc.resources import Offer
from tests.clouds.conftest import CloudWorld, MakeWorld
from tests.helpers import until

REGION = "us-ashburn-1"
ZONES = tuple(f"Uocm:US-ASHBURN-AD-{number}" for number in (1, 2, 3))
OWNER = "own-test"
CPU = "VM.Standard.E4.Flex:1o-8g"
GPU = "VM.GPU.A10.1"


@dataclass
class Tenancy:
    """One world with one tenancy, and byoc's adapter for it."""

    cloud: CloudWorld
    provider: OciProvider

    @property
    def world(self) -> EmulatedWorld:
        return self.cloud.world

    @property
    def facade(self) -> OciFacade:
        return cast(OciFacade, self.world.facades()[0])

    def calls(self, op: str) -> list[Call]:
        return self.world.log.calls("oci", op)

    def another(self, **options: str) -> OciProvider:
        return cast(OciProvider, self.cloud.provider("oci", **options))

    def administrator(self) -> Account:
        """The account as whoever owns the tenancy sees it, who may do everything."""
        return self.another(profile="DEFAULT")._account

    def gone(self, id: str) -> Instance:
        return until(lambda: self._in(id, "gone"), 10)

    def running(self, id: str) -> Instance:
        return until(lambda: self._addressed(id), 10)

    def _in(self, id: str, state: str) -> Instance | None:
        found = self.provider.get(id)
        return found if found.state == state else None

    def _addressed(self, id: str) -> Instance | None:
        found = self._in(id, "running")
        return found if found and found.address else None


MakeTenancy = Callable[..., Tenancy]


@pytest.fixture
def tenancy_with(cloud_world: MakeWorld) -> MakeTenancy:
    """Makes tenancies: ``tenancy_with("scenario", option="value")``."""

    def make(text: str = "", **options: str) -> Tenancy:
        cloud = cloud_world(text, clouds=("oci",))
        return Tenancy(cloud, cast(OciProvider, cloud.provider("oci", **options)))

    return make


@pytest.fixture
def tenancy(tenancy_with: MakeTenancy) -> Tenancy:
    """A tenancy in which nothing goes wrong."""
    return tenancy_with()


def offer(type: str = CPU, market: str = "on-demand", zone: str = ZONES[0]) -> Offer:
    """What the catalogue sells in Ashburn, in one availability domain."""
    found = catalog.find("oci", REGION, type, market) or catalog.spec("oci", type)
    assert found is not None
    return found._replace(region=REGION, zone=zone, market=market)


def request(wanted: Offer | None = None, token: str = "a" * 32, **more: object) -> LaunchRequest:
    """A launch of it."""
    made = LaunchRequest(
        token,
        wanted or offer(),
        {OWNER_TAG: OWNER, "byoc-run": "run-1", "byoc-price": "0.037"},
        HostKey("not a key\n", "ssh-ed25519 AAAAhost"),
        "ssh-ed25519 AAAAclient",
        300.0,
    )
    return made._replace(**more)  # type: ignore[arg-type]
