"""Who signed a request: AWS's Signature Version 4, recomputed with the account's own secret."""

from __future__ import annotations

import datetime as dt
import hmac
import re
from collections.abc import Mapping
from typing import NamedTuple

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SKEW = 300.0
"""Seconds by which a client's clock may be off."""
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request,"
    r"\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]+)"
)


class Signature(NamedTuple):
    """What a request says of its sender, not yet believed."""

    key: str
    region: str
    service: str
    headers: tuple[str, ...]
    digest: str


def read(headers: Mapping[str, str]) -> Signature | None:
    """The signature of a request with these headers (names in lower case), None without one."""
    match = _HEADER.fullmatch(headers.get("authorization", ""))
    if match is None:
        return None
    key, _, region, service, signed, digest = match.groups()
    return Signature(key, region, service, tuple(signed.split(";")), digest)


def good(
    signature: Signature,
    secret: str,
    request: tuple[str, str, bytes],
    headers: Mapping[str, str],
) -> bool:
    """Whether the holder of ``secret`` signed this ``request``: method, URL and body."""
    method, url, body = request
    told = AWSRequest(method=method, url=url, data=body)
    for name in signature.headers:
        told.headers[name] = headers.get(name, "")
    told.context["timestamp"] = headers.get("x-amz-date", "")
    signer = SigV4Auth(Credentials(signature.key, secret), signature.service, signature.region)
    text = signer.string_to_sign(told, signer.canonical_request(told))
    return hmac.compare_digest(signer.signature(text, told), signature.digest)


def expired(headers: Mapping[str, str], now: float) -> bool:
    """Whether a request was signed too long ago, or will be."""
    try:
        then = dt.datetime.strptime(headers.get("x-amz-date", ""), "%Y%m%dT%H%M%S%z")
    except ValueError:
        return True
    return abs(then.timestamp() - now) > SKEW
