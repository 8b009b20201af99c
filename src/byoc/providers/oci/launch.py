"""The body of a launch. A pure function of what is asked, so that a repeat is the same request."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from ..base import OWNER_TAG, TOKEN_TAG, LaunchRequest
from .images import Image
from .network import MANAGED_TAG, Place
from .shapes import parse

SMALLEST_DISK = 50
"""GB; the smallest boot volume there is."""
BALANCED, HIGHER = 10, 20
"""Volume performance units for each GB: GPU machines read large libraries when they start."""
PREFIX = "byoc-"
BOOT_VOLUME = " (Boot Volume)"
"""What OCI puts behind an instance's name for its boot volume's, which takes no tags."""
_OWNER_LENGTH = 20
TOKEN_LENGTH = 20


def name_of(owner: str, token: str) -> str:
    """The display name of an instance, from which its boot volume's owner is known as well."""
    return f"{PREFIX}{owner[:_OWNER_LENGTH]}-{token[:TOKEN_LENGTH]}"


def details(
    request: LaunchRequest, compartment: str, image: Image, place: Place, boot_data: str
) -> dict[str, Any]:
    """LaunchInstanceDetails, by the API's own names."""
    offer = request.offer
    shape = parse(offer.type)
    tags = {**request.tags, TOKEN_TAG: request.token, MANAGED_TAG: "1"}
    name = name_of(request.tags.get(OWNER_TAG, ""), request.token)
    body: dict[str, Any] = {
        "availabilityDomain": offer.zone,
        "compartmentId": compartment,
        "shape": shape.name,
        "displayName": name,
        "freeformTags": tags,
        "sourceDetails": {
            "sourceType": "image",
            "imageId": image.id,
            "bootVolumeSizeInGBs": disk(request.disk, image),
            "bootVolumeVpusPerGB": HIGHER if offer.gpu_count else BALANCED,
        },
        "createVnicDetails": _card(place, name, tags, request.public),
        "metadata": {
            "user_data": base64.b64encode(boot_data.encode()).decode(),
            TOKEN_TAG: request.token,  # tags can be put on anything; this tells what we launched
        },
        # Version 1 of the metadata service answers whoever sends a request by accident.
        "instanceOptions": {"areLegacyImdsEndpointsDisabled": True},
        # After its host has failed, an instance must not come back elsewhere, unseen and billed.
        "availabilityConfig": {"recoveryAction": "STOP_INSTANCE"},
    }
    if shape.flexible:
        body["shapeConfig"] = {"ocpus": shape.ocpus, "memoryInGBs": shape.memory}
    if offer.market == "spot":
        body["preemptibleInstanceConfig"] = {
            "preemptionAction": {"type": "TERMINATE", "preserveBootVolume": False}
        }
    return body


def disk(wanted: int, image: Image) -> int:
    """GB of the boot volume for ``wanted`` MiB."""
    return max(SMALLEST_DISK, image.size, math.ceil(wanted / 1024))


def _card(place: Place, name: str, tags: Mapping[str, str], public: bool) -> dict[str, Any]:
    return {
        "subnetId": place.subnet,
        "nsgIds": list(place.groups),
        "assignPublicIp": public,
        "displayName": name,
        "freeformTags": dict(tags),
    }
