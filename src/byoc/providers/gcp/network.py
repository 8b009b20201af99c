"""The network that instances are in, and the firewall rule that lets the client reach them.

One rule for each owner, found by its name and kept for the next launch. It opens the SSH port of
instances with the owner's network tag, to the client's own networks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import BadRequestError, TokenError
from ..base import OWNER_TAG
from . import labels
from .clients import Google, of_operation

PREFIX = "byoc-ssh-"
MOST_NETWORKS = 8
"""Of a rule, newest last: a laptop that moves about leaves no more of its past addresses."""
_DONE = "DONE"


def rule_name(owner: str) -> str:
    """The rule's name, which is the instances' network tag as well."""
    return PREFIX + hashlib.sha256(owner.encode()).hexdigest()[:16]


def link(given: str) -> str:
    """The network of the setting ``gcp.network``: its name, or a path from ``projects/`` on."""
    return given if "/" in given else f"global/networks/{given or 'default'}"


def subnet(google: Google, given: str, region: str) -> str:
    """The subnetwork to name in a launch: empty for networks that choose it by themselves."""
    if not given or given == "default":
        return ""
    parts = link(given).split("/")
    project = parts[parts.index("projects") + 1] if "projects" in parts else google.project
    network = google.call("networks", "get", project=project, network=parts[-1])
    if network.auto_create_subnetworks:
        return ""
    prefix = f"/regions/{region}/subnetworks/"
    found = next((str(path) for path in network.subnetworks if prefix in path), "")
    if not found:
        raise BadRequestError(
            f"the network {given} has no subnetwork in {region}", provider="gcp",
            vendor_code="SUBNET_NOT_FOUND_FOR_VPC", scope="region", remember=3600.0,
            hints=("Add one to it, or choose another network with gcp.network.",),
        )  # fmt: skip
    return found


def open_port(google: Google, owner: str, given: str, networks: Sequence[str], port: int) -> str:
    """Make sure that ``networks`` (CIDRs) reach the owner's instances; returns their tag."""
    name = rule_name(owner)
    rule = google.find("firewalls", "get", project=google.project, firewall=name)
    if rule is None:
        _insert(google, name, owner, link(given), networks, port)
        return name
    known = list(rule.source_ranges)
    missing = [cidr for cidr in networks if cidr not in known]
    if missing:
        kept = known[max(0, len(known) + len(missing) - MOST_NETWORKS) :]
        ranges = [*kept, *missing]
        _wait(google, google.call(
            "firewalls", "patch_unary", project=google.project, firewall=name,
            firewall_resource={"name": name, "source_ranges": ranges},
        ))  # fmt: skip
    return name


def _insert(
    google: Google, name: str, owner: str, network: str, networks: Sequence[str], port: int
) -> None:
    body = {
        "name": name,
        "description": json.dumps({labels.MANAGED: "1", OWNER_TAG: owner}),
        "network": network,
        "direction": "INGRESS",
        "source_ranges": list(networks),
        "target_tags": [name],
        "allowed": [{"I_p_protocol": "tcp", "ports": [str(port)]}],
    }
    try:
        operation = google.call(
            "firewalls", "insert_unary", project=google.project, firewall_resource=body
        )
    except TokenError:  # another client of the same owner was faster
        return
    _wait(google, operation)


def _wait(google: Google, operation: Any) -> None:
    """Until a global operation is done: a machine may boot within the time that a rule takes."""
    while operation.status.name != _DONE:
        operation = google.call(
            "global_operations", "wait", project=google.project, operation=operation.name
        )
    refused = of_operation(operation)
    if refused is not None:
        raise refused


def tags_of(rule: Any) -> Mapping[str, str]:
    """The tags that a rule's description holds; none for rules that byoc did not make."""
    try:
        found = json.loads(rule.description)
    except ValueError:
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
