"""What byoc asks of AWS, as data: each action, why, and the statements that allow it.

``byoc iam aws``, ``docs/permissions.md``, ``byoc check`` and what an emulated account allows all
come from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from ..base import EXPIRES_TAG, OWNER_TAG, PRICE_TAG, RUN_TAG, UNTIL_TAG
from ..needs import ADDRESS, FIREWALL, SPOT, Needs
from .network import MANAGED_TAG


class Permission(NamedTuple):
    """One action. ``always``: nothing works without it; the rest has something that is done
    instead, told in ``why``."""

    action: str
    why: str
    always: bool = True


PERMISSIONS: tuple[Permission, ...] = (
    Permission("ec2:DescribeRegions", "to look for instances in every region of the account"),
    Permission("ec2:DescribeSubnets", "to find the zones' default subnets"),
    Permission("ec2:DescribeSecurityGroups", "to find the security group again"),
    Permission("ec2:DescribeImages", "to learn the root disk of the machine image"),
    Permission("ec2:DescribeInstances", "to find instances and what is used of quotas"),
    Permission("ec2:DescribeInstanceTypeOfferings", "to learn which zones sell a type", False),
    Permission("ec2:DescribeSpotPriceHistory", "to rank zones by today's price", False),
    Permission("ec2:DescribeAvailabilityZones", "to say which zone is the cheapest", False),
    Permission("pricing:GetProducts", "for `byoc prices refresh`", False),
    Permission("ec2:DescribeVolumes", "to find disks that were left behind", False),
    Permission("ec2:DescribeNetworkInterfaces", "to find what holds a security group", False),
    Permission("ec2:DescribeAddresses", "to find addresses that were left behind", False),
    Permission("ec2:GetConsoleOutput", "to say why a machine did not boot", False),
    Permission("ssm:GetParameter", "to find today's machine image; else by its name", False),
    Permission("servicequotas:GetServiceQuota", "to leave out what no quota allows", False),
    Permission("ec2:CreateSecurityGroup", "to let in SSH from this computer only"),
    Permission("ec2:AuthorizeSecurityGroupIngress", "to let in SSH from this computer only"),
    Permission("ec2:RevokeSecurityGroupIngress", "to shut the door again", False),
    Permission("ec2:RunInstances", "to launch"),
    Permission("ec2:CreateTags", "to tag in the launch itself, and to move a lease on"),
    Permission("ec2:TerminateInstances", "to end what was launched"),
    Permission("ec2:DeleteVolume", "to remove what was left behind", False),
    Permission("ec2:DeleteSecurityGroup", "to remove what was left behind", False),
    Permission("ec2:DeleteNetworkInterface", "to remove what was left behind", False),
    Permission("ec2:ReleaseAddress", "to remove what was left behind", False),
    Permission("iam:GetRole", "to tell whether spot instances were ever used", False),
    Permission("sts:DecodeAuthorizationMessage", "to say what a refusal was about", False),
)
"""sts:GetCallerIdentity needs no permission."""

MARKED = (EXPIRES_TAG, UNTIL_TAG, RUN_TAG, PRICE_TAG)
"""Tags that may be written on an instance that exists. None of them says whose it is."""
_EC2 = "arn:aws:ec2:*:*:"
_CARD = "network-interface"
_MADE = ("volume", _CARD)
_SPOT_REQUEST = "spot-instances-request"
_SPOT_ROLE = "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
Condition = Mapping[str, Mapping[str, Any]]


class Statement(NamedTuple):
    """One statement of the policy. ``sid``: its name; ``why``: for people."""

    sid: str
    why: str
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    condition: Condition = MappingProxyType({})

    def document(self) -> dict[str, Any]:
        """As IAM takes it."""
        found: dict[str, Any] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": _plain(self.resources),
        }
        return {**found, "Condition": dict(self.condition)} if self.condition else found


def statements(needs: Needs) -> list[Statement]:
    """The least policy for what is needed, in the order in which it is printed."""
    found = [*_looking(needs), *_launching(needs), *_tagging(needs)]
    if FIREWALL in needs.features:
        found += _firewall(needs)
    return [*found, *_ending(needs)]


def policy(needs: Needs) -> dict[str, Any]:
    """The policy's document."""
    return {
        "Version": "2012-10-17",
        "Statement": [one.document() for one in statements(needs)],
    }


# --- looking ----------------------------------------------------------------------------------


def _looking(needs: Needs) -> list[Statement]:
    spot = SPOT in needs.features
    describe = tuple(
        one.action
        for one in PERMISSIONS
        if one.action.startswith("ec2:Describe") and (spot or "Spot" not in one.action)
    )
    found = [
        Statement(
            "Look",
            "EC2 can bind none of its Describe actions to a resource.",
            (
                *describe,
                "servicequotas:GetServiceQuota",
                "pricing:GetProducts",
                "sts:DecodeAuthorizationMessage",
            ),
        ),
        Statement(
            "ReadPublicImageNames",
            "Today's machine images are public parameters of AWS's own.",
            ("ssm:GetParameter",),
            ("arn:aws:ssm:*::parameter/aws/service/*",),
        ),
        Statement(
            "ReadOwnConsoles",
            "Why a machine of byoc's did not boot; nobody else's console.",
            ("ec2:GetConsoleOutput",),
            (_EC2 + "instance/*",),
            {"StringEquals": _own(needs)},
        ),
    ]
    if spot:
        found.append(
            Statement(
                "SeeSpotRole",
                "Whether the account's first spot launch still needs its role.",
                ("iam:GetRole",),
                (_SPOT_ROLE,),
            )
        )
    return found


# --- launching --------------------------------------------------------------------------------


def _launching(needs: Needs) -> list[Statement]:
    made = (*_MADE, _SPOT_REQUEST) if SPOT in needs.features else _MADE
    inside = ADDRESS not in needs.features
    region = _region(needs)
    own_group = FIREWALL in needs.features
    used = ("subnet/*",) if own_group else ("subnet/*", "security-group/*")
    found = [
        Statement(
            "LaunchFrom",
            "What a launch uses and does not make.",
            ("ec2:RunInstances",),
            (
                "arn:aws:ec2:*::image/*",
                "arn:aws:ec2:*::snapshot/*",
                *(_EC2 + one for one in used),
            ),
            {"StringEquals": region} if region else {},
        ),
        Statement(
            "LaunchInstance",
            "Only with byoc's tags in the launch itself, and with a metadata service that answers"
            " no container and no forged request (IMDSv2, one hop). No statement has iam:PassRole:"
            " no instance can be given a role.",
            ("ec2:RunInstances",),
            (_EC2 + "instance/*",),
            _of_instance(needs),
        ),
        Statement(
            "LaunchWith",
            "What is made along with an instance carries the same tags.",
            ("ec2:RunInstances",),
            tuple(f"{_EC2}{one}/*" for one in made if not (inside and one == _CARD)),
            _tagged(needs, region),
        ),
    ]
    if inside:
        found.append(
            Statement(
                "LaunchWithoutAddress",
                "The settings say that no instance has a public address.",
                ("ec2:RunInstances",),
                (f"{_EC2}{_CARD}/*",),
                {**_tagged(needs, region), "Bool": {"ec2:AssociatePublicIpAddress": "false"}},
            )
        )
    if own_group:
        found.append(
            Statement(
                "LaunchBehindOwnFirewall",
                "Instances are put behind byoc's own security group only.",
                ("ec2:RunInstances",),
                (_EC2 + "security-group/*",),
                {"StringEquals": {**_own(needs), **region}},
            )
        )
    return found


def _of_instance(needs: Needs) -> Condition:
    equal: dict[str, Any] = {"ec2:MetadataHttpTokens": "required", **_region(needs)}
    if SPOT not in needs.features:
        equal["ec2:InstanceMarketType"] = "on-demand"
    found = _tagged(needs, equal)
    if needs.types:
        found["StringLike"] = {"ec2:InstanceType": _plain(needs.types)}
    return {**found, "NumericLessThanEquals": {"ec2:MetadataHttpPutResponseHopLimit": "1"}}


def _tagged(needs: Needs, equal: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The tags that a request to make something must bring, and no others than byoc's."""
    owner: dict[str, Any] = {f"aws:RequestTag/{OWNER_TAG}": needs.owner} if needs.owner else {}
    found: dict[str, Mapping[str, Any]] = {
        "StringEquals": {f"aws:RequestTag/{MANAGED_TAG}": "1", **owner, **equal},
        "ForAllValues:StringLike": {"aws:TagKeys": "byoc-*"},
    }
    if not owner:
        found["Null"] = {f"aws:RequestTag/{OWNER_TAG}": "false"}
    return found


# --- tags, firewall, the end ------------------------------------------------------------------


def _tagging(needs: Needs) -> list[Statement]:
    made = ["instance", *_MADE]
    made += [_SPOT_REQUEST] if SPOT in needs.features else []
    made += ["security-group"] if FIREWALL in needs.features else []
    by = ["RunInstances"] + (["CreateSecurityGroup"] if FIREWALL in needs.features else [])
    return [
        Statement(
            "TagOnlyWhatIsBeingMade",
            "Tags come with the request that makes a thing: nothing that exists becomes byoc's.",
            ("ec2:CreateTags",),
            tuple(f"{_EC2}{one}/*" for one in made),
            {
                "StringEquals": {"ec2:CreateAction": _plain(by)},
                "ForAllValues:StringLike": {"aws:TagKeys": "byoc-*"},
            },
        ),
        Statement(
            "MoveLeasesOn",
            "Until when, for which run and at what price: of byoc's own instances, and never the"
            " tags that say whose they are.",
            ("ec2:CreateTags",),
            (_EC2 + "instance/*",),
            {
                "StringEquals": _own(needs),
                "ForAllValues:StringEquals": {"aws:TagKeys": list(MARKED)},
            },
        ),
    ]


def _firewall(needs: Needs) -> list[Statement]:
    region = _region(needs)
    return [
        Statement(
            "MakeFirewall",
            "One security group for each region and installation, tagged when it is made.",
            ("ec2:CreateSecurityGroup",),
            (_EC2 + "security-group/*",),
            _tagged(needs, region),
        ),
        Statement(
            "MakeFirewallIn",
            "The network that the security group is made in.",
            ("ec2:CreateSecurityGroup",),
            (_EC2 + "vpc/*",),
            {"StringEquals": region} if region else {},
        ),
        Statement(
            "OpenOwnFirewall",
            "Let this computer in; of byoc's own security groups only.",
            ("ec2:AuthorizeSecurityGroupIngress",),
            (_EC2 + "security-group/*",),
            {"StringEquals": {**_own(needs), **region}},
        ),
        Statement(
            "CloseOwnFirewall",
            "Shut it again, in every region: nothing that was opened stays so.",
            ("ec2:RevokeSecurityGroupIngress", "ec2:DeleteSecurityGroup"),
            (_EC2 + "security-group/*",),
            {"StringEquals": _own(needs)},
        ),
    ]


def _ending(needs: Needs) -> list[Statement]:
    """Bound to no region: what was launched under an older policy must be ended too."""
    kinds = ("instance", "volume", "network-interface", "elastic-ip")
    return [
        Statement(
            "EndOnlyOwn",
            "Only what carries byoc's tag can be ended or removed, whatever byoc is told.",
            (
                "ec2:TerminateInstances",
                "ec2:DeleteVolume",
                "ec2:DeleteNetworkInterface",
                "ec2:ReleaseAddress",
            ),
            tuple(f"{_EC2}{one}/*" for one in kinds),
            {"StringEquals": _own(needs)},
        )
    ]


def _own(needs: Needs) -> dict[str, Any]:
    owner = {f"aws:ResourceTag/{OWNER_TAG}": needs.owner} if needs.owner else {}
    return {f"aws:ResourceTag/{MANAGED_TAG}": "1", **owner}


def _region(needs: Needs) -> dict[str, Any]:
    return {"aws:RequestedRegion": _plain(needs.regions)} if needs.regions else {}


def _plain(values: Sequence[str]) -> Any:
    """One value alone, several as a list: as IAM itself shows them."""
    return values[0] if len(values) == 1 else list(values)
