"""The least policy for OCI as ``byoc iam oci`` prints it: a script for Oracle's command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from ..needs import Needs, Printed, Target
from . import permissions

GROUP = "byoc"
NAME = "byoc"
_NOTES = (
    "OCI cannot bind a policy to freeform tags, which are all that byoc puts on things.",
    "Give byoc a compartment of its own: nothing outside it can be touched then.",
    "Regions and shapes are not bound: OCI's conditions know them for some requests only.",
    "Identity resources are made in the home region: add --region if it is another one.",
)


def printed(needs: Needs, target: Target) -> Printed:
    """``target.who``: the group of byoc's user; ``target.where``: the compartment's OCID;
    ``target.tenancy``: the tenancy's."""
    tenancy, compartment = target.tenancy or "TENANCY", target.where or "COMPARTMENT"
    group = target.who or GROUP
    wanted = permissions.statements(needs)
    own = [one.text(group, f"id {compartment}") for one in wanted]
    machines = permissions.machine_policy(compartment)
    name = permissions.DYNAMIC_GROUP
    reasons = [f"#   {one.verb} {one.resource}: {one.why}" for one in wanted]
    text = "\n".join(
        (
            "# For the user that byoc acts as:",
            *reasons,
            _policy(tenancy, NAME, own),
            "# For machines: each may terminate itself, and no other one.",
            shlex.join(dynamic_group(compartment)),
            _policy(tenancy, name, machines),
        )
    )
    return Printed(
        text=text,
        commands=(),
        why={f"{one.verb} {one.resource}": one.why for one in wanted},
        notes=("Pipe it to sh to apply it.", *_NOTES),
        document={
            "statements": own,
            "dynamic_group": {"name": name, "rule": permissions.matching_rule(compartment)},
            "machine_statements": list(machines),
        },
    )


def dynamic_group(compartment: str) -> tuple[str, ...]:
    """The command that makes the machines' dynamic group."""
    return (
        "oci", "iam", "dynamic-group", "create", "--name", permissions.DYNAMIC_GROUP,
        "--description", "byoc", "--matching-rule", permissions.matching_rule(compartment),
    )  # fmt: skip


def policy(tenancy: str, name: str, statements: str) -> tuple[str, ...]:
    """The command that makes a policy. ``statements``: a list as JSON, or a file's address."""
    return (
        "oci", "iam", "policy", "create", "--compartment-id", tenancy, "--name", name,
        "--description", "byoc", "--statements", statements,
    )  # fmt: skip


def _policy(tenancy: str, name: str, statements: Sequence[str]) -> str:
    make = shlex.join(policy(tenancy, name, "file:///dev/stdin"))
    return f"{make} <<'EOF'\n{json.dumps(list(statements), indent=1)}\nEOF\n"
