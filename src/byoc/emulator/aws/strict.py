"""Where moto's EC2 is put right, once for the process: it asks the account that a call is about.

moto keeps its state by account number and knows nothing of our worlds, so each account says here
that it exists; calls about any other account behave as moto's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from moto import settings
from moto.ec2 import utils as ec2_utils
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.instances import Instance
from moto.ec2.responses._base_response import EC2BaseResponse

Run = Callable[..., Any]


class Rules(Protocol):
    """What an account does instead of moto."""

    def run(self, backend: Any, run: Run, image: str, count: int, rest: Any, more: Any) -> Any:
        """RunInstances; ``run`` is moto's own."""

    def ended(self, instance: Any) -> Any:
        """TerminateInstances of one; the state it was in."""

    def visible(self, instance: Any) -> bool:
        """Whether a list shows an instance yet. Brings it up to date."""

    def held(self, group: str) -> bool:
        """Whether a security group is still in use."""


_RULES: dict[str, Rules] = {}
_LOCK = threading.Lock()
_DONE: list[bool] = []


def add(account: str, rules: Rules) -> None:
    """An account exists from now on."""
    with _LOCK:
        if not _DONE:
            _install()
            _DONE.append(True)
        _RULES[account] = rules


def remove(account: str) -> None:
    """It exists no more, and nothing of it is kept."""
    with _LOCK:
        _RULES.pop(account, None)
        if account in ec2_backends:
            del ec2_backends[account]


def _install() -> None:
    settings.ENABLE_AMI_VALIDATION = True
    settings.EC2_ENABLE_INSTANCE_TYPE_VALIDATION = True
    # The answer says what the instance is, not always the same.
    EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER.pop(
        "RunInstances.Reservation.Instances.Instance.State", None
    )
    filters = ec2_utils.filter_dict_attribute_mapping
    filters.update({"client-token": "client_token", "instance-lifecycle": "lifecycle"})
    _launching()
    _ending()
    _listing()
    _groups()


def _put(owner: type, method: Callable[..., Any]) -> None:
    setattr(owner, method.__name__, method)


def _launching() -> None:
    own = EC2Backend.run_instances

    def run_instances(
        self: Any, image: str, count: int, user_data: Any, groups: Any, **more: Any
    ) -> Any:
        rules = _RULES.get(self.account_id)
        if rules is None:
            return own(self, image, count, user_data, groups, **more)
        return rules.run(self, own, image, count, (user_data, groups), more)

    _put(EC2Backend, run_instances)


def _ending() -> None:
    own = Instance.terminate

    def terminate(self: Any) -> Any:
        rules = _RULES.get(self.ec2_backend.account_id)
        return own(self) if rules is None else rules.ended(self)

    _put(Instance, terminate)


def _listing() -> None:
    own = EC2Backend.all_reservations

    def all_reservations(self: Any, filters: Any = None) -> Any:
        rules = _RULES.get(self.account_id)
        found = own(self)
        if rules is not None:
            for reservation in found:  # copies: their lists may be changed
                reservation.instances = [i for i in reservation.instances if rules.visible(i)]
            found = [reservation for reservation in found if reservation.instances]
        return found if filters is None else ec2_utils.filter_reservations(found, filters)

    _put(EC2Backend, all_reservations)


def _groups() -> None:
    own = EC2Backend.delete_security_group

    def delete_security_group(self: Any, name: Any = None, group_id: Any = None) -> Any:
        rules = _RULES.get(self.account_id)
        if rules is not None and rules.held(group_id):
            raise InUseError(group_id)
        return own(self, name, group_id)

    _put(EC2Backend, delete_security_group)


class InUseError(EC2ClientError):
    """A security group that an instance holds."""

    def __init__(self, group: str) -> None:
        super().__init__("DependencyViolation", f"resource {group} has a dependent object")
