"""The policy of docs/aws.md is exactly what the adapter asks for: no more, and no less."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from byoc.providers.aws import dryruns
from byoc.providers.aws.permissions import PERMISSIONS
from byoc.providers.base import OWNER_TAG
from tests.clouds.aws.conftest import Open, boto, fault
from tests.helpers import ROOT

SERVICES = {
    "GetParameter": "ssm",
    "GetServiceQuota": "servicequotas",
    "GetRole": "iam",
    "DecodeAuthorizationMessage": "sts",
}
FREE = {"GetCallerIdentity"}
"""Operations that need no permission."""
IMPLIED = {"ec2:CreateTags"}
"""Actions that belong to another operation: tags are part of the launch."""


def policy() -> list[dict[str, Any]]:
    """The policy as the documentation prints it."""
    text = (ROOT / "docs" / "aws.md").read_text()
    block = re.search(r"```json\n(\{\s*\"Version\".*?)```", text, re.DOTALL)
    assert block is not None
    statements: list[dict[str, Any]] = json.loads(block.group(1))["Statement"]
    return statements


def actions(statement: dict[str, Any]) -> list[str]:
    """The actions of a statement."""
    told = statement["Action"]
    return [told] if isinstance(told, str) else list(told)


def test_the_documented_policy_is_the_list() -> None:
    """Every action of the list is allowed by the policy, and no other."""
    allowed = [action for statement in policy() for action in actions(statement)]
    assert len(allowed) == len(set(allowed))
    assert set(allowed) == {one.action for one in PERMISSIONS}
    assert all(statement["Effect"] == "Allow" for statement in policy())


def test_the_policy_ends_only_what_is_byocs() -> None:
    """What removes things is bound to byoc's own tag."""
    for statement in policy():
        for action in actions(statement):
            if re.search(r":(Terminate|Delete|Release|Revoke)", action):
                condition = statement["Condition"]["StringEquals"]
                assert condition == {"aws:ResourceTag/byoc-managed": "1"}, action


def test_the_adapter_asks_for_nothing_else(rented: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Every operation that the account has seen is in the list, and every action of the list has
    been asked for: a survey, a check, launches, lists, a console, every kind of end. No answer that
    this meets is unknown."""
    account = rented(fault("GetConsoleOutput", "deny"))
    offer = account.placed()
    account.provider.survey(account.region, [offer, offer._replace(market="spot")])
    made = account.provider.launch(account.request(offer))
    account.running(made.id)
    account.provider.check()
    account.provider.console(made.id)
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
    assert asked | IMPLIED == {one.action for one in PERMISSIONS}
    assert "unclassified" not in caplog.text


def test_the_check_tries_what_it_can() -> None:
    """Each probe of the check is about an action of the list."""
    place = dryruns.Place("us-east-1", "vpc-0", "ami-0", "i-0", "sg-0")
    assert {probe.action for probe in dryruns.probes(place)} <= {one.action for one in PERMISSIONS}
