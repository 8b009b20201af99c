"""What Google refuses in an instance although its description allows it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import stock
from .refusals import Refusal

RUN_LIMITS = (30, 120 * 86400)
NOTICES = (0, 120)
LONGEST_VALUE = 256 * 1024
"""Bytes of one metadata value."""
_KEY, _VALUE = re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}")
_IMAGE = re.compile(r"(?:.*/)?projects/([^/]+)/global/images/(?:family/)?([^/]+)")
_NETWORK = re.compile(r"(?:.*/)?global/networks/([^/]+)")


class Plan(NamedTuple):
    """What a body asks for. ``card``/``cards``: accelerators, the machine's own included."""

    machine: stock.Machine
    card: str
    cards: int
    image: stock.Image
    size: int
    spot: bool

    @property
    def type(self) -> str:
        """The name of byoc's offers."""
        return stock.type_of(self.machine.name, self.card, self.cards)

    @property
    def market(self) -> str:
        """``spot`` or ``on-demand``."""
        return "spot" if self.spot else "on-demand"


def plan(project: str, zone: str, body: Mapping[str, Any]) -> Plan:
    """Check a body. Raises Refusal with Google's words."""
    machine = _machine(zone, body.get("machineType", ""))
    image, size = _disk(zone, machine, body.get("disks") or [])
    card, cards = _cards(project, zone, machine, body.get("guestAccelerators") or [])
    if not body.get("networkInterfaces"):
        raise _field("networkInterfaces", "", "At least one network interface is required.")
    labels(body.get("labels") or {})
    _metadata(body.get("metadata") or {})
    scheduling = body.get("scheduling") or {}
    spot = scheduling.get("provisioningModel") == "SPOT" or bool(scheduling.get("preemptible"))
    _scheduling(scheduling, spot, bool(cards))
    return Plan(machine, card, cards, image, size, spot)


def request_id(text: str) -> None:
    """A request id is a UUID other than zero."""
    try:
        zero = uuid.UUID(text).int == 0
    except ValueError:
        zero = True
    if zero:
        raise Refusal(
            400, "invalid", f"Invalid value for field 'requestId': '{text}'. Must be a valid UUID."
        )


def labels(found: Mapping[str, str]) -> None:
    """Lower case, digits, ``-`` and ``_`` only; at most 64 of them."""
    for key, value in found.items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise _field("labels", f"{key}:{value}", "Label is not valid.")
    if len(found) > 64:
        raise _field("labels", "", "More than 64 labels.")


def network_name(link: str) -> str:
    """The name in a network's link. Raises Refusal for what is no link."""
    match = _NETWORK.fullmatch(link)
    if match is None:
        raise _field("network", link, "The URL is malformed.")
    return match[1]


def _machine(zone: str, link: str) -> stock.Machine:
    if f"zones/{zone}/machineTypes/" not in link:
        raise _field("machineType", link, "The URL is malformed.")
    name = link.rpartition("/")[2]
    found = stock.machines().get(name)
    if found is None or not stock.is_sold(zone, name):
        raise _field(
            "machineType", link,
            f"Machine type with name '{name}' does not exist in zone '{zone}'.",
        )  # fmt: skip
    return found


def _disk(
    zone: str, machine: stock.Machine, disks: list[dict[str, Any]]
) -> tuple[stock.Image, int]:
    if not disks or not disks[0].get("boot"):
        raise _field("disks", "", "At least one disk with boot=true is required.")
    wanted = disks[0].get("initializeParams") or {}
    source = wanted.get("sourceImage", "")
    match = _IMAGE.fullmatch(source)
    image = stock.image(match[1], match[2]) if match else None
    if image is None:
        raise Refusal(404, "notFound", f"The resource '{source}' was not found")
    if image.arch != machine.arch:
        raise Refusal(
            400, "badRequest", f"Requested boot disk architecture ({image.arch}) is not compatible"
            f" with machine type architecture ({machine.arch}).",
        )  # fmt: skip
    size = int(wanted.get("diskSizeGb") or image.size)
    if size < image.size:
        raise _field(
            "disks[0].initializeParams.diskSizeGb", size,
            f"Requested disk size cannot be smaller than the image size ({image.size} GB)",
        )  # fmt: skip
    _disk_type(zone, machine, wanted.get("diskType", ""))
    labels(wanted.get("labels") or {})
    return image, size


def _disk_type(zone: str, machine: stock.Machine, link: str) -> None:
    name = link.rpartition("/")[2] or "pd-standard"
    if name not in stock.DISKS or (link and f"zones/{zone}/diskTypes/" not in link):
        raise Refusal(404, "notFound", f"The resource '{link}' was not found")
    if name.startswith("pd-") and stock.HYPERDISK_ONLY.match(machine.name):
        raise Refusal(
            400, "badRequest", f"[{machine.name}, {name}] features are not compatible for creating"
            " instance.",
        )  # fmt: skip


def _cards(
    project: str, zone: str, machine: stock.Machine, asked: list[dict[str, Any]]
) -> tuple[str, int]:
    if not asked:
        return machine.card, machine.cards
    link, number = asked[0].get("acceleratorType", ""), int(asked[0].get("acceleratorCount", 1))
    name = link.rpartition("/")[2]
    if not stock.is_sold(zone, name):
        place = f"projects/{project}/zones/{zone}/acceleratorTypes/{name}"
        raise Refusal(404, "notFound", f"The resource '{place}' was not found")
    most = stock.attachable().get(name, 0) if machine.name.startswith("n1-") else 0
    if not 0 < number <= most and (name, number) != (machine.card, machine.cards):
        raise Refusal(
            400, "badRequest",
            f"[{machine.name}, {name}] features are not compatible for creating instance.",
        )  # fmt: skip
    return name, number


def _metadata(found: Mapping[str, Any]) -> None:
    for item in found.get("items") or []:
        if len(item.get("value") or "") > LONGEST_VALUE:
            raise _field("metadata", item.get("key"), "The value is longer than 262144 bytes.")


def _scheduling(asked: Mapping[str, Any], spot: bool, gpu: bool) -> None:
    action = asked.get("instanceTerminationAction")
    limit, notice = _seconds(asked, "maxRunDuration"), _seconds(asked, "preemptionNoticeDuration")
    moves = asked.get("onHostMaintenance", "TERMINATE" if spot else "MIGRATE") != "TERMINATE"
    field = "Scheduling.instance_termination_action"
    preemptible = "Scheduling must have preemptible be false when"
    troubles = (
        (gpu and moves, "Instances with guest accelerators do not support live migration."),
        (spot and asked.get("automaticRestart"), f"{preemptible} AutomaticRestart is true."),
        (spot and moves, f"{preemptible} OnHostMaintenance isn't TERMINATE."),
        (
            action and not (spot or limit is not None or asked.get("terminationTime")),
            f"{field} can only be set for Spot VMs or VMs with a run limit",
        ),
        (
            limit is not None and not RUN_LIMITS[0] <= limit <= RUN_LIMITS[1],
            "maxRunDuration must be between 30 seconds and 120 days",
        ),
        (
            limit is not None and asked.get("preemptible") and not asked.get("provisioningModel"),
            "maxRunDuration cannot be used with legacy preemptible instances",
        ),
        (
            notice is not None and not (spot and notice in NOTICES),
            "preemptionNoticeDuration must be 0 or 120 seconds and needs provisioning model SPOT",
        ),
    )
    for trouble, message in troubles:
        if trouble:
            raise _field("scheduling", "", message)


def _seconds(asked: Mapping[str, Any], name: str) -> int | None:
    return int(asked[name].get("seconds", 0)) if asked.get(name) else None


def _field(name: str, value: object, why: str) -> Refusal:
    return Refusal(400, "invalid", f"Invalid value for field 'resource.{name}': '{value}'. {why}")
