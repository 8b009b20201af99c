"""The policies that ``byoc iam`` prints are enough, are no more than that, and are enforced.

Emulated accounts judge every request of byoc's own identity by the very text that is printed.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from byoc.emulator.aws.authority import Authority
from byoc.emulator.aws.policy import Asked, Policy
from byoc.emulator.scenario import Permit
from byoc.errors import AccessError, Error, ProviderError
from byoc.providers.aws import iam as aws_iam
from byoc.providers.aws import permissions as aws
from byoc.providers.base import EXPIRES_TAG, OWNER_TAG, TOKEN_TAG
from byoc.providers.gcp import permissions as gcp
from byoc.providers.needs import ADDRESS, ALL, EVERYTHING, FIREWALL, SPOT, Needs, Target
from byoc.providers.oci import permissions as oci
from tests.clouds.accounts import Account, opened

TAGS = {"byoc-managed": "1", "byoc-owner": "own-1", "byoc-run": "run-1"}
METADATA = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
KINDS = ("instance", "volume", "network-interface")
OWN = {"i-own": TAGS, "sg-own": TAGS, "vol-own": TAGS}
"""Things of byoc's; all others have no tags."""


def policy(needs: Needs = EVERYTHING) -> Policy:
    """AWS's least policy, read from what is printed."""
    return Policy(aws_iam.printed(needs, Target()).text)


def allowed(op: str, params: dict[str, Any], needs: Needs = EVERYTHING, region: str = "eu") -> bool:
    """Whether a request to EC2 is allowed, with all that it implies."""
    asked = Authority("1", lambda _, name: OWN.get(name, {})).asked("ec2", op, region, params)
    judge = policy(needs)
    return all(judge.allows(one) for one in asked)


def launch(tags: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """The parameters of a launch as byoc makes it."""
    told = [{"Key": key, "Value": value} for key, value in (TAGS if tags is None else tags).items()]
    return {
        "ImageId": "ami-1", "InstanceType": "g6.xlarge", "SecurityGroupIds": ["sg-own"],
        "SubnetId": "subnet-1", "MetadataOptions": METADATA,
        "TagSpecifications": [{"ResourceType": kind, "Tags": told} for kind in KINDS],
        **more,
    }  # fmt: skip


def tagged(id: str, **tags: str) -> dict[str, Any]:
    """The parameters of CreateTags on something that exists."""
    return {
        "Resources": [id],
        "Tags": [{"Key": k.replace("_", "-"), "Value": v} for k, v in tags.items()],
    }


INSIDE = {"SubnetId": "subnet-1", "AssociatePublicIpAddress": False}
SPOT_MARKET = {"InstanceMarketOptions": {"MarketType": "spot"}}
ROWS: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("RunInstances", launch(), True),
    ("RunInstances", launch(**SPOT_MARKET), True),
    ("RunInstances", launch({}), False),
    ("RunInstances", launch({"byoc-managed": "1"}), False),
    ("RunInstances", launch({"byoc-owner": "own-1"}), False),
    ("RunInstances", launch({**TAGS, "cost-center": "7"}), False),
    ("RunInstances", launch(MetadataOptions={}), False),
    ("RunInstances", launch(MetadataOptions={**METADATA, "HttpTokens": "optional"}), False),
    ("RunInstances", launch(MetadataOptions={**METADATA, "HttpPutResponseHopLimit": 2}), False),
    ("RunInstances", launch(SecurityGroupIds=["sg-other"]), False),
    ("RunInstances", launch(IamInstanceProfile={"Name": "admin"}), False),
    ("TerminateInstances", {"InstanceIds": ["i-own"]}, True),
    ("TerminateInstances", {"InstanceIds": ["i-other"]}, False),
    ("TerminateInstances", {"InstanceIds": ["i-own", "i-other"]}, False),
    ("DeleteVolume", {"VolumeId": "vol-own"}, True),
    ("DeleteVolume", {"VolumeId": "vol-other"}, False),
    ("DeleteSecurityGroup", {"GroupId": "sg-own"}, True),
    ("DeleteSecurityGroup", {"GroupId": "sg-other"}, False),
    ("RevokeSecurityGroupIngress", {"GroupId": "sg-own"}, True),
    ("RevokeSecurityGroupIngress", {"GroupId": "sg-other"}, False),
    ("AuthorizeSecurityGroupIngress", {"GroupId": "sg-own"}, True),
    ("AuthorizeSecurityGroupIngress", {"GroupId": "sg-other"}, False),
    ("GetConsoleOutput", {"InstanceId": "i-own"}, True),
    ("GetConsoleOutput", {"InstanceId": "i-other"}, False),
    ("CreateTags", tagged("i-own", byoc_expires="1"), True),
    ("CreateTags", tagged("i-own", byoc_owner="own-2"), False),
    ("CreateTags", tagged("i-own", byoc_token="t"), False),
    ("CreateTags", tagged("i-own", Name="x"), False),
    ("CreateTags", tagged("i-other", byoc_managed="1"), False),
    ("CreateTags", tagged("i-other", byoc_expires="1"), False),
    ("CreateTags", tagged("vol-own", byoc_expires="1"), False),
    ("DeleteTags", tagged("i-own", byoc_owner="own-1"), False),
    ("StopInstances", {"InstanceIds": ["i-own"]}, False),
    ("ModifyInstanceAttribute", {"InstanceId": "i-own"}, False),
    ("CreateVolume", {}, False),
    ("DescribeInstances", {}, True),
)


@pytest.mark.parametrize(("op", "params", "may"), ROWS, ids=lambda one: str(one)[:40])
def test_the_policy_for_aws(op: str, params: dict[str, Any], may: bool) -> None:
    """Only tagged launches, only byoc's own ends, and no tag that says whose a thing is."""
    assert allowed(op, params) is may


@pytest.mark.parametrize(
    ("needs", "params", "region", "may"),
    [
        (Needs(regions=("us-east-1",)), {}, "us-east-1", True),
        (Needs(regions=("us-east-1",)), {}, "eu-west-1", False),
        (Needs(types=("g6.xlarge",)), {}, "eu", True),
        (Needs(types=("g5.*",)), {}, "eu", False),
        (Needs(ALL - {SPOT}), {}, "eu", True),
        (Needs(ALL - {SPOT}), SPOT_MARKET, "eu", False),
        (Needs(ALL - {FIREWALL}), {"SecurityGroupIds": ["sg-other"]}, "eu", True),
        (Needs(ALL - {ADDRESS}), {}, "eu", False),
        (Needs(ALL - {ADDRESS}), {"NetworkInterfaces": [INSIDE]}, "eu", True),
        (Needs(owner="own-1"), {}, "eu", True),
        (Needs(owner="own-2"), {}, "eu", False),
    ],
)
def test_a_narrower_policy_allows_less(
    needs: Needs, params: dict[str, Any], region: str, may: bool
) -> None:
    """Regions, types, markets, the firewall and the owner each narrow what may be launched."""
    assert allowed("RunInstances", launch(**params), needs, region) is may


def test_what_was_launched_elsewhere_can_still_be_ended() -> None:
    """A policy for one region ends instances in all of them: none is stranded by it."""
    assert allowed("TerminateInstances", {"InstanceIds": ["i-own"]}, Needs(regions=("us-east-1",)))
    assert not allowed("TerminateInstances", {"InstanceIds": ["i-own"]}, Needs(owner="own-2"))


def test_no_policy_passes_a_role_or_says_more_than_it_may() -> None:
    """No statement lets an instance have a role; the text is as long as AWS takes."""
    text = aws_iam.printed(EVERYTHING, Target()).text
    assert "PassRole" not in text and not policy().allows(Asked("iam:PassRole", "*"))
    assert len("".join(text.split())) <= aws_iam.LARGEST
    actions = {action for one in aws.statements(EVERYTHING) for action in one.actions}
    assert actions == {one.action for one in aws.PERMISSIONS}
    assert all(one.why and one.sid for one in aws.statements(EVERYTHING))
    assert json.loads(text)["Version"] == "2012-10-17"


# --- enforced by the emulated accounts ---------------------------------------------------------


class Accounts:
    """One emulated account at a time, kept for as long as tests ask for the same cloud's."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: Account | None = None

    def of(self, cloud: str) -> Account:
        if self._open is None or self._open.name != cloud:
            self._stack.close()
            self._open = self._stack.enter_context(opened(f"emulated-{cloud}"))
            self._open.placed()
        return self._open


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    """The accounts of this module."""
    with ExitStack() as stack:
        yield Accounts(stack)


@pytest.fixture
def account(accounts: Accounts, request: pytest.FixtureRequest) -> Account:
    """The emulated account of the cloud that the test names."""
    return accounts.of(request.param)


@pytest.mark.parametrize("account", ["aws", "gcp"], indirect=True)
def test_what_is_foreign_cannot_be_ended(account: Account) -> None:
    """An instance that carries none of byoc's marks is refused by the account itself, even when
    byoc is told its id. OCI's policies know no freeform tags: there the compartment is the bound.
    """
    owner = account.administrator()
    foreign = foreigner(account)
    try:
        with pytest.raises(AccessError):
            account.provider.terminate(foreign)
        with pytest.raises(AccessError):
            account.provider.mark(foreign, {OWNER_TAG: account.owner, TOKEN_TAG: "1"})
        assert owner.provider.get(foreign).state in ("pending", "running")
    finally:
        owner.provider.terminate(foreign)


def foreigner(account: Account) -> str:
    """Somebody else's instance, made by the administrator's own tools; its id as byoc writes it."""
    owner: Any = account.administrator().provider
    if account.name == "aws":
        image = owner._images.find(account.placed())[0].id
        made = owner._clients.call(
            "ec2", account.region, "run_instances", ImageId=image, MinCount=1, MaxCount=1,
            InstanceType="t3.micro",
        )  # fmt: skip
        return f"{account.region}/{made['Instances'][0]['InstanceId']}"
    google, zone = owner._google, f"{account.region}-a"
    name = f"theirs-{secrets.token_hex(4)}"
    google.call(
        "instances", "insert_unary", project=google.project, zone=zone,
        instance_resource={
            "name": name, "machine_type": f"zones/{zone}/machineTypes/e2-medium",
            "network_interfaces": [{"network": "global/networks/default"}],
            "disks": [{
                "boot": True, "auto_delete": True,
                "initialize_params": {"source_image":
                    "projects/ubuntu-os-cloud/global/images/family/ubuntu-2204-lts"},
            }],
        },
    )  # fmt: skip
    return f"{zone}/{name}"


def test_a_scenario_says_which_policy_holds(tmp_path: Path) -> None:
    """A file's policy is enforced in place of the usual one; without enforcement byoc may do what
    the policy forbids."""
    narrow = aws_iam.printed(Needs(regions=("eu-west-1",)), Target()).text
    file = tmp_path / "policy.json"
    file.write_text(narrow)
    with opened("emulated-aws", f"[policy]\nfile = {str(file)!r}") as one:
        with pytest.raises(AccessError, match="CreateSecurityGroup"):
            one.provider.launch(one.request(one.placed()))
        assert one.world is not None and one.world.ledger.alive() == []
    with opened("emulated-aws", "policy.aws = false") as one:
        foreign = foreigner(one)
        one.provider.terminate(foreign)
        one.ended(foreign)


# --- each action removed in turn ----------------------------------------------------------------


class Removed(NamedTuple):
    """One action that is taken away. ``always``: byoc cannot do without it."""

    cloud: str
    action: str
    always: bool


def removals() -> list[Removed]:
    """Every action, permission and grant of the three maps."""
    found = [Removed("gcp", one, one not in gcp.OPTIONAL) for one in gcp.role()]
    found += [Removed("oci", f"{one.verb} {one.resource}", one.always) for one in oci.STATEMENTS]
    return found + [Removed("aws", one.action, one.always) for one in aws.PERMISSIONS]


def fresh(account: Account) -> Account:
    """The account as a client of an owner of its own sees it that has asked nothing yet.

    What the SDK makes for each of AWS's regions is kept: it takes a second, and remembers nothing.
    """
    found = replace(account.another(), owner=f"own-{secrets.token_hex(4)}")
    if account.name == "aws":
        kept: Any = account.provider
        made: Any = found.provider
        made._clients._session = kept._clients.session()
        made._clients._clients = kept._clients._clients
    return found


@pytest.mark.parametrize(
    ("account", "removed"),
    [pytest.param(one.cloud, one, id=f"{one.cloud} {one.action}") for one in removals()],
    indirect=["account"],
)
def test_each_action_is_needed_for_what_the_map_says(account: Account, removed: Removed) -> None:
    """Without an action that byoc cannot do without, it is refused with an AccessError and nothing
    is left that costs money; without any other one it still launches and ends."""
    assert account.world is not None
    own = fresh(account)
    scenario = account.world.scenario
    permit = Permit(without=(removed.action,))
    account.world.scenario = scenario._replace(policy={removed.cloud: permit})
    try:
        failures = life(own)
    finally:
        account.world.scenario = scenario
        for one in account.provider.list({OWNER_TAG: own.owner}, [account.region]):
            account.provider.terminate(one.id)
    assert all(isinstance(one, AccessError) for one in failures.values()), failures
    if not removed.always:
        assert not set(failures) & {"launch", "running", "end"}, failures
        return
    assert failures, f"nobody missed {removed.action}"
    if removed.cloud != "oci":  # OCI says of nothing what it was that was missing
        assert any(removed.action in str(one) for one in failures.values()), failures
    if "launch" in failures:
        assert account.world.ledger.alive() == [], "a launch that failed is billed"


def life(account: Account) -> dict[str, Error]:
    """What byoc does with an instance, step by step; the steps that failed."""
    failures: dict[str, Error] = {}
    offer = account.placed()
    if account.name == "oci":  # to be chosen, which is a question more
        offer = offer._replace(zone="")
    provider = account.provider

    def step(name: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except ProviderError as error:
            failures[name] = error
            return None

    step("list", lambda: provider.list({OWNER_TAG: account.owner}))
    made = step("launch", lambda: provider.launch(account.request(offer)))
    if made is None:
        return failures
    step("running", lambda: account.running(made.id))
    step("console", lambda: provider.console(made.id))
    step("mark", lambda: provider.mark(made.id, {EXPIRES_TAG: "1800000000"}))
    step("end", lambda: provider.terminate(made.id))
    if "end" not in failures and "running" not in failures:
        step("gone", lambda: account.ended(made.id))
    return failures
