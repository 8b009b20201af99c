"""The rest of the project: places, types, images, quotas, networks, rules, disks, operations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any

from ..firewalls import SSH_PORT, within
from ..ports import World
from . import stock
from .calls import Call, Handler
from .instances import CLOUD, Instances
from .listing import aggregated, single
from .operations import ROOT, Operations, stamp
from .refusals import Failure, Refusal, Words, later
from .rules import labels, network_name

DENIED = "denied"
"""Scenario's error for ``testIamPermissions``: the permissions in the message are missing."""
Item = dict[str, Any]
Maker = Callable[[str, str], Item]


class Project:
    """Everything but instances. Safe from any thread."""

    def __init__(
        self,
        world: World,
        name: str,
        operations: Operations,
        instances: Instances,
        number: Callable[[], str],
    ) -> None:
        self._world = world
        self._name = name
        self._operations = operations
        self._instances = instances
        self._number = number
        self._root = f"{ROOT}/projects/{name}"
        self._lock = threading.Lock()
        self._since = stamp(world.wall())
        usual = _USUAL_RULE["name"]
        own = self._item("compute#firewall", usual, f"global/firewalls/{usual}")
        self._rules: dict[str, Item] = {usual: {**own, **_USUAL_RULE}}
        self._addresses: dict[tuple[str, str], Item] = {}
        self.networks = ["default"]

    def handlers(self) -> dict[str, Handler]:
        """By method id."""
        types = {
            "machineTypes": ("machineType", self._machine, stock.machines()),
            "acceleratorTypes": ("acceleratorType", self._card, stock.METRICS),
            "diskTypes": ("diskType", self._disk_type, stock.DISKS),
        }
        found: dict[str, Handler] = {}
        for plural, (one, make, names) in types.items():
            found |= _type_handlers(plural, one, make, tuple(names))
        return {
            **found,
            **self._place_handlers(),
            **self._network_handlers(),
            **self._disk_handlers(),
            **self._operation_handlers(),
        }

    # --- places, images, quotas ---------------------------------------------------------------
    def _place_handlers(self) -> dict[str, Handler]:
        return {
            "compute.projects.get": lambda call: self._project(),
            "compute.regions.get": lambda call: self._region(call.path["region"]),
            "compute.regions.list": lambda call: single(
                call, "compute#regionList", map(self._region, stock.regions())
            ),
            "compute.zones.get": lambda call: self._zone(call.path["zone"]),
            "compute.zones.list": lambda call: single(
                call, "compute#zoneList", map(self._zone, stock.zones())
            ),
            "compute.images.getFromFamily": lambda call: self._image(call, "family"),
            "compute.images.get": lambda call: self._image(call, "image"),
            "compute.images.list": lambda call: single(
                call, "compute#imageList",
                [self._image_item(i) for i in stock.IMAGES if i.project == call.path["project"]],
            ),
        }  # fmt: skip

    def _project(self) -> Item:
        return {
            "kind": "compute#project",
            "id": "1",
            "name": self._name,
            "creationTimestamp": self._since,
            "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": "AAAA"},
            "quotas": [self._quota("", stock.ALL_GPUS)],
            "selfLink": self._root,
        }

    def _quota(self, region: str, metric: str) -> Item:
        limit = self._instances.limit(region, metric)
        return {"metric": metric, "limit": limit, "usage": self._instances.used(region, metric)}

    def _region(self, name: str) -> Item:
        if name not in stock.regions():
            raise self._missing(f"regions/{name}")
        return {
            "kind": "compute#region",
            "id": self._number(),
            "name": name,
            "status": "UP",
            "zones": [f"{self._root}/zones/{zone}" for zone in stock.zones(name)],
            "quotas": [self._quota(name, metric) for metric in stock.told_metrics()],
            "selfLink": f"{self._root}/regions/{name}",
        }

    def _zone(self, name: str) -> Item:
        if name not in stock.zones():
            raise self._missing(f"zones/{name}")
        region = f"{self._root}/regions/{stock.region_of(name)}"
        return self._item("compute#zone", name, f"zones/{name}", status="UP", region=region)

    def _image(self, call: Call, key: str) -> Item:
        project, name = call.path["project"], call.path[key]
        found = stock.image(project, name)
        if found is None or (name == found.family) is (key == "image"):
            part = "images/family" if key == "family" else "images"
            place = f"projects/{project}/global/{part}/{name}"
            raise Refusal(404, "notFound", f"The resource '{place}' was not found")
        return self._image_item(found)

    def _image_item(self, found: stock.Image) -> Item:
        return {
            "kind": "compute#image",
            "id": self._number(),
            "name": found.name,
            "family": found.family,
            "diskSizeGb": str(found.size),
            "status": "READY",
            "architecture": found.arch,
            "creationTimestamp": self._since,
            "selfLink": f"{ROOT}/projects/{found.project}/global/images/{found.name}",
        }

    # --- types --------------------------------------------------------------------------------
    def _machine(self, name: str, zone: str) -> Item:
        found = stock.machines()[name]
        item = self._item(
            "compute#machineType", name, f"zones/{zone}/machineTypes/{name}", zone=zone,
            guestCpus=found.cpus, memoryMb=found.memory, architecture=found.arch,
            description=f"{found.cpus} vCPUs, {found.memory} MB RAM", isSharedCpu=False,
            maximumPersistentDisks=128, maximumPersistentDisksSizeGb="263168",
        )  # fmt: skip
        if found.cards:
            cards = {"guestAcceleratorType": found.card, "guestAcceleratorCount": found.cards}
            item["accelerators"] = [cards]
        return item

    def _card(self, name: str, zone: str) -> Item:
        return self._item(
            "compute#acceleratorType", name, f"zones/{zone}/acceleratorTypes/{name}",
            zone=f"{self._root}/zones/{zone}", description=name,
            maximumCardsPerInstance=stock.attachable().get(name, 8),
        )  # fmt: skip

    def _disk_type(self, name: str, zone: str) -> Item:
        path, place = f"zones/{zone}/diskTypes/{name}", f"{self._root}/zones/{zone}"
        return self._item(
            "compute#diskType", name, path, zone=place, defaultDiskSizeGb="100", description=name
        )

    # --- networks -----------------------------------------------------------------------------
    def _network_handlers(self) -> dict[str, Handler]:
        return {
            "compute.networks.get": lambda call: self._network(call.path["network"]),
            "compute.networks.list": lambda call: single(
                call, "compute#networkList", map(self._network, self.networks)
            ),
            "compute.firewalls.get": self._rule,
            "compute.firewalls.list": lambda call: single(
                call, "compute#firewallList", list(self._rules.values())
            ),
            "compute.firewalls.insert": self._add_rule,
            "compute.firewalls.patch": self._change_rule,
            "compute.firewalls.delete": self._remove_rule,
            "compute.addresses.get": self._address,
            "compute.addresses.insert": self._add_address,
            "compute.addresses.delete": self._remove_address,
            "compute.addresses.aggregatedList": lambda call: aggregated(
                call, "compute#addressAggregatedList", "addresses",
                [(f"regions/{region}", item) for (region, _), item in self._addresses.items()],
                [f"regions/{region}" for region in stock.regions()],
            ),
        }  # fmt: skip

    def need_network(self, link: str) -> None:
        """Raises Refusal for a network that the project lacks."""
        self._network(network_name(link))

    def _network(self, name: str) -> Item:
        if name not in self.networks:
            raise self._missing(f"global/networks/{name}")
        return self._item(
            "compute#network", name, f"global/networks/{name}",
            autoCreateSubnetworks=True, subnetworks=[],
        )  # fmt: skip

    def _rule(self, call: Call) -> Item:
        name = call.path["firewall"]
        found = self._rules.get(name)
        if found is None:
            raise self._missing(f"global/firewalls/{name}")
        return found

    def _add_rule(self, call: Call) -> Item:
        name = call.body["name"]
        self.need_network(call.body.get("network") or "global/networks/default")
        path = f"global/firewalls/{name}"
        usual = {"direction": "INGRESS", "priority": 1000, "disabled": False}
        item = {**usual, **call.body, **self._item("compute#firewall", name, path)}
        with self._lock:
            if name in self._rules:
                raise self._taken(path)
            return self._change(call, "insert", path, lambda: self._rules.update({name: item}))

    def _change_rule(self, call: Call) -> Item:
        found = self._rule(call)
        path = f"global/firewalls/{found['name']}"
        return self._change(call, "patch", path, lambda: found.update(call.body))

    def _remove_rule(self, call: Call) -> Item:
        name = self._rule(call)["name"]
        path = f"global/firewalls/{name}"
        return self._change(call, "delete", path, lambda: self._rules.pop(name, None))

    def joins(self, source: Collection[str], target: Collection[str]) -> bool:
        """Whether a rule lets in, on every port of what has the network tags ``target``, what has
        those of ``source``."""
        with self._lock:
            rules = list(self._rules.values())
        return any(
            rule["direction"] == "INGRESS"
            and not rule.get("disabled")
            and any(one.get("IPProtocol") == "all" for one in rule.get("allowed") or ())
            and set(rule.get("sourceTags") or ()) & set(source)
            and set(rule.get("targetTags") or ()) & set(target)
            for rule in rules
        )

    def admits(self, source: str, target: Collection[str]) -> bool:
        """Whether the first rule that is about an address, the SSH port and what has these network
        tags lets it in; of those of one priority, one that denies comes first."""
        with self._lock:
            rules = list(self._rules.values())
        meant = [
            rule
            for rule in rules
            if rule["direction"] == "INGRESS"
            and not rule.get("disabled")
            and (not rule.get("targetTags") or set(rule["targetTags"]) & set(target))
            and within(source, rule.get("sourceRanges") or ())
            and any(map(_is_ssh, rule.get("allowed") or rule.get("denied") or ()))
        ]
        first = min(meant, key=lambda rule: (rule["priority"], "allowed" in rule), default=None)
        return first is not None and "allowed" in first

    def _address(self, call: Call) -> Item:
        region, name = call.path["region"], call.path["address"]
        found = self._addresses.get((region, name))
        if found is None:
            raise self._missing(f"regions/{region}/addresses/{name}")
        return found

    def _add_address(self, call: Call) -> Item:
        region, name = call.path["region"], call.body["name"]
        path = f"regions/{region}/addresses/{name}"
        labels(call.body.get("labels") or {})
        made = self._item("compute#address", name, path, status="RESERVED", address="203.0.113.9")
        item = {**call.body, **made}
        return self._change(
            call, "insert", path, lambda: self._addresses.update({(region, name): item})
        )

    def _remove_address(self, call: Call) -> Item:
        self._address(call)
        region, name = call.path["region"], call.path["address"]
        path = f"regions/{region}/addresses/{name}"
        return self._change(call, "delete", path, lambda: self._addresses.pop((region, name), None))

    # --- disks --------------------------------------------------------------------------------
    def _disk_handlers(self) -> dict[str, Handler]:
        disks = self._instances.disks
        return {
            "compute.disks.get": self._disk,
            "compute.disks.delete": self._remove_disk,
            "compute.disks.list": lambda call: single(
                call, "compute#diskList",
                [item for (zone, _), item in list(disks.items()) if zone == call.path["zone"]],
            ),
            "compute.disks.aggregatedList": lambda call: aggregated(
                call, "compute#diskAggregatedList", "disks",
                [(f"zones/{zone}", item) for (zone, _), item in list(disks.items())], _scopes(),
            ),
        }  # fmt: skip

    def _disk(self, call: Call) -> Item:
        zone, name = call.path["zone"], call.path["disk"]
        found = self._instances.disks.get((zone, name))
        if found is None:
            raise self._missing(f"zones/{zone}/disks/{name}")
        return found

    def _remove_disk(self, call: Call) -> Item:
        found = self._disk(call)
        zone, name = call.path["zone"], call.path["disk"]
        path = f"zones/{zone}/disks/{name}"
        if found["users"]:
            message = f"The disk resource '{path}' is already being used by '{found['users'][0]}'"
            raise Refusal(400, "resourceInUseByAnotherResource", message)
        return self._change(
            call, "delete", path, lambda: self._instances.disks.pop((zone, name), None)
        )

    # --- operations ---------------------------------------------------------------------------
    def _operation_handlers(self) -> dict[str, Handler]:
        ops = self._operations
        return {
            "compute.zoneOperations.get": lambda c: ops.get(_scope(c), c.path["operation"]),
            "compute.zoneOperations.wait": lambda c: ops.wait(_scope(c), c.path["operation"]),
            "compute.zoneOperations.list": lambda c: single(
                c, "compute#operationList", ops.of(_scope(c))
            ),
            "compute.globalOperations.get": lambda c: ops.get("global", c.path["operation"]),
            "compute.globalOperations.wait": lambda c: ops.wait("global", c.path["operation"]),
            "compute.globalOperations.list": lambda c: single(
                c, "compute#operationList", ops.of("global")
            ),
        }

    def _change(self, call: Call, kind: str, path: str, work: Callable[[], object]) -> Item:
        """An operation that does ``work``, or what the scenario says instead."""

        def done() -> Failure | None:
            fault = call.fault
            if fault is None:
                work()
                return None
            if fault.error == "ignore":
                return None
            words = Words(self._name, f"projects/{self._name}/{path}")
            return later(fault.error, fault.message, fault.status, words)

        scope = "/".join(path.split("/")[:2]) if not path.startswith("global") else "global"
        return self._operations.start(kind, scope, f"{self._root}/{path}", done, call.user)

    def leftovers(self) -> list[dict[str, str]]:
        """What is billed besides instances: disks, reserved addresses."""
        disks = [
            {"kind": "disk", "id": f"{zone}/disk/{name}", "region": stock.region_of(zone)}
            for (zone, name), item in list(self._instances.disks.items())
            if not item["users"]
        ]
        return disks + [
            {"kind": "address", "id": f"{region}/address/{name}", "region": region}
            for region, name in list(self._addresses)
        ]

    def _item(self, kind: str, name: str, path: str, **more: Any) -> Item:
        return {
            "kind": kind,
            "id": self._number(),
            "name": name,
            "creationTimestamp": self._since,
            "selfLink": f"{self._root}/{path}",
            **more,
        }

    def _missing(self, path: str) -> Refusal:
        place = f"projects/{self._name}/{path}"
        return Refusal(404, "notFound", f"The resource '{place}' was not found")

    def _taken(self, path: str) -> Refusal:
        place = f"projects/{self._name}/{path}"
        return Refusal(409, "alreadyExists", f"The resource '{place}' already exists")


def _type_handlers(plural: str, one: str, make: Maker, names: Iterable[str]) -> dict[str, Handler]:
    """``get``, ``list`` and ``aggregatedList`` of a kind of types that zones have."""
    everything = tuple(names)

    def has(zone: str, name: str) -> bool:
        return plural == "diskTypes" or stock.is_sold(zone, name)

    def get(call: Call) -> Item:
        zone, name = call.path["zone"], call.path[one]
        if name not in everything or not has(zone, name):
            place = f"projects/{call.path['project']}/zones/{zone}/{plural}/{name}"
            raise Refusal(404, "notFound", f"The resource '{place}' was not found")
        return make(name, zone)

    def of_zone(call: Call) -> Item:
        zone = call.path["zone"]
        return single(
            call, f"compute#{one}List", [make(n, zone) for n in everything if has(zone, n)]
        )

    def of_all(call: Call) -> Item:
        pairs = [
            (f"zones/{zone}", make(name, zone))
            for zone in stock.zones()
            for name in everything
            if has(zone, name)
        ]
        return aggregated(call, f"compute#{one}AggregatedList", plural, pairs, _scopes())

    head = f"compute.{plural}"
    return {f"{head}.get": get, f"{head}.list": of_zone, f"{head}.aggregatedList": of_all}


def _is_ssh(entry: Item) -> bool:
    """Whether an entry of a rule is about the SSH port."""
    if entry.get("IPProtocol") not in ("all", "tcp", "6"):
        return False
    spans = [str(port).partition("-") for port in entry.get("ports") or ()]
    return not spans or any(
        int(first) <= SSH_PORT <= int(last or first) for first, _, last in spans
    )


_USUAL_RULE: Item = {
    "name": "default-allow-ssh",
    "description": "Allow SSH from anywhere",
    "network": "global/networks/default",
    "direction": "INGRESS",
    "priority": 65534,
    "disabled": False,
    "sourceRanges": ["0.0.0.0/0"],
    "allowed": [{"IPProtocol": "tcp", "ports": ["22"]}],
}
"""What a project's default network has from the beginning."""


def _scope(call: Call) -> str:
    return f"zones/{call.path['zone']}"


def _scopes() -> list[str]:
    return [f"zones/{zone}" for zone in stock.zones()]


__all__ = ["CLOUD", "DENIED", "Project"]
