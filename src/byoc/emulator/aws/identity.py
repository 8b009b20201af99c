"""The account's two users: an administrator, and byoc's own with the policy that it prints."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...providers.aws.iam import printed
from ...providers.needs import EVERYTHING, Target
from ..scenario import Permit
from .policy import Asked, Policy

ADMINISTRATOR, BYOC = "administrator", "byoc"
"""Users, and the profiles of the configuration that are theirs."""


class Identity(NamedTuple):
    """A user with an access key. ``policy``: None for one who may do everything. ``without``:
    actions that it lacks all the same."""

    key: str
    secret: str
    arn: str
    policy: Policy | None = None
    without: Callable[[], Sequence[str]] = tuple

    def may(self, asked: Asked) -> bool:
        """Whether it is allowed what a request asks."""
        if asked.action in self.without():
            return False
        return self.policy is None or self.policy.allows(asked)


def administrator(account: str) -> Identity:
    """Whoever the account belongs to."""
    return _user(account, ADMINISTRATOR)


def byoc(account: str, permitted: Callable[[], Permit]) -> Identity:
    """The user that byoc acts as, allowed what ``byoc iam aws`` prints."""
    permit = permitted()
    text = permit.text or printed(EVERYTHING, Target()).text
    policy = Policy(text) if permit.enforced else None
    return _user(account, BYOC)._replace(policy=policy, without=lambda: permitted().without)


def _user(account: str, name: str) -> Identity:
    key = "AKIA" + secrets.token_hex(8).upper()
    return Identity(key, secrets.token_urlsafe(30), f"arn:aws:iam::{account}:user/{name}")
