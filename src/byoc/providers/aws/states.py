"""What EC2 says of an instance, as byoc's Instance; and of what instances leave behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ProviderError
from ...resources import Offer
from ..base import Instance
from ..found import bare, offer
from ..gates import address_of
from ..table import Answer, classify
from . import codes
from .ids import KINDS, Ref

PLAIN = "-plain"
"""What a launch without an end behaviour adds to its token: another request needs another one."""
USER = "root"
"""Who the client logs in as; the boot data give it the client's key."""
STATES = {
    "pending": "pending",
    "running": "running",
    "shutting-down": "ending",
    "terminated": "gone",
    "stopping": "ending",
    "stopped": "ending",
}
"""EC2's states. A stopped one is not billed for, but its disk is: it still has to be terminated."""
LIVING = tuple(state for state, ours in STATES.items() if ours != "gone")
"""EC2's states of what is not gone, for filters."""


def instance(region: str, found: Mapping[str, Any], port: int) -> Instance:
    """One of DescribeInstances or RunInstances."""
    state = STATES.get(found["State"]["Name"], "pending")
    told, inside = tags(found), found.get("PrivateIpAddress", "")
    address = address_of(found.get("PublicIpAddress", ""), inside, told)
    return Instance(
        "aws",
        str(Ref(region, found["InstanceId"])),
        state,
        offer(_told(region, found), told),
        told,
        address=address,
        port=port if address else 0,
        user=USER,
        started=found["LaunchTime"].timestamp() if "LaunchTime" in found else 0.0,
        detail=_detail(state, found, address),
        failure=failure(found),
        origin=origin(found),
        inside=inside,
    )


def origin(found: Mapping[str, Any]) -> str:
    """The launch's token, as EC2 itself keeps it: nobody can change it afterwards."""
    return str(found.get("ClientToken", "")).removesuffix(PLAIN)


def tags(found: Mapping[str, Any]) -> dict[str, str]:
    """Tags as a mapping, whatever EC2 calls their list."""
    listed = found.get("Tags") or found.get("TagSet") or ()
    return {tag["Key"]: tag["Value"] for tag in listed}


def failure(found: Mapping[str, Any]) -> ProviderError | None:
    """Why EC2 did not make an instance or took it away; None when its end was asked for."""
    reason = found.get("StateReason") or {}
    code = reason.get("Code", "")
    if not code or code in codes.ASKED or found["State"]["Name"] in ("pending", "running"):
        return None
    return classify("aws", codes.STATE_ROWS, Answer(code, reason.get("Message", "")))


def left(region: str, id: str, found: Mapping[str, Any], state: str, detail: str = "") -> Instance:
    """A disk, address, network interface or security group."""
    kind = KINDS[id.partition("-")[0]]
    zone = found.get("AvailabilityZone", "")
    made = found.get("CreateTime")  # volumes only: of other kinds EC2 tells no time
    return Instance(
        "aws", str(Ref(region, id)), state, bare("aws", region, zone, kind), tags(found),
        detail=detail, kind=kind, started=made.timestamp() if made else 0.0,
    )  # fmt: skip


def _detail(state: str, found: Mapping[str, Any], address: str) -> str:
    reason = found.get("StateReason") or {}
    if state == "pending":
        return "EC2 is starting it" if address else "EC2 is starting it; no address yet"
    if state == "running":
        return "" if address else "no address yet"
    words = reason.get("Message", "") or found.get("StateTransitionReason", "")
    if found["State"]["Name"] in ("stopping", "stopped"):
        return f"{found['State']['Name']}, its disk is still paid; {words}".rstrip("; ")
    return str(words)


def _told(region: str, found: Mapping[str, Any]) -> Offer:
    zone = found.get("Placement", {}).get("AvailabilityZone", "")
    market = "spot" if found.get("InstanceLifecycle") == "spot" else "on-demand"
    return bare("aws", region, zone, found.get("InstanceType", ""), market)
