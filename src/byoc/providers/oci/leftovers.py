"""What instances leave behind: boot volumes that were kept, and the network that they shared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...errors import ProviderError, TransientError
from ..base import ANY, OWNER_TAG, TOKEN_TAG, Instance
from ..found import bare
from ..table import restated
from ..tags import holds
from .clients import Account, answered, pages
from .codes import CLOUD, translated
from .launch import BOOT_VOLUME, PREFIX, TOKEN_LENGTH, name_of
from .network import MANAGED_TAG

_LIVING = frozenset({"PROVISIONING", "AVAILABLE", "RESTORING", "UPDATING", "TERMINATING"})
_PARTS: tuple[tuple[str, str, str], ...] = (
    ("subnet", "subnets", "network"),
    ("network_security_group", "network_security_groups", "firewall"),
    ("internet_gateway", "internet_gateways", "network"),
    ("security_list", "security_lists", "network"),  # lets in only what says how large packets are
    ("vcn", "vcns", "network"),
)
"""Parts of a network in the order in which they can go: name in operations, of many, our kind."""
_WORDS: Mapping[str, str] = {one.replace("_", ""): one for one, _, _ in _PARTS}
"""The word in an OCID -> the name in operations."""
DISK = "bootvolume"


def listing(account: Account, region: str, tags: Mapping[str, str]) -> list[Instance]:
    """Boot volumes without an instance, and parts of networks, that carry all of ``tags``."""
    return [*_disks(account, region, tags), *_networks(account, region, tags)]


def _networks(account: Account, region: str, tags: Mapping[str, str]) -> Iterable[Instance]:
    client = account.client("network", region)
    for _, many, kind in _PARTS:
        for one in pages(getattr(client, f"list_{many}"), compartment_id=account.compartment):
            ours = (one.freeform_tags or {}).get(MANAGED_TAG) == "1"
            if ours and one.lifecycle_state in _LIVING and holds(one.freeform_tags, tags):
                yield _left(one, region, kind, one.freeform_tags)


def _disks(account: Account, region: str, tags: Mapping[str, str]) -> Iterable[Instance]:
    """OCI gives the boot volume of an instance no tags, but its name: owner and token are in it."""
    volumes = account.client("volumes", region)
    found = [
        one
        for one in pages(volumes.list_boot_volumes, compartment_id=account.compartment)
        if one.lifecycle_state in _LIVING
        and str(one.display_name).startswith(PREFIX)
        and str(one.display_name).endswith(BOOT_VOLUME)
    ]
    if not found:
        return
    compute = account.client("compute", region)
    used = {
        one.display_name + BOOT_VOLUME
        for one in pages(compute.list_instances, account.compartment)
        if one.lifecycle_state != "TERMINATED"
    }
    for one in found:
        own = _tags_of(str(one.display_name), tags)
        if one.display_name not in used and holds(own, tags):
            yield _left(one, region, "disk", own)


def _tags_of(name: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that the name confirms, the token's first 20 characters; a boot volume has no
    others."""
    owner, token = tags.get(OWNER_TAG, ""), tags.get(TOKEN_TAG, ANY)
    found = {MANAGED_TAG: "1"}
    named = name.removeprefix(PREFIX).removesuffix(BOOT_VOLUME).rpartition("-")
    if owner == ANY and named[0]:
        found[OWNER_TAG] = named[0]  # its first 20 characters; our owners have no more
    elif owner and name.startswith(name_of(owner, "")):
        found[OWNER_TAG] = owner
    if token == ANY and named[2]:
        found[TOKEN_TAG] = named[2]
    elif named[2] == token[:TOKEN_LENGTH]:
        found[TOKEN_TAG] = token
    return found


def _left(raw: Any, region: str, kind: str, tags: Mapping[str, str] | None) -> Instance:
    nothing = bare(CLOUD, region, "", "")
    ending = raw.lifecycle_state == "TERMINATING"
    return Instance(
        CLOUD, raw.id, "ending" if ending else "running", nothing, dict(tags or {}),
        started=raw.time_created.timestamp() if raw.time_created else 0.0,
        detail=str(raw.display_name or ""), kind=kind,
    )  # fmt: skip


def kind_of(word: str) -> str:
    """Our kind for the word in an OCID; empty for one that byoc does not make."""
    kinds = {one.replace("_", ""): kind for one, _, kind in _PARTS}
    return {**kinds, DISK: "disk"}.get(word, "")


def get(account: Account, id: str, word: str, region: str) -> Instance | None:
    """One of them now; None when it is not there."""
    if word == DISK:
        ask = account.client("volumes", region).get_boot_volume
    else:
        ask = getattr(account.client("network", region), f"get_{_WORDS[word]}")
    raw = answered(lambda: ask(id).data)
    if raw is None or raw.lifecycle_state == "TERMINATED":
        return None
    return _left(raw, region, kind_of(word), raw.freeform_tags)


def remove(account: Account, id: str, word: str, region: str) -> None:
    """Remove one; a network with all its parts. Raises TransientError while it is in use."""
    if word == DISK:
        volumes = account.client("volumes", region)
        _delete(lambda: volumes.delete_boot_volume(id))
        return
    client = account.client("network", region)
    if word == "vcn":
        _empty(account, client, id)
    elif word == "networksecuritygroup":
        _close(client, id)
    elif word == "internetgateway":
        gateway = answered(lambda: client.get_internet_gateway(id).data)
        if gateway is not None:
            _unroute(account, client, gateway.vcn_id)
    _delete(lambda: getattr(client, f"delete_{_WORDS[word]}")(id))


def _close(client: Any, group: str) -> None:
    """Let nobody in by a security group any more, also while it cannot be removed."""
    rules = answered(lambda: pages(client.list_network_security_group_security_rules, group))
    inward = [one.id for one in rules or () if one.direction == "INGRESS"]
    if inward:
        closed = {"securityRuleIds": inward}
        answered(lambda: client.remove_network_security_group_security_rules(group, closed))


def _empty(account: Account, client: Any, vcn: str) -> None:
    """Remove the parts of a network, in the order in which they let go of each other."""
    network = answered(lambda: client.get_vcn(vcn).data)
    if network is None:
        return
    _unroute(account, client, vcn)
    for part, many, _ in _PARTS[:-1]:
        lister, delete = getattr(client, f"list_{many}"), getattr(client, f"delete_{part}")
        for one in pages(lister, compartment_id=account.compartment, vcn_id=vcn):
            if one.id != network.default_security_list_id:
                _delete(lambda one=one, delete=delete: delete(one.id))  # type: ignore[misc]


def _unroute(account: Account, client: Any, vcn: str) -> None:
    """Take the rules out of a network's route tables: a gateway that is named in one cannot go."""
    for table in pages(client.list_route_tables, compartment_id=account.compartment, vcn_id=vcn):
        if table.route_rules:
            with translated():
                client.update_route_table(table.id, {"routeRules": []})


def _delete(act: Callable[[], Any]) -> None:
    try:
        answered(act)
    except ProviderError as error:
        if error.vendor_code != "Conflict":
            raise
        raise restated(error, TransientError, f"it is still in use: {error.message}") from error
