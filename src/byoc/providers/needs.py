"""What a least policy is for: all that byoc can do, or what one program needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

SPOT = "spot"
"""Feature: instances of the spot market."""
FIREWALL = "firewall"
"""Feature: byoc makes the firewall (on OCI the network) itself; not with a setting that names
one."""
ADDRESS = "address"
"""Feature: instances have public addresses."""
ALL = frozenset({SPOT, FIREWALL, ADDRESS})


class Needs(NamedTuple):
    """``features``: of this module. ``regions``, ``types``: the only ones to launch in and of;
    empty for all. ``owner``: the installation that alone may end things; empty for any of byoc's.
    ``account``: whom instances act as (``gcp.service_account``), or empty."""

    features: frozenset[str] = ALL
    regions: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    owner: str = ""
    account: str = ""


EVERYTHING = Needs()


class Target(NamedTuple):
    """Where a policy is applied, and for whom; empty parts are left for the reader to fill in.

    ``who``: an IAM user, a Google member (``user:me@example.com``) or a group of OCI's. ``where``:
    Google's project, or the OCID of OCI's compartment. ``tenancy``: OCI's.
    """

    who: str = ""
    where: str = ""
    tenancy: str = ""


class Printed(NamedTuple):
    """A least policy as it is handed over. ``text``: what goes to stdout. ``commands``: what
    applies it, for a person to run. ``why``: by statement, in order. ``notes``: what the cloud
    cannot do. ``document``: the same as data, for ``--json``."""

    text: str
    commands: tuple[str, ...]
    why: Mapping[str, str]
    notes: tuple[str, ...]
    document: object

    def lines(self) -> Iterator[str]:
        """Everything but the text, for people."""
        width = max((len(name) for name in self.why), default=0)
        yield from (f"{name.ljust(width)}  {reason}" for name, reason in self.why.items())
        yield from self.notes
