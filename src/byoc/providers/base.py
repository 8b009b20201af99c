"""The contract that every provider fulfils. Nine methods beside a record of traits.

A provider is a thin adapter. It keeps no state, raises only the classes of :mod:`byoc.errors`
(its table of vendor codes is data), and never retries a launch by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from ..errors import ProviderError
from ..resources import Offer

OWNER_TAG = "byoc-owner"
"""Tag: the installation (one ``BYOC_HOME``) that owns the instance."""
RUN_TAG = "byoc-run"
"""Tag: the run it was launched for."""
TOKEN_TAG = "byoc-token"
"""Tag: the intent's token; finds an instance whose launch answer was lost."""
EXPIRES_TAG = "byoc-expires"
"""Tag: second of the epoch after which the instance has no right to live. Whoever holds it moves
it on, and always before it grants the agent as much: no agent's lease outlasts its tag."""
UNTIL_TAG = "byoc-until"
"""Tag: second of the epoch that no renewal goes beyond: the run's ``lifetime``."""
PRICE_TAG = "byoc-price"
"""Tag: dollars an hour at launch, so that audit and receipt need no journal."""
MESH_TAG = "byoc-mesh"
"""Tag: ``1`` on an instance that was launched to be reached by others of its owner (a gang)."""
ANY = "*"
"""As the value of a wanted tag in :meth:`Provider.list`: whatever its value is."""
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
    at which the machine ends itself unless an agent has extended its lease. ``disk``: MiB that the
    boot disk has at least, 0 for the image's own size. ``lifetime``: seconds after which the cloud
    itself deletes the instance, where it can, whatever becomes of everything else. ``public``: it
    has a public address; without one it is reached by its private one, through a jump host.
    ``mesh``: instances of this owner in its region may reach each other on every port (a gang).
    """

    token: str
    offer: Offer
    tags: Mapping[str, str]
    host_key: HostKey
    authorized_key: str
    boot_lease: float
    disk: int = 0
    lifetime: float = 0.0
    public: bool = True
    mesh: bool = False


class Instance(NamedTuple):
    """One rented thing as its provider sees it: a machine, or what was made along with one.

    ``id``: what :meth:`Provider.get` and :meth:`Provider.terminate` take, region or zone included
    where the cloud's own id does not tell it (``us-east-1/i-0ab12``). ``state``: ``pending`` |
    ``running`` | ``ending`` | ``gone``. ``address``/``port`` are empty/0 until known. ``host_key``:
    the pinned public line when the provider can tell it, else empty. ``started``: when billing
    began, seconds since the epoch (the provider's own clock). ``detail``: why it is in this state,
    in the provider's words; of a pending one, what it waits for. ``failure``: the classified reason
    for which the cloud did not make it or took it away, None when there is none. ``kind``:
    ``instance``, or ``disk`` | ``address`` | ``firewall`` | ``network`` | ``key`` | ``image``.
    ``origin``: the launch's token by the cloud's own record (EC2's client token, GCP's name, OCI's
    metadata), which a tag that was put on by hand cannot forge; empty when it tells none.
    ``inside``: its private address, by which instances of one network reach each other.
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
    failure: ProviderError | None = None
    kind: str = "instance"
    origin: str = ""
    inside: str = ""


class Quota(NamedTuple):
    """How much of one kind an account may hold.

    ``bucket``: the vendor's own name (``L-DB2E81BA``, ``NVIDIA_L4_GPUS``, ``gpu-a10-count``).
    ``region``: empty for all of them; ``zone``: empty unless counted by zone. ``limit``/``used`` in
    ``unit`` (``vCPU``, ``GPU``, ``core``, ``instance``); ``used`` is None when it was not told.
    """

    bucket: str
    region: str
    limit: float
    used: float | None = None
    unit: str = ""
    zone: str = ""


class Draw(NamedTuple):
    """What one instance takes of a quota: ``amount`` of ``bucket``."""

    bucket: str
    amount: float


class Survey(NamedTuple):
    """What a provider said about some offers of one region, at one moment.

    ``zones``: by type, the zones that sell it, in the order to try; a type that is absent was not
    told of, one with no zones is not sold there. ``quotas``: the limits that count. ``draws``: by
    (type, market), what one instance takes of them. ``capacity``: by (type, zone, market), whether
    the cloud says that it has one now; most clouds say nothing. ``prices``: by (type, zone,
    market), dollars an hour where the cloud tells a fresher one. ``failed``: by the name of a
    question, why it was not answered; nothing is concluded from what is missing.
    """

    region: str
    zones: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    quotas: tuple[Quota, ...] = ()
    draws: Mapping[tuple[str, str], tuple[Draw, ...]] = MappingProxyType({})
    capacity: Mapping[tuple[str, str, str], bool] = MappingProxyType({})
    prices: Mapping[tuple[str, str, str], float] = MappingProxyType({})
    failed: Mapping[str, ProviderError] = MappingProxyType({})


class Traits(NamedTuple):
    """What differs between providers beyond the methods, as data.

    ``end_command``: argv by which the agent ends its host. ``python``: the Python that runs the
    agent there (3.8 or newer). ``uv``: path of uv there, empty when it has to be brought along.
    ``cache``: a folder there that outlives the instance (environments, uv's cache), or empty.
    ``root``: steps may run as root and change the system. ``real_root``: the absolute path
    ``/root`` is the instance's own home. ``notice``: seconds of warning before a preemption, 0 for
    none; ``notice_source``: how the agent learns of it, a name known to
    ``runtime_agent/notices.py`` (``aws``, ``gcp``), empty where nothing can be read there.
    ``self_end``: what becomes of a machine that shuts itself down: ``gone`` | ``stopped`` (its disk
    is still paid) | ``billed`` (all of it is). ``regional``: it sells by region and zone, so that
    :meth:`Provider.survey` has something to say. ``shared_host``: its instances are one and the
    same machine, so that more of them hold no more. ``boot``: seconds from a launch to a machine
    that can be used, in order of magnitude, for as long as none of ours has been seen. ``origins``:
    it tells :attr:`Instance.origin` of every instance that was launched by byoc, so that one with
    our tags and without it is not ours.
    """

    end_command: tuple[str, ...]
    python: str = "python3"
    uv: str = ""
    cache: str = ""
    root: bool = False
    real_root: bool = True
    notice: float = 0.0
    notice_source: str = ""
    self_end: str = "gone"
    regional: bool = False
    shared_host: bool = False
    boot: float = 60.0
    origins: bool = False


class Finding(NamedTuple):
    """One line of ``byoc check``. ``level``: ``ok`` | ``warn`` | ``fail``; ``remedy`` unless ok."""

    level: str
    subject: str
    message: str
    remedy: str = ""


class Provider(Protocol):
    """The methods, each with its retry contract. What can fail raises a ProviderError.

    Clouds' SDKs are imported when a method that speaks to the cloud is first called; when one is
    not installed that method raises AccessError, with the command that installs it as hint.
    """

    name: str

    @property
    def traits(self) -> Traits:
        """The record of differences. Cheap; no request."""

    def offers(self) -> list[Offer]:
        """What is sold here. Clouds answer from the catalogue, an offer for each region, type and
        market, without a request. Safe to repeat."""

    def survey(self, region: str, offers: Sequence[Offer]) -> Survey:
        """What the cloud says of these offers now, all of them of ``region``: zones, quotas,
        capacity. Its questions are asked side by side. Safe to repeat; costs nothing.

        A question that fails is told in the survey; raises AccessError when no question can be
        asked at all.
        """

    def check(self) -> list[Finding]:
        """Can this provider be used now, and what does it isolate; one finding per matter."""

    def launch(self, request: LaunchRequest) -> Instance:
        """Boot one instance and return as soon as it has an id, usually ``pending``.

        One request to the cloud and no retry. Idempotent on ``request.token`` while that instance
        lives: a repeat returns it. After a TransientError the outcome is unknown: call again with
        the same token, or look for ``TOKEN_TAG`` in :meth:`list`. An offer without a zone leaves
        the choice to the cloud where it can choose, else BadRequestError.
        """

    def get(self, instance_id: str) -> Instance:
        """The instance now. An unknown id is returned with state ``gone`` and no detail; safe to
        repeat."""

    def terminate(self, instance_id: str) -> None:
        """End it, or remove what :meth:`list` showed of another kind. Idempotent: already gone is
        success. Returns when the provider has accepted; callers poll :meth:`get` until ``gone``.

        A firewall is closed to everybody first. Raises TransientError while something uses what is
        to be removed (a closed firewall stays closed).
        """

    def mark(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """Write these tags on an instance; its other ones stay. Safe to repeat. One that is gone
        is left alone."""

    def list(
        self, tags: Mapping[str, str], regions: Sequence[str] = (), everything: bool = False
    ) -> list[Instance]:
        """Every instance, gone ones excluded, that carries all of ``tags`` (:data:`ANY` for any
        value). Safe to repeat.

        ``regions``: where to look; empty means everywhere that the account can use. ``everything``:
        also what instances leave behind (disks, addresses, firewalls, networks). Raises when any
        region could not be asked: an incomplete list is never returned.
        """

    def console(self, instance_id: str) -> str:
        """The end of what the machine printed while it booted, at most 64 KiB; empty when the cloud
        keeps none (yet). Safe to repeat."""
