"""What a request needs to be allowed, as Compute Engine's reference has it, and by whom it is.

Methods that byoc uses are in the adapter's own table; what others need is told here, so that an
administrator's tools are answered and byoc's identity is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...providers.gcp.iam import printed
from ...providers.gcp.permissions import ACT_AS, KINDS, NEEDED
from ...providers.needs import Needs, Target
from ..scenario import Permit
from .calls import Call
from .policy import PROJECT, Policy, Thing
from .project import DENIED
from .refusals import Refusal

_LISTS = ("list", "aggregatedList")
_VERBS = {"insert": "create", "patch": "update", "aggregatedList": "list"}


class Authority:
    """``project``; ``owner``: the administrator's e-mail address, who may do everything; ``byoc``:
    that of byoc's own identity."""

    def __init__(
        self, project: str, owner: str, byoc: str, permitted: Callable[[], Permit]
    ) -> None:
        self._project = project
        self._owner = owner
        self._byoc = byoc
        self._permitted = permitted
        self._policies: dict[str, Policy] = {}

    def check(self, call: Call) -> None:
        """Raise Google's refusal of the first permission that the caller lacks."""
        for permission, thing in self._asked(call):
            if not self.may(call.user, permission, thing):
                words = f"Required '{permission}' permission for '{thing.name}'"
                raise Refusal(403, "forbidden", words)

    def tested(self, call: Call) -> dict[str, Any]:
        """Which of some permissions the caller has in the project: testIamPermissions."""
        denied = call.fault.message.split() if call.fault and call.fault.error == DENIED else []
        allowed = [
            one
            for one in call.body.get("permissions") or []
            if one not in denied and self.may(call.user, one)
        ]
        return {"permissions": allowed} if allowed else {}

    def may(self, user: str, permission: str, thing: Thing | None = None) -> bool:
        """Whether somebody has a permission on a thing, the project itself when none is named."""
        if user == self._owner:
            return True
        own = user == self._byoc
        if own and permission in self._permitted().without:
            return False
        if own and not self._permitted().enforced:
            return True
        thing = thing or Thing(PROJECT, f"projects/{self._project}")
        # Whoever launches instances that act as an account has had the script printed for it.
        account = thing.name if permission == ACT_AS else "" if own else user
        # A file's policy names byoc as its user does.
        member = "" if own and self._permitted().text else f"serviceAccount:{user}"
        return self._policy(account).allows(member, permission, thing)

    def _policy(self, account: str) -> Policy:
        if account not in self._policies:
            target = Target(f"serviceAccount:{self._byoc}", self._project)
            text = self._permitted().text or printed(Needs(account=account), target).text
            self._policies[account] = Policy(text)
        return self._policies[account]

    def _asked(self, call: Call) -> Iterator[tuple[str, Thing]]:
        method = call.method.id
        for permission in NEEDED.get(method, (_usual(method),)):
            if permission:
                yield permission, self._thing(permission, call)
        if method == "compute.instances.insert":
            for account in (call.body or {}).get("serviceAccounts") or ():
                yield ACT_AS, Thing("iam.googleapis.com/ServiceAccount", account["email"])

    def _thing(self, permission: str, call: Call) -> Thing:
        """The named thing that a permission is about; of all others their project."""
        word = permission.removeprefix("compute.").partition(".")[0]
        where = f"projects/{self._project}"
        if word not in KINDS or call.method.id.rpartition(".")[2] in _LISTS:
            return Thing(PROJECT, where)
        body = call.body if isinstance(call.body, dict) else {}
        singular = word.removesuffix("s")
        # An instance's boot disk has the instance's name.
        named = call.path.get(singular) or call.path.get("instance") or body.get("name", "")
        zone = call.path.get("zone")
        place = f"zones/{zone}" if zone else "global"
        return Thing(f"compute.googleapis.com/{KINDS[word]}", f"{where}/{place}/{word}/{named}")


def _usual(method: str) -> str:
    """``compute.disks.insert`` needs ``compute.disks.create``; most are called as they are."""
    head, _, verb = method.rpartition(".")
    return f"{head}.{_VERBS.get(verb, verb)}"
