"""Regions and availability domains of the emulated tenancy: the catalogue's regions, all of them
subscribed, with as many domains as the real ones have."""

from __future__ import annotations

from collections.abc import Mapping

HOME = "us-ashburn-1"
PREFIX = "Uocm"
"""What a tenancy's availability domain names begin with; it differs between tenancies."""

_KEYS: Mapping[str, str] = {
    "us-ashburn-1": "IAD",
    "us-phoenix-1": "PHX",
    "eu-frankfurt-1": "FRA",
    "uk-london-1": "LHR",
}
_THREE_DOMAINS = frozenset(_KEYS)
_DOMAIN_NAMES: Mapping[str, str] = {"us-ashburn-1": "US-ASHBURN", "us-phoenix-1": "PHX"}
"""The two oldest regions are named in another way than the others."""
_CODES: Mapping[str, str] = {"us-ashburn-1": "iad", "us-phoenix-1": "phx"}


def key_of(region: str) -> str:
    """The short key of a region (``IAD``)."""
    return _KEYS.get(region, region.replace("-", "").upper()[:7])


def code_of(region: str) -> str:
    """How OCIDs name a region: the oldest by key, others by name."""
    return _CODES.get(region, region)


def domains(region: str) -> list[str]:
    """The names of a region's availability domains."""
    count = 3 if region in _THREE_DOMAINS else 1
    name = _DOMAIN_NAMES.get(region, region.upper())
    return [f"{PREFIX}:{name}-AD-{number}" for number in range(1, count + 1)]
