"""Virtual cloud networks and their parts, and boot volumes that were kept."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..firewalls import SSH_PORT, within
from .calls import Call, Handler, Page, narrowed
from .refusals import LIMIT, Refusal, not_found, wrong
from .store import Resource, Store

ALL = "0.0.0.0/0"
MOST_RULES = 120
"""Rules of one network security group."""
MOST_NETWORKS = 50
"""VCNs in one region."""

_PARTS = (
    ("Vcn", "vcn", "vcns", "vcnId"),
    ("Subnet", "subnet", "subnets", "subnetId"),
    ("InternetGateway", "internet_gateway", "internet_gateways", "igId"),
    ("RouteTable", "route_table", "route_tables", "rtId"),
    ("SecurityList", "security_list", "security_lists", "securityListId"),
    (
        "NetworkSecurityGroup",
        "network_security_group",
        "network_security_groups",
        "networkSecurityGroupId",
    ),
)
"""Model, its name in operations, in those of many, and its path parameter."""


class Network:
    """Handlers of the network service, and of what is left of the block volume service."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        found: dict[str, Handler] = {
            "create_vcn": self.create_vcn,
            "create_subnet": self.create_subnet,
            "create_internet_gateway": self.create_gateway,
            "create_route_table": self.create_route_table,
            "create_security_list": self._creator("SecurityList"),
            "create_network_security_group": self._creator("NetworkSecurityGroup"),
            "update_route_table": self.update_route_table,
            "add_network_security_group_security_rules": self.add_rules,
            "list_network_security_group_security_rules": self.rules,
            "remove_network_security_group_security_rules": self.remove_rules,
            "list_boot_volumes": self._lister("BootVolume"),
            "get_boot_volume": self._getter("BootVolume", "bootVolumeId"),
            "delete_boot_volume": self.delete_boot_volume,
            "list_boot_volume_attachments": self.boot_attachments,
            "list_volumes": lambda call: Page([]),
        }
        for model, one, many, parameter in _PARTS:
            found[f"get_{one}"] = self._getter(model, parameter)
            found[f"list_{many}"] = self._lister(model)
            found[f"delete_{one}"] = self._deleter(model, parameter)
        return found

    # --- making -----------------------------------------------------------------------------

    def create_vcn(self, call: Call) -> dict[str, Any]:
        """CreateVcn: with a default route table, and a default security list that admits SSH from
        everywhere, as the real one does."""
        body = call.body
        blocks = body.get("cidrBlocks") or [body.get("cidrBlock")]
        if blocks == [None]:
            raise wrong("cidrBlocks must not be null", "MissingParameter")
        _networks(blocks)
        with self._store.lock:
            if len(self._store.every("Vcn", call.region)) >= MOST_NETWORKS:
                raise wrong(LIMIT.format(limit="vcn-count"), "LimitExceeded")
            vcn = self._store.add("Vcn", call.region, body, cidrBlocks=blocks, cidrBlock=blocks[0])
            within = {"compartmentId": body["compartmentId"], "vcnId": vcn.id}
            table = self._store.add(
                "RouteTable", call.region, within, routeRules=[], displayName="Default Route Table"
            )
            rules = self._store.add(
                "SecurityList", call.region, within, displayName="Default Security List",
                egressSecurityRules=[{"destination": ALL, "protocol": "all"}],
                ingressSecurityRules=[
                    {
                        "source": ALL, "protocol": "6",
                        "tcpOptions": {"destinationPortRange": {"min": 22, "max": 22}},
                    }
                ],
            )  # fmt: skip
            vcn.body |= {"defaultRouteTableId": table.id, "defaultSecurityListId": rules.id}
            table.notes["default"] = rules.notes["default"] = True
        return vcn.body

    def create_subnet(self, call: Call) -> dict[str, Any]:
        """CreateSubnet."""
        body = call.body
        vcn = self._vcn(call)
        (wanted,) = _networks([body.get("cidrBlock") or ""])
        if not any(wanted.subnet_of(whole) for whole in _networks(vcn.body["cidrBlocks"])):
            raise wrong(f"The requested CIDR {wanted} is not within the VCN {vcn.id}")
        with self._store.lock:
            for other in self._inside("Subnet", vcn):
                (taken,) = _networks([other.body["cidrBlock"]])
                if taken.overlaps(wanted):
                    raise wrong(f"The requested CIDR {wanted} overlaps with subnet {other.id}")
            lists = body.get("securityListIds") or [vcn.body["defaultSecurityListId"]]
            for one in lists:
                self._store.get(one, "SecurityList")
            made = self._store.add(
                "Subnet", call.region, body,
                virtualRouterIp=str(wanted[1]), virtualRouterMac="00:00:17:00:00:01",
                prohibitPublicIpOnVnic=bool(body.get("prohibitPublicIpOnVnic")),
                routeTableId=body.get("routeTableId") or vcn.body["defaultRouteTableId"],
                securityListIds=lists,
            )  # fmt: skip
        return made.body

    def create_gateway(self, call: Call) -> dict[str, Any]:
        """CreateInternetGateway: one to a VCN."""
        vcn = self._vcn(call)
        with self._store.lock:
            if self._inside("InternetGateway", vcn):
                raise wrong(LIMIT.format(limit="internet-gateway-count"), "LimitExceeded")
            return self._store.add("InternetGateway", call.region, call.body).body

    def create_route_table(self, call: Call) -> dict[str, Any]:
        """CreateRouteTable."""
        self._vcn(call)
        self._check_routes(call.body["routeRules"])
        return self._store.add("RouteTable", call.region, call.body).body

    def update_route_table(self, call: Call) -> dict[str, Any]:
        """UpdateRouteTable: its rules are replaced as a whole."""
        table = self._store.get(call.path["rtId"], "RouteTable")
        self._check_routes(call.body.get("routeRules") or [])
        table.body.update({name: call.body[name] for name in call.body})
        return table.body

    def _check_routes(self, rules: list[dict[str, Any]]) -> None:
        for rule in rules:
            self._store.get(rule["networkEntityId"], "InternetGateway")

    def _creator(self, model: str) -> Handler:
        def create(call: Call) -> dict[str, Any]:
            self._vcn(call)
            return self._store.add(model, call.region, call.body).body

        return create

    # --- network security groups ------------------------------------------------------------

    def _rules_of(self, call: Call) -> list[dict[str, Any]]:
        group = self._store.get(call.path["networkSecurityGroupId"], "NetworkSecurityGroup")
        found: list[dict[str, Any]] = group.notes.setdefault("rules", [])
        return found

    def add_rules(self, call: Call) -> dict[str, Any]:
        """AddNetworkSecurityGroupSecurityRules."""
        with self._store.lock:
            rules = self._rules_of(call)
            added = [
                {
                    **rule, "id": secrets.token_hex(3).upper(), "isValid": True,
                    "timeCreated": self._store.now(),
                }
                for rule in call.body.get("securityRules") or []
            ]  # fmt: skip
            for rule in added:
                peer = rule.get("source") if rule["direction"] == "INGRESS" else None
                if rule.get("sourceType") == "NETWORK_SECURITY_GROUP":
                    self._store.get(str(peer), "NetworkSecurityGroup")
                else:
                    _networks([peer or ALL])
            if len(rules) + len(added) > MOST_RULES:
                raise wrong("The limit of security rules is exceeded", "LimitExceeded")
            rules += added
        return {"securityRules": added}

    def joins(self, source: Collection[str], target: Collection[str]) -> bool:
        """Whether one of the groups ``target`` lets in, on every port, one of the groups
        ``source``."""
        with self._store.lock:
            found = self._store.every("NetworkSecurityGroup")
            rules = [
                rule for one in found if one.id in target for rule in one.notes.get("rules", ())
            ]
        return any(
            rule["direction"] == "INGRESS"
            and rule.get("protocol") == "all"
            and rule.get("source") in source
            for rule in rules
        )

    def admits(self, source: str, groups: Collection[str], subnet: str) -> bool:
        """Whether one of the groups, or a list of the subnet, lets an address reach the SSH port.
        Everything that any of them lets in is let in."""
        with self._store.lock:
            found = self._store.every("NetworkSecurityGroup")
            rules = [
                rule for one in found if one.id in groups for rule in one.notes.get("rules", ())
            ]
            rules = [rule for rule in rules if rule["direction"] == "INGRESS"]
            places = [one for one in self._store.every("Subnet") if one.id == subnet]
            lists = [one for place in places for one in place.body["securityListIds"]]
            for one in self._store.every("SecurityList"):
                if one.id in lists:
                    rules += one.body.get("ingressSecurityRules") or ()
        return any(_is_ssh(rule) and within(source, [rule["source"]]) for rule in rules)

    def rules(self, call: Call) -> Page:
        """ListNetworkSecurityGroupSecurityRules."""
        return Page(narrowed(self._rules_of(call), call.filters()))

    def remove_rules(self, call: Call) -> None:
        """RemoveNetworkSecurityGroupSecurityRules."""
        with self._store.lock:
            rules = self._rules_of(call)
            unwanted = set(call.body.get("securityRuleIds") or [])
            if unwanted - {rule["id"] for rule in rules}:
                raise not_found("security rule")
            rules[:] = [rule for rule in rules if rule["id"] not in unwanted]

    # --- showing and deleting ---------------------------------------------------------------

    def _vcn(self, call: Call) -> Resource:
        return self._store.get(call.body["vcnId"], "Vcn")

    def _inside(self, model: str, vcn: Resource) -> list[Resource]:
        found = self._store.every(model, vcn.region)
        return [one for one in found if one.body.get("vcnId") == vcn.id]

    def _getter(self, model: str, parameter: str) -> Handler:
        return lambda call: self._store.get(call.path[parameter], model).body

    def _lister(self, model: str) -> Handler:
        def listing(call: Call) -> Page:
            found = [one.body for one in self._store.every(model, call.region)]
            return Page(narrowed(found, call.filters()))

        return listing

    def _deleter(self, model: str, parameter: str) -> Handler:
        def delete(call: Call) -> None:
            with self._store.lock:
                one = self._store.get(call.path[parameter], model)
                self._check_unused(one)
                if model == "Vcn":
                    for part in ("RouteTable", "SecurityList"):
                        for default in self._inside(part, one):
                            self._store.remove(default)
                self._store.remove(one)

        return delete

    def _check_unused(self, one: Resource) -> None:
        users = self._users(one)
        if one.notes.get("default") or users:
            user = users[0].id if users else one.body["vcnId"]
            raise Refusal(
                409,
                "Conflict",
                f"The {one.model} {one.id} is referenced by {user}. You must remove the reference "
                "to proceed with this operation.",
            )

    def _users(self, one: Resource) -> list[Resource]:
        """What refers to it, so that it cannot go."""
        if one.model == "Vcn":
            inside = [part for model, *_ in _PARTS[1:] for part in self._inside(model, one)]
            return [part for part in inside if not part.notes.get("default")]
        by, refers = _REFERENCES[one.model]
        users = [user for user in self._store.every(by) if not user.ended]
        return [user for user in users if one.id in refers(user.body)]

    # --- boot volumes -----------------------------------------------------------------------

    def _user_of(self, disk: Resource) -> Resource | None:
        users = [one for one in self._store.living(["Instance"]) if one.notes.get("disk") is disk]
        return users[0] if users else None

    def delete_boot_volume(self, call: Call) -> None:
        """DeleteBootVolume, unless it is attached."""
        with self._store.lock:
            disk = self._store.get(call.path["bootVolumeId"], "BootVolume")
            user = self._user_of(disk)
            if user is not None:
                raise Refusal(409, "Conflict", f"Volume {disk.id} is attached to {user.id}")
            self._store.remove(disk)

    def boot_attachments(self, call: Call) -> Page:
        """ListBootVolumeAttachments."""
        found = []
        for disk in self._store.every("BootVolume", call.region):
            user = self._user_of(disk)
            if user is not None:
                found.append(
                    {
                        **{k: disk.body[k] for k in ("availabilityDomain", "compartmentId")},
                        "bootVolumeId": disk.id, "instanceId": user.id, "id": user.id,
                        "lifecycleState": "ATTACHED", "timeCreated": disk.body["timeCreated"],
                    }
                )  # fmt: skip
        return Page(narrowed(found, call.filters()))


def _is_ssh(rule: Mapping[str, Any]) -> bool:
    """Whether a rule is about networks and the SSH port."""
    if rule.get("sourceType", "CIDR_BLOCK") != "CIDR_BLOCK":
        return False
    if rule.get("protocol") != "6":
        return rule.get("protocol") == "all"
    ports = (rule.get("tcpOptions") or {}).get("destinationPortRange")
    return ports is None or ports["min"] <= SSH_PORT <= ports["max"]


def _targets(table: dict[str, Any]) -> list[str]:
    return [rule["networkEntityId"] for rule in table.get("routeRules") or ()]


_REFERENCES: Mapping[str, tuple[str, Callable[[dict[str, Any]], Sequence[str]]]] = {
    "Subnet": ("Vnic", lambda body: [body["subnetId"]]),
    "NetworkSecurityGroup": ("Vnic", lambda body: body.get("nsgIds") or ()),
    "InternetGateway": ("RouteTable", _targets),
    "SecurityList": ("Subnet", lambda body: body["securityListIds"]),
    "RouteTable": ("Subnet", lambda body: [body["routeTableId"]]),
}
"""By what kind of thing each part is referred to, and the ids that one of those refers to."""


def _networks(texts: list[str]) -> list[ipaddress.IPv4Network]:
    try:
        return [ipaddress.IPv4Network(text) for text in texts]
    except ValueError as error:
        raise wrong(f"Invalid CIDR: {error}") from None
