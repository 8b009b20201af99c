"""One account that a provider can rent in, emulated or not, and what the conformance suite asks."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from byoc import providers, settings
from byoc.clock import SYSTEM
from byoc.emulator import accounts, scenario
from byoc.emulator.world import EmulatedWorld
from byoc.errors import TransientError
from byoc.providers.base import OWNER_TAG, RUN_TAG, TOKEN_TAG, Instance, LaunchRequest, Provider
from byoc.providers.gcp import states
from byoc.providers.gcp.network import SHUT
from byoc.resources import Offer
from tests.conftest import SETTINGS_OF_THE_USER, new_home
from tests.helpers import gone, until
from tests.providers.world import new_key

CLOUDS = ("aws", "gcp", "oci")
REGIONS = {"aws": "us-east-1", "gcp": "us-central1", "oci": "us-ashburn-1", "local": "local"}
"""Where the suite rents; ``BYOC_TEST_REGION`` names another one of a real account."""
LAUNCH = {"aws": "RunInstances", "gcp": "compute.instances.insert", "oci": "LaunchInstance"}
"""Each cloud's own name of the call that makes an instance."""
NETWORK = {"aws": "CreateSecurityGroup", "gcp": "compute.firewalls.insert", "oci": "CreateVcn"}
"""Each cloud's own name of the call that makes what a region's instances share."""
IDENTITIES = ("BYOC_AWS_PROFILE", "BYOC_GCP_KEY_FILE", "BYOC_OCI_PROFILE")
"""Variables of an emulated account that name byoc's own identity; without them a program acts as
the account's administrator."""
BOOT_LEASE = 900.0
"""A machine that the suite lost ends itself after these seconds."""
PATIENCE, REAL_PATIENCE = 20.0, 900.0
"""Seconds that the slowest step may take: with an emulated account, and with a real one."""
SMALLEST = 1024
"""MiB of memory below which an offer is not tried."""


@dataclass
class Account:
    """A provider with an account. ``world``: the emulated one behind it, None for others.

    ``patience``: seconds that the slowest step may take.
    """

    name: str
    home: Path
    provider: Provider
    world: EmulatedWorld | None
    patience: float
    region: str
    owner: str = field(default_factory=lambda: f"conformance-{secrets.token_hex(4)}")
    _placed: dict[tuple[str, bool], Offer] = field(default_factory=dict)

    def offers(self, market: str = "on-demand", gpus: bool = False) -> list[Offer]:
        """What is sold in the suite's region, the cheapest first, those without a price last."""
        found = [
            offer
            for offer in self.provider.offers()
            if offer.region == self.region
            and offer.market == market
            and (bool(offer.gpu) is gpus or self.name == "local")
            and offer.memory >= SMALLEST
        ]
        return sorted(found, key=lambda offer: (offer.price is None, offer.price or 0.0))

    def placed(self, market: str = "on-demand", gpus: bool = False) -> Offer:
        """The cheapest offer, in a zone that sells it; the cloud is asked once."""
        if (market, gpus) not in self._placed:
            self._placed[market, gpus] = self._place(market, gpus)
        return self._placed[market, gpus]

    def _place(self, market: str, gpus: bool) -> Offer:
        for offer in self.offers(market, gpus):
            if offer.zone:
                return offer
            zones = self.provider.survey(self.region, [offer]).zones.get(offer.type, ())
            if zones:
                return offer._replace(zone=zones[0])
        raise AssertionError(f"{self.name} sells no {market} offer in {self.region}")

    def request(self, offer: Offer, token: str = "", disk: int = 0) -> LaunchRequest:
        """A launch as the fleet asks for it."""
        token = token or secrets.token_hex(16)
        price = "" if offer.price is None else f"{offer.price:.6g}"
        tags = {
            OWNER_TAG: self.owner,
            RUN_TAG: "run-1",
            TOKEN_TAG: token,
            "byoc-expires": str(int(SYSTEM.wall() + BOOT_LEASE)),
            "byoc-price": price,
        }
        return LaunchRequest(
            token, offer, tags, new_key(), new_key().public, BOOT_LEASE, disk, 2 * BOOT_LEASE
        )

    def own(self, everything: bool = False) -> list[Instance]:
        """All that the suite has made here and that is not gone."""
        return self.provider.list({OWNER_TAG: self.owner}, [self.region], everything)

    def running(self, instance_id: str) -> Instance:
        """The instance once it runs and has an address."""

        def look() -> Instance | None:
            now = self.provider.get(instance_id)
            assert now.state in ("pending", "running"), now
            return now if now.state == "running" and now.address else None

        found = until(look, self.patience, f"{instance_id} to run")
        assert found is not None
        return found

    def ended(self, instance_id: str) -> Instance:
        """The instance once it is gone."""

        def look() -> Instance | None:
            now = self.provider.get(instance_id)
            return now if now.state == "gone" else None

        found = until(look, self.patience, f"{instance_id} to be gone")
        assert found is not None
        return found

    def administrator(self) -> Account:
        """An emulated account as whoever owns it sees it, who may do everything there."""
        environ = {k: v for k, v in os.environ.items() if k not in IDENTITIES}
        return replace(self, provider=_provider(self.name, self.home, environ))

    def another(self) -> Account:
        """The same account as another client of the same owner finds it."""
        return replace(self, provider=_provider(self.name, self.home))

    def requests(self, operation: str = "*") -> int:
        """How many requests the emulated account has seen, all or those of one operation."""
        assert self.world is not None
        return len(self.world.log.calls(self.name, operation))

    def launches(self) -> int:
        """How many requests to launch the emulated account has seen."""
        return self.requests(LAUNCH[self.name])

    def admitted(self) -> list[str]:
        """The networks that may reach the suite's instances by SSH, as the vendor's own client
        tells it; of an emulated account."""
        provider: Any = self.provider
        firewalls = [one for one in self.own(everything=True) if one.kind == "firewall"]
        if self.name == "aws":
            ids = [one.id.partition("/")[2] for one in firewalls]
            client = provider._clients.client("ec2", self.region)
            groups = client.describe_security_groups(GroupIds=ids)["SecurityGroups"]
            rules = [rule for group in groups for rule in group["IpPermissions"]]
            return [one["CidrIp"] for rule in rules for one in rule["IpRanges"]]
        if self.name == "gcp":
            found = [provider._get_rest(one.id, *states.parts(one.id)) for one in firewalls]
            rules = [one.id for one in found if one.state == "running"]
            return [one for one in rules if not one.endswith(SHUT)]
        client = provider._account.client("network", self.region)
        groups = [one.id for one in firewalls if "networksecuritygroup" in one.id]
        rules = [
            rule
            for group in groups
            for rule in client.list_network_security_group_security_rules(group).data
        ]
        return [rule.source for rule in rules if rule.direction == "INGRESS"]

    def clear(self) -> None:
        """End everything of the suite's own, and see that nothing is left."""
        for instance in self.own():
            self.provider.terminate(instance.id)
        until(lambda: not self.own(), self.patience, "the instances to be gone")
        until(self._swept, self.patience, "what was made along with instances to be gone")

    def _swept(self) -> bool:
        """Ask for the end of what is left; one thing may hold another for a moment."""
        left = self.own(everything=True)
        for thing in left:
            with suppress(TransientError):
                self.provider.terminate(thing.id)
        return not left


@contextmanager
def opened(target: str, text: str = "") -> Iterator[Account]:
    """The account that a target of the suite means: ``local``, ``emulated-aws``, ``aws`` and so on.

    ``text``: the scenario of an emulated one. The process's own environment is that of the account
    meanwhile, since a cloud's SDK looks there. All that was rented is ended on the way out.
    """
    kind, _, name = target.rpartition("-")
    folder = new_home()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(gone, str(folder))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        (folder / "home").mkdir()
        world = None
        if kind:
            world = EmulatedWorld(scenario.parse(text), folder, machines="banner")
            stack.callback(accounts.stop, world)
            _instead(patch, accounts.start(world, [name], folder / "accounts"))
            world.begin()
        elif name != "local":
            for variable, value in SETTINGS_OF_THE_USER.items():
                patch.setenv(variable, value)
        patch.setenv("BYOC_HOME", str(folder / "home"))
        account = _account(name, folder / "home", world)
        stack.callback(account.clear)
        yield account


def _instead(patch: pytest.MonkeyPatch, told: Mapping[str, str]) -> None:
    """No real account is named by the environment any more, and the emulated ones are."""
    for variable in set(os.environ) - set(accounts.scrubbed(os.environ)):
        patch.delenv(variable)
    for variable, value in told.items():
        patch.setenv(variable, value)


def _account(name: str, home: Path, world: EmulatedWorld | None) -> Account:
    region = os.environ.get("BYOC_TEST_REGION") or REGIONS[name]
    patience = PATIENCE if world is not None or name == "local" else REAL_PATIENCE
    return Account(name, home, _provider(name, home), world, patience, region)


def _provider(name: str, home: Path, environ: Mapping[str, str] | None = None) -> Provider:
    """The provider as ``byoc`` makes it, from the settings and variables of the moment."""
    environ = dict(os.environ) if environ is None else environ
    options = settings.load(home, environ).of_cloud(name)
    return providers.get(name, home, environ, SYSTEM, options)
