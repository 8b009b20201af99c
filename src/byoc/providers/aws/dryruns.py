"""Which of byoc's actions the account may do, found out by EC2's own dry runs.

A dry run answers ``DryRunOperation`` when the request would be allowed. It proves the permission,
not that there is capacity. What may be done only to what carries byoc's tag is tried on something
that does; where there is nothing of the kind it cannot be tried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ...errors import ProviderError
from ...tasks import side_by_side
from ..base import EXPIRES_TAG, OWNER_TAG, Finding
from . import quotas
from .clients import DENIED, Clients, refused
from .launch import METADATA, TAGGED
from .network import MANAGED_TAG, pairs
from .permissions import PERMISSIONS

THREADS = 8
SMALLEST = "t3.micro"
"""For the dry run of a launch: sold in every region."""
_ENCODED = re.compile(r"Encoded authorization failure message: (\S+)")
_PAGE = {"MaxResults": 5}
_SERVICES = {"servicequotas": "service-quotas"}
_OWN = [{"Name": f"tag:{MANAGED_TAG}", "Values": ["1"]}]
_TAGS = pairs({MANAGED_TAG: "1", OWNER_TAG: "byoc-check"})
_MISSING = re.compile(r"not authorized to perform: (\w+:\w+)")
_GROUP = ":security-group/"
"""In a refusal of a launch that could name no group of byoc's: the policy allows no other one."""
_OF_OWN = (
    "ec2:TerminateInstances", "ec2:GetConsoleOutput", "ec2:CreateTags",
    "ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress",
)  # fmt: skip


class Place(NamedTuple):
    """What dry runs need to be about something, empty where there is none: the network, an image,
    and of byoc's own an instance and a security group."""

    region: str
    vpc: str = ""
    image: str = ""
    instance: str = ""
    group: str = ""


class Probe(NamedTuple):
    """One action to try."""

    action: str
    operation: str
    params: Mapping[str, Any]


def findings(clients: Clients, place: Place) -> list[Finding]:
    """What is missing, in one finding for what byoc cannot do without and one for the rest."""
    place = _own(clients, place)
    tried = probes(place)
    answers = side_by_side([partial(_try, clients, place.region, one) for one in tried], THREADS)
    refusals = [
        (Probe(_missing(p, e), p.operation, p.params), e)
        for p, e in zip(tried, answers, strict=True)
        if e is not None and (place.group or _GROUP not in e.message)
    ]
    always = {one.action for one in PERMISSIONS if one.always}
    needed = [(p, e) for p, e in refusals if p.action in always]
    others = [(p, e) for p, e in refusals if p.action not in always]
    found = [*_finding(clients, "fail", needed), *_finding(clients, "warn", others)]
    return found or [Finding("ok", "permissions", _allowed(tried))]


def _allowed(tried: Sequence[Probe]) -> str:
    actions = {probe.action for probe in tried}
    message = f"{len(actions)} actions are allowed"
    later = [one for one in _OF_OWN if one not in actions]
    if later:
        message += f"; {', '.join(later)} can be tried once there is something of byoc's own"
    return message


def _missing(probe: Probe, error: ProviderError) -> str:
    """The action that was refused: not always the one that was asked for, since a launch also tags
    what it makes."""
    told = _MISSING.search(error.message)
    return told.group(1) if told else probe.action


def _finding(
    clients: Clients, level: str, refusals: Sequence[tuple[Probe, ProviderError]]
) -> list[Finding]:
    if not refusals:
        return []
    told = "; ".join(_explain(clients, probe, error) for probe, error in refusals)
    missing = ", ".join(dict.fromkeys(probe.action for probe, _ in refusals))
    remedy = f"Allow {missing}: `byoc iam aws` prints the policy."
    return [Finding(level, "permissions", told, remedy)]


def _own(clients: Clients, place: Place) -> Place:
    """The place with what byoc has there; what may not be looked at stays unknown."""
    instances: list[Any] = []
    groups: list[Any] = []
    try:
        alive = [*_OWN, {"Name": "instance-state-name", "Values": ["pending", "running"]}]
        instances = [
            one["InstanceId"]
            for reservation in clients.pages(
                "ec2", place.region, "describe_instances", "Reservations", Filters=alive
            )
            for one in reservation["Instances"]
        ]
        groups = [
            one["GroupId"]
            for one in clients.pages(
                "ec2", place.region, "describe_security_groups", "SecurityGroups", Filters=_OWN
            )
        ]
    except ProviderError:  # the dry run of this action tells it
        return place
    return place._replace(
        instance=next(iter(instances), ""),
        group=next(iter(groups), ""),
    )


def probes(place: Place) -> list[Probe]:
    """A dry run for each action that can be tried; of what is not known nothing is tried."""
    found = [
        Probe("ec2:DescribeRegions", "describe_regions", {}),
        Probe("ec2:DescribeInstances", "describe_instances", _PAGE),
        Probe("ec2:DescribeSecurityGroups", "describe_security_groups", _PAGE),
        Probe("ec2:DescribeVolumes", "describe_volumes", _PAGE),
        Probe("ec2:DescribeNetworkInterfaces", "describe_network_interfaces", _PAGE),
        Probe("ec2:DescribeAddresses", "describe_addresses", {}),
        Probe("ec2:DescribeInstanceTypeOfferings", "describe_instance_type_offerings", _PAGE),
        Probe("ec2:DescribeSpotPriceHistory", "describe_spot_price_history", _PAGE),
        Probe(
            "servicequotas:GetServiceQuota", "get_service_quota",
            {"ServiceCode": "ec2", "QuotaCode": quotas.GPU_BUCKETS[0]},
        ),
    ]  # fmt: skip
    if place.vpc:
        found.append(
            Probe(
                "ec2:CreateSecurityGroup", "create_security_group",
                {
                    "GroupName": "byoc-check", "Description": "byoc check", "VpcId": place.vpc,
                    "TagSpecifications": [_tagged("security-group")],
                },
            )
        )  # fmt: skip
    if place.instance:
        found += _own_probes(place.instance)
    if place.group:
        found += _rule_probes(place.group)
    if place.image:
        found.append(Probe("ec2:RunInstances", "run_instances", _launch(place)))
    return found


def _launch(place: Place) -> dict[str, Any]:
    """A launch as byoc makes it: what differs from that may well be refused."""
    return {
        "ImageId": place.image, "InstanceType": SMALLEST, "MinCount": 1, "MaxCount": 1,
        "MetadataOptions": METADATA, **({"SecurityGroupIds": [place.group]} if place.group else {}),
        "TagSpecifications": [_tagged(kind) for kind in TAGGED],
    }  # fmt: skip


def _tagged(kind: str) -> dict[str, Any]:
    return {"ResourceType": kind, "Tags": _TAGS}


def _own_probes(instance: str) -> list[Probe]:
    moved = {"Resources": [instance], "Tags": pairs({EXPIRES_TAG: "0"})}
    return [
        Probe("ec2:TerminateInstances", "terminate_instances", {"InstanceIds": [instance]}),
        Probe("ec2:GetConsoleOutput", "get_console_output", {"InstanceId": instance}),
        Probe("ec2:CreateTags", "create_tags", moved),
    ]


def _rule_probes(group: str) -> list[Probe]:
    ranges = [{"CidrIp": "127.0.0.1/32"}]
    rule = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}]
    params = {"GroupId": group, "IpPermissions": rule}
    return [
        Probe(f"ec2:{verb}SecurityGroupIngress", f"{verb.lower()}_security_group_ingress", params)
        for verb in ("Authorize", "Revoke")
    ]


def _try(clients: Clients, region: str, probe: Probe) -> ProviderError | None:
    """The refusal of one action, None when it is allowed or the dry run did not tell."""
    service = probe.action.partition(":")[0]
    dry = {"DryRun": True} if service == "ec2" else {}
    try:
        clients.call(
            _SERVICES.get(service, service), region, probe.operation, **probe.params, **dry
        )
    except ProviderError as error:
        if refused(error, *DENIED):
            return error
    return None


def _explain(clients: Clients, probe: Probe, error: ProviderError) -> str:
    """What was missing, in as few words as AWS tells it; decoded where that is allowed."""
    encoded = _ENCODED.search(error.message)
    if encoded is None:
        return f"{probe.action}: {error.message}"
    plain = error.message[: encoded.start()].strip()
    try:
        answer = clients.call(
            "sts", clients.region(), "decode_authorization_message",
            EncodedMessage=encoded.group(1),
        )["DecodedMessage"]  # fmt: skip
        context = json.loads(answer).get("context", {})
        told = f"{context.get('action')} on {context.get('resource')} is refused"
    except (ProviderError, ValueError):  # not allowed to decode: the plain words then
        told = plain
    return f"{probe.action}: {told}"
