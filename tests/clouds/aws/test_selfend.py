"""A rented machine that nobody comes to ends itself, and EC2 deletes it."""

from __future__ import annotations

import pytest

from byoc.providers.aws.provider import AwsProvider
from byoc.providers.base import OWNER_TAG, LaunchRequest
from tests.clouds.aws.conftest import boto
from tests.clouds.aws.test_launch import offer
from tests.clouds.conftest import MakeWorld
from tests.clouds.rehearsal import real_machines
from tests.helpers import until
from tests.providers.world import new_key

LEASE = 4.0


@real_machines
@pytest.mark.slow
@pytest.mark.parametrize("market", ["on-demand", "spot"])
def test_a_machine_without_a_client_deletes_itself(cloud_world: MakeWorld, market: str) -> None:
    """The dead-man of the boot data shuts the machine down at the end of its lease; that ends the
    instance for good, with its disk."""
    made = cloud_world(clouds=["aws"], machines="real")
    provider = made.provider("aws")
    assert isinstance(provider, AwsProvider)
    request = LaunchRequest(
        "0" * 31 + "1", offer("t3.medium", market), {OWNER_TAG: "me"}, new_key(),
        new_key().public, LEASE,
    )  # fmt: skip
    launched = provider.launch(request)
    until(lambda: provider.get(launched.id).state == "running", 20)
    gone = until(lambda: (i := provider.get(launched.id)).state == "gone" and i, 30)
    assert gone.failure is None and "Client.InstanceInitiatedShutdown" in gone.detail
    assert boto().describe_volumes()["Volumes"] == []
    assert provider.list({}) == []
