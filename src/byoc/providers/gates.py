"""Firewalls of instances: what the clouds' have in common.

One is open for the networks of now only. What was let in earlier, from where a laptop was before,
is shut out with the next change, and everybody when the last instance has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

INSIDE_TAG = "byoc-inside"
"""Tag: ``1`` on an instance without a public address, which is met by its private one."""


@runtime_checkable
class Gate(Protocol):
    """What a provider has besides whose instances are behind a firewall that byoc makes. It is
    closed by ending it, as :meth:`byoc.providers.base.Provider.terminate` says."""

    def gate(self, region: str) -> str:
        """The name of the firewall of a region's instances: the region's own, or one that several
        have in common. No request."""

    def admit(self, region: str, owner: str) -> bool:
        """Have the firewall let in this client's networks as they are now, asked for anew, and
        nobody else. Returns whether it had to be changed. Safe to repeat. Raises ProviderError."""


def gate_of(provider: object) -> Gate | None:
    """A provider's firewalls, None when byoc makes none there."""
    return provider if isinstance(provider, Gate) else None


def address_of(public: str, inside: str, tags: Mapping[str, str]) -> str:
    """Where an instance is met: at its public address, or at its private one when it was launched
    without; empty while that is not known."""
    return public or (inside if tags.get(INSIDE_TAG) == "1" else "")


class Change(NamedTuple):
    """What makes a firewall right: networks to let in, and others to shut out."""

    missing: tuple[str, ...]
    stale: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.stale)


def change(ours: Collection[str], allowed: Collection[str], others: Collection[str] = ()) -> Change:
    """``ours``: networks that byoc has let in; ``allowed``: that it is to let in; ``others``: that
    somebody else has let in, which are left alone."""
    known = {*ours, *others}
    return Change(
        tuple(one for one in dict.fromkeys(allowed) if one not in known),
        tuple(one for one in dict.fromkeys(ours) if one not in allowed),
    )


def families(networks: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The IPv4 and the IPv6 ones of some networks."""
    four = tuple(one for one in networks if ":" not in one)
    return four, tuple(one for one in networks if ":" in one)
