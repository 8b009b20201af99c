"""Firewalls of the emulated clouds: open for their client, closed at the end, moved with it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from byoc.clock import SYSTEM
from byoc.emulator.firewalls import within
from byoc.errors import TransientError
from byoc.fleet.closing import Closing
from byoc.providers.base import Instance
from byoc.providers.gates import gate_of
from byoc.state import Journal
from tests.clouds.accounts import REGIONS, Account
from tests.clouds.conftest import EMULATED, CloudWorld, MakeWorld
from tests.clouds.rehearsal import HELLO, real_machines
from tests.clouds.test_private import byoc
from tests.fleet.world import Watcher

ELSEWHERE = "198.51.100.9/32"


def account(made: CloudWorld, cloud: str) -> Account:
    return Account(cloud, made.home, made.provider(cloud), made.world, 20.0, REGIONS[cloud])


def admits(made: CloudWorld, cloud: str, instance: Instance, source: str = "127.0.0.1") -> bool:
    """Whether the emulated cloud lets an address reach an instance."""
    (facade,) = [one for one in made.world.facades() if one.cloud == cloud]
    entry: Any = next(
        one for one in made.world.ledger.alive() if instance.id.endswith((one.id, one.id[-20:]))
    )
    return facade.admits(source, entry.id)


@pytest.mark.parametrize("cloud", EMULATED)
def test_a_door_is_the_clients_alone_and_closes(cloud_world: MakeWorld, cloud: str) -> None:
    """A launch lets in its client and nobody else, whatever the network's own rules say; ending the
    firewall shuts the client out at once, although an instance still uses it; then it goes."""
    made = cloud_world(clouds=[cloud])
    rented = account(made, cloud)
    instance = rented.provider.launch(rented.request(rented.placed()))
    instance = rented.running(instance.id)
    assert admits(made, cloud, instance)
    assert not admits(made, cloud, instance, "203.0.113.99")
    gate = gate_of(rented.provider)
    assert gate is not None and not gate.admit(rented.region, rented.owner)

    def close() -> int:
        """How many firewalls are left after all were asked to go."""
        doors = [one for one in rented.own(everything=True) if one.kind == "firewall"]
        for one in doors:
            with contextlib.suppress(TransientError):
                rented.provider.terminate(one.id)
        return len(doors)

    assert close() >= 1
    assert not admits(made, cloud, instance), "not even by what the network opens itself"
    assert gate.admit(rented.region, rented.owner), "it was closed: this opens it again"
    assert admits(made, cloud, instance)
    rented.provider.terminate(instance.id)
    rented.ended(instance.id)
    close()
    left = [one for one in rented.own(everything=True) if one.kind == "firewall"]
    # OCI's network has a list of rules that goes with it and lets nobody in
    assert len(left) <= (1 if cloud == "oci" else 0)


@pytest.mark.parametrize("cloud", EMULATED)
def test_closing_takes_few_requests_and_leaves_nothing(cloud_world: MakeWorld, cloud: str) -> None:
    """The end of a client costs a bounded number of requests for its doors, none of them when no
    door of its is open."""
    made = cloud_world(clouds=[cloud])
    rented = account(made, cloud)
    journal = Journal.open(made.home, SYSTEM)
    with contextlib.closing(journal):
        rented.owner = journal.owner
        watcher = Watcher()
        providers = {cloud: rented.provider}
        closing = Closing(made.home, journal, providers, watcher, SYSTEM)
        closing.opens(cloud, rented.region)
        instance = rented.provider.launch(rented.request(rented.placed()))
        rented.provider.terminate(instance.id)
        rented.ended(instance.id)
        before = rented.requests()
        begun = time.monotonic()
        closing.finish()
        print(f"{cloud}: {rented.requests() - before} requests, {time.monotonic() - begun:.2f} s")
        assert rented.requests() - before <= 20
        again = rented.requests()
        closing.finish()
        assert rented.requests() == again
    assert not watcher.notices


@pytest.mark.slow
@pytest.mark.timeout(200)
@real_machines
def test_a_laptop_that_moved_is_let_in_again(cloud_world: MakeWorld) -> None:
    """A warm machine whose firewall was opened for another network is reached by the next run,
    which says why; when it ends its machine nobody is let in any more."""
    made = cloud_world(clouds=["aws"], machines="real")
    wanted = {"BYOC_CLOUDS": "aws", "BYOC_REGIONS": "us-east-1", "BYOC_CONNECT_TIMEOUT": "2"}
    first = byoc(made, "run", "--keep", "--idle", "300", HELLO, **wanted)
    assert first.returncode == 0, first.stderr
    aws: Any = made.provider("aws")
    ec2 = aws._clients.client("ec2", "us-east-1")
    (group,) = [one for one in groups(ec2) if one["GroupName"] != "default"]
    name, before = group["GroupId"], group["IpPermissions"]
    ec2.revoke_security_group_ingress(GroupId=name, IpPermissions=before)
    ranges = [{"CidrIp": ELSEWHERE, "Description": "byoc"}]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}
    ec2.authorize_security_group_ingress(GroupId=name, IpPermissions=[rule])
    second = byoc(made, "run", "--no-keep", HELLO, **wanted)
    assert second.returncode == 0, second.stderr
    assert "another network" in second.stderr
    assert len(made.world.ledger.all()) == 1, "it was the warm machine that ran it"
    assert {one["GroupName"] for one in groups(ec2)} == {"default"}


def groups(ec2: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ec2.describe_security_groups()["SecurityGroups"]
    return found


def test_addresses_within_networks() -> None:
    """The emulator's own arithmetic."""
    assert within("127.0.0.1", ["10.0.0.0/8", "127.0.0.1/32"])
    assert not within("127.0.0.1", ["::/0", "10.0.0.0/8"])
