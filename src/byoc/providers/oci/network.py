"""The network that instances boot in: made once in each region, found again by its tags.

A VCN with an internet gateway, one public subnet, and a network security group that admits SSH from
the caller alone. The VCN's default security list, which admits SSH from everywhere, is not used.
Others of this installation may make the same at the same moment: every step looks first, creates
under a token that is the same for all of them, and the oldest network wins.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...clock import Clock
from ...errors import ProviderError
from ..base import OWNER_TAG
from ..gates import change, families
from ..prepared import Prepared
from ..tags import holds
from .clients import Account, pages
from .codes import translated

MANAGED_TAG = "byoc-managed"
BLOCK = "10.77.0.0/16"
SUBNET_BLOCK = "10.77.0.0/20"
"""4,091 addresses in the one subnet."""
ALL = "0.0.0.0/0"
TOKEN_WINDOW = 600.0
"""Seconds in which two clients that create the same thing are taken for one."""
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
        self._prepared: Prepared[Wanted, Place] = Prepared()
        self._meshes: Prepared[Place, bool] = Prepared()

    def ensure(self, region: str, wanted: Wanted) -> Place:
        """The place for instances of a region. Raises ProviderError."""
        return self._prepared.get(region, wanted, self._maker(region, wanted).place)[0]

    def admit(self, region: str, wanted: Wanted) -> bool:
        """Have the network as :meth:`ensure` does, looked at anew; whether who may come in had to
        be changed."""
        maker = self._maker(region, wanted)
        self._prepared.get(region, wanted, maker.place, anew=True)
        return maker.changed

    def forget(self) -> None:
        """Look again next time: what was found may be gone."""
        self._prepared.forget()
        self._meshes.forget()

    def connect(self, region: str, place: Place) -> None:
        """Let the members of the place's groups reach each other on every port. A subnet that the
        user chose has none, and rules of its own. Raises ProviderError."""
        self._meshes.get(region, place, lambda: self._connect(region, place))

    def _connect(self, region: str, place: Place) -> bool:
        """Whether all rules were there."""
        client, changed = self._account.client("network", region), False
        for group in place.groups:
            known = pages(client.list_network_security_group_security_rules, group)
            if any(one.direction == "INGRESS" and one.source == group for one in known):
                continue
            changed = True
            rules = {"securityRules": [_among(group)]}
            with translated():
                client.add_network_security_group_security_rules(group, rules)
        return not changed

    def _maker(self, region: str, wanted: Wanted) -> _Maker:
        return _Maker(self._account, region, wanted, self._clock)


class _Maker:
    """Makes one region's network, as far as it is not there."""

    def __init__(self, account: Account, region: str, wanted: Wanted, clock: Clock) -> None:
        self._account = account
        self._compartment = account.compartment
        self._region = region
        self._wanted = wanted
        self._clock = clock
        self.changed = False

    @functools.cached_property
    def _client(self) -> Any:
        return self._account.client("network", self._region)

    def place(self) -> Place:
        networks, _ = families(self._wanted.networks)  # our network has no IPv6
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
        ours = [one for one in found if holds(one.freeform_tags, self._wanted.tags)]
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
        """Let these networks in, and shut out what byoc let in for others."""
        known = pages(self._client.list_network_security_group_security_rules, group)
        inward = [one for one in known if _admits(one, self._wanted.port)]
        ours = [one.source for one in inward if one.description == _RULE]
        todo = change(ours, networks, [one.source for one in inward])
        self.changed = bool(todo)
        rules = [_ssh(one, self._wanted.port) for one in todo.missing]
        if not any(one.direction == "EGRESS" for one in known):
            rules.append(_OUTWARD)
        stale = [one.id for one in inward if one.description == _RULE and one.source in todo.stale]
        with translated():
            if rules:
                self._client.add_network_security_group_security_rules(
                    group, {"securityRules": rules}
                )
            if stale:
                self._client.remove_network_security_group_security_rules(
                    group, {"securityRuleIds": stale}
                )


_RULE = "SSH from a client of byoc"
"""The description of each rule that lets a client in."""
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


def _among(group: str) -> dict[str, Any]:
    """A group's own members, on every port."""
    return {
        "direction": "INGRESS",
        "protocol": "all",
        "source": group,
        "sourceType": "NETWORK_SECURITY_GROUP",
        "description": "instances of one owner, for gangs",
    }


def _ssh(network: str, port: int) -> dict[str, Any]:
    return {
        "direction": "INGRESS",
        "protocol": "6",
        "source": network,
        "sourceType": "CIDR_BLOCK",
        "description": _RULE,
        "tcpOptions": {"destinationPortRange": {"min": port, "max": port}},
    }


def _admits(rule: Any, port: int) -> bool:
    if rule.direction != "INGRESS" or rule.tcp_options is None:
        return False
    ports = rule.tcp_options.destination_port_range
    return ports is not None and bool(ports.min <= port <= ports.max)
