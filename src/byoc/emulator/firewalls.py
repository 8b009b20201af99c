"""What the accounts' firewalls have in common."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

SSH_PORT = 22
"""Where every machine's SSH server is met."""


def within(source: str, networks: Iterable[str]) -> bool:
    """Whether an address is in one of some networks (CIDRs)."""
    address = ipaddress.ip_address(source)
    return any(address in ipaddress.ip_network(one, strict=False) for one in networks)
