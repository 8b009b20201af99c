"""An instance as the API shows it, turned into ours; and why one is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...errors import AccessError, ProviderError
from ...resources import Offer
from ..base import TOKEN_TAG, Instance
from ..found import bare, offer
from ..gates import address_of
from ..table import Answer
from .clients import Account, answered, pages
from .codes import CLOUD, ENDED_EARLY, PREEMPTED, of
from .shapes import type_of

USER = "root"
_STATES: Mapping[str, tuple[str, str]] = {
    "PROVISIONING": ("pending", "it is being provisioned"),
    "STARTING": ("pending", "it is starting"),
    "MOVING": ("pending", "it is being moved"),
    "CREATING_IMAGE": ("running", "an image is being made of it"),
    "RUNNING": ("running", ""),
    "STOPPING": ("running", "it is stopping, and is billed until it is terminated"),
    "STOPPED": ("running", "it has stopped, and is billed until it is terminated"),
    "TERMINATING": ("ending", "it is being terminated"),
    "TERMINATED": ("gone", "it was terminated"),
}
"""What has stopped counts as running: most shapes are billed as before, and it is still to be
terminated."""
ADDRESSED = frozenset({"RUNNING", "CREATING_IMAGE"})
"""States in which an instance has an address; before them nothing answers there."""


class Met(NamedTuple):
    """Where an instance is met by the client, and where by others of its network."""

    address: str = ""
    inside: str = ""


NOWHERE = Met()


def instance(raw: Any, region: str, met: Met = NOWHERE, port: int = 22) -> Instance:
    """Ours from the API's."""
    address = met.address
    state, detail = _STATES.get(raw.lifecycle_state, ("pending", f"it is {raw.lifecycle_state}"))
    if state in {"pending", "running"} and not address and not detail:
        detail = "it has no address yet"
    return Instance(
        provider=CLOUD,
        id=raw.id,
        state=state,
        offer=offer(_told(raw, region), raw.freeform_tags or {}),
        tags=dict(raw.freeform_tags or {}),
        address=address,
        port=port if address else 0,
        user=USER,
        started=raw.time_created.timestamp() if raw.time_created else 0.0,
        detail=detail,
        origin=str((raw.metadata or {}).get(TOKEN_TAG, "")),
        inside=met.inside,
    )


def _told(raw: Any, region: str) -> Offer:
    config = raw.shape_config
    ocpus = config.ocpus if config else None
    memory = config.memory_in_gbs if config else None
    market = "spot" if raw.preemptible_instance_config else "on-demand"
    name = type_of(str(raw.shape), ocpus, memory)
    found = bare(CLOUD, region, str(raw.availability_domain), name, market)
    return found._replace(cpus=ocpus or 0.0, memory=int((memory or 0) * 1024))


def ended(account: Account, raw: Any, region: str) -> Instance:
    """A terminated instance with the reason for which it is gone, as far as OCI tells it."""
    found = instance(raw, region)
    try:
        failure = _failure(account, raw, region)
    except AccessError as error:
        return found._replace(detail=f"it has ended; why may not be read: {error.message}")
    if failure is None:
        return found
    return found._replace(failure=failure, detail=failure.message)


def _failure(account: Account, raw: Any, region: str) -> ProviderError | None:
    """Why it was not made or was taken away; None when somebody terminated it.

    A launch may be accepted and fail later: only its work request says so.
    """
    client = account.client("work", region)
    requests = pages(client.list_work_requests, raw.compartment_id, resource_id=raw.id)
    for one in requests:
        if one.status == "FAILED" and "launch" in str(one.operation_type).lower():
            return _of_work_request(client, one)
    done = {str(one.operation_type).lower() for one in requests if one.status != "FAILED"}
    if any("terminate" in name for name in done):
        return None
    if raw.preemptible_instance_config:
        return of(Answer(PREEMPTED, "OCI has reclaimed the preemptible instance"))
    unfinished = [one for one in requests if one.status in {"ACCEPTED", "IN_PROGRESS"}]
    if unfinished:
        return of(Answer(ENDED_EARLY, "OCI terminated the instance before it ran"))
    return None


def _of_work_request(client: Any, one: Any) -> ProviderError:
    errors = pages(client.list_work_request_errors, one.id)
    if not errors:
        return of(Answer(ENDED_EARLY, "OCI could not make the instance, and gives no reason"))
    first = errors[0]
    return of(Answer(str(first.code or ""), str(first.message or ""), 0, str(one.id)))


def addresses(account: Account, region: str, instance_id: str = "") -> dict[str, Met]:
    """Where they are met, by instance, of one or of all of a region. One that has no network card
    yet is left out: it comes seconds after the instance."""
    compute, network = account.client("compute", region), account.client("network", region)
    asked = {"instance_id": instance_id} if instance_id else {}
    found: dict[str, Met] = {}
    for one in pages(compute.list_vnic_attachments, account.compartment, **asked):
        if one.lifecycle_state != "ATTACHED" or not one.vnic_id or one.instance_id in found:
            continue
        met = _met_at(network, one.vnic_id)
        if met.address:
            found[one.instance_id] = met
    return found


def _met_at(network: Any, card: str) -> Met:
    answer = answered(lambda: network.get_vnic(card))
    if answer is None:
        return NOWHERE  # its instance has just ended
    found = answer.data
    inside = str(found.private_ip or "")
    return Met(address_of(str(found.public_ip or ""), inside, found.freeform_tags or {}), inside)
