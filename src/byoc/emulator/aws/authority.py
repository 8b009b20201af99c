"""What a request asks to be allowed: the actions, on which resources, under which conditions.

As AWS's service authorization reference has it for the operations that are emulated. An operation
that makes or tags several things is allowed only if every one of them is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .policy import Asked

Params = Mapping[str, Any]
FREE = frozenset({"sts:GetCallerIdentity"})
"""What everybody may do who has signed."""
_NAMED = {
    "servicequotas": "servicequotas", "ssm": "ssm", "iam": "iam", "sts": "sts", "ec2": "ec2",
    "pricing": "pricing",
}  # fmt: skip
_BY_ID = {
    "TerminateInstances": ("InstanceIds", "instance"),
    "GetConsoleOutput": ("InstanceId", "instance"),
    "DeleteVolume": ("VolumeId", "volume"),
    "DeleteNetworkInterface": ("NetworkInterfaceId", "network-interface"),
    "ReleaseAddress": ("AllocationId", "elastic-ip"),
    "DeleteSecurityGroup": ("GroupId", "security-group"),
    "AuthorizeSecurityGroupIngress": ("GroupId", "security-group"),
    "RevokeSecurityGroupIngress": ("GroupId", "security-group"),
}
"""Operations on things that exist: the parameter that names them, and their kind in ARNs."""
_KINDS = {
    "i": "instance", "vol": "volume", "eni": "network-interface", "sg": "security-group",
    "eipalloc": "elastic-ip", "subnet": "subnet", "vpc": "vpc", "ami": "image",
    "sir": "spot-instances-request",
}  # fmt: skip


class Authority:
    """Reads requests of one account. ``tags``: (region, id) -> the tags that a thing has now."""

    def __init__(self, account: str, tags: Any) -> None:
        self._account = account
        self._tags = tags

    def asked(self, service: str, op: str, region: str, params: Params) -> Iterator[Asked]:
        """All that must be allowed for a request, in the order in which AWS looks."""
        action = f"{_NAMED[service]}:{op}"
        here = {"aws:requestedregion": (region,)}
        if action in FREE:
            return
        if service != "ec2":
            yield Asked(action, self._other(service, op, region, params), here)
        elif op == "RunInstances":
            yield from self._launch(region, params, here)
        elif op == "CreateSecurityGroup":
            yield from self._group(region, params, here)
        elif op in ("CreateTags", "DeleteTags"):
            yield from self._tagging(action, region, params, here)
        elif op in _BY_ID:
            name, kind = _BY_ID[op]
            told = params.get(name) or ()
            for one in [told] if isinstance(told, str) else told:
                yield Asked(action, self._arn(region, kind, one), self._about(region, one, here))
        else:
            yield Asked(action, "*", here)

    # --- EC2 ----------------------------------------------------------------------------------

    def _launch(self, region: str, params: Params, here: Any) -> Iterator[Asked]:
        action = "ec2:RunInstances"
        cards = params.get("NetworkInterfaces", ())
        groups = [*params.get("SecurityGroupIds", ())]
        groups += [group for card in cards for group in card.get("Groups", ())]
        used = [params.get("ImageId", ""), params.get("SubnetId") or ""]
        used += [card.get("SubnetId", "") for card in cards]
        for one in [*used, *groups]:
            if one:
                kind = _KINDS.get(one.partition("-")[0], "image")
                yield Asked(action, self._arn(region, kind, one), self._about(region, one, here))
        tags = _tags_by_kind(params)
        kinds = ["instance", "volume", "network-interface"]
        market = params.get("InstanceMarketOptions", {}).get("MarketType", "on-demand")
        if market == "spot" and "spot-instances-request" in tags:
            kinds.append("spot-instances-request")
        for kind in kinds:
            more = {**here, **_requested(tags.get(kind, {}))}
            if kind == "instance":
                more |= _of_instance(params, market)
            elif kind == "network-interface":
                more |= _of_card(cards)
            yield Asked(action, self._arn(region, kind, "*"), more)
        yield from self._made_with_tags("RunInstances", region, tags, here)
        if params.get("IamInstanceProfile"):
            yield Asked("iam:PassRole", f"arn:aws:iam::{self._account}:role/*", here)

    def _group(self, region: str, params: Params, here: Any) -> Iterator[Asked]:
        action, tags = "ec2:CreateSecurityGroup", _tags_by_kind(params)
        own = {**here, **_requested(tags.get("security-group", {}))}
        yield Asked(action, self._arn(region, "security-group", "*"), own)
        if vpc := params.get("VpcId"):
            yield Asked(action, self._arn(region, "vpc", vpc), self._about(region, vpc, here))
        yield from self._made_with_tags("CreateSecurityGroup", region, tags, here)

    def _made_with_tags(
        self, op: str, region: str, tags: Mapping[str, Mapping[str, str]], here: Any
    ) -> Iterator[Asked]:
        for kind, own in tags.items():
            if own:
                more = {**here, **_requested(own), "ec2:createaction": (op,)}
                yield Asked("ec2:CreateTags", self._arn(region, kind, "*"), more)

    def _tagging(self, action: str, region: str, params: Params, here: Any) -> Iterator[Asked]:
        told = {one["Key"]: one.get("Value", "") for one in params.get("Tags", ())}
        for one in params.get("Resources", ()):
            more = {**self._about(region, one, here), **_requested(told)}
            yield Asked(action, self._arn(region, _KINDS.get(one.partition("-")[0], ""), one), more)

    def _about(self, region: str, id: str, here: Any) -> dict[str, tuple[str, ...]]:
        """What conditions can say of a thing that exists; nothing of one that does not."""
        found = {f"aws:resourcetag/{k}".lower(): (v,) for k, v in self._tags(region, id).items()}
        return {**here, **found}

    def _arn(self, region: str, kind: str, id: str) -> str:
        owner = "" if kind in ("image", "snapshot") else self._account
        return f"arn:aws:ec2:{region}:{owner}:{kind}/{id}"

    # --- other services -----------------------------------------------------------------------

    def _other(self, service: str, op: str, region: str, params: Params) -> str:
        if service == "ssm":
            return f"arn:aws:ssm:{region}::parameter/{str(params.get('Name', '')).lstrip('/')}"
        if service == "iam" and "RoleName" in params:
            path = "aws-service-role/spot.amazonaws.com/"
            return f"arn:aws:iam::{self._account}:role/{path}{params['RoleName']}"
        return "*"


def _tags_by_kind(params: Params) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for one in params.get("TagSpecifications", ()):
        own = found.setdefault(one.get("ResourceType", ""), {})
        own.update({tag["Key"]: tag.get("Value", "") for tag in one.get("Tags", ())})
    return found


def _requested(tags: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {
        f"aws:requesttag/{key}".lower(): (value,) for key, value in tags.items()
    }
    return {**found, "aws:tagkeys": tuple(tags)} if tags else found


def _of_card(cards: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    public = [one["AssociatePublicIpAddress"] for one in cards if "AssociatePublicIpAddress" in one]
    key = "ec2:associatepublicipaddress"
    return {key: tuple(str(one).lower() for one in public)} if public else {}


def _of_instance(params: Params, market: str) -> dict[str, tuple[str, ...]]:
    options: Mapping[str, Any] = params.get("MetadataOptions", {})
    told: Sequence[tuple[str, Any]] = (
        ("ec2:instancetype", params.get("InstanceType")),
        ("ec2:instancemarkettype", market),
        ("ec2:metadatahttptokens", options.get("HttpTokens")),
        ("ec2:metadatahttpputresponsehoplimit", options.get("HttpPutResponseHopLimit")),
    )
    return {key: (str(value),) for key, value in told if value is not None}
