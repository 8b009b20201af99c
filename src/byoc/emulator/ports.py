"""What the emulator's parts are to each other: one world, three façades, machines.

The world holds what all clouds have in common: the scenario, faults, capacity, quotas, the clock,
machines, the ledger of what was billed, the report. A façade speaks one cloud's API and keeps that
cloud's own resources; it asks the world before it acts and tells it what becomes of instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from .scenario import Permit

Facts = Mapping[str, str]
"""What a request is about: ``region``, ``zone``, ``type``, ``market`` (``spot`` | ``on-demand``),
``id``, ``name``, ``shape`` and the like; absent when not known."""


class Fault(NamedTuple):
    """An answer that a scenario asks for.

    ``error``: the cloud's own code, or one of ``lost-reply`` (act, then drop the connection),
    ``no-answer`` (drop it without acting), ``ignore`` (accept and do nothing). ``message``: instead
    of the usual text. ``status``: instead of the code's usual one.
    """

    error: str
    message: str = ""
    status: int = 0


class Machine(NamedTuple):
    """A machine to be powered on. ``address``: on loopback, from :meth:`World.address`; empty for
    one that is met by its private address only.

    ``user_data``: as the cloud's metadata service gives it. ``keys``: public key lines for ``user``
    from the cloud's own mechanism (``ssh-keys`` metadata), if any. ``metadata``: answers the
    machine's requests to 169.254.169.254, see :data:`Metadata`. ``inside``: its private address, at
    which those machines of its region meet it that the façade lets in; empty for none.
    """

    cloud: str
    id: str
    name: str
    region: str
    zone: str
    type: str
    market: str
    address: str
    user_data: str
    metadata: Metadata
    keys: tuple[str, ...] = ()
    gpu: str = ""
    gpu_count: int = 0
    inside: str = ""


class Reply(NamedTuple):
    """An answer of a metadata service. ``etag``: its header of that name, empty for none."""

    status: int
    body: bytes = b""
    type: str = "text/plain"
    etag: str = ""


Metadata = Callable[[str, str, Mapping[str, str], bytes], Reply]
"""(method, path with query, headers in lower case, body) -> answer."""


class Events(NamedTuple):
    """What the world tells a façade of its machine, from its own threads.

    ``up``: it runs and its address answers, or will. ``off``: it is off: ``shutdown`` (the guest
    did it), ``crash`` (a fault killed it).
    """

    up: Callable[[], None]
    off: Callable[[str], None]


class World(Protocol):
    """The part of the world that façades use. Safe from any thread."""

    def wall(self) -> float:
        """Seconds since the epoch."""

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do ``work`` after so many seconds, unless the world has ended by then."""

    def judge(self, cloud: str, op: str, facts: Facts) -> Fault | None:
        """Note a request, wait as long as a fault says, and say how it must fail, if it must."""

    def refused(self, cloud: str, op: str, facts: Facts, code: str, message: str) -> None:
        """Note that a request failed by the account's own rules (authentication, validation, quota,
        capacity). Not for what :meth:`judge` said: that is noted."""

    def room(self, cloud: str, zone: str, type: str, market: str) -> bool:
        """Whether there is capacity for one more, and if so take it until :meth:`gone`."""

    def spare(self, cloud: str, zone: str, type: str, market: str) -> int | None:
        """How many more there is capacity for, None for any number; takes nothing. For the answer
        of a cloud that tells (OCI's capacity report); a fault on the launch does not show here."""

    def quota(self, cloud: str, region: str, bucket: str, usual: float) -> float:
        """The scenario's limit for a bucket, else ``usual``."""

    def address(self, cloud: str) -> str:
        """A loopback address that no machine of this host has."""

    def made(self, cloud: str, id: str, facts: Facts) -> None:
        """An instance exists from now on; ``facts`` with region, zone, type, market and name."""

    def billing(self, cloud: str, id: str, on: bool) -> None:
        """Its seconds count from now on, or no longer."""

    def power_on(self, machine: Machine, events: Events) -> None:
        """Boot a machine, after the scenario's delay; returns at once."""

    def power_off(self, cloud: str, id: str, gently: bool = False) -> None:
        """End its machine: at once, or as by its power button. Idempotent; no event follows."""

    def gone(self, cloud: str, id: str) -> None:
        """The instance is no more: capacity and address are free, nothing is billed."""

    def hidden(self, cloud: str, id: str) -> bool:
        """Whether reads do not show it yet (a list lags behind the write)."""

    def address_known(self, cloud: str, id: str) -> bool:
        """Whether reads of a running instance tell its address yet."""

    def console(self, cloud: str, id: str) -> str:
        """What the machine has printed since it was powered on."""

    def permit(self, cloud: str) -> Permit:
        """What byoc's own identity may do in the account."""


class Facade(Protocol):
    """One emulated account. Made with a :class:`World`; requests come on its own threads."""

    cloud: str

    def start(self) -> None:
        """Serve on loopback. Returns when requests are answered."""

    def environment(self) -> dict[str, str]:
        """The variables with which the cloud's SDK, its command line and byoc find the account."""

    def preempt(self, id: str, notice: float) -> None:
        """Take an instance away after ``notice`` seconds of warning, as this cloud warns."""

    def lets_in(self, source: str, target: str) -> bool:
        """Whether the account's rules let the first instance open connections to any port of the
        second, by their private addresses. Called often: it must be quick, and raise nothing."""

    def admits(self, source: str, target: str) -> bool:
        """Whether the account's rules let an address reach an instance's SSH port. As above."""

    def leftovers(self) -> list[dict[str, str]]:
        """What exists besides instances and would be billed: ``kind``, ``id``, ``region``."""

    def stop(self) -> None:
        """Serve no more."""
