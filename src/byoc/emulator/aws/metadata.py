"""The instance metadata service, version 2: what a machine is told at 169.254.169.254."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ..ports import Reply

VERSIONS = ("latest", "1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23")
LONGEST = 21600
"""Seconds that a token may last."""
_TOKEN = "x-aws-ec2-metadata-token"
_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
_NOT_FOUND = Reply(404, b"Not Found")
_UNAUTHORIZED = Reply(401, b"Unauthorized")

Tree = Mapping[str, Any]


class Imds:
    """One machine's service. ``tree``: what there is to read now: text, or a mapping of names.

    ``required``: whether reading takes a token (IMDSv2 only).
    """

    def __init__(self, tree: Callable[[], Tree], required: bool) -> None:
        self._tree = tree
        self._required = required
        self._lock = threading.Lock()
        self._tokens: dict[str, float] = {}

    def __call__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """See :data:`byoc.emulator.ports.Metadata`."""
        parts = [part for part in path.partition("?")[0].split("/") if part]
        if not parts:
            return Reply(200, "\n".join(VERSIONS).encode())
        if parts[0] not in VERSIONS:
            return _NOT_FOUND
        if parts[1:] == ["api", "token"]:
            return self._token(method, headers)
        if method != "GET":
            return Reply(405, b"Method Not Allowed")
        if not self._allowed(headers.get(_TOKEN, "")):
            return _UNAUTHORIZED
        return _read(self._tree(), parts[1:])

    def _token(self, method: str, headers: Mapping[str, str]) -> Reply:
        if method != "PUT":
            return Reply(405, b"Method Not Allowed")
        if "x-forwarded-for" in headers:
            return Reply(403, b"Forbidden")
        try:
            seconds = int(headers.get(_TTL, ""))
        except ValueError:
            return Reply(400, b"Bad Request")
        if not 1 <= seconds <= LONGEST:
            return Reply(400, b"Bad Request")
        token = secrets.token_urlsafe(40)
        with self._lock:
            self._tokens[token] = time.monotonic() + seconds
        return Reply(200, token.encode())

    def _allowed(self, token: str) -> bool:
        if not token:
            return not self._required
        with self._lock:
            return self._tokens.get(token, 0.0) > time.monotonic()


def _read(tree: Tree, parts: list[str]) -> Reply:
    node: Any = tree
    for part in parts:
        if not isinstance(node, Mapping) or part not in node:
            return _NOT_FOUND
        node = node[part]
    if node is None:
        return _NOT_FOUND
    if isinstance(node, Mapping):
        names = (f"{n}/" if isinstance(one, Mapping) else n for n, one in node.items() if one)
        return Reply(200, "\n".join(names).encode())
    return Reply(200, str(node).encode())


def tree(instance: Any, account: str, address: str, notice: Mapping[str, str] | None) -> Tree:
    """All that an instance is told. ``notice``: that it is about to be taken away."""
    zone = instance.availability_zone
    region = instance.region_name
    network = {
        "device-number": "0",
        "local-ipv4s": instance.private_ip,
        "public-ipv4s": address,
        "subnet-id": instance.subnet_id,
        "vpc-id": instance.vpc_id,
        "owner-id": account,
    }
    identity = {
        "accountId": account,
        "architecture": instance.architecture,
        "availabilityZone": zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "privateIp": instance.private_ip,
        "region": region,
        "version": "2017-09-30",
    }
    mac = instance.nics[0].mac_address
    meta = {
        "ami-id": instance.image_id,
        "ami-launch-index": "0",
        "hostname": instance.private_dns_name,
        "instance-action": "none",
        "instance-id": instance.id,
        "instance-life-cycle": instance.lifecycle or "on-demand",
        "instance-type": instance.instance_type,
        "local-hostname": instance.private_dns_name,
        "local-ipv4": instance.private_ip,
        "mac": mac,
        "network": {"interfaces": {"macs": {mac: network}}},
        "placement": {"availability-zone": zone, "region": region},
        "public-ipv4": address,
        "security-groups": "\n".join(g.name for g in instance.nics[0].group_set),
        "services": {"domain": "amazonaws.com", "partition": "aws"},
        "spot": {"instance-action": json.dumps(notice)} if notice else None,
    }
    data = instance.user_data
    return {
        "meta-data": meta,
        "dynamic": {"instance-identity": {"document": json.dumps(identity)}},
        "user-data": data.decode() if data else None,
    }
