"""Instances and disks as the API shows them, made of what was asked for."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from typing import Any

from .rules import Plan

_NAT = {
    "kind": "compute#accessConfig",
    "name": "External NAT",
    "type": "ONE_TO_ONE_NAT",
    "networkTier": "PREMIUM",
}


def instance(
    body: Mapping[str, Any], plan: Plan, link: str, number: str, now: str
) -> dict[str, Any]:
    """A new instance. ``link``: its own; ``number``: its id; ``now``: as the API writes times."""
    place = link.partition("/instances/")[0]
    cards = [
        {
            "acceleratorType": f"{place}/acceleratorTypes/{plan.card}",
            "acceleratorCount": plan.cards,
        }
    ]
    return {
        **body,
        "kind": "compute#instance",
        "id": number,
        "creationTimestamp": now,
        "status": "PROVISIONING",
        "selfLink": link,
        "zone": place,
        "machineType": f"{place}/machineTypes/{plan.machine.name}",
        "guestAccelerators": cards if plan.cards else [],
        "labelFingerprint": fingerprint(),
        "fingerprint": fingerprint(),
        "scheduling": {**_usual(plan), **(body.get("scheduling") or {})},
        "disks": [_attached(body["disks"][0], plan, f"{place}/disks/{body['name']}")],
        "networkInterfaces": [_interface(body["networkInterfaces"][0])],
        "tags": {"fingerprint": fingerprint(), **(body.get("tags") or {})},
        "metadata": {"fingerprint": fingerprint(), **(body.get("metadata") or {})},
        "canIpForward": False,
        "deletionProtection": body.get("deletionProtection", False),
        "startRestricted": False,
    }


def disk(instance: Mapping[str, Any], number: str) -> dict[str, Any]:
    """The boot disk of an instance that :func:`instance` has made."""
    told = instance["disks"][0]
    wanted = told["initializeParams"]
    return {
        "kind": "compute#disk",
        "id": number,
        "name": instance["name"],
        "zone": instance["zone"],
        "sizeGb": told["diskSizeGb"],
        "status": "READY",
        "type": wanted.get("diskType", ""),
        "labels": wanted.get("labels") or {},
        "labelFingerprint": fingerprint(),
        "selfLink": told["source"],
        "users": [instance["selfLink"]],
        "creationTimestamp": instance["creationTimestamp"],
        "physicalBlockSizeBytes": "4096",
        "sourceImage": wanted["sourceImage"],
    }


def fingerprint() -> str:
    """A value that changes with what it stands for."""
    return base64.b64encode(secrets.token_bytes(8)).decode()


def _usual(plan: Plan) -> dict[str, Any]:
    return {
        "provisioningModel": "SPOT" if plan.spot else "STANDARD",
        "preemptible": plan.spot,
        "automaticRestart": not plan.spot,
        "onHostMaintenance": "TERMINATE" if plan.spot or plan.cards else "MIGRATE",
    }


def _attached(asked: Mapping[str, Any], plan: Plan, source: str) -> dict[str, Any]:
    return {
        **asked,
        "kind": "compute#attachedDisk",
        "autoDelete": asked.get("autoDelete", False),
        "index": 0,
        "deviceName": "persistent-disk-0",
        "type": "PERSISTENT",
        "mode": "READ_WRITE",
        "diskSizeGb": str(plan.size),
        "source": source,
    }


def _interface(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **asked,
        "kind": "compute#networkInterface",
        "name": "nic0",
        "networkIP": "10.128.0.2",
        "accessConfigs": [{**_NAT, **config} for config in asked.get("accessConfigs") or []],
    }
