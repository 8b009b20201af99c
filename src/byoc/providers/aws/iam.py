"""The least policy for AWS as ``byoc iam aws`` prints it."""

from __future__ import annotations

import json
import shlex

from ..needs import Needs, Printed, Target
from .codes import SPOT_ROLE
from .permissions import policy, statements

NAME = "byoc"
"""Of the policy."""
FILE = "policy.json"
LARGEST = 6144
"""Characters of a managed policy, blanks not counted; a user's inline policies may have 2,048."""


def printed(needs: Needs, target: Target) -> Printed:
    """``target.who``: the IAM user that byoc acts as."""
    document = policy(needs)
    make = (
        "aws", "iam", "create-policy", "--policy-name", NAME,
        "--policy-document", f"file://{FILE}", "--query", "Policy.Arn", "--output", "text",
    )  # fmt: skip
    attach = ("aws", "iam", "attach-user-policy", "--user-name", target.who or "USER")
    return Printed(
        text=json.dumps(document, indent=2) + "\n",
        commands=(f'{shlex.join(attach)} --policy-arn "$({shlex.join(make)})"',),
        why={one.sid: one.why for one in statements(needs)},
        notes=(
            f"The command reads the policy from {FILE}; for a role it is attach-role-policy.",
            f"The first spot instance of an account needs a role, made once by: {SPOT_ROLE}",
        ),
        document=document,
    )
