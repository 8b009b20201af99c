"""One Google project: whom it is asked as, its services' clients, and its failures as ours."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import AccessError, ProviderError, ThrottleError, TransientError
from .. import ingress
from ..table import Answer, classify
from .codes import LOGIN, ROWS
from .sdk import load

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUTS = (5.0, 60.0)
"""Seconds to connect, and between two bytes of an answer."""
PATIENCE = 30.0
"""Seconds for which a question (never a launch) is asked again after a passing failure."""
CONNECTIONS = 64
"""Kept open per service; 10, the default, is less than a map over 50 instances asks with."""
API = "https://compute.googleapis.com"
PROJECTS = "https://cloudresourcemanager.googleapis.com"
PROJECT_NAMES = ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT")
EMULATED = "emulated.invalid"
"""The universe of an emulated account's credentials: nothing but its endpoint is asked."""
KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
NOT_FOUND = "notFound"
_UNKNOWN_PLACE = "Unknown zone"  # in a 400: nothing is there either
_QUOTA = re.compile(r"[Qq]uota '([A-Za-z0-9_-]+)'")


class Google:
    """``options``: ``project``, ``endpoint``, ``key_file``. Nothing is imported or asked before it
    is needed.

    Safe from any thread. Every method raises errors of :mod:`byoc.errors` only.
    """

    def __init__(self, environ: Mapping[str, str], options: Mapping[str, str]) -> None:
        self._environ = environ
        self._project = options.get("project", "")
        self._key_file = options.get("key_file", "")
        self.endpoint = options.get("endpoint", "").rstrip("/")
        self._lock = threading.RLock()
        self._clients: dict[str, Any] = {}
        self._login: tuple[Any, str] | None = None

    @property
    def project(self) -> str:
        """The project to rent in: the setting, else the environment's, else the credentials'."""
        known = self._project or next(
            (self._environ[name] for name in PROJECT_NAMES if self._environ.get(name)), ""
        )
        if not known:
            known = self._credentials()[1]
        if not known:
            raise AccessError(
                "no Google Cloud project is set",
                provider="gcp",
                scope="cloud",
                hints=("Set gcp.project in byoc.toml, or BYOC_GCP_PROJECT.",),
            )
        return known

    def account(self) -> str:
        """Whom requests are made as: an e-mail address where the credentials tell one."""
        credentials = self._credentials()[0]
        named = getattr(credentials, "service_account_email", "") or getattr(
            credentials, "account", ""
        )
        return str(named or type(credentials).__module__.rpartition(".")[2])

    def once(self, service: str, method: str, **request: Any) -> Any:
        """One request of a service, and no retry: for launches.

        A refusal that brings no id of its own gets the one that the request was made with.
        """
        try:
            return self._call(service, method, None, request)
        except ProviderError as error:
            error.request_id = error.request_id or str(request.get("request_id", ""))
            raise

    def call(self, service: str, method: str, patience: float = PATIENCE, **request: Any) -> Any:
        """A request that may be repeated, and is for ``patience`` seconds of passing failures."""
        retry = load("google.api_core.retry").Retry(
            predicate=_passing, initial=0.2, maximum=5.0, timeout=patience
        )
        return self._call(service, method, retry, request)

    def find(self, service: str, method: str, **request: Any) -> Any | None:
        """As :meth:`call`, but None for what does not exist."""
        try:
            return self.call(service, method, **request)
        except ProviderError as error:
            if absent(error):
                return None
            raise

    def pages(
        self, service: str, method: str, patience: float = PATIENCE, **request: Any
    ) -> list[Any]:
        """All pages of a list, none of them partial: raises when a part could not be asked."""
        pager = self.call(service, method, patience, **request)
        try:
            found = list(pager.pages)
        except failures() as error:
            raise translate(error) from error
        for page in found:
            _complete(page)
        return found

    def everywhere(self, service: str, kind: str, filter: str) -> list[tuple[str, Any]]:
        """(zone or region, resource) of all that an aggregated list of ``kind`` holds."""
        found: list[tuple[str, Any]] = []
        for page in self.pages(service, "aggregated_list", project=self.project, filter=filter):
            for scope, part in page.items.items():
                found += [(scope.rpartition("/")[2], item) for item in getattr(part, kind)]
        return found

    def http(self, verb: str, url: str, body: Any = None) -> Any:
        """A request beside Compute Engine's clients; the answer of ``requests``, checked."""
        transport = load("google.auth.transport.requests")
        try:
            session = transport.AuthorizedSession(self._credentials()[0])
            answer = session.request(verb, url, json=body, timeout=TIMEOUTS)
            if not answer.ok:
                raise load("google.api_core.exceptions").from_http_response(answer)
        except failures() as error:
            raise translate(error) from error
        return answer

    def _call(self, service: str, method: str, retry: Any, request: dict[str, Any]) -> Any:
        try:
            ask = getattr(self._client(service), method)
            return ask(request=request, retry=retry, timeout=_bounded)
        except failures() as error:
            # Compute Engine answers with no id of its own; the one we sent is in its audit log.
            raise translate(error, str(request.get("request_id", ""))) from error

    def _client(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._connect(service)
            return self._clients[service]

    def _connect(self, service: str) -> Any:
        module = load(f"services.{service}")
        name = "".join(part.capitalize() for part in service.split("_")) + "Client"
        credentials = self._credentials()[0]
        options = load("google.api_core.client_options").ClientOptions(
            universe_domain=getattr(credentials, "universe_domain", None)
        )
        if self.endpoint:
            options.api_endpoint = self.endpoint  # with its scheme, else https is meant
        client = getattr(module, name)(
            credentials=credentials, client_options=options, transport="rest"
        )
        session = getattr(client.transport, "_session", None)  # no option gives what is set here
        if session is not None:
            session._max_refresh_attempts = 0  # a 401 is sent again else: tokens are fresh anyway
            adapter = load("google.auth.transport.requests").requests.adapters.HTTPAdapter
            for scheme in ("https://", "http://"):
                session.mount(scheme, adapter(pool_maxsize=CONNECTIONS))
        return client

    def _credentials(self) -> tuple[Any, str]:
        """Google's own default chain: a key file, gcloud's log-in, workload identity, the VM's.

        Of an emulated endpoint only the key file counts: its token goes nowhere else, and the
        chain's last step, which asks a metadata address, is of no use.
        """
        with self._lock:
            if self._login is None:
                try:
                    self._login = self._log_in()
                except failures() as error:
                    raise translate(error) from error
                except (OSError, ValueError) as error:  # of a key file
                    raise refusal("DefaultCredentialsError", str(error), 0, "") from error
            return self._login

    def _log_in(self) -> tuple[Any, str]:
        emulated = self.endpoint and ingress.is_loopback(self.endpoint)
        if not emulated and not self._key_file:
            credentials, project = load("google.auth").default(scopes=[SCOPE])
            return credentials, project or ""
        path = self._key_file or self._environ.get(KEY_FILE, "")
        if not path:
            raise AccessError(
                f"{self.endpoint} is on this computer and {KEY_FILE} names no key for it",
                provider="gcp", scope="cloud", vendor_code="DefaultCredentialsError",
                hints=("Run it under: byoc emulate --", LOGIN),
            )  # fmt: skip
        made = load("google.oauth2.service_account").Credentials
        credentials = made.from_service_account_file(path, scopes=[SCOPE])
        if not emulated:
            return credentials, str(credentials.project_id or "")
        # Of Google's own universe the library looks for rules about regions, at Google.
        return credentials.with_universe_domain(EMULATED), str(credentials.project_id or "")


def absent(error: ProviderError) -> bool:
    """Whether an answer says that something does not exist, or could not in that place."""
    return error.vendor_code == NOT_FOUND or _UNKNOWN_PLACE in error.message


def failures() -> tuple[type[BaseException], ...]:
    """What Google's SDK raises when a request fails; other exceptions are mistakes in here."""
    return (
        load("google.api_core.exceptions").GoogleAPIError,
        load("google.auth.exceptions").GoogleAuthError,
        load("google.auth.transport.requests").requests.exceptions.RequestException,
    )


def translate(error: BaseException, sent: str = "") -> ProviderError:
    """Our error for one of :func:`failures`. ``sent``: the id that we gave the request."""
    cause = getattr(error, "cause", None)  # of a RetryError: what went wrong last
    if isinstance(cause, BaseException):
        return translate(cause, sent)
    status = getattr(error, "code", None)
    if not isinstance(status, int):
        passing = getattr(error, "retryable", False)  # google-auth says so of some refreshes
        return refusal("TransportError" if passing else type(error).__name__, str(error), 0, sent)
    entries: list[Any] = list(getattr(error, "errors", None) or ())
    first = entries[0] if entries and isinstance(entries[0], Mapping) else {}
    message = str(first.get("message") or getattr(error, "message", error))
    headers = getattr(getattr(error, "response", None), "headers", {})
    request_id = str(headers.get("x-goog-request-id") or sent)
    code = str(first.get("reason") or "")
    if code in ("", "forbidden"):  # a newer name, where there is one, tells more
        code = str(getattr(error, "reason", "") or code or _STATUS_NAMES.get(status, ""))
    return refusal(code, message, int(status), request_id)


_STATUS_NAMES = {404: NOT_FOUND, 409: "alreadyExists", 412: "conditionNotMet"}


def refusal(
    code: str, message: str, status: int, request_id: str, bucket: str = "", zones: str = ""
) -> ProviderError:
    """Our error for Google's words. ``zones``: a comma list that it suggests instead."""
    named = _QUOTA.search(message)
    return classify(
        "gcp",
        ROWS,
        Answer(
            code, message, status, request_id,
            bucket=named[1] if named else bucket,
            zones=tuple(zone for zone in zones.split(",") if zone),
        ),
    )  # fmt: skip


def of_operation(operation: Any) -> ProviderError | None:
    """Why an operation failed; None when it did not, or not yet."""
    entries = list(operation.error.errors) if operation.error else []
    if not entries:
        return None
    entry = next((e for e in entries if e.code != "VM_MIN_COUNT_NOT_REACHED"), entries[0])
    bucket = zones = ""
    for detail in entry.error_details:
        zones = zones or detail.error_info.metadatas.get("zonesAvailable", "")
        metric = detail.quota_info.metric_name.rpartition("/")[2].upper()
        bucket = bucket or metric
    return refusal(
        entry.code, entry.message, operation.http_error_status_code, operation.name, bucket, zones
    )


def _passing(error: BaseException) -> bool:
    return isinstance(error, failures()) and isinstance(
        translate(error), (ThrottleError, TransientError)
    )


def _bounded(ask: Callable[..., Any]) -> Callable[..., Any]:
    """In place of the SDK's timeout, which has one figure for connecting and for waiting."""
    return functools.partial(ask, timeout=TIMEOUTS)


def _complete(page: Any) -> None:
    """Raise when a page of a list says that something is missing from it."""
    parts = list(page.items.values()) if hasattr(page.items, "values") else []
    warnings = [getattr(part, "warning", None) for part in (page, *parts)]
    missing = [str(place) for place in getattr(page, "unreachables", ())]
    missing += [
        warning.message or "a part of it"
        for warning in warnings
        if warning and warning.code in ("UNREACHABLE", "PARTIAL_SUCCESS")
    ]
    if missing:
        raise refusal("unreachable", f"the list is not complete: {', '.join(missing)}", 200, "")
