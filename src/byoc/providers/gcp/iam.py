"""The least roles for Google Cloud as ``byoc iam gcp`` prints them: a script for gcloud."""

from __future__ import annotations

import shlex

from ..needs import Needs, Printed, Target
from . import permissions
from .permissions import Role

_EMAIL = "serviceAccount:{account}"
_USE = "roles/iam.serviceAccountUser"


def printed(needs: Needs, target: Target) -> Printed:
    """``target.who``: the member that byoc acts as; ``target.where``: the project."""
    project, member = target.where or "PROJECT", target.who or "user:YOU@example.com"
    bound = [(one, member) for one in permissions.roles(needs)]
    if needs.account:
        bound.append((permissions.machine_role(), _EMAIL.format(account=needs.account)))
    parts = [_script(one, project, whom) for one, whom in bound]
    if needs.account:
        parts.append(_act_as(needs.account, project, member))
    return Printed(
        text="\n".join(parts),
        commands=(),
        why={one.name: one.why for one, _ in bound},
        notes=(
            "Pipe it to sh to apply it; a role that exists: `gcloud iam roles update` instead.",
            "Lists, networks, subnetworks and addresses cannot be bound to a name by IAM.",
        ),
        document={
            "project": project,
            "roles": [{**one._asdict(), "member": whom} for one, whom in bound],
        },
    )


def _script(role: Role, project: str, member: str) -> str:
    lines = "\n".join(f"- {one}" for one in role.permissions)
    yaml = f"title: {role.name}\nstage: GA\nincludedPermissions:\n{lines}"
    create = ("gcloud", "iam", "roles", "create", role.name, "--project", project)
    bind = (
        "gcloud", "projects", "add-iam-policy-binding", project,
        "--member", member, "--role", f"projects/{project}/roles/{role.name}",
        "--condition", _conditioned(role),
    )  # fmt: skip
    return (
        f"# {role.name}: {role.why}\n"
        f"{shlex.join(create)} --file /dev/stdin <<'EOF'\n{yaml}\nEOF\n"
        f"{shlex.join(bind)}\n"
    )


def _conditioned(role: Role) -> str:
    """gcloud's own form; its values may hold no comma, and ours do not."""
    return f"title=own,expression={role.condition}" if role.condition else "None"


def _act_as(account: str, project: str, member: str) -> str:
    use = (
        "gcloud", "iam", "service-accounts", "add-iam-policy-binding", account,
        "--project", project, "--member", member, "--role", _USE,
    )  # fmt: skip
    return f"# To launch instances that act as this account, and no other.\n{shlex.join(use)}\n"
