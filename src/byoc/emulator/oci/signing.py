"""HTTP Signatures (draft-cavage) as OCI uses them: checked, never made."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from .refusals import NOT_AUTHENTICATED, Refusal

SKEW = 300.0
"""Seconds that a request's date may be off, as the cloud documents."""

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Request(NamedTuple):
    """A request as it came. ``headers``: names in lower case. ``target``: path with query."""

    verb: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def verify(
    request: Request, key_of: Callable[[str], Any], now: float, federation: bool = False
) -> str:
    """The key id that signed a request. ``key_of``: key id -> public key or None.

    Raises Refusal (401) for anything but a valid signature that covers what it must.
    """
    found = dict(re.findall(r'(\w+)="([^"]*)"', request.headers.get("authorization", "")))
    signed = found.get("headers", "").lower().split()
    key = key_of(found.get("keyId", ""))
    needed = {"(request-target)"} | (set() if federation else {"host"})
    if request.verb in _WITH_BODY:
        needed |= {"content-length", "content-type", "x-content-sha256"}
    dated = {"date", "x-date"} & set(signed)
    covered = bool(dated) and needed <= set(signed)
    if key is None or found.get("algorithm") != "rsa-sha256" or not covered:
        raise _denied()
    _check_date(request.headers, now)
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    if "x-content-sha256" in signed and request.headers.get("x-content-sha256") != digest:
        raise _denied()
    _check_signature(key, found.get("signature", ""), _text(request, signed))
    return str(found["keyId"])


def _text(request: Request, names: list[str]) -> bytes:
    lines = []
    for name in names:
        target = f"{request.verb.lower()} {request.target}"
        value = target if name == "(request-target)" else request.headers.get(name, "")
        lines.append(f"{name}: {value}")
    return "\n".join(lines).encode()


def _check_date(headers: Mapping[str, str], now: float) -> None:
    try:
        sent = email.utils.parsedate_to_datetime(headers.get("x-date") or headers.get("date", ""))
    except ValueError:
        raise _denied() from None
    if abs(now - sent.timestamp()) > SKEW:
        raise Refusal(
            401, "NotAuthenticated", "Date is out of the allowed clock skew of 5 minutes."
        )


def _check_signature(key: Any, signature: str, text: bytes) -> None:
    try:
        key.verify(base64.b64decode(signature), text, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        raise _denied() from None


def _denied() -> Refusal:
    return Refusal(401, "NotAuthenticated", NOT_AUTHENTICATED)
