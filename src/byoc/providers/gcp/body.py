"""The body of ``instances.insert``, as JSON. Pure: the same arguments, the same body."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from ... import limits
from ...resources import Offer
from .. import bootdata, ingress
from ..base import TOKEN_TAG, LaunchRequest
from . import labels

RUN_LIMITS = (30, 120 * 86400)
"""Seconds that ``maxRunDuration`` may be, at least and at most."""
PREFIX = "byoc-"
"""What the name of each instance begins with."""
NOTICE = 120
"""Seconds of warning before a preemption: the only figure that the API takes besides 0."""
SURE_NOTICE = 30
"""Seconds that there are in any case, from the flag of the metadata server until the machine is
off: an older SDK or a project may not have the longer notice, and the machine cannot tell."""
SMALLEST_DISK = 30
"""GB: Ubuntu's image has 10, of which an environment with a GPU framework takes all."""
NEWEST_DISK = "hyperdisk-balanced"
NEWEST_ONLY = re.compile(r"(a3-ultragpu|a4x?|c4[ad]?|g4|h4d|m4|n4[ad]?|x4)-")
"""Families that take no older disks (pd-*)."""
SCOPES = ["https://www.googleapis.com/auth/compute"]
METADATA = "http://169.254.169.254"
_MIB_PER_GB = 1024
_UUID_PARTS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_TYPE = re.compile(r"(?P<machine>[a-z0-9-]+)(\+(?P<accelerator>[a-z0-9-]+)x(?P<count>\d+))?")


class Kind(NamedTuple):
    """A type's parts: ``n1-standard-4+nvidia-tesla-t4x1`` is an N1 with one T4 attached."""

    machine: str
    accelerator: str = ""
    number: int = 0

    def __str__(self) -> str:
        return self.machine + (f"+{self.accelerator}x{self.number}" if self.number else "")


class Place(NamedTuple):
    """What a project holds for the instances of one region. ``image``/``image_size``: its link,
    and GB. ``network``/``subnet``: links. ``tag``: opens the firewall. ``account``: whom the
    instance acts as, or empty."""

    image: str
    image_size: int
    network: str
    subnet: str
    tag: str
    account: str = ""


def split(type: str) -> Kind:
    """The parts of a type's name."""
    match = _TYPE.fullmatch(type)
    if match is None:
        return Kind(type)
    return Kind(match["machine"], match["accelerator"] or "", int(match["count"] or 0))


def name(token: str) -> str:
    """The instance's name: the same token, the same name, so a repeat meets the first one."""
    return f"{PREFIX}{token[:20]}"


def request_id(token: str) -> str:
    """The token as a UUID, by which the API knows a repeated request; never zero."""
    digits = f"{int(token, 16) or 1:032x}"[-32:]
    return "-".join(digits[start:end] for start, end in _UUID_PARTS)


def make(
    request: LaunchRequest, place: Place, end_script: str, notice: int = NOTICE
) -> dict[str, Any]:
    """The whole body. ``notice``: seconds of warning that spot asks for, 0 to leave it out.

    Raises BadRequestError for tags or boot data that cannot be told.
    """
    offer = request.offer
    kind = split(offer.type)
    told = labels.encode({labels.MANAGED: "1", **request.tags, TOKEN_TAG: request.token})
    body: dict[str, Any] = {
        "name": name(request.token),
        "machineType": f"zones/{offer.zone}/machineTypes/{kind.machine}",
        "labels": told,
        "tags": {"items": [place.tag]},
        "scheduling": _scheduling(offer, request.lifetime, notice),
        "disks": [_disk(request, kind, place, told)],
        "networkInterfaces": [_interface(place, request.public)],
        "metadata": {"items": _metadata(bootdata.compose(request, end_script))},
    }
    if kind.number:
        link = f"zones/{offer.zone}/acceleratorTypes/{kind.accelerator}"
        body["guestAccelerators"] = [{"acceleratorType": link, "acceleratorCount": kind.number}]
    if place.account:
        body["serviceAccounts"] = [{"email": place.account, "scopes": SCOPES}]
    return body


def _scheduling(offer: Offer, lifetime: float, notice: int) -> dict[str, Any]:
    """A run limit always, after which Google itself deletes the instance and its disk."""
    least, most = RUN_LIMITS
    seconds = min(max(math.ceil(lifetime or limits.LIFETIME), least), most)
    found: dict[str, Any] = {
        "onHostMaintenance": "TERMINATE",  # the only choice with a GPU, and for spot
        "automaticRestart": False,
        "instanceTerminationAction": "DELETE",
        "maxRunDuration": {"seconds": str(seconds)},
        "provisioningModel": "STANDARD",
    }
    if offer.market == "spot":
        found["provisioningModel"] = "SPOT"
        if notice:
            found["preemptionNoticeDuration"] = {"seconds": str(notice)}
    return found


def _disk(request: LaunchRequest, kind: Kind, place: Place, told: dict[str, str]) -> dict[str, Any]:
    size = max(math.ceil(request.disk / _MIB_PER_GB), place.image_size, SMALLEST_DISK)
    disk = NEWEST_DISK if NEWEST_ONLY.match(kind.machine) else "pd-balanced"
    return {
        "boot": True,
        "autoDelete": True,
        "initializeParams": {
            "sourceImage": place.image,
            "diskSizeGb": str(size),
            "diskType": f"zones/{request.offer.zone}/diskTypes/{disk}",
            "labels": told,
        },
    }


def _interface(place: Place, public: bool) -> dict[str, Any]:
    nat = {"name": "External NAT", "type": "ONE_TO_ONE_NAT", "networkTier": "PREMIUM"}
    outside = {"accessConfigs": [nat]} if public else {}  # without any there is no public address
    found = {"network": place.network, "nicType": "GVNIC", **outside}
    return {**found, "subnetwork": place.subnet} if place.subnet else found


def _metadata(user_data: str) -> list[dict[str, str]]:
    """Nobody of the project gets in by the project's keys or by OS Login: the client's key only."""
    return [
        {"key": "user-data", "value": user_data},
        {"key": "block-project-ssh-keys", "value": "TRUE"},
        {"key": "enable-oslogin", "value": "FALSE"},
        {"key": "serial-port-enable", "value": "FALSE"},
    ]


def end_script(api: str, account: str) -> str:
    """The script by which a machine ends itself. ``api``: where Compute Engine answers. One on this
    computer is an emulated one, which its machines meet where their metadata is."""
    told = METADATA if ingress.is_loopback(api) else api
    script = Path(__file__).with_name("delete.sh" if account else "poweroff.sh")
    return script.read_text(encoding="ascii").replace("@API@", told)
