"""What byoc asks of AWS, as data: each action, why, and how `byoc check` finds out about it.

``docs/aws.md`` has a policy with exactly these; tests hold all three together.
"""

from __future__ import annotations

from typing import NamedTuple


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
    Permission("ec2:DescribeVolumes", "to find disks that were left behind"),
    Permission("ec2:DescribeNetworkInterfaces", "to find what holds a security group"),
    Permission("ec2:DescribeAddresses", "to find addresses that were left behind"),
    Permission("ec2:GetConsoleOutput", "to say why a machine did not boot", False),
    Permission("ssm:GetParameter", "to find today's machine image; else by its name", False),
    Permission("servicequotas:GetServiceQuota", "to leave out what no quota allows", False),
    Permission("ec2:CreateSecurityGroup", "to let in SSH from this computer only"),
    Permission("ec2:AuthorizeSecurityGroupIngress", "to let in SSH from this computer only"),
    Permission("ec2:RevokeSecurityGroupIngress", "to shut out the network that it left"),
    Permission("ec2:RunInstances", "to launch"),
    Permission("ec2:CreateTags", "to tag in the launch itself, so that nothing is lost"),
    Permission("ec2:TerminateInstances", "to end what was launched"),
    Permission("ec2:DeleteVolume", "to remove what was left behind", False),
    Permission("ec2:DeleteSecurityGroup", "to remove what was left behind", False),
    Permission("ec2:DeleteNetworkInterface", "to remove what was left behind", False),
    Permission("ec2:ReleaseAddress", "to remove what was left behind", False),
    Permission("iam:GetRole", "to tell whether spot instances were ever used", False),
    Permission("sts:DecodeAuthorizationMessage", "to say what a refusal was about", False),
)
"""sts:GetCallerIdentity needs no permission. CreateTags is never called on its own."""
