"""The network that instances boot in: made once in each region, found again by its tags.

A VCN with an internet gateway, one public subnet, and a network security group that admits SSH from
the caller alone. The VCN's default security list, which admits SSH from everywhere, is not used.
Others of this installation may make the same at the same moment: every step looks first, creates
under a token that is the same for all of them, and the oldest network wins.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...clock import Clock
from ...errors import BadRequestError, ProviderError
from ..base import OWNER_TAG
from .clients import Account, pages
from .codes import CLOUD, translated

MANAGED_TAG = "byoc-managed"
BLOCK = "10.77.0.0/16"
SUBNET_BLOCK = "10.77.0.0/20"
"""4,091 addresses in the one subnet."""
ALL = "0.0.0.0/0"
TOKEN_WINDOW = 600.0
"""Seconds in which two clients that create the same thing are taken for one."""
STALE_RULE = 86400.0
"""Seconds after which a rule for another address of this client is removed: not at once, because a
run may still be connected from there."""
_NAME_LENGTH = 20


class Place(NamedTuple):
    """Where an instance is plugged in. ``groups``: network security groups, none for a subnet that
    the user chose."""

    subnet: str
    groups: tuple[str, ...]


class Wanted(NamedTuple):
    """What the network must be like: whose, and from where its SSH port is reached."""

    owner: str
    networks: tuple[str, ...]
    port: int

    @property
    def tags(self) -> dict[str, str]:
        """Tags of all its parts."""
        return {MANAGED_TAG: "1", OWNER_TAG: self.owner}

    @property
    def name(self) -> str:
        """The display name of all its parts."""
        return f"byoc-{self.owner[:_NAME_LENGTH]}"


class Networks:
    """Finds or makes the network of a region. Safe from any thread."""

    def __init__(self, account: Account, clock: Clock) -> None:
        self._account = account
        self._clock = clock
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._known: dict[tuple[str, Wanted], Place] = {}

    def ensure(self, region: str, wanted: Wanted) -> Place:
        """The place for instances of a region. Raises ProviderError."""
        with self._lock:
            lock = self._locks.setdefault(region, threading.Lock())
        with lock:
            if (region, wanted) not in self._known:
                maker = _Maker(self._account, region, wanted, self._clock)
                self._known[region, wanted] = maker.place()
            return self._known[region, wanted]

    def forget(self) -> None:
        """Look again next time: what was found may be gone."""
        with self._lock:
            self._known.clear()


class _Maker:
    """Makes one region's network, as far as it is not there."""

    def __init__(self, account: Account, region: str, wanted: Wanted, clock: Clock) -> None:
        self._client = account.client("network", region)
        self._compartment = account.compartment
        self._region = region
        self._wanted = wanted
        self._clock = clock

    def place(self) -> Place:
        networks = tuple(one for one in self._wanted.networks if ":" not in one)
        if not networks:
            raise BadRequestError(
                "instances on OCI have IPv4 addresses only, and no IPv4 network may reach them",
                provider=CLOUD,
                scope="cloud",
                hints=("Name an IPv4 network with the setting ingress.",),
            )
        vcn = self._part("vcn", "vcns", {"cidrBlocks": [BLOCK], "dnsLabel": "byoc"})
        gateway = self._part(
            "internet_gateway", "internet_gateways", {"isEnabled": True, "vcnId": vcn.id}
        )
        self._route(vcn.default_route_table_id, gateway.id)
        rules = self._part(
            "security_list",
            "security_lists",
            {"vcnId": vcn.id, "egressSecurityRules": [], "ingressSecurityRules": [_PATH_MTU]},
        )
        subnet = self._part(
            "subnet",
            "subnets",
            {
                "vcnId": vcn.id,
                "cidrBlock": SUBNET_BLOCK,
                "dnsLabel": "public",
                "securityListIds": [rules.id],
                "prohibitPublicIpOnVnic": False,
            },
        )
        group = self._part("network_security_group", "network_security_groups", {"vcnId": vcn.id})
        self._admit(group.id, networks)
        return Place(subnet.id, (group.id,))

    # --- finding and making -----------------------------------------------------------------

    def _part(self, one: str, many: str, body: Mapping[str, Any]) -> Any:
        """The oldest one of ours, made when there is none."""
        vcn = str(body.get("vcnId", ""))
        lister = getattr(self._client, f"list_{many}")
        found = self._oldest(lister, vcn)
        if found is not None:
            return found
        details = {
            **body,
            "compartmentId": self._compartment,
            "displayName": self._wanted.name,
            "freeformTags": self._wanted.tags,
        }
        try:
            made = self._create(getattr(self._client, f"create_{one}"), one, details)
        except ProviderError:
            # Another client may have been faster; what it made is as good.
            found = self._oldest(lister, vcn)
            if found is None:
                raise
            return found
        # Two clients on the two sides of a token's window may both have made one.
        return self._oldest(lister, vcn) or made

    def _create(self, create: Callable[..., Any], what: str, details: Mapping[str, Any]) -> Any:
        moment = int(self._clock.wall() // TOKEN_WINDOW)
        parts = (what, self._wanted.owner, self._region, str(details.get("vcnId")), str(moment))
        token = hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]
        with translated():
            made = create(details, opc_retry_token=token).data
            if made.lifecycle_state in {"TERMINATING", "TERMINATED"}:
                # The token stands for one that was deleted since.
                made = create(details).data
        return made

    def _oldest(self, lister: Callable[..., Any], vcn: str) -> Any:
        within = {"vcn_id": vcn} if vcn else {}
        found = pages(
            lister, compartment_id=self._compartment, lifecycle_state="AVAILABLE", **within
        )
        ours = [one for one in found if owned(one.freeform_tags, self._wanted.tags)]
        return min(ours, key=lambda one: (one.time_created, one.id), default=None)

    def _route(self, table: str, gateway: str) -> None:
        rule = {
            "destination": ALL,
            "destinationType": "CIDR_BLOCK",
            "networkEntityId": gateway,
        }
        with translated():
            known = self._client.get_route_table(table).data.route_rules or []
            if any(one.network_entity_id == gateway for one in known):
                return
            self._client.update_route_table(table, {"routeRules": [rule]})

    # --- who may come in --------------------------------------------------------------------

    def _admit(self, group: str, networks: Sequence[str]) -> None:
        """Let these networks in; others' rules go when they are old."""
        known = pages(self._client.list_network_security_group_security_rules, group)
        inward = {one.source: one for one in known if _admits(one, self._wanted.port)}
        rules = [_ssh(one, self._wanted.port) for one in networks if one not in inward]
        if not any(one.direction == "EGRESS" for one in known):
            rules.append(_OUTWARD)
        stale = [
            one.id
            for one in known
            if one.direction == "INGRESS"
            and one.source not in networks
            and self._age(one.time_created) > STALE_RULE
        ]
        with translated():
            if rules:
                self._client.add_network_security_group_security_rules(
                    group, {"securityRules": rules}
                )
            if stale:
                self._client.remove_network_security_group_security_rules(
                    group, {"securityRuleIds": stale}
                )

    def _age(self, made: dt.datetime | None) -> float:
        return self._clock.wall() - made.timestamp() if made else 0.0


def owned(found: Mapping[str, str] | None, tags: Mapping[str, str]) -> bool:
    """Whether tags hold all of ``tags``."""
    return set(tags.items()) <= set((found or {}).items())


_PATH_MTU = {
    "protocol": "1",
    "source": ALL,
    "sourceType": "CIDR_BLOCK",
    "icmpOptions": {"type": 3, "code": 4},
}
"""ICMP "fragmentation needed": without it, connections through a narrow path hang."""
_OUTWARD = {
    "direction": "EGRESS",
    "protocol": "all",
    "destination": ALL,
    "destinationType": "CIDR_BLOCK",
}


def _ssh(network: str, port: int) -> dict[str, Any]:
    return {
        "direction": "INGRESS",
        "protocol": "6",
        "source": network,
        "sourceType": "CIDR_BLOCK",
        "description": "SSH from a client of byoc",
        "tcpOptions": {"destinationPortRange": {"min": port, "max": port}},
    }


def _admits(rule: Any, port: int) -> bool:
    if rule.direction != "INGRESS" or rule.tcp_options is None:
        return False
    ports = rule.tcp_options.destination_port_range
    return ports is not None and bool(ports.min <= port <= ports.max)
