"""Sessions and clients of boto3, made when first needed and kept; and how each call is made.

Credentials are boto3's business alone: environment, files, profiles, SSO, roles, workload identity.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..._version import __version__
from ...errors import ProviderError, TransientError
from . import codes, faults

CONNECT_TIMEOUT = 5.0
"""Seconds to connect to AWS; a tenth of one is usual."""
READ_TIMEOUT = 60.0
"""Seconds for an answer; RunInstances takes up to 5."""
ATTEMPTS = 5
"""How often one question is asked in all, with boto's own pauses of up to 20 s."""
POOL = 64
"""Connections kept by one client: a fleet is booted and looked at from so many threads."""
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
"""What the services answer to whoever may not do something."""
HOME_REGION = "us-east-1"
"""Where to ask what concerns the whole account when nothing else is configured."""


class Clients:
    """One account as boto3 finds it. ``profile``, ``endpoint``: the settings, or empty.

    Safe from any thread. Every method that speaks to AWS raises only ProviderErrors.
    """

    def __init__(self, profile: str, endpoint: str) -> None:
        self.profile = profile
        self._endpoint = endpoint
        self._lock = threading.RLock()  # making sessions and clients is not thread-safe in boto3
        self._session: Any = None
        self._clients: dict[tuple[str, str, bool], Any] = {}
        self._abroad: dict[str, bool] = {}

    def session(self) -> Any:
        """boto3's session. Raises AccessError without boto3, or without the named profile."""
        with self._lock:
            if self._session is None:
                try:
                    import boto3  # deferred: 0.3 s that only a cloud's user needs
                except ImportError as error:
                    raise faults.not_installed(error) from error
                with self._asking():
                    self._session = boto3.Session(profile_name=self.profile or None)
            return self._session

    def region(self) -> str:
        """The region of AWS's own configuration, else :data:`HOME_REGION`."""
        return self.session().region_name or HOME_REGION

    def client(self, service: str, region: str, patient: bool = True) -> Any:
        """A client; ``patient``: it asks again what may be right when asked again."""
        key = (service, region, patient)
        with self._lock:
            if key not in self._clients:
                session = self.session()
                with self._asking():
                    self._clients[key] = session.client(
                        service,
                        region_name=region,
                        endpoint_url=self._endpoint or None,
                        config=_config(patient),
                    )
            return self._clients[key]

    def endpoint(self, region: str) -> str:
        """The address to which a region's EC2 requests go."""
        return str(self.client("ec2", region).meta.endpoint_url)

    def call(self, service: str, region: str, operation: str, **params: Any) -> Any:
        """One request of an operation such as ``describe_vpcs``, asked again where that helps."""
        client = self.client(service, region)
        with self._asking(region):
            return getattr(client, operation)(**params)

    def launch(self, region: str, bucket: str, **params: Any) -> Mapping[str, Any]:
        """RunInstances: one request, and no other whatever the answer is. The instance made."""
        client = self.client("ec2", region, patient=False)
        with self._asking(region, bucket):
            made: list[Mapping[str, Any]] = client.run_instances(**params).get("Instances", [])
        if not made:
            raise TransientError(
                "the answer to RunInstances names no instance", provider="aws", scope="request"
            )
        return made[0]

    def pages(
        self, service: str, region: str, operation: str, key: str, **params: Any
    ) -> Iterator[Any]:
        """The items under ``key`` of all pages of an answer."""
        client = self.client(service, region)
        with self._asking(region):
            for page in client.get_paginator(operation).paginate(**params):
                yield from page.get(key, ())

    @contextmanager
    def _asking(self, region: str = "", bucket: str = "") -> Iterator[None]:
        """What boto raises meanwhile becomes byoc's."""
        try:
            yield
        except faults.raised_by_boto() as error:
            raise self._error(error, region, bucket) from error

    def _error(self, error: Exception, region: str = "", bucket: str = "") -> ProviderError:
        found = faults.translate(error, bucket, self.profile or self._profile())
        if found.vendor_code == "AuthFailure" and region and self._is_abroad(region):
            # A region that the account has not enabled knows none of its keys.
            found.scope, found.remember = "region", codes.ACCOUNT
            found.hints = (f"Run `aws account enable-region --region-name {region}`.",)
        return found

    def _profile(self) -> str:
        with self._lock:
            return "" if self._session is None else str(self._session.profile_name)

    def _is_abroad(self, region: str) -> bool:
        """Whether the same credentials are good elsewhere: then it is the region that is shut."""
        home = self.region() if self.region() != region else HOME_REGION
        if home == region:
            return False
        with self._lock:
            known = self._abroad.get(region)
        if known is None:
            try:
                self.call("sts", home, "get_caller_identity")
            except ProviderError:  # nothing is known then
                return False
            known = True
            with self._lock:
                self._abroad[region] = known
        return known


def _config(patient: bool) -> Any:
    from botocore.config import Config  # deferred, as boto3 is

    attempts = ATTEMPTS if patient else 1
    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=POOL,
        user_agent_extra=f"byoc/{__version__}",
    )


def refused(error: ProviderError, *codes_: str) -> bool:
    """Whether AWS answered with one of these codes; a code that ends in ``.`` is a beginning."""
    return any(
        error.vendor_code == code or (code.endswith(".") and error.vendor_code.startswith(code))
        for code in codes_
    )
