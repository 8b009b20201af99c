"""The metadata service of one machine, version 2 only: every request names the header that proves
it was not sent by accident. Version 1 answers nothing, as byoc's launches ask for.

An emulated machine has no network but this service, so what it sends here beyond ``/opc`` is passed
on to the tenancy's API: that is how it ends itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..ports import Metadata as Answers
from ..ports import Reply
from .account import Account
from .places import code_of, key_of
from .principals import Principals
from .signing import Request
from .store import Resource

ROOT = "/opc/v2/"
BEARER = "Bearer Oracle"


class Metadata:
    """Makes each machine's metadata service. ``api``: answers what is passed on."""

    def __init__(self, account: Account, principals: Principals) -> None:
        self._account = account
        self._principals = principals
        self.api: Callable[[Request], Reply] = lambda request: Reply(503)

    def of(self, one: Resource) -> Answers:
        """What answers the machine's requests."""

        def answer(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
            path = target.partition("?")[0]
            if not path.startswith("/opc/"):
                return self.api(Request(method, target, headers, body))
            if not path.startswith(ROOT):
                return Reply(404)
            if headers.get("authorization") != BEARER:
                return Reply(401)
            if method != "GET":
                return Reply(405)
            return self._answer(one, path.removeprefix(ROOT).strip("/"))

        return answer

    def _answer(self, one: Resource, path: str) -> Reply:
        if path.startswith("identity/"):
            return self._identity(one, path.removeprefix("identity/"))
        found: Any = self._document(one)
        for name in path.split("/") if path else ():
            found = found.get(name) if isinstance(found, dict) else None
        if found is None:
            return Reply(404)
        if isinstance(found, str):
            return Reply(200, found.encode())
        return Reply(200, json.dumps(found).encode(), "application/json")

    def _identity(self, one: Resource, name: str) -> Reply:
        proof = self._principals.certificate(one.id, str(one.body["compartmentId"]))
        texts = {
            "cert.pem": proof.pem,
            "intermediate.pem": proof.pem,
            "key.pem": proof.key_pem,
        }
        return Reply(200, texts[name]().encode()) if name in texts else Reply(404)

    def _document(self, one: Resource) -> dict[str, Any]:
        body = one.body
        instance = {
            name: body.get(name)
            for name in (
                "id", "displayName", "availabilityDomain", "faultDomain", "compartmentId", "shape",
                "metadata", "freeformTags", "definedTags", "shapeConfig",
            )
        }  # fmt: skip
        ad_name = str(body["availabilityDomain"]).partition(":")[2]
        instance |= {
            "region": code_of(one.region),
            "canonicalRegionName": one.region,
            "ociAdName": ad_name.lower(),
            "state": "Running",
            "image": body.get("imageId"),
            "hostname": str(body["displayName"]).lower(),
            "tenantId": self._account.tenancy,
            "regionInfo": {
                "realmDomainComponent": "oraclecloud.com",
                "realmKey": "oc1",
                "regionIdentifier": one.region,
                "regionKey": key_of(one.region),
            },
        }
        card = one.notes.get("vnic")
        vnics = [{"vnicId": card.id, "privateIp": card.body["privateIp"]}] if card else []
        return {"instance": instance, "vnics": vnics}
