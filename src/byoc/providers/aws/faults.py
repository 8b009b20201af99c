"""From what boto3 raises to byoc's errors."""

from __future__ import annotations

import re
from typing import Any

from ...errors import AccessError, ProviderError, TransientError
from ..table import Answer, classify
from . import codes

INSTALL = "pip install 'byoc-cloud[aws]'"
_ELSEWHERE = re.compile(r"or choosing ((?:[a-z0-9-]+(?:, )?)+)", re.IGNORECASE)
_ZONE = re.compile(r"\b[a-z]{2}(?:-[a-z]+)+-\d[a-z]\b")
_ACTION = re.compile(r"not authorized to perform: (\S+)(?: on resource: (\S+))?")


def not_installed(error: ImportError) -> AccessError:
    """The error for a missing SDK."""
    return AccessError(
        f"AWS's SDK for Python cannot be imported: {error}",
        provider="aws",
        scope="cloud",
        hints=(INSTALL,),
    )


def raised_by_boto() -> tuple[type[Exception], ...]:
    """The exceptions of boto3's calls, for an ``except``: refusals, whatever keeps a request from
    being made, and answers that are none."""
    try:
        from botocore import exceptions, parsers  # deferred, as boto3 is
    except ImportError:
        return ()
    return (
        exceptions.BotoCoreError,
        exceptions.ClientError,
        parsers.ResponseParserError,
        OSError,
    )


def translate(error: Exception, bucket: str = "", profile: str = "") -> ProviderError:
    """The classified error of whatever boto3 raised; ``bucket``: the quota that the request draws
    on. Never raises."""
    response = _response(error)
    if not response:
        return _without_answer(error, profile or "default")
    meta = response.get("ResponseMetadata", {})
    told = response.get("Error", {})
    message = str(told.get("Message", ""))
    found = classify(
        "aws",
        codes.ROWS,
        Answer(
            str(told.get("Code", "")),
            message,
            int(meta.get("HTTPStatusCode", 0)),
            str(meta.get("RequestId", "")),
            bucket,
            zones_in(message),
        ),
    )
    if missing := missing_action(message):
        found.hints = (f"Allow {missing}.", *found.hints)
    return found


def _response(error: Exception) -> dict[str, Any]:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) and "Error" in response else {}


def _without_answer(error: Exception, profile: str) -> ProviderError:
    for base in type(error).__mro__:
        if base.__name__ in codes.EXCEPTIONS:
            kind, scope, hint = codes.EXCEPTIONS[base.__name__]
            break
    else:
        kind, scope, hint = TransientError, "request", ""
    return kind(
        f"{error}",
        provider="aws",
        vendor_code=type(error).__name__,
        scope=scope,
        remember=codes.ACCESS if kind is AccessError else 0.0,
        hints=(hint.format(profile=profile),) if hint else (),
    )


def zones_in(message: str) -> tuple[str, ...]:
    """The zones that EC2 says to choose instead, in its order."""
    place = _ELSEWHERE.search(message)
    return tuple(_ZONE.findall(place.group(1))) if place else ()


def missing_action(message: str) -> str:
    """The action that a refusal names, with its resource: ``ec2:RunInstances on arn:...``."""
    match = _ACTION.search(message)
    if match is None:
        return ""
    action, resource = match.groups()
    return f"{action} on {resource}" if resource else action
