"""What RunInstances is asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import BadRequestError
from .. import bootdata
from ..base import LaunchRequest
from .images import Image
from .network import MANAGED_TAG, Network, pairs
from .states import PLAIN

END_SCRIPT = """\
#!/bin/sh
# EC2 deletes an instance that shuts itself down when it was launched so, disk included.
/sbin/shutdown -h now
"""
"""Needs no credentials: the launch says ``InstanceInitiatedShutdownBehavior=terminate``."""
USER_DATA_LIMIT = 16 * 1024
"""Bytes of user data that EC2 takes, before they are encoded."""
MIB = 1024
TAGGED = ("instance", "volume", "network-interface")
"""What a launch makes and tags."""
METADATA = {
    "HttpEndpoint": "enabled",
    "HttpTokens": "required",
    # One hop: containers with a network of their own cannot read the user data.
    "HttpPutResponseHopLimit": 1,
}
"""How the machine's metadata service answers; the policy allows no other launch."""


def body(
    request: LaunchRequest, image: Image, network: Network, chosen: bool, end_behaviour: bool = True
) -> dict[str, Any]:
    """The parameters, the same for the same request.

    ``chosen``: the subnet is one of the settings. ``end_behaviour``: say what becomes of a machine
    that shuts itself down; without it a one-time spot instance ends as well, and the token differs
    because the request does. Raises BadRequestError for an offer that cannot be asked for.
    """
    offer = request.offer
    spot = offer.market == "spot"
    kinds = (*TAGGED, "spot-instances-request") if spot else TAGGED
    tags = pairs({**request.tags, MANAGED_TAG: "1"})
    found: dict[str, Any] = {
        "ImageId": image.id,
        "InstanceType": offer.type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": request.token if end_behaviour else f"{request.token}{PLAIN}",
        "UserData": user_data(request),
        "BlockDeviceMappings": [_disk(request, image)],
        "MetadataOptions": METADATA,
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
        **_place(request, network, chosen),
    }
    if end_behaviour:
        found["InstanceInitiatedShutdownBehavior"] = "terminate"
    if spot:
        found["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
    return found


def user_data(request: LaunchRequest) -> str:
    """The boot data. Raises BadRequestError when EC2 would not take so much."""
    text = bootdata.compose(request, END_SCRIPT)
    if len(text.encode()) > USER_DATA_LIMIT:
        raise BadRequestError(
            f"the boot data take {len(text.encode())} bytes, and EC2 takes {USER_DATA_LIMIT}",
            provider="aws",
            scope="cloud",
        )
    return text


def _disk(request: LaunchRequest, image: Image) -> Mapping[str, Any]:
    size = max(image.size, math.ceil(request.disk / MIB))
    disk: dict[str, Any] = {"VolumeType": "gp3", "DeleteOnTermination": True}
    if size:
        disk["VolumeSize"] = size
    return {"DeviceName": image.device, "Ebs": disk}


def _place(request: LaunchRequest, network: Network, chosen: bool) -> dict[str, Any]:
    """The zone's own subnet, with a public address or without; without a zone EC2 takes one that
    has room, and a default subnet gives a public address by itself."""
    zone = request.offer.zone
    if not zone and not chosen and request.public:
        return {"SecurityGroupIds": [network.group]}
    zone = zone or next(iter(network.subnets))
    if zone not in network.subnets:
        raise BadRequestError(
            f"there is no subnet to launch in in {zone}",
            provider="aws",
            vendor_code="InvalidSubnet",
            scope="zone",
            hints=(f"Run `aws ec2 create-default-subnet --availability-zone {zone}`.",),
        )
    return {
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": network.subnets[zone],
                "Groups": [network.group],
                "AssociatePublicIpAddress": request.public,
                "DeleteOnTermination": True,
            }
        ]
    }
