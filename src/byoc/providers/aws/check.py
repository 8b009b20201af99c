"""`byoc check` on AWS: each matter is tried for real or as a dry run, which costs nothing."""

from __future__ import annotations

from functools import partial

from ...clock import Clock
from ...errors import AccessError, ProviderError
from ...resources import Offer
from ...tasks import side_by_side
from ..base import Finding
from ..findings import failed, skew
from . import codes, dryruns, quotas
from .clients import Clients, refused
from .images import Images
from .network import Networks

THREADS = 8
_failed = partial(failed, "AWS")
GPUS_ASKED = 8
"""vCPUs to ask for where a GPU quota is 0: two of the smallest GPU instances."""


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
        more = [
            partial(dryruns.findings, self._clients, place),
            partial(self._quotas, region),
            partial(self._spot_role, region),
        ]
        found = [finding for some in side_by_side(more, THREADS) for finding in some]
        return [*findings, *network, *found, _self_end()]

    # --- credentials and the clock ------------------------------------------------------------

    def _account(self) -> list[Finding]:
        try:
            self._clients.session()
            identity = self._clients.call("sts", self._clients.region(), "get_caller_identity")
        except ProviderError as error:
            return [_failed("credentials", error), *skew("AWS", _date(error), self._clock)]
        who = f"account {identity['Account']} as {identity['Arn']}"
        date = identity["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        return [Finding("ok", "credentials", who), *skew("AWS", date, self._clock)]

    # --- network and image --------------------------------------------------------------------

    def _network(self, region: str) -> tuple[dryruns.Place, list[Finding]]:
        findings, vpc, image = [], "", ""
        try:
            vpc, subnets = self._networks.subnets(region)
            findings.append(Finding("ok", "network", f"{region}: {', '.join(sorted(subnets))}"))
        except ProviderError as error:
            findings.append(_failed("network", error))
        for subject, gpus in (("image", 0), ("image for GPUs", 1)):
            try:
                kind = dryruns.SMALLEST
                offer = Offer("aws", region, "", kind, "on-demand", None, 1, 1, gpu_count=gpus)
                found, _ = self._images.find(offer)
                image = image or found.id
                findings.append(Finding("ok", subject, f"{found.id}, {found.size} GiB"))
            except ProviderError as error:
                findings.append(_failed(subject, error))
        return dryruns.Place(region, vpc, image), findings

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


def _date(error: ProviderError) -> str:
    """AWS's own time in a refusal, from which a wrong clock is told."""
    response = getattr(error.__cause__, "response", None)
    if not isinstance(error, AccessError) or not isinstance(response, dict):
        return ""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("date", "")) if isinstance(headers, dict) else ""


def _self_end() -> Finding:
    return Finding(
        "ok", "self-end",
        "EC2 deletes an instance that shuts itself down, spot ones too, without credentials on it;"
        " what remains: one whose kernel hangs is paid until the next `byoc` command or `byoc reap`"
        " (EC2 itself has no time limit for an instance)",
    )  # fmt: skip
