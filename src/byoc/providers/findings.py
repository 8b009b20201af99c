"""What the clouds' checks have in common: a refusal, and this computer's clock, as findings."""

from __future__ import annotations

import email.utils

from ..clock import Clock
from ..errors import ProviderError
from .base import Finding

SKEW_WARN, SKEW_FAIL = 60.0, 300.0
"""Seconds. Beyond five minutes AWS and OCI refuse every request, and Google signed log-ins."""


def failed(vendor: str, subject: str, error: ProviderError, level: str = "fail") -> Finding:
    """A finding from a refusal, with the vendor's own words."""
    remedy = " ".join(error.hints) or f"Try again; the message is {vendor}'s own."
    code = f"{error.vendor_code}: " if error.vendor_code else ""
    request = f" (request {error.request_id})" if error.request_id else ""
    return Finding(level, subject, f"{code}{error.message}{request}", remedy)


def skew(vendor: str, date: str, clock: Clock) -> list[Finding]:
    """How far this computer's clock is off. ``date``: the header of the vendor's answer; without
    one there is nothing to tell."""
    if not date:
        return []
    off = clock.wall() - email.utils.parsedate_to_datetime(date).timestamp()
    if abs(off) <= SKEW_WARN:
        return [Finding("ok", "clock", f"{abs(off):.0f} s off {vendor}'s")]
    level = "fail" if abs(off) > SKEW_FAIL else "warn"
    way = "ahead of" if off > 0 else "behind"
    message = f"this computer's clock is {abs(off):.0f} s {way} {vendor}'s"
    return [Finding(level, "clock", message, "Set it: `sudo timedatectl set-ntp true`.")]
