"""The contract that every provider fulfils. Six methods and a record of traits.

A provider is a thin adapter. It keeps no state, raises only the classes of :mod:`byoc.errors`
(its table of vendor codes is data), and never retries a launch by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ..resources import Offer

OWNER_TAG = "byoc-owner"
"""Tag: the installation (one ``BYOC_HOME``) that owns the instance."""
RUN_TAG = "byoc-run"
"""Tag: the run it was launched for."""
TOKEN_TAG = "byoc-token"
"""Tag: the intent's token; finds an instance whose launch answer was lost."""
IMAGE_TAG = "byoc-image"
"""Tag: digest of the system layers it was booted with; a warm instance must match."""


class HostKey(NamedTuple):
    """An ed25519 host key. ``private``: OpenSSH PEM; ``public``: one ``ssh-ed25519 ...`` line."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"HostKey(public={self.public!r})"  # the private half is never shown


class LaunchRequest(NamedTuple):
    """All that a launch needs. The same ``token`` again means the same instance, never a second.

    ``tags`` go into the create call itself. ``host_key`` is injected at boot and pinned by the
    client. ``authorized_key``: the client's public key line. ``boot_lease``: seconds after power-on
    at which the machine ends itself unless an agent has extended its lease.
    """

    token: str
    offer: Offer
    tags: Mapping[str, str]
    host_key: HostKey
    authorized_key: str
    boot_lease: float


class Instance(NamedTuple):
    """One rented machine as its provider sees it.

    ``state``: ``pending`` | ``running`` | ``ending`` | ``gone``. ``address``/``port`` are empty/0
    until known. ``host_key``: the pinned public line when the provider can tell it, else empty.
    ``started``: when billing began, seconds since the epoch (the provider's own clock).
    ``detail``: why it is in this state, in the provider's words.
    """

    provider: str
    id: str
    state: str
    offer: Offer
    tags: Mapping[str, str]
    address: str = ""
    port: int = 0
    user: str = ""
    host_key: str = ""
    started: float = 0.0
    detail: str = ""


class Traits(NamedTuple):
    """What differs between providers beyond the methods, as data.

    ``end_command``: argv by which the agent ends its host. ``python``: the Python that runs the
    agent there (3.8 or newer). ``uv``: path of uv there, empty when it has to be brought along.
    ``cache``: a folder there that outlives the instance (environments, uv's cache), or empty.
    ``root``: steps may run as root and change the system. ``real_root``: the absolute path
    ``/root`` is the instance's own home. ``billing_minimum``/``notice``: seconds.
    ``shared_host``: its instances are one and the same machine, so that more of them hold no more.
    """

    end_command: tuple[str, ...]
    python: str = "python3"
    uv: str = ""
    cache: str = ""
    root: bool = False
    real_root: bool = True
    billing_minimum: float = 0.0
    notice: float = 0.0
    shared_host: bool = False


class Finding(NamedTuple):
    """One line of ``byoc check``. ``level``: ``ok`` | ``warn`` | ``fail``; ``remedy`` unless ok."""

    level: str
    subject: str
    message: str
    remedy: str = ""


class Provider(Protocol):
    """The methods, each with its retry contract."""

    name: str

    def traits(self) -> Traits:
        """The record of differences. Cheap; no request."""

    def offers(self) -> list[Offer]:
        """What is sold here. Safe to repeat; raises AccessError or TransientError."""

    def check(self) -> list[Finding]:
        """Can this provider be used now, and what does it isolate; one finding per matter."""

    def launch(self, request: LaunchRequest) -> Instance:
        """Boot one instance and return as soon as it has an id, usually ``pending``.

        Idempotent on ``request.token`` while that instance lives: a repeat returns it. After a
        TransientError the outcome is unknown: call again with the same token, or look for
        ``TOKEN_TAG`` in :meth:`list`.
        """

    def get(self, instance_id: str) -> Instance:
        """The instance now. An unknown id is returned with state ``gone``; safe to repeat."""

    def terminate(self, instance_id: str) -> None:
        """End it. Idempotent: already gone is success. Returns when the provider has accepted;
        callers poll :meth:`get` until ``gone``."""

    def list(self, tags: Mapping[str, str]) -> list[Instance]:
        """Every instance, gone ones excluded, that carries all of ``tags``. Safe to repeat."""
