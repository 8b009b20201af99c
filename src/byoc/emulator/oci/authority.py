"""Who may do what in the tenancy: the administrator everything, byoc's user what its policy says,
a machine what the policy for machines says."""

from __future__ import annotations

from collections.abc import Callable

from ...providers.needs import EVERYTHING, Target
from ...providers.oci.iam import printed
from ...providers.oci.permissions import MACHINE_OPERATIONS, OPERATIONS
from ..scenario import Permit
from .account import Account
from .calls import Call
from .policy import Policy
from .refusals import not_found


class Authority:
    """``permitted``: what byoc's user may do."""

    def __init__(self, account: Account, permitted: Callable[[], Permit]) -> None:
        self._account = account
        self._permitted = permitted
        target = Target(where=account.tenancy, tenancy=account.tenancy)
        own = printed(EVERYTHING, target).text
        self._users = Policy(permitted().text or own)
        self._machines = Policy(own)

    def check(self, key_id: str, machine: str, call: Call) -> None:
        """Raise OCI's refusal, which does not tell what is forbidden from what is not there.

        ``machine``: the instance that the request is signed by, if it is one.
        """
        if machine:
            allowed = self._of_machine(machine, call)
        else:
            allowed = key_id != self._account.own_key_id or self._of_user(call.operation.name)
        if not allowed:
            raise not_found()

    def _of_user(self, operation: str) -> bool:
        grants = OPERATIONS.get(operation)
        if not {operation, *(grants or ())}.isdisjoint(self._permitted().without):
            return False
        if not self._permitted().enforced:
            return True
        return grants is not None and all(self._users.allows(one) for one in grants)

    def _of_machine(self, machine: str, call: Call) -> bool:
        needed = MACHINE_OPERATIONS.get(call.operation.name)
        facts = {
            "request.instance.id": machine,
            "target.instance.id": call.path.get("instanceId", ""),
        }
        return needed is not None and all(
            self._machines.lets_machine({**facts, "request.permission": one}) for one in needed
        )
