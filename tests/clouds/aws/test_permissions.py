"""What the adapter asks of AWS is what the map of permissions says: no more, and no less."""

from __future__ import annotations

import os
from typing import Any

import pytest

from byoc import providers, settings
from byoc.clock import SYSTEM
from byoc.pricing import catalog
from byoc.providers.aws import dryruns
from byoc.providers.aws.permissions import PERMISSIONS
from byoc.providers.base import EXPIRES_TAG, OWNER_TAG
from byoc.providers.lists import Asking
from tests.clouds.aws.conftest import Open, boto, fault

SERVICES = {
    "GetParameter": "ssm",
    "GetServiceQuota": "servicequotas",
    "GetRole": "iam",
    "DecodeAuthorizationMessage": "sts",
    "GetProducts": "pricing",
}
FREE = {"GetCallerIdentity"}
"""Operations that need no permission."""


def test_the_adapter_asks_for_nothing_else(rented: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Every operation that the account has seen is in the list, and every action of the list has
    been asked for: a survey, a check, prices, launches, marks, lists, a console, every kind of end.
    No answer that this meets is unknown."""
    account = rented(fault("GetConsoleOutput", "deny"))
    offer = account.placed()
    account.provider.survey(account.region, [offer, offer._replace(market="spot")])
    made = account.provider.launch(account.request(offer))
    account.running(made.id)
    account.provider.mark(made.id, {EXPIRES_TAG: "1800000000"})
    account.provider.check()
    account.provider.console(made.id)
    last = catalog.packaged("aws")
    here = {key: at for key, at in last.places.items() if key[0] == account.region}
    options = settings.load(account.home, os.environ).of_cloud("aws")
    providers.live(
        "aws", Asking(os.environ, SYSTEM, options, last._replace(places=here), lambda text: None)
    )
    tags = [{"Key": "byoc-managed", "Value": "1"}, {"Key": OWNER_TAG, "Value": account.owner}]
    ec2 = boto()

    def tagged(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": tags}]

    ours = len(account.world.log.calls("aws")) if account.world else 0
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, TagSpecifications=tagged("volume"))
    ec2.create_network_interface(
        SubnetId=ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        TagSpecifications=tagged("network-interface"),
    )
    ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))
    assert account.world is not None
    theirs = len(account.world.log.calls("aws")) - ours
    account.provider.list({OWNER_TAG: account.owner})
    account.provider.terminate(made.id)
    account.ended(made.id)
    account._swept()
    calls = account.world.log.calls("aws")
    seen = {call.op for call in [*calls[:ours], *calls[ours + theirs :]]} - FREE
    asked = {f"{SERVICES.get(op, 'ec2')}:{op}" for op in seen}
    assert asked == {one.action for one in PERMISSIONS}
    assert "unclassified" not in caplog.text


def test_the_check_tries_what_it_can() -> None:
    """Each probe of the check is about an action of the list."""
    place = dryruns.Place("us-east-1", "vpc-0", "ami-0", "i-0", "sg-0")
    assert {probe.action for probe in dryruns.probes(place)} <= {one.action for one in PERMISSIONS}
