"""`byoc check` on AWS: each matter is tried for real or as a dry run, none of which costs anything.

A dry run is EC2's own: it answers ``DryRunOperation`` when the request would be allowed. It proves
the permission, not that there is capacity.
"""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ...clock import Clock
from ...errors import AccessError, ProviderError
from ...resources import Offer
from ..base import Finding
from . import codes, quotas
from .clients import Clients, refused
from .images import Images
from .network import Networks
from .permissions import PERMISSIONS

THREADS = 8
SKEW_WARN, SKEW_FAIL = 60.0, 300.0
"""Seconds; AWS refuses requests that are more than five minutes off."""
SMALLEST = "t3.micro"
"""For the dry run of a launch: sold in every region."""
GPUS_ASKED = 8
"""vCPUs to ask for where a GPU quota is 0: two of the smallest GPU instances."""
_NOBODY = "i-00000000000000000"
_ENCODED = re.compile(r"Encoded authorization failure message: (\S+)")
_PAGE = {"MaxResults": 5}
_TAG = [{"ResourceType": "instance", "Tags": [{"Key": "byoc-managed", "Value": "1"}]}]


class _Probe(NamedTuple):
    action: str
    operation: str
    params: Mapping[str, Any]


class _Place(NamedTuple):
    """What probes need to be about something. Empty where it is not known."""

    region: str
    vpc: str = ""
    group: str = ""
    image: str = ""


class Checker:
    """All findings about an account. One use; asks from several threads."""

    def __init__(self, clients: Clients, networks: Networks, images: Images, clock: Clock) -> None:
        self._clients = clients
        self._networks = networks
        self._images = images
        self._clock = clock

    def run(self) -> list[Finding]:
        """Every finding; those that need credentials only when there are good ones."""
        findings = self._account()
        if any(one.level == "fail" for one in findings):
            return findings
        region = self._clients.region()
        place, network = self._network(region)
        with ThreadPoolExecutor(THREADS) as pool:
            more = [
                pool.submit(self._permissions, place),
                pool.submit(self._quotas, region),
                pool.submit(self._spot_role, region),
            ]
            found = [finding for question in more for finding in question.result()]
        return [*findings, *network, *found, _self_end()]

    # --- credentials and the clock ------------------------------------------------------------

    def _account(self) -> list[Finding]:
        try:
            self._clients.session()
            identity = self._clients.call("sts", self._clients.region(), "get_caller_identity")
        except ProviderError as error:
            return [_failed("credentials", error), *self._skew(_headers(error))]
        who = f"account {identity['Account']} as {identity['Arn']}"
        return [
            Finding("ok", "credentials", who),
            *self._skew(identity["ResponseMetadata"]["HTTPHeaders"]),
        ]

    def _skew(self, headers: Mapping[str, str]) -> list[Finding]:
        date = headers.get("date", "")
        if not date:
            return []
        off = self._clock.wall() - email.utils.parsedate_to_datetime(date).timestamp()
        if abs(off) <= SKEW_WARN:
            return [Finding("ok", "clock", f"{abs(off):.0f} s off AWS's")]
        level = "fail" if abs(off) > SKEW_FAIL else "warn"
        way = "ahead of" if off > 0 else "behind"
        message = f"this computer's clock is {abs(off):.0f} s {way} AWS's"
        return [Finding(level, "clock", message, "Set it: `sudo timedatectl set-ntp true`.")]

    # --- network and image --------------------------------------------------------------------

    def _network(self, region: str) -> tuple[_Place, list[Finding]]:
        findings, vpc, group, image = [], "", "", ""
        try:
            vpc, subnets = self._networks.subnets(region)
            findings.append(Finding("ok", "network", f"{region}: {', '.join(sorted(subnets))}"))
            filters = [
                {"Name": "vpc-id", "Values": [vpc]},
                {"Name": "group-name", "Values": ["default"]},
            ]
            groups = self._clients.call("ec2", region, "describe_security_groups", Filters=filters)[
                "SecurityGroups"
            ]
            group = groups[0]["GroupId"] if groups else ""
        except ProviderError as error:
            findings.append(_failed("network", error))
        for subject, gpus in (("image", 0), ("image for GPUs", 1)):
            try:
                offer = Offer("aws", region, "", SMALLEST, "on-demand", None, 1, 1, gpu_count=gpus)
                found, _ = self._images.find(offer)
                image = image or found.id
                findings.append(Finding("ok", subject, f"{found.id}, {found.size} GiB"))
            except ProviderError as error:
                findings.append(_failed(subject, error))
        return _Place(region, vpc, group, image), findings

    # --- permissions --------------------------------------------------------------------------

    def _permissions(self, place: _Place) -> list[Finding]:
        probes = _probes(place)
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda probe: self._probe(place.region, probe), probes))
        refusals = {p.action: e for p, e in zip(probes, answers, strict=True) if e is not None}
        always = {one.action for one in PERMISSIONS if one.always}
        findings = []
        for level, missing in (
            ("fail", [action for action in refusals if action in always]),
            ("warn", [action for action in refusals if action not in always]),
        ):
            if missing:
                told = "; ".join(self._explain(action, refusals[action]) for action in missing)
                remedy = f"Allow {', '.join(missing)}: docs/aws.md has the policy."
                findings.append(Finding(level, "permissions", told, remedy))
        if not findings:
            findings.append(Finding("ok", "permissions", f"{len(probes)} actions are allowed"))
        return findings

    def _probe(self, region: str, probe: _Probe) -> ProviderError | None:
        """The refusal of one action, None when it is allowed or the dry run did not tell."""
        service = "ec2" if probe.action.startswith("ec2:") else probe.action.partition(":")[0]
        dry = {"DryRun": True} if service == "ec2" else {}
        try:
            self._clients.call(
                _SERVICES.get(service, service), region, probe.operation, **probe.params, **dry
            )
        except ProviderError as error:
            if refused(error, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
                return error
        return None

    def _explain(self, action: str, error: ProviderError) -> str:
        """What was missing, in as few words as AWS tells it; decoded where that is allowed."""
        encoded = _ENCODED.search(error.message)
        if encoded is None:
            return f"{action}: {error.message}"
        plain = error.message[: encoded.start()].strip()
        try:
            answer = self._clients.call(
                "sts", self._clients.region(), "decode_authorization_message",
                EncodedMessage=encoded.group(1),
            )["DecodedMessage"]  # fmt: skip
            context = json.loads(answer).get("context", {})
            return f"{action}: {context.get('action')} on {context.get('resource')} is refused"
        except (ProviderError, ValueError):  # not allowed to decode: the plain words then
            return f"{action}: {plain}"

    # --- quotas and spot ----------------------------------------------------------------------

    def _quotas(self, region: str) -> list[Finding]:
        findings = []
        for code in quotas.GPU_BUCKETS:
            try:
                limit = quotas.limit(self._clients, region, code)
            except ProviderError as error:
                return [_failed("quotas", error, "warn")]
            name = f"{quotas.NAMES[code]} ({code}) in {region}"
            if limit == 0:
                remedy = (
                    "Run `aws service-quotas request-service-quota-increase --service-code ec2"
                    f" --quota-code {code} --desired-value {GPUS_ASKED} --region {region}`."
                )
                findings.append(Finding("warn", "quotas", f"{name}: 0 vCPUs", remedy))
            elif limit is not None:
                findings.append(Finding("ok", "quotas", f"{name}: {limit:g} vCPUs"))
        return findings

    def _spot_role(self, region: str) -> list[Finding]:
        """Whether the account has what its first spot instance needs; silent when not told."""
        try:
            self._clients.call("iam", region, "get_role", RoleName="AWSServiceRoleForEC2Spot")
        except ProviderError as error:
            if not refused(error, "NoSuchEntity"):
                return []
            message = "the account never had spot instances: EC2 makes a role with the first one"
            remedy = f"If the first spot launch is refused, run `{codes.SPOT_ROLE}`."
            return [Finding("warn", "spot", message, remedy)]
        return [Finding("ok", "spot", "the account's role for spot instances exists")]


_SERVICES = {"servicequotas": "service-quotas"}


def _probes(place: _Place) -> list[_Probe]:
    """A dry run for each action that can be tried; of what is not known nothing is tried."""
    from_here = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22,
                  "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}]  # fmt: skip
    probes = [
        _Probe("ec2:DescribeRegions", "describe_regions", {}),
        _Probe("ec2:DescribeInstances", "describe_instances", _PAGE),
        _Probe("ec2:DescribeSecurityGroups", "describe_security_groups", _PAGE),
        _Probe("ec2:DescribeVolumes", "describe_volumes", _PAGE),
        _Probe("ec2:DescribeNetworkInterfaces", "describe_network_interfaces", _PAGE),
        _Probe("ec2:DescribeAddresses", "describe_addresses", {}),
        _Probe("ec2:DescribeInstanceTypeOfferings", "describe_instance_type_offerings", _PAGE),
        _Probe("ec2:DescribeSpotPriceHistory", "describe_spot_price_history", _PAGE),
        _Probe("ec2:GetConsoleOutput", "get_console_output", {"InstanceId": _NOBODY}),
        _Probe("ec2:TerminateInstances", "terminate_instances", {"InstanceIds": [_NOBODY]}),
        _Probe(
            "servicequotas:GetServiceQuota", "get_service_quota",
            {"ServiceCode": "ec2", "QuotaCode": quotas.GPU_BUCKETS[0]},
        ),
    ]  # fmt: skip
    if place.vpc:
        params = {"GroupName": "byoc-check", "Description": "byoc check", "VpcId": place.vpc}
        probes.append(_Probe("ec2:CreateSecurityGroup", "create_security_group", params))
    if place.group:
        rule = {"GroupId": place.group, "IpPermissions": from_here}
        for action, operation in (
            ("ec2:AuthorizeSecurityGroupIngress", "authorize_security_group_ingress"),
            ("ec2:RevokeSecurityGroupIngress", "revoke_security_group_ingress"),
        ):
            probes.append(_Probe(action, operation, rule))
    if place.image:
        launch = {"ImageId": place.image, "InstanceType": SMALLEST, "MinCount": 1, "MaxCount": 1}
        probes.append(_Probe("ec2:RunInstances", "run_instances", launch))
        tagged = {**launch, "TagSpecifications": _TAG}
        probes.append(_Probe("ec2:CreateTags", "run_instances", tagged))
    return probes


def _failed(subject: str, error: ProviderError, level: str = "fail") -> Finding:
    remedy = " ".join(error.hints) or "Try again; the message is AWS's own."
    code = f"{error.vendor_code}: " if error.vendor_code else ""
    request = f" (request {error.request_id})" if error.request_id else ""
    return Finding(level, subject, f"{code}{error.message}{request}", remedy)


def _headers(error: ProviderError) -> Mapping[str, str]:
    """Of a refusal the headers of AWS's answer, which tell its clock."""
    response = getattr(error.__cause__, "response", None)
    if not isinstance(error, AccessError) or not isinstance(response, dict):
        return {}
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers if isinstance(headers, dict) else {}


def _self_end() -> Finding:
    return Finding(
        "ok", "self-end",
        "EC2 deletes an instance that shuts itself down, without credentials on it;"
        " one whose kernel hangs is ended by the next `byoc` command or by `byoc down`",
    )  # fmt: skip
