"""Machines without a public address, reached through a jump host; and doors that open and close."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Any

import pytest

from byoc.clock import SYSTEM
from byoc.emulator.machine.guest.kernel import TUN
from byoc.fleet.dial import SshDialer
from byoc.fleet.ports import never, target_of
from byoc.providers.base import OWNER_TAG, HostKey, LaunchRequest, Provider
from byoc.state import Journal
from byoc.transport import keys
from tests.clouds.conftest import EMULATED, CloudWorld, MakeWorld
from tests.clouds.rehearsal import BYOC, HELLO, real_machines
from tests.helpers import until

WAIT = 100.0
REGIONS = {"aws": "us-east-1", "gcp": "us-central1", "oci": "us-ashburn-1"}
SMALL = {"aws": "t3.medium", "gcp": "e2-medium", "oci": "VM.Standard.E4.Flex"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(200),
    real_machines,
    pytest.mark.skipif(not os.path.exists(TUN), reason="this host has no TUN device"),
]


class JumpHost:
    """A machine of the user's own with a public address, in the network of the other ones."""

    def __init__(self, made: CloudWorld, cloud: str, **options: str) -> None:
        self._cloud = cloud
        self._provider = made.provider(cloud, **options)
        self.key: HostKey = keys.new_host_key()
        identity = keys.ensure_identity(made.home)
        offer = _offer(self._provider, REGIONS[cloud])
        tags = {OWNER_TAG: "somebody"}
        self.instance = self._provider.launch(
            LaunchRequest("1" * 32, offer, tags, self.key, identity.public, 900.0)
        )
        until(self._up, 30, "the jump host to run")
        self.target = target_of(self.instance, self.key.public)
        dialer = SshDialer(made.home)
        until(lambda: _knocked(dialer, self.target), 30, "the jump host to answer")

    def _up(self) -> bool:
        self.instance = self._provider.get(self.instance.id)
        return self.instance.state == "running" and bool(self.instance.address)

    def settings(self) -> dict[str, str]:
        """What makes byoc go through it."""
        return {
            "BYOC_PUBLIC_ADDRESS": "false",
            "BYOC_JUMP": f"root@{self.instance.address}",
            "BYOC_JUMP_KEY": self.key.public,
            "BYOC_INGRESS": f"{self.instance.inside}/32",
            "BYOC_CLOUDS": self._cloud,
            "BYOC_REGIONS": REGIONS[self._cloud],
        }


def _knocked(dialer: SshDialer, target: Any) -> bool:
    door = dialer.knock(target, 2, never)
    if door is not None:
        door.close()
    return door is not None


def _offer(provider: Provider, region: str) -> Any:
    found = [
        one
        for one in provider.offers()
        if one.region == region and one.market == "on-demand" and not one.gpu_count
        and one.memory >= 2048 and one.price is not None
    ]  # fmt: skip
    for one in sorted(found, key=lambda one: one.price):
        zones = provider.survey(region, [one]).zones.get(one.type)
        if zones:
            return one._replace(zone=zones[0])
    raise AssertionError(f"nothing is sold in {region}")


def own_subnet(made: CloudWorld) -> str:
    """A network of the user's on OCI, whose subnets admit SSH from everywhere."""
    provider: Any = made.provider("oci")
    network, within = provider._account.client("network"), provider._account.compartment
    vcn = network.create_vcn({"compartmentId": within, "cidrBlocks": ["10.9.0.0/16"]}).data
    body = {"compartmentId": within, "vcnId": vcn.id, "cidrBlock": "10.9.0.0/24"}
    return str(network.create_subnet(body).data.id)


def byoc(made: CloudWorld, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BYOC, *words], env={**made.environ, "NO_COLOR": "1", **environ},
        capture_output=True, text=True, timeout=WAIT, check=False, cwd=made.home,
    )  # fmt: skip


@pytest.mark.parametrize("cloud", EMULATED)
def test_a_run_on_a_machine_without_a_public_address(cloud_world: MakeWorld, cloud: str) -> None:
    """A program runs on a machine that only the jump host reaches: the machine has no public
    address, nothing of byoc's is open to the world, and `byoc ssh` takes the same way."""
    made = cloud_world(clouds=[cloud], machines="real")
    options = {"subnet": own_subnet(made)} if cloud == "oci" else {}
    host = JumpHost(made, cloud, **options)
    settings = host.settings()
    settings |= {f"BYOC_OCI_{name.upper()}": value for name, value in options.items()}
    done = byoc(made, "run", "--keep", HELLO, **settings)
    assert done.returncode == 0, done.stderr
    with contextlib.closing(Journal.open(made.home, SYSTEM)) as journal:
        (row,) = journal.instances()
        owner = journal.owner
    (listed,) = made.provider(cloud).list({OWNER_TAG: owner}, (REGIONS[cloud],))
    assert listed.address == row.address
    assert row.address.startswith(("10.", "172.31."))
    shell = byoc(made, "ssh", "--", "hostname -I; echo inside", **settings)
    assert "inside" in shell.stdout, shell.stderr
    ended = byoc(made, "down", "--all", **settings)
    assert ended.returncode == 0, ended.stderr
