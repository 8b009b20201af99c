"""The account's resources: what exists, by OCID."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .places import code_of
from .refusals import not_found
from .schema import Schema

KINDS: Mapping[str, str] = {
    "Instance": "instance",
    "Image": "image",
    "Vnic": "vnic",
    "VnicAttachment": "vnicattachment",
    "BootVolume": "bootvolume",
    "ConsoleHistory": "consolehistory",
    "Vcn": "vcn",
    "Subnet": "subnet",
    "InternetGateway": "internetgateway",
    "RouteTable": "routetable",
    "SecurityList": "securitylist",
    "NetworkSecurityGroup": "networksecuritygroup",
    "DynamicGroup": "dynamicgroup",
    "Policy": "policy",
    "WorkRequest": "coreservicesworkrequest",
}
"""A model's name -> the word in its OCIDs."""

ENDED = frozenset({"TERMINATED", "DELETED"})


class Resource:
    """One thing. ``body``: as the API shows it; ``notes``: what only the emulator knows."""

    def __init__(self, model: str, region: str, body: dict[str, Any]) -> None:
        self.model = model
        self.region = region
        self.body = body
        self.notes: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """Its OCID."""
        return str(self.body["id"])

    @property
    def state(self) -> str:
        """Its lifecycle state."""
        return str(self.body.get("lifecycleState", ""))

    @state.setter
    def state(self, value: str) -> None:
        self.body["lifecycleState"] = value

    @property
    def etag(self) -> str:
        """What stands for this state of it: another one after every change."""
        return etag(self.body)

    @property
    def ended(self) -> bool:
        """Whether it only remains to be shown for a while."""
        return self.state in ENDED


class Store:
    """All resources. Hold :attr:`lock` around whatever must happen together."""

    def __init__(self, schema: Schema, now: Callable[[], float]) -> None:
        self.lock = threading.RLock()
        self.schema = schema
        self._now = now
        self._all: dict[str, Resource] = {}

    def now(self) -> str:
        """The time as the API writes it."""
        return stamp(self._now())

    def add(self, model: str, region: str, body: Mapping[str, Any], **more: Any) -> Resource:
        """A new resource; of ``body`` what its model knows, with id, time, name and tags."""
        word = KINDS[model]
        fields = self.schema.fields(_PACKAGES.get(model, "core"), model)
        made = {
            "displayName": f"{word}{self.now()[:16]}",
            "freeformTags": {},
            "definedTags": {},
            **{name: value for name, value in body.items() if value is not None},
            "id": ocid(word, region),
            "timeCreated": self.now(),
            "lifecycleState": "AVAILABLE",
            **more,
        }
        resource = Resource(
            model, region, {name: value for name, value in made.items() if name in fields}
        )
        with self.lock:
            self._all[resource.id] = resource
        return resource

    def get(self, id: str, model: str) -> Resource:
        """The resource; raises Refusal (404) when there is none of that kind."""
        with self.lock:
            found = self._all.get(id)
        if found is None or found.model != model:
            raise not_found(f"{model} {id}")
        return found

    def every(self, model: str, region: str = "") -> list[Resource]:
        """All of a kind, newest first."""
        with self.lock:
            found = [one for one in self._all.values() if one.model == model]
        found = [one for one in found if not region or one.region == region]
        return sorted(found, key=lambda one: str(one.body.get("timeCreated", "")), reverse=True)

    def living(self, models: Iterable[str]) -> list[Resource]:
        """What of these kinds exists and is not ended."""
        return [one for model in models for one in self.every(model) if not one.ended]

    def remove(self, resource: Resource) -> None:
        """Forget it."""
        with self.lock:
            self._all.pop(resource.id, None)


_PACKAGES = {"DynamicGroup": "identity", "Policy": "identity", "WorkRequest": "work_requests"}


def etag(body: Any) -> str:
    """The ``etag`` of an answer."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]


def ocid(word: str, region: str) -> str:
    """A fresh OCID; ``region``: empty for what has none."""
    return f"ocid1.{word}.oc1.{code_of(region) if region else ''}.{secrets.token_hex(30)}"


def stamp(seconds: float) -> str:
    """A time as the API writes it."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
