"""Where instances are attached: the default network's subnets, and a security group of ours.

Nothing of it is remembered on disk: it is found again by name and tag. The group belongs to one
installation and lets in SSH from its own networks only; machines need no other door.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...errors import BadRequestError, ProviderError, TransientError
from ..base import OWNER_TAG
from ..gates import change, families
from ..ingress import Ingress
from ..prepared import Prepared
from ..table import restated
from .clients import Clients, refused

MANAGED_TAG = "byoc-managed"
"""Tag on all that byoc makes; its value is ``1``."""
_PURPOSE = "SSH to instances of byoc"
_MESH, _EVERY = "byoc gang", "-1"
_NOT_SEEN = ("InvalidGroup.NotFound", "InvalidGroupId.NotFound")  # a new id spreads within seconds
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
        self._prepared: Prepared[tuple[str, ...], Network] = Prepared()
        self._meshes: Prepared[str, bool] = Prepared()

    def prepare(self, region: str, owner: str) -> tuple[Network, bool]:
        """A region's network, made ready for this client's address, and whether it was before.

        Raises BadRequestError without a default network, AccessError when this client's address
        cannot be told, and whatever AWS refuses.
        """
        allowed = self._ingress.networks(self._clients.endpoint(region))
        return self._prepared.get(region, allowed, lambda: self._make(region, owner, allowed)[0])

    def _make(self, region: str, owner: str, allowed: tuple[str, ...]) -> tuple[Network, bool]:
        """The network, and whether who may come in had to be changed."""
        vpc, subnets = self.subnets(region)
        if self._group:
            return Network(subnets, self._group), False
        group, changed = self._own_group(region, vpc, owner, allowed)
        return Network(subnets, group), changed

    def admit(self, region: str, owner: str) -> bool:
        """Let this client in from where it is now; whether anything had to be changed for it. A
        group of the settings is not ours to change. Raises as :meth:`prepare`."""
        if self._group:
            return False
        allowed = self._ingress.networks(self._clients.endpoint(region), fresh=True)
        changes = []

        def make() -> Network:
            network, changed = self._make(region, owner, allowed)
            changes.append(changed)
            return network

        self._prepared.get(region, allowed, make, anew=True)
        return any(changes)

    def forget(self, region: str) -> None:
        """What was found in a region is out of date."""
        self._prepared.forget(region)
        self._meshes.forget(region)

    def connect(self, region: str, group: str) -> None:
        """Let the group's members reach each other on every port. A group of the settings is not
        ours to change. Whatever AWS refuses is raised."""
        if not self._group:
            self._meshes.get(region, group, lambda: self._connect(region, group))

    def _connect(self, region: str, group: str) -> bool:
        """The rule names the group itself, so it lets in nobody else. Whether there was one."""
        pair = {"GroupId": group, "Description": _MESH}
        rule = {"IpProtocol": _EVERY, "UserIdGroupPairs": [pair]}
        try:
            found = self._clients.pages(
                "ec2", region, "describe_security_groups", "SecurityGroups", GroupIds=[group]
            )
            if any(_lets_in_itself(one, group) for one in found):
                return True
            self._clients.call(
                "ec2", region, "authorize_security_group_ingress",
                GroupId=group, IpPermissions=[rule],
            )  # fmt: skip
        except ProviderError as error:
            if refused(error, *_NOT_SEEN):
                raise not_yet(error) from error
            if not refused(error, "InvalidPermission.Duplicate"):  # another client was faster
                raise
        return False

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

    def _own_group(
        self, region: str, vpc: str, owner: str, allowed: tuple[str, ...]
    ) -> tuple[str, bool]:
        """The group's id, and whether it had to be changed or made."""
        name = group_name(owner)
        found = self._find_group(region, vpc, name)
        group = found or self._make_group(region, vpc, name, owner)
        changed = self._let_in(region, group, allowed)
        return str(group["GroupId"]), changed or found is None

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

    def _let_in(self, region: str, group: dict[str, Any], allowed: tuple[str, ...]) -> bool:
        """Opens the group for ``allowed``, and shuts what byoc opened for other networks: a client
        that moved leaves nobody's door open. Whether that was anything."""
        now = self._opened(group)
        ours = [network for network, made in now.items() if made]
        todo = change(ours, allowed, [network for network in now if network not in ours])
        if todo.stale:
            self._change(region, group, "revoke_security_group_ingress", todo.stale)
        if todo.missing:
            self._change(region, group, "authorize_security_group_ingress", todo.missing)
        return bool(todo)

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

    def _change(
        self, region: str, group: dict[str, Any], how: str, networks: tuple[str, ...]
    ) -> None:
        noted = {"Description": _RULE} if how.startswith("authorize") else {}
        of_four, of_six = families(networks)
        four = [{"CidrIp": one, **noted} for one in of_four]
        six = [{"CidrIpv6": one, **noted} for one in of_six]
        rule: dict[str, Any] = {
            "IpProtocol": "tcp", "FromPort": self._port, "ToPort": self._port,
            **({"IpRanges": four} if four else {}), **({"Ipv6Ranges": six} if six else {}),
        }  # fmt: skip
        try:
            self._clients.call("ec2", region, how, GroupId=group["GroupId"], IpPermissions=[rule])
        except ProviderError as error:
            if refused(error, *_NOT_SEEN):
                raise not_yet(error) from error
            # Another client did the same meanwhile.
            if not refused(error, "InvalidPermission.Duplicate", "InvalidPermission.NotFound"):
                raise


def _lets_in_itself(found: Mapping[str, Any], group: str) -> bool:
    """Whether a group has a rule for every protocol whose source is this group."""
    rules = [one for one in found.get("IpPermissions", ()) if one.get("IpProtocol") == _EVERY]
    pairs_of = (one.get("UserIdGroupPairs", ()) for one in rules)
    return any(pair.get("GroupId") == group for some in pairs_of for pair in some)


def not_yet(error: ProviderError) -> TransientError:
    """A refusal of a group that was made a moment ago: its id spreads within seconds."""
    return restated(error, TransientError, error.message)


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
