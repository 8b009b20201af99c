"""``byoc check`` for Google: each matter a finding, each fault with what to do about it."""

from __future__ import annotations

from collections.abc import Callable

from ...clock import Clock
from ...errors import ProviderError
from ..base import Finding
from ..findings import skew
from . import network, permissions, quotas
from .clients import API, PROJECTS, Google


def check(google: Google, clock: Clock, given_network: str, account: str) -> list[Finding]:
    """Every finding; the later ones are left out when nobody is logged in."""
    try:
        found = [
            Finding("ok", "sdk", "google-cloud-compute is installed"),
            Finding("ok", "credentials", f"{google.account()} in project {google.project}"),
        ]
    except ProviderError as error:
        return [_refused("credentials", error)]
    matters: dict[str, Callable[[], list[Finding]]] = {
        "api": lambda: _api(google, clock),
        "permissions": lambda: [_permissions(google, account)],
        "network": lambda: [_network(google, given_network)],
        "quota": lambda: [_quota(google)],
    }
    for subject, ask in matters.items():
        try:
            found += ask()
        except ProviderError as error:
            found.append(_refused(subject, error))
    return [*found, _self_end(account)]


def _refused(subject: str, error: ProviderError) -> Finding:
    return Finding("fail", subject, error.message, " ".join(error.hints) or "See docs/gcp.md.")


def _api(google: Google, clock: Clock) -> list[Finding]:
    """The API answers for this project, and its clock agrees with ours."""
    answer = google.http("GET", f"{google.endpoint or API}/compute/v1/projects/{google.project}")
    off = skew("Google", answer.headers.get("Date", ""), clock)
    return [Finding("ok", "api", "Compute Engine answers"), *off]


def _permissions(google: Google, account: str) -> Finding:
    wanted = permissions.role()
    url = f"{google.endpoint or PROJECTS}/v1/projects/{google.project}:testIamPermissions"
    allowed = google.http("POST", url, {"permissions": list(wanted)}).json().get("permissions", [])
    missing = sorted(set(wanted) - set(allowed))
    if missing:
        return Finding(
            "fail", "permissions", f"not allowed: {', '.join(missing)}",
            f"Run: byoc iam gcp --project {google.project} --user MEMBER | sh",
        )  # fmt: skip
    also = f"; it also needs {permissions.ACT_AS} on {account}" if account else ""
    return Finding("ok", "permissions", f"all {len(wanted)} are there{also}")


def _network(google: Google, given: str) -> Finding:
    path = network.link(given).split("/")
    project = path[path.index("projects") + 1] if "projects" in path else google.project
    if google.find("networks", "get", project=project, network=path[-1]) is None:
        return Finding(
            "fail", "network", f"the project has no network {path[-1]!r}",
            f"Run: gcloud compute networks create {path[-1]} --project={project}",
        )  # fmt: skip
    return Finding("ok", "network", f"instances are launched in {path[-1]!r}")


def _quota(google: Google) -> Finding:
    told = quotas.read("", google.call("projects", "get", project=google.project).quotas)
    limit = next((quota.limit for quota in told if quota.bucket == quotas.ALL_GPUS), None)
    if limit is None:
        return Finding("ok", "quota", f"{quotas.ALL_GPUS} was not told")
    if limit <= 0:
        return Finding(
            "warn", "quota", f"{quotas.ALL_GPUS} is 0: no GPU can be launched",
            "Ask for more: https://console.cloud.google.com/iam-admin/quotas",
        )  # fmt: skip
    return Finding("ok", "quota", f"{quotas.ALL_GPUS} is {limit:g}")


def _self_end(account: str) -> Finding:
    if account:
        message = (
            f"instances delete themselves as {account}; what remains: one whose kernel hangs is"
            " paid until the next `byoc` command, `byoc reap`, or the end of its lifetime, at which"
            " Google deletes it"
        )
        return Finding("ok", "self-end", message)
    return Finding(
        "warn", "self-end",
        "an instance that ends itself is stopped, not deleted; what remains: its disk is paid until"
        " the next `byoc` command or `byoc reap`; one that hangs is deleted by Google at the end of"
        " its lifetime at the latest",
        "Set gcp.service_account to an account that may delete instances: see docs/gcp.md.",
    )  # fmt: skip
