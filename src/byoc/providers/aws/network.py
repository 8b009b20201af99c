"""Where instances are attached: the default network's subnets, and a security group of ours.

Nothing of it is remembered on disk: it is found again by name and tag. The group belongs to one
installation and lets in SSH from its own networks only; machines need no other door.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...errors import BadRequestError, ProviderError, TransientError
from ..base import OWNER_TAG
from ..ingress import Ingress
from .clients import Clients, refused

MANAGED_TAG = "byoc-managed"
"""Tag on all that byoc makes; its value is ``1``."""
_PURPOSE = "SSH to instances of byoc"
_RULE = "byoc"  # the description of each rule that byoc made


class Network(NamedTuple):
    """A region's network. ``subnets``: by zone; ``group``: the security group's id."""

    subnets: Mapping[str, str]
    group: str


class Networks:
    """Networks by region, prepared once and kept. Safe from any thread.

    ``subnet``, ``group``: the settings ``aws.subnet`` and ``aws.security_group``, or empty.
    ``port``: of the machines' SSH server.
    """

    def __init__(
        self, clients: Clients, ingress: Ingress, subnet: str, group: str, port: int
    ) -> None:
        self._clients = clients
        self._ingress = ingress
        self._subnet = subnet
        self._group = group
        self._port = port
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[tuple[str, ...], Network]] = {}

    def prepare(self, region: str, owner: str) -> tuple[Network, bool]:
        """A region's network, made ready for this client's address, and whether it was before.

        Raises BadRequestError without a default network, AccessError when this client's address
        cannot be told, and whatever AWS refuses.
        """
        with self._lock:
            lock = self._locks.setdefault(region, threading.Lock())
        with lock:
            allowed = self._ingress.networks(self._clients.endpoint(region))
            if (known := self._known.get(region)) and known[0] == allowed:
                return known[1], True
            vpc, subnets = self.subnets(region)
            group = self._group or self._own_group(region, vpc, owner, allowed)
            self._known[region] = (allowed, Network(subnets, group))
            return self._known[region][1], False

    def forget(self, region: str) -> None:
        """What was found in a region is out of date."""
        self._known.pop(region, None)

    def subnets(self, region: str) -> tuple[str, dict[str, str]]:
        """The network's id and its subnets by zone: the default ones, or the one of the settings.

        Raises BadRequestError when there are none.
        """
        if self._subnet:
            found = self._describe_subnets(region, SubnetIds=[self._subnet])
        else:
            filters = [{"Name": "default-for-az", "Values": ["true"]}]
            found = self._describe_subnets(region, Filters=filters)
        if not found:
            raise _no_network(region)
        return found[0]["VpcId"], {one["AvailabilityZone"]: one["SubnetId"] for one in found}

    def _describe_subnets(self, region: str, **params: Any) -> list[dict[str, Any]]:
        return list(self._clients.pages("ec2", region, "describe_subnets", "Subnets", **params))

    def _own_group(self, region: str, vpc: str, owner: str, allowed: tuple[str, ...]) -> str:
        name = group_name(owner)
        found = self._find_group(region, vpc, name) or self._make_group(region, vpc, name, owner)
        self._let_in(region, found, allowed)
        return str(found["GroupId"])

    def _find_group(self, region: str, vpc: str, name: str) -> dict[str, Any] | None:
        groups = self._clients.pages(
            "ec2", region, "describe_security_groups", "SecurityGroups",
            Filters=[
                {"Name": "group-name", "Values": [name]},
                {"Name": "vpc-id", "Values": [vpc]},
            ],
        )  # fmt: skip
        return next(iter(groups), None)

    def _make_group(self, region: str, vpc: str, name: str, owner: str) -> dict[str, Any]:
        tags = {MANAGED_TAG: "1", **({OWNER_TAG: owner} if owner else {})}
        try:
            made = self._clients.call(
                "ec2", region, "create_security_group",
                GroupName=name, Description=_PURPOSE, VpcId=vpc,
                TagSpecifications=[{"ResourceType": "security-group", "Tags": pairs(tags)}],
            )  # fmt: skip
        except ProviderError as error:
            if not refused(error, "InvalidGroup.Duplicate"):
                raise
            found = self._find_group(region, vpc, name)  # another client was faster
            if found is None:
                raise
            return found
        return {"GroupId": made["GroupId"]}

    def _let_in(self, region: str, group: dict[str, Any], allowed: tuple[str, ...]) -> None:
        """Opens the group for ``allowed``, and shuts what byoc opened for other networks."""
        open_now = self._opened(group)
        missing = [network for network in allowed if network not in open_now]
        if not missing:
            return
        # A client that moved to another network: what it left is nobody's door any more.
        stale = [network for network, ours in open_now.items() if ours and network not in allowed]
        if stale:
            self._change(region, group, "revoke_security_group_ingress", stale)
        self._change(region, group, "authorize_security_group_ingress", missing)

    def _opened(self, group: dict[str, Any]) -> dict[str, bool]:
        """By network that may use SSH, whether byoc made the rule."""
        found: dict[str, bool] = {}
        for rule in group.get("IpPermissions", ()):
            if rule.get("FromPort") != self._port or rule.get("ToPort") != self._port:
                continue
            for key, cidr in (("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6")):
                for one in rule.get(key, ()):
                    found[one[cidr]] = one.get("Description", "") == _RULE
        return found

    def _change(self, region: str, group: dict[str, Any], how: str, networks: list[str]) -> None:
        noted = {"Description": _RULE} if how.startswith("authorize") else {}
        four = [{"CidrIp": one, **noted} for one in networks if ":" not in one]
        six = [{"CidrIpv6": one, **noted} for one in networks if ":" in one]
        rule: dict[str, Any] = {
            "IpProtocol": "tcp", "FromPort": self._port, "ToPort": self._port,
            **({"IpRanges": four} if four else {}), **({"Ipv6Ranges": six} if six else {}),
        }  # fmt: skip
        try:
            self._clients.call("ec2", region, how, GroupId=group["GroupId"], IpPermissions=[rule])
        except ProviderError as error:
            if refused(error, "InvalidGroup.NotFound", "InvalidGroupId.NotFound"):
                raise _not_yet(error) from error  # a new group's id spreads within seconds
            # Another client did the same meanwhile.
            if not refused(error, "InvalidPermission.Duplicate", "InvalidPermission.NotFound"):
                raise


def _not_yet(error: ProviderError) -> TransientError:
    return TransientError(
        error.message,
        provider=error.provider,
        vendor_code=error.vendor_code,
        request_id=error.request_id,
        scope="request",
    )


def group_name(owner: str) -> str:
    """The name of an installation's security group."""
    return f"byoc-{owner}" if owner else "byoc"


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as EC2 takes them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _no_network(region: str) -> BadRequestError:
    return BadRequestError(
        f"{region} has no default network (VPC) with subnets",
        provider="aws",
        vendor_code="VPCIdNotSpecified",
        scope="region",
        hints=(
            f"Run `aws ec2 create-default-vpc --region {region}`.",
            "Or name a subnet in the setting aws.subnet.",
        ),
    )
