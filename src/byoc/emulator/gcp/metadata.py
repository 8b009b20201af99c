"""The metadata server of one machine: what ``http://metadata.google.internal`` says in it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from ..ports import Metadata, Reply

PREFIX = "/computeMetadata/v1/"
API = "/compute/v1/"
LONGEST_WAIT = 60.0
"""Seconds that ``wait_for_change`` waits where the request sets no ``timeout_sec``."""
_FLAVOR = "metadata-flavor"


class MetadataServer:
    """``tree``: nested folders by Google's path names. ``token``: makes an access token, None for
    a machine without a service account. ``api``: answers what the machine asks Compute Engine: it
    has no other way out."""

    def __init__(
        self,
        tree: dict[str, Any],
        token: Callable[[], dict[str, Any]] | None,
        api: Metadata | None = None,
    ) -> None:
        self._tree = tree
        self._token = token
        self._api = api
        self._changed = threading.Condition()
        self._ended = False

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """See :data:`byoc.emulator.ports.Metadata`."""
        parts = urllib.parse.urlsplit(path)
        if self._api is not None and parts.path.startswith(API):
            return self._api(method, path, headers, body)
        if parts.path == "/":
            return Reply(200, b"computeMetadata/\n")
        if not parts.path.startswith(PREFIX):
            return _missing(path)
        if headers.get(_FLAVOR) != "Google":
            return Reply(403, b"Missing Metadata-Flavor:Google header.")
        asked = dict(urllib.parse.parse_qsl(parts.query))
        name = parts.path.removeprefix(PREFIX)
        if method == "PUT":
            return self._put(name, body)
        if method != "GET":
            return Reply(405, b"Method Not Allowed")
        if name == "instance/service-accounts/default/token" and self._token is not None:
            return _json(self._token())
        if asked.get("wait_for_change") == "true":
            self._wait(name, float(asked.get("timeout_sec", LONGEST_WAIT)), asked.get("last_etag"))
        return self._get(name, asked)._replace(etag=_etag(self.get(name)))

    def set(self, name: str, value: str) -> None:
        """Change a leaf and wake who waits for that."""
        with self._changed:
            folder, leaf = self._folder(name)
            folder[leaf] = value
            self._changed.notify_all()

    def get(self, name: str) -> Any:
        """A leaf or a folder, None for what does not exist."""
        with self._changed:
            return self._find(name)

    def end(self) -> None:
        """Let whoever waits go."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait(self, name: str, seconds: float, known: str | None) -> None:
        """Until a leaf differs from what the caller has read, or from what it is now."""
        deadline = time.monotonic() + min(seconds, LONGEST_WAIT)
        with self._changed:
            first = _etag(self._find(name)) if known is None else known
            while not self._ended and _etag(self._find(name)) == first:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def _get(self, name: str, asked: Mapping[str, str]) -> Reply:
        found = self.get(name.rstrip("/"))
        if found is None:
            return _missing(name)
        whole = asked.get("recursive", "").lower() == "true"
        if isinstance(found, dict) and not whole:
            names = [key + "/" * isinstance(value, dict) for key, value in found.items()]
            return Reply(200, "".join(f"{one}\n" for one in names).encode(), "application/text")
        if whole or asked.get("alt") == "json":
            return _json(_camel(found, name.rstrip("/").endswith("attributes")))
        return Reply(200, str(found).encode(), "application/text")

    def _put(self, name: str, body: bytes) -> Reply:
        head = "instance/guest-attributes/"
        if not name.startswith(head) or name.count("/") != 3:
            return Reply(405, b"Method Not Allowed")
        if str(self.get("instance/attributes/enable-guest-attributes")).upper() != "TRUE":
            return Reply(403, b"Guest attributes endpoint access is disabled.")
        self.set(name, body.decode("utf-8", "replace"))
        return Reply(200)

    def _find(self, name: str) -> Any:
        current: Any = self._tree
        for part in [part for part in name.split("/") if part]:
            current = current.get(part) if isinstance(current, dict) else None
        return current

    def _folder(self, name: str) -> tuple[dict[str, Any], str]:
        *parts, leaf = name.split("/")
        current = self._tree
        for part in parts:
            current = current.setdefault(part, {})
        return current, leaf


def tree(project: str, body: Mapping[str, Any], address: str) -> dict[str, Any]:
    """What a machine is told of itself. ``body``: the instance as the API shows it."""
    zone = body["zone"].rpartition("/")[2]
    items = (body.get("metadata") or {}).get("items") or []
    scheduling = body["scheduling"]
    instance = {
        "attributes": {item["key"]: item.get("value", "") for item in items},
        "guest-attributes": {},
        "hostname": f"{body['name']}.{zone}.c.{project}.internal",
        "id": body["id"],
        "machine-type": f"projects/1/machineTypes/{body['machineType'].rpartition('/')[2]}",
        "maintenance-event": "NONE",
        "name": body["name"],
        "network-interfaces": {
            "0": {
                "ip": body["networkInterfaces"][0]["networkIP"],
                "access-configs": {"0": {"external-ip": address, "type": "ONE_TO_ONE_NAT"}},
            }
        },
        "preempted": "FALSE",
        "scheduling": {
            "automatic-restart": str(scheduling["automaticRestart"]).upper(),
            "on-host-maintenance": scheduling["onHostMaintenance"],
            "preemptible": str(scheduling["preemptible"]).upper(),
        },
        "service-accounts": {
            name: {"email": account["email"], "scopes": "\n".join(account.get("scopes", ()))}
            for account in body.get("serviceAccounts") or []
            for name in ("default", account["email"])
        },
        "tags": json.dumps((body.get("tags") or {}).get("items") or []),
        "zone": f"projects/1/zones/{zone}",
    }
    return {
        "instance": instance,
        "project": {"attributes": {}, "numeric-project-id": "1", "project-id": project},
    }


def _camel(value: Any, plain: bool) -> Any:
    """Folders as JSON: names as ``machineType``, but attributes keep theirs."""
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_camel(item, False) for item in value.values()]
    found = {}
    for key, item in value.items():
        head, *rest = key.split("-")
        name = key if plain else head + "".join(part.capitalize() for part in rest)
        found[name] = _camel(item, key == "attributes")
    return found


def _etag(value: Any) -> str:
    """Stands for a value, as Google's sixteen digits do."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _json(value: Any) -> Reply:
    return Reply(200, json.dumps(value).encode(), "application/json")


def _missing(path: str) -> Reply:
    return Reply(404, f"The requested URL {path} was not found on this server.".encode())
