"""The network that instances are in, and the firewall rule that lets the client reach them.

One rule for each owner, found by its name: it opens the SSH port of instances with the owner's
network tag to the client's own networks, and no others. It goes with the owner's last instance.
Networks of IPv6 need a rule of their own: Google takes none of both kinds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import BadRequestError, TokenError, TransientError
from ..base import OWNER_TAG
from ..gates import change, families
from . import labels
from .clients import Google, of_operation

PREFIX = "byoc-ssh-"
MESH = "-mesh"
"""What the name of the rule for instances that reach each other ends with."""
SIX = "-6"
"""What the name of a rule for IPv6 networks ends with."""
SHUT = "-shut"
"""What the name of the rule ends with that keeps everybody else out."""
_SHUT: Mapping[str, Any] = {
    "denied": [{"I_p_protocol": "all"}],
    "source_ranges": ["0.0.0.0/0"],
    "priority": 65000,
}
"""The rules that every default network has from the beginning, among them one that opens SSH to
the world, have priority 65534: this one comes before them, and behind ours."""
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


def open_port(
    google: Google, owner: str, given: str, networks: Sequence[str], port: int
) -> tuple[str, bool]:
    """Make sure that ``networks`` (CIDRs), and nobody else, reach the owner's instances; returns
    their tag, and whether anything had to be changed."""
    tag = rule_name(owner)
    pages = google.pages("firewalls", "list", project=google.project, filter=f"name eq {tag}.*")
    known = {str(rule.name): rule for page in pages for rule in page.items}
    four, six = families(networks)
    open_to = {"allowed": [{"I_p_protocol": "tcp", "ports": [str(port)]}], "target_tags": [tag]}
    wanted: list[dict[str, Any]] = [
        {"name": tag + SHUT, **_SHUT, "target_tags": [tag]},
        {"name": tag, **open_to, "source_ranges": list(four)},
        {"name": tag + SIX, **open_to, "source_ranges": list(six)},
    ]
    asked = [
        _put(google, owner, given, known.get(rule["name"]), rule)
        for rule in wanted
        if rule["source_ranges"]
    ]
    operations = [one for one in asked if one is not None]
    for operation in operations:
        wait(google, operation)
    return tag, bool(operations)


def _put(google: Google, owner: str, given: str, known: Any, rule: dict[str, Any]) -> Any:
    """The operation that makes a rule as it should be, None when it is."""
    if known is not None:
        if not change(list(known.source_ranges), rule["source_ranges"]):
            return None
        return google.call(
            "firewalls", "patch_unary", project=google.project, firewall=rule["name"],
            firewall_resource={"name": rule["name"], "source_ranges": rule["source_ranges"]},
        )  # fmt: skip
    return _insert(google, owner, given, rule)


def _insert(google: Google, owner: str, given: str, rule: Mapping[str, Any]) -> Any:
    """The operation that makes a rule, None when another client of the owner was faster."""
    body = {
        "description": json.dumps({labels.MANAGED: "1", OWNER_TAG: owner}),
        "network": link(given),
        "direction": "INGRESS",
        **rule,
    }
    try:
        return google.call(
            "firewalls", "insert_unary", project=google.project, firewall_resource=body
        )
    except TokenError:
        return None


def open_mesh(google: Google, owner: str, given: str) -> None:
    """Make sure that the owner's instances reach each other on every port: by a rule of their own,
    whose source is their network tag."""
    tag = rule_name(owner)
    name = tag + MESH
    if google.find("firewalls", "get", project=google.project, firewall=name) is not None:
        return
    allowed = [{"I_p_protocol": "all"}]
    rule = {"name": name, "source_tags": [tag], "target_tags": [tag], "allowed": allowed}
    operation = _insert(google, owner, given, rule)
    if operation is not None:
        wait(google, operation)


def must_be_unused(google: Google, name: str) -> None:
    """A rule that lets somebody in may go at any time. The one that keeps everybody else out stays
    for as long as its owner has an instance, which the network's own rules would open to the world:
    raises TransientError."""
    if not name.endswith(SHUT):
        return
    rule = google.find("firewalls", "get", project=google.project, firewall=name)
    owner = tags_of(rule).get(OWNER_TAG, "") if rule is not None else ""
    if not owner:
        return
    found = google.everywhere("instances", "instances", labels.query({OWNER_TAG: owner}))
    if any(name.removesuffix(SHUT) in one.tags.items for _, one in found):  # labels are soon forged
        raise TransientError(
            f"the firewall rule {name} keeps instances of {owner} shut", provider="gcp",
            vendor_code="resourceInUseByAnotherResource", scope="request",
        )  # fmt: skip


def wait(google: Google, operation: Any) -> None:
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
