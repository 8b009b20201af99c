"""What instances leave behind on AWS, and how it is removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import ProviderError
from ..base import Instance
from . import states
from .clients import DENIED, Clients, refused
from .ids import Ref


class _Kind(NamedTuple):
    """One kind: how it is described and deleted, by the beginning of AWS's id."""

    describe: str
    key: str
    id: str
    filter: str
    paged: bool
    delete: str
    parameter: str
    loose: Callable[[Mapping[str, Any]], bool]
    missing: tuple[str, ...]


_KINDS: dict[str, _Kind] = {
    "vol": _Kind(
        "describe_volumes", "Volumes", "VolumeId", "volume-id", True,
        "delete_volume", "VolumeId",
        lambda one: one["State"] in ("available", "error", "creating"),
        ("InvalidVolume.NotFound", "InvalidVolumeID."),
    ),
    "eni": _Kind(
        "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId",
        "network-interface-id", True, "delete_network_interface", "NetworkInterfaceId",
        lambda one: one["Status"] == "available",
        ("InvalidNetworkInterfaceID.",),
    ),
    "eipalloc": _Kind(
        "describe_addresses", "Addresses", "AllocationId", "allocation-id", False,
        "release_address", "AllocationId",
        lambda one: not one.get("AssociationId"),
        ("InvalidAllocationID.", "InvalidAddress."),
    ),
    "sg": _Kind(
        "describe_security_groups", "SecurityGroups", "GroupId", "group-id", True,
        "delete_security_group", "GroupId",
        lambda _: True,
        ("InvalidGroup.NotFound", "InvalidGroupId."),
    ),
}  # fmt: skip


def find(clients: Clients, region: str, filters: Sequence[Mapping[str, Any]]) -> list[Instance]:
    """What fits the filters and belongs to no instance, security groups included: those cost
    nothing and are kept for the next launch."""
    found: list[Instance] = []
    for kind in _KINDS.values():
        things = _describe(clients, region, kind, filters)
        loose = [one for one in things if kind.loose(one)]
        found += [states.left(region, one[kind.id], one, "running") for one in loose]
    return found


def get(clients: Clients, ref: Ref) -> Instance:
    """It now; ``gone`` when there is no such thing."""
    kind = _KINDS[ref.id.partition("-")[0]]
    wanted = [{"Name": kind.filter, "Values": [ref.id]}]
    for one in _describe(clients, ref.region, kind, wanted):
        ending = one.get("State") == "deleting"
        return states.left(ref.region, ref.id, one, "ending" if ending else "running")
    return states.left(ref.region, ref.id, {}, "gone")


def delete(clients: Clients, ref: Ref) -> None:
    """Removes it; already gone is success. Raises TransientError while an instance uses it. A
    firewall is closed first, which nothing that uses it can prevent."""
    kind = _KINDS[ref.id.partition("-")[0]]
    try:
        if ref.kind == "firewall":
            _close(clients, ref, kind)
        clients.call("ec2", ref.region, kind.delete, **{kind.parameter: ref.id})
    except ProviderError as error:
        # A policy that looks at tags refuses what has none, and what is gone has none.
        denied = refused(error, *DENIED)
        if not refused(error, *kind.missing) and not (denied and get(clients, ref).state == "gone"):
            raise


def _close(clients: Clients, ref: Ref, kind: _Kind) -> None:
    """Let nobody in by a security group any more."""
    wanted = [{"Name": kind.filter, "Values": [ref.id]}]
    for group in _describe(clients, ref.region, kind, wanted):
        rules = group.get("IpPermissions")
        if not rules:
            continue
        try:
            clients.call(
                "ec2", ref.region, "revoke_security_group_ingress",
                GroupId=ref.id, IpPermissions=rules,
            )  # fmt: skip
        except ProviderError as error:
            if not refused(error, "InvalidPermission.NotFound"):  # another client was faster
                raise


def _describe(
    clients: Clients, region: str, kind: _Kind, filters: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    if kind.paged:
        return list(clients.pages("ec2", region, kind.describe, kind.key, Filters=filters))
    return list(clients.call("ec2", region, kind.describe, Filters=filters)[kind.key])
