"""The account: how it is named, whom requests are signed as, and a client for each service.

Nothing of the SDK is imported before an account is opened: it unpacks to half a gigabyte, and one
service's client takes 0.3 s and 77 MB. No credential is handled here: configuration files, session
tokens, instance and resource principals, and Kubernetes workload identity are the SDK's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import AccessError, ProviderError
from ..table import Answer
from .codes import ABSENT, CLOUD, of, translated

TIMEOUT = (5.0, 60.0)
"""Seconds to connect, and to wait for an answer."""
TRIES = 4
"""Attempts at a question, the first included; a launch has one."""
BRISK_TRIES = 2
"""Attempts at a question of a survey: a plan without its answer is better than a late one."""
TRY_FOR = 60.0
"""Seconds after which a question is not asked again."""
TRY_PAUSE = 0.2
"""Seconds before the second attempt; doubles, with jitter, as the SDK's strategy does."""
TRY_PAUSE_MAX = 8.0
INSTALL = "Run `pip install 'byoc-cloud[oci]'`."
DEFAULT_FILE = "~/.oci/config"


class Identity(NamedTuple):
    """Whom requests are made as. ``kind``: ``api_key`` | ``security_token`` |
    ``instance_principal`` | ``resource_principal`` | ``oke_workload_identity``. ``config``: the
    SDK's; ``signer``: None where the configuration is enough."""

    kind: str
    tenancy: str
    region: str
    config: Mapping[str, Any]
    signer: Any = None


class Account:
    """One tenancy, as one user, with clients that are kept. Safe from any thread.

    ``options``: the settings ``oci.*``. Nothing is read or imported before it is first used.
    """

    def __init__(self, environ: Mapping[str, str], options: Mapping[str, str]) -> None:
        self._environ = environ
        self._options = options
        self._lock = threading.RLock()
        self._identity: Identity | None = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._regions: tuple[str, ...] = ()

    # --- who ------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        """Whom requests are made as. Raises AccessError: no SDK, no configuration, no key."""
        with self._lock:
            if self._identity is None:
                with translated():
                    self._identity = _identity(sdk(), self._environ, self._options)
            return self._identity

    @property
    def tenancy(self) -> str:
        """The tenancy's OCID: that of its root compartment."""
        return self.identity.tenancy

    @property
    def compartment(self) -> str:
        """Where instances are rented: the setting, else the root compartment."""
        return self._options.get("compartment") or self.tenancy

    @property
    def endpoint(self) -> str:
        """Where an emulated tenancy is served, ``{region}`` within; empty for the real one."""
        return self._options.get("endpoint", "")

    def endpoint_of(self, region: str) -> str:
        """The endpoint for one region."""
        return self.endpoint.replace("{region}", region)

    # --- asking -----------------------------------------------------------------------------

    def client(self, service: str, region: str = "") -> Any:
        """A client of the SDK for ``compute``, ``network``, ``volumes``, ``identity``, ``limits``
        or ``work``, in a region or in that of the configuration. Raises AccessError."""
        identity = self.identity
        region = region or identity.region
        with self._lock:
            if (service, region) not in self._clients:
                with translated():
                    self._clients[service, region] = self._make(service, region, identity)
            return self._clients[service, region]

    def _make(self, service: str, region: str, identity: Identity) -> Any:
        oci = sdk()
        more = {"signer": identity.signer} if identity.signer is not None else {}
        if self.endpoint:
            more["service_endpoint"] = self.endpoint_of(region)
        return _client_class(service)(
            {**identity.config, "region": region},
            timeout=TIMEOUT,
            retry_strategy=_strategy(oci),
            # A breaker would answer with an exception of its own instead of the cloud's reason.
            circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
            **more,
        )

    def regions(self) -> tuple[str, ...]:
        """The regions that the tenancy is subscribed to; asked once. Raises ProviderError."""
        with self._lock:
            if not self._regions:
                client = self.client("identity")
                with translated():
                    found = client.list_region_subscriptions(self.tenancy).data
                ready = [one for one in found if one.status == "READY"]
                self._regions = tuple(one.region_name for one in ready)
            return self._regions

    def region_of(self, code: str) -> str:
        """The region that an OCID names: by key for the oldest (``iad``), by name for others."""
        short = sdk().regions.REGIONS_SHORT_NAMES
        return str(short.get(code.lower(), code.lower()))

    def require(self, region: str) -> None:
        """Raise AccessError when the tenancy is not subscribed to a region: there, even a right
        request is answered as if the key were wrong."""
        if region not in self.regions():
            raise not_subscribed(region)


def not_subscribed(region: str) -> AccessError:
    """The error for a region that the tenancy does not have."""
    error = of(Answer("NotSubscribed", f"the tenancy is not subscribed to {region}"))
    assert isinstance(error, AccessError)
    error.hints = (
        f"Subscribe to it under Manage Regions in the OCI console, or leave {region} out.",
    )
    return error


def no_retry() -> Any:
    """The strategy of a launch: one request."""
    return sdk().retry.NoneRetryStrategy()


def brisk() -> Any:
    """The strategy of questions that can do without an answer."""
    return _strategy(sdk(), BRISK_TRIES)


def pages(ask: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
    """Everything that a list call gives: pages may be empty while later ones are not.

    Not by the SDK's own pagination, which asks each page again for ten minutes, whatever strategy
    the client has, and imports two more services.
    """
    found: list[Any] = []
    more: dict[str, str] = {}
    with translated():
        while True:
            answer = ask(*args, **kwargs, **more)
            found += answer.data
            if not answer.next_page:
                return found
            more = {"page": answer.next_page}


def answered(ask: Callable[[], Any]) -> Any:
    """What a question gives; None for OCI's word that it is not there, or may not be seen."""
    try:
        with translated():
            return ask()
    except ProviderError as error:
        if error.vendor_code == ABSENT:
            return None
        raise


def sdk() -> Any:
    """The SDK. Raises AccessError when it is not installed."""
    try:
        import oci  # deferred: a quarter of a second that only OCI needs
    except ImportError as error:
        raise AccessError(
            f"the OCI SDK is not installed ({error})",
            provider=CLOUD,
            scope="cloud",
            hints=(INSTALL,),
        ) from error
    return oci


def _client_class(service: str) -> Any:
    # Deferred, like the SDK itself.
    from oci.core import BlockstorageClient, ComputeClient, VirtualNetworkClient
    from oci.identity import IdentityClient
    from oci.limits import LimitsClient
    from oci.work_requests import WorkRequestClient

    return {
        "compute": ComputeClient,
        "network": VirtualNetworkClient,
        "volumes": BlockstorageClient,
        "identity": IdentityClient,
        "limits": LimitsClient,
        "work": WorkRequestClient,
    }[service]


def _strategy(oci: Any, tries: int = TRIES) -> Any:
    """Like the SDK's default, which would go on for ten minutes."""
    return oci.retry.RetryStrategyBuilder(
        max_attempts=tries,
        total_elapsed_time_seconds=TRY_FOR,
        retry_base_sleep_time_seconds=TRY_PAUSE,
        retry_max_wait_between_calls_seconds=TRY_PAUSE_MAX,
        service_error_check=True,
        service_error_retry_on_any_5xx=True,
        service_error_retry_config={-1: [], 409: ["IncorrectState"], 429: []},
        backoff_type=oci.retry.BACKOFF_FULL_JITTER_VALUE,
    ).get_retry_strategy()


def _identity(oci: Any, environ: Mapping[str, str], options: Mapping[str, str]) -> Identity:
    kind = environ.get("OCI_CLI_AUTH", "")
    if not kind and environ.get("OCI_RESOURCE_PRINCIPAL_VERSION") and not options.get("profile"):
        kind = "resource_principal"
    if kind in _PRINCIPALS:
        return _principal(oci, kind, environ)
    return _configured(oci, kind, environ, options)


_PRINCIPALS: Mapping[str, Callable[[Any], Any]] = {
    "instance_principal": lambda signers: signers.InstancePrincipalsSecurityTokenSigner(),
    "resource_principal": lambda signers: signers.get_resource_principals_signer(),
    "oke_workload_identity": (
        lambda signers: signers.get_oke_workload_identity_resource_principal_signer()
    ),
}


def _principal(oci: Any, kind: str, environ: Mapping[str, str]) -> Identity:
    signer = _PRINCIPALS[kind](oci.auth.signers)
    tenancy = getattr(signer, "tenancy_id", "") or environ.get("OCI_TENANCY", "")
    region = getattr(signer, "region", "") or environ.get("OCI_REGION", "")
    return Identity(kind, str(tenancy), str(region), {"region": region}, signer)


def _configured(
    oci: Any, kind: str, environ: Mapping[str, str], options: Mapping[str, str]
) -> Identity:
    file = (
        options.get("config_file")
        or environ.get("OCI_CLI_CONFIG_FILE")
        or environ.get("OCI_CONFIG_FILE")
        or DEFAULT_FILE
    )
    profile = options.get("profile") or environ.get("OCI_CLI_PROFILE") or "DEFAULT"
    config = oci.config.from_file(file, profile)
    region = environ.get("OCI_CLI_REGION") or config.get("region") or environ.get("OCI_REGION", "")
    config["region"] = region
    if kind == "security_token" or (not kind and config.get("security_token_file")):
        signer = _session_signer(oci, config)
        return Identity("security_token", config["tenancy"], region, config, signer)
    if config.get("authentication_type"):
        return Identity("api_key", config["tenancy"], region, config)
    # One signer for all clients: each would read and check the key by itself.
    signer = oci.signer.Signer.from_config(config)
    return Identity("api_key", config["tenancy"], region, config, signer)


def _session_signer(oci: Any, config: Mapping[str, Any]) -> Any:
    """The signer of `oci session authenticate`: a token in a file, and the session's key."""
    try:
        token = Path(config["security_token_file"]).expanduser().read_text("utf-8").strip()
        key_file = str(Path(config["key_file"]).expanduser())
        key = oci.signer.load_private_key_from_file(key_file, config.get("pass_phrase"))
    except (OSError, KeyError) as error:
        raise AccessError(
            f"there is no session of OCI: {error}",
            provider=CLOUD,
            scope="cloud",
            hints=("Run `oci session authenticate`.",),
        ) from error
    return oci.auth.signers.SecurityTokenSigner(token, key)
