"""Google's resources as byoc's instances, and what became of one that is no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...errors import CapacityError, ProviderError
from ..base import TOKEN_TAG, Instance
from ..found import bare, offer
from ..gates import address_of
from . import body, labels
from .clients import Google, absent, of_operation
from .codes import BRIEF

STATES: Mapping[str, tuple[str, str]] = {
    "PENDING": ("pending", "it waits for capacity"),
    "PROVISIONING": ("pending", "the insert operation is running"),
    "STAGING": ("pending", "its disk is being prepared"),
    "RUNNING": ("running", ""),
    "REPAIRING": ("running", "its host is being repaired"),
    "PENDING_STOP": ("ending", "it is shutting down"),
    "STOPPING": ("ending", "it is shutting down"),
    "SUSPENDING": ("ending", "it is being suspended"),
    "DEPROVISIONING": ("ending", "it is being deleted"),
    "STOPPED": ("ending", "it is off and its disk is still paid"),
    "TERMINATED": ("ending", "it is off and its disk is still paid"),
    "SUSPENDED": ("ending", "it is suspended and its disk is still paid"),
}
"""Status -> (state, detail). A machine that is off is ``ending``: it has to be deleted."""
PREEMPTED = "compute.instances.preempted"
_ID = re.compile(r"([a-z][-a-z0-9]*)/(?:(disk|address|firewall)/)?([a-z][-a-z0-9]*)")
UNSEEN = 60.0
"""Seconds after an insert for which reads may not show the instance yet."""


def parts(instance_id: str) -> tuple[str, str, str]:
    """(place, kind, name) of an id: ``us-central1-a/byoc-1``, ``global/firewall/NAME``. The kind
    of what is no id of ours is empty."""
    match = _ID.fullmatch(instance_id)
    return (match[1], match[2] or "instance", match[3]) if match else ("", "", "")


def region_of(zone: str) -> str:
    """``us-central1-a`` -> ``us-central1``."""
    return zone.rpartition("-")[0]


def of_instance(zone: str, raw: Any, port: int) -> Instance:
    """A machine as ``instances.get`` tells it."""
    tags = labels.decode(raw.labels)
    card = next(iter(raw.guest_accelerators), None)
    machine = raw.machine_type.rpartition("/")[2]
    kind = body.Kind(machine)
    if card is not None and machine.startswith("n1-"):  # other families' GPUs are in their names
        name = card.accelerator_type.rpartition("/")[2]
        kind = body.Kind(machine, name, card.accelerator_count)
    spot = raw.scheduling.provisioning_model == "SPOT" or raw.scheduling.preemptible
    market = "spot" if spot else "on-demand"
    state, detail = STATES.get(raw.status, ("pending", f"its status is {raw.status}"))
    interface = next(iter(raw.network_interfaces), None)
    configs = list(interface.access_configs) if interface is not None else []
    inside = interface.network_i_p if interface is not None else ""
    address = address_of(configs[0].nat_i_p if configs else "", inside, tags)
    if state == "running" and not address:
        detail = "no address yet"
    return Instance(
        "gcp", f"{zone}/{raw.name}", state,
        offer(bare("gcp", region_of(zone), zone, str(kind), market), tags), tags,
        address=address, port=port if address else 0, user="root",
        started=when(raw.last_start_timestamp or raw.creation_timestamp),
        detail=raw.status_message or detail, origin=origin_of(raw.name, tags),
        inside=inside,
    )  # fmt: skip


def origin_of(name: str, tags: Mapping[str, str]) -> str:
    """The launch's token. An instance's name is made of the first 20 characters of it and cannot be
    changed: a label that it does not bear out was put on by hand, and only the name's part counts.
    """
    token = tags.get(TOKEN_TAG, "")
    if token and name == body.name(token):
        return token
    return name.removeprefix(body.PREFIX) if name.startswith(body.PREFIX) else ""


def of_rest(place: str, kind: str, raw: Any, tags: Mapping[str, str]) -> Instance:
    """A disk, an address or a firewall rule that is left over."""
    region, zone = (region_of(place), place) if kind == "disk" else (place, "")
    return Instance(
        "gcp", f"{place}/{kind}/{raw.name}", "running",
        bare("gcp", region, zone, kind), tags, kind=kind, started=when(raw.creation_timestamp),
    )  # fmt: skip


def when(text: str) -> float:
    """An RFC 3339 time as seconds since the epoch; 0 for an empty one."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def fate(google: Google, zone: str, name: str, now: float) -> Instance:
    """What became of an instance that reads do not show, by the operations on it.

    An insert that is under way, or was done a moment ago, may not show its instance yet.
    """
    unknown = bare("gcp", region_of(zone), zone, "", "")
    gone = Instance("gcp", f"{zone}/{name}", "gone", unknown, {})
    operations = history(google, zone, name)
    inserted = next((o for o in operations if o.operation_type == "insert"), None)
    if inserted is None:
        return gone
    refused = of_operation(inserted)
    if refused is not None:
        return gone._replace(detail=refused.message, failure=refused)
    if inserted.status.name != "DONE":
        return gone._replace(state="pending", detail="the insert operation is running")
    last = operations[-1]
    if last is inserted and now - when(inserted.end_time) < UNSEEN:
        return gone._replace(state="pending", detail="it is made, but not shown yet")
    taken = preemption(operations)
    if taken is not None:
        return gone._replace(detail=taken.message, failure=taken)
    return gone._replace(detail=last.status_message or f"ended by {last.operation_type}")


def history(google: Google, zone: str, name: str) -> list[Any]:
    """The operations on an instance, oldest first."""
    wanted = f'targetLink eq ".*/instances/{name}"'
    try:
        pages = google.pages(
            "zone_operations", "list", project=google.project, zone=zone, filter=wanted
        )
    except ProviderError as error:
        if absent(error):
            return []
        raise
    found = [operation for page in pages for operation in page.items]
    return sorted(found, key=lambda operation: when(operation.insert_time))


def preemption(operations: list[Any]) -> ProviderError | None:
    """The error of an instance that Google took back; None when it did not."""
    taken = next((o for o in operations if o.operation_type == PREEMPTED), None)
    if taken is None:
        return None
    return CapacityError(
        "Google took the spot instance back", provider="gcp", vendor_code=PREEMPTED,
        request_id=taken.name, scope="offer", remember=BRIEF,
    )  # fmt: skip
