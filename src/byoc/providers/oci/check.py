"""Whether OCI can be used now: one finding for each matter, each with its remedy.

OCI has no dry run. What may be read is tried; that instances may be launched is known when the
first one is.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

from ...clock import Clock
from ...errors import ProviderError
from ...tasks import side_by_side
from ..base import Finding
from ..findings import failed, skew
from . import iam, permissions
from .clients import Account, pages
from .codes import translated
from .survey import AT_ONCE, SERVICE

_failed = partial(failed, "OCI")
_HOME_HINT = "Identity resources are made in the home region: add --region if it is another one."


class Checker:
    """Asks for ``byoc check``."""

    def __init__(
        self, account: Account, clock: Clock, subnet: str = "", public: bool = True
    ) -> None:
        self._account = account
        self._clock = clock
        self._subnet = subnet
        self._public = public

    def run(self) -> list[Finding]:
        """Every finding; those that need credentials only when there are good ones."""
        found = self._credentials()
        if any(one.level == "fail" for one in found):
            return found
        questions = (self._permissions, self._network, self._quotas, self._self_end)
        asked = [partial(self._safely, question) for question in questions]
        return [*found, *(one for some in side_by_side(asked, AT_ONCE) for one in some)]

    def _safely(self, question: Callable[[], list[Finding]]) -> list[Finding]:
        try:
            return question()
        except ProviderError as error:
            return [_failed(question.__name__.strip("_").replace("_", "-"), error)]

    # --- who and when ------------------------------------------------------------------------

    def _credentials(self) -> list[Finding]:
        try:
            identity = self._account.identity
            client = self._account.client("identity")
            with translated():
                answer = client.list_region_subscriptions(identity.tenancy)
            regions = self._account.regions()
        except ProviderError as error:
            date = _date(error.__cause__)
            return [_failed("credentials", error), *skew("OCI", date, self._clock)]
        message = (
            f"tenancy {identity.tenancy} by {identity.kind}, subscribed to {', '.join(regions)}"
        )
        off = skew("OCI", str(answer.headers.get("date", "")), self._clock)
        return [Finding("ok", "credentials", message), *off]

    # --- what may be asked ---------------------------------------------------------------------

    def _permissions(self) -> list[Finding]:
        compartment, tenancy = self._account.compartment, self._account.tenancy
        compute, network = self._account.client("compute"), self._account.client("network")
        limits, identity = self._account.client("limits"), self._account.client("identity")
        volumes = self._account.client("volumes")
        tries: tuple[tuple[str, str, Callable[[], Any]], ...] = (
            ("instances", "fail", lambda: compute.list_instances(compartment, limit=1)),
            ("images", "fail", lambda: compute.list_images(compartment, limit=1)),
            ("networks", "fail", lambda: network.list_vcns(compartment_id=compartment, limit=1)),
            ("zones", "fail", lambda: identity.list_availability_domains(tenancy)),
            ("disks", "warn", lambda: volumes.list_boot_volumes(compartment_id=compartment)),
            ("limits", "warn", lambda: limits.list_limit_values(tenancy, SERVICE, limit=1)),
        )
        found = []
        for what, level, ask in tries:
            try:
                with translated():
                    ask()
            except ProviderError as error:
                found.append(_failed(f"permission to read {what}", error, level))
        if found:
            return found
        message = "instances, images, networks and limits can be read; OCI has no dry run of more"
        return [Finding("ok", "permissions", message)]

    def _network(self) -> list[Finding]:
        if not (self._subnet or self._public):
            message = "instances without a public address need a subnet that the jump host reaches"
            return [Finding("fail", "network", message, "Name one with BYOC_OCI_SUBNET.")]
        if not self._subnet:
            return [Finding("ok", "network", "made in each region at its first launch")]
        client = self._account.client("network")
        with translated():
            subnet = client.get_subnet(self._subnet).data
        if subnet.prohibit_public_ip_on_vnic and self._public:
            return [
                Finding(
                    "fail", "network", f"subnet {subnet.display_name} gives no public addresses",
                    "Name a public subnet with BYOC_OCI_SUBNET, or unset it.",
                )
            ]  # fmt: skip
        return [Finding("ok", "network", f"subnet {subnet.display_name}; its own rules apply")]

    def _quotas(self) -> list[Finding]:
        client = self._account.client("limits")
        values = pages(client.list_limit_values, self._account.tenancy, SERVICE)
        gpus = {str(one.name) for one in values if _counts_gpus(str(one.name)) and one.value}
        region = self._account.identity.region
        if gpus:
            return [Finding("ok", "limits", f"GPUs in {region}: {', '.join(sorted(gpus))}")]
        return [
            Finding(
                "warn", "limits", f"every limit of GPUs is 0 in {region}",
                "Ask for more under Limits, Quotas and Usage in the OCI console.",
            )
        ]  # fmt: skip

    # --- a machine that nobody reaches -----------------------------------------------------------

    def _self_end(self) -> list[Finding]:
        tenancy, compartment = self._account.tenancy, self._account.compartment
        identity = self._account.client("identity")
        try:
            groups = pages(identity.list_dynamic_groups, tenancy)
            policies = pages(identity.list_policies, tenancy)
            if compartment != tenancy:
                policies += pages(identity.list_policies, compartment)
        except ProviderError as error:
            message = f"whether machines may end themselves cannot be read: {error.message}"
            return [Finding("warn", "self-end", message, _commands(tenancy, compartment))]
        named = {str(one.name) for one in groups if compartment in str(one.matching_rule)}
        statements = [str(text) for one in policies for text in one.statements]
        if any(_lets_end(text, named) for text in statements):
            message = (
                f"machines of {', '.join(sorted(named))} may terminate themselves; what remains:"
                " one whose kernel hangs is paid until the next `byoc` command or `byoc reap` (OCI"
                " has no time limit for an instance)"
            )
            return [Finding("ok", "self-end", message)]
        message = (
            "a machine that no client reaches can only shut down, and OCI bills what has shut down:"
            " what remains: it is paid until the next `byoc` command or `byoc reap`, which cron or"
            " CI can run (docs/reap.md)"
        )
        return [Finding("warn", "self-end", message, _commands(tenancy, compartment))]


def _lets_end(statement: str, groups: set[str]) -> bool:
    text = statement.lower()
    may = "manage instance" in text or "instance_delete" in text
    return may and any(f"dynamic-group {name.lower()} " in text for name in groups)


def _commands(tenancy: str, compartment: str) -> str:
    """The two commands that let machines end themselves."""
    statements = ", ".join(f'"{text}"' for text in permissions.machine_policy(compartment))
    policy = shlex.join(iam.policy(tenancy, permissions.DYNAMIC_GROUP, f"[{statements}]"))
    group = shlex.join(iam.dynamic_group(compartment))
    return f"Run as an administrator: {group} && {policy}. {_HOME_HINT}"


def _counts_gpus(name: str) -> bool:
    return "gpu" in name and name.endswith("-count")


def _date(raised: BaseException | None) -> str:
    """OCI's own time in a refusal, from which a wrong clock is told."""
    headers = getattr(raised, "headers", None) or {}
    return str(headers.get("date", ""))
