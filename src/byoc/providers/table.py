"""Refusals as data: what a vendor's code means, what it shuts, for how long, and what to do.

Each cloud has a module ``codes`` with its rows and sources. :func:`classify` finds the row of an
answer; an answer that no row knows is classed by its status and words, and never as our mistake, so
that an unknown code does not stop a failover.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from ..errors import (
    AccessError,
    CapacityError,
    ProviderError,
    QuotaError,
    ThrottleError,
    TransientError,
    UnclassifiedError,
)

_LOG = logging.getLogger(__name__)
E = TypeVar("E", bound=ProviderError)


class Row(NamedTuple):
    """One kind of refusal.

    ``code``: the vendor's code, ``*`` and ``?`` as in file names. ``text``: a regular expression
    that the message must contain as well (case does not count), empty for any. ``status``: the HTTP
    status it must have, 0 for any. ``error``: our class. ``scope``, ``remember``: as in
    :class:`~byoc.errors.ProviderError`. ``hint``: what the user can do.
    """

    code: str
    error: type[ProviderError]
    scope: str = "request"
    remember: float = 0.0
    hint: str = ""
    text: str = ""
    status: int = 0


class Answer(NamedTuple):
    """What a vendor answered. ``bucket``, ``zones``: as in ProviderError, where it told them."""

    code: str
    message: str
    status: int = 0
    request_id: str = ""
    bucket: str = ""
    zones: tuple[str, ...] = ()


_WORDS: tuple[tuple[str, type[ProviderError], str, float], ...] = (
    (r"capacity|exhausted|not enough resources|stockout", CapacityError, "offer", 180.0),
    (r"quota|limit (was )?exceeded|limits were exceeded", QuotaError, "bucket", 900.0),
    (r"throttl|rate limit|too many requests", ThrottleError, "request", 0.0),
    (r"not authori[sz]ed|permission|forbidden|credential|denied", AccessError, "cloud", 3600.0),
)
_STATUS: dict[int, tuple[type[ProviderError], str, float]] = {
    401: (AccessError, "cloud", 3600.0),
    403: (AccessError, "cloud", 3600.0),
    429: (ThrottleError, "request", 0.0),
    503: (TransientError, "request", 0.0),
}


def find(rows: Sequence[Row], answer: Answer) -> Row | None:
    """The first row that fits, or None."""
    for row in rows:
        if row.status and row.status != answer.status:
            continue
        if not fnmatch.fnmatchcase(answer.code, row.code):
            continue
        if not row.text or re.search(row.text, answer.message, re.IGNORECASE):
            return row
    return None


def guess(answer: Answer) -> Row:
    """A row for an answer that no table knows, by its words and then its status."""
    for words, error, scope, remember in _WORDS:
        if re.search(words, answer.message, re.IGNORECASE):
            return Row(answer.code, error, scope, remember)
    if answer.status in _STATUS:
        return Row(answer.code, *_STATUS[answer.status])
    if answer.status >= 500:
        return Row(answer.code, TransientError)
    return Row(answer.code, UnclassifiedError, "offer", 180.0)


def classify(provider: str, rows: Sequence[Row], answer: Answer) -> ProviderError:
    """The error of an answer, with the vendor's words, code and request id."""
    row = find(rows, answer)
    if row is None:
        row = guess(answer)
        _LOG.warning(
            "unclassified answer of %s: code %r, status %d, request %s, taken for %s: %s",
            provider, answer.code, answer.status, answer.request_id, row.error.code, answer.message,
        )  # fmt: skip
    return row.error(
        answer.message.strip() or answer.code or f"{provider} answered with {answer.status}",
        provider=provider,
        vendor_code=answer.code,
        request_id=answer.request_id,
        scope=row.scope,
        bucket=answer.bucket,
        remember=row.remember,
        zones=answer.zones,
        hints=(row.hint,) if row.hint else (),
    )


def restated(error: ProviderError, kind: type[E], message: str, *hints: str) -> E:
    """A refusal as one of another class, since more is known than its code tells. It keeps the
    vendor's code and request, and shuts nothing."""
    return kind(
        message,
        provider=error.provider,
        vendor_code=error.vendor_code,
        request_id=error.request_id,
        scope="request",
        hints=hints,
    )
