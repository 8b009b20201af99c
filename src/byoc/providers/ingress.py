"""From where instances may be reached: the networks of the settings, else this client's address.

A firewall that is open to everybody is never made by default.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from ..clock import Clock
from ..errors import AccessError, BadRequestError
from .gates import families

CHECK_URL = "https://checkip.amazonaws.com"
"""Answers with the address from which it was asked, as text; run by AWS."""
TIMEOUT = 5.0
"""Seconds for that question; it takes a fraction of one."""
KEEP = 300.0
"""Seconds for which an answer is good: a laptop that moved to another network is noticed."""
LOOPBACK = "127.0.0.1/32"
_LONGEST = 64  # an IPv6 address has 45 characters at most
_HINT = "Name the networks that may reach instances, such as BYOC_INGRESS=203.0.113.7/32."


def is_loopback(endpoint: str) -> bool:
    """Whether an address such as ``http://127.0.0.1:5055`` is on this computer."""
    host = urllib.parse.urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Connection4(http.client.HTTPConnection):
    """HTTP by IPv4, whatever the name has besides."""

    def connect(self) -> None:
        self._create_connection = _connect4
        super().connect()


class _SecureConnection4(http.client.HTTPSConnection):
    """The same by TLS."""

    def connect(self) -> None:
        self._create_connection = _connect4
        super().connect()


class _Handler4(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Connection4, req)


class _SecureHandler4(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection4, req)


def _connect4(
    address: tuple[str, int], timeout: float = TIMEOUT, source: tuple[str, int] | None = None
) -> socket.socket:
    found = socket.getaddrinfo(*address, socket.AF_INET, socket.SOCK_STREAM)
    host, port = str(found[0][4][0]), address[1]
    return socket.create_connection((host, port), timeout, source)


def own(environ: Mapping[str, str], clock: Clock, url: str = CHECK_URL, ipv4: bool = False) -> str:
    """This client's public address as a network, ``203.0.113.7/32``. Asks ``url`` each time.

    ``environ`` is where a proxy is looked up (``https_proxy``). ``ipv4``: ask by IPv4, also when
    this computer prefers IPv6. Raises AccessError when it cannot be told.
    """
    proxies = {
        scheme: environ[name]
        for scheme in ("http", "https")
        for name in (f"{scheme.upper()}_PROXY", f"{scheme}_proxy")
        if environ.get(name)
    }
    four: tuple[urllib.request.BaseHandler, ...] = ()
    if ipv4:
        four = (_Handler4(), _SecureHandler4())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), *four)
    try:
        with opener.open(url, timeout=TIMEOUT) as answer:
            address = ipaddress.ip_address(answer.read(_LONGEST).decode("ascii").strip())
    except (OSError, ValueError) as error:  # unreachable, refused, or no address
        raise AccessError(
            f"this computer's public address cannot be told: {url}: {error}",
            scope="cloud",
            hints=(_HINT,),
        ) from error
    return f"{address}/{address.max_prefixlen}"


def own_for_ipv4(environ: Mapping[str, str], clock: Clock, url: str = CHECK_URL) -> str:
    """The address by which this client meets machines that have IPv4 addresses only, as those of
    all three clouds do.

    It is asked for by IPv4: the answer to a question by IPv6 would be another address, by which no
    such machine is ever met. Raises AccessError when this computer has no way to IPv4.
    """
    try:
        found = own(environ, clock, url, ipv4=True)
    except AccessError as first:
        try:
            found = own(environ, clock, url)  # a network that translates (NAT64) tells its IPv4
        except AccessError:
            raise first from None
    if ":" not in found:
        return found
    raise AccessError(
        f"this computer reaches the internet by IPv6 only ({found}), and instances have IPv4 "
        "addresses only",
        scope="cloud",
        hints=(
            "Connect from a network with IPv4 or NAT64, or by a jump host that has it (jump).",
            _HINT,
        ),
    )


class Ingress:
    """The networks that may reach instances. ``given``: a comma list, from the settings.

    One object per provider: it keeps the client's own address for :data:`KEEP` seconds. Safe from
    any thread.
    """

    def __init__(
        self, given: str, environ: Mapping[str, str], clock: Clock, url: str = CHECK_URL
    ) -> None:
        self._given = tuple(part.strip() for part in given.split(",") if part.strip())
        self._environ = environ
        self._clock = clock
        self._url = url
        self._lock = threading.Lock()
        self._known: tuple[float, str] | None = None

    def networks(self, endpoint: str, fresh: bool = False) -> tuple[str, ...]:
        """CIDRs, in order. ``endpoint``: of the cloud's API; when it is on loopback the cloud is
        emulated on this computer, and so is whoever connects. ``fresh``: ask for this client's
        address now. Raises AccessError, and BadRequestError when none of them is of IPv4."""
        if self._given:
            if not families(self._given)[0]:
                raise BadRequestError(
                    f"instances have IPv4 addresses only, and of the networks that may reach them "
                    f"({', '.join(self._given)}) none is of IPv4",
                    scope="cloud",
                    hints=("Name an IPv4 network with the setting ingress.",),
                )
            return self._given
        if is_loopback(endpoint):
            return (LOOPBACK,)
        with self._lock:
            now = self._clock.mono()
            if fresh or self._known is None or now - self._known[0] > KEEP:
                found = own_for_ipv4(self._environ, self._clock, self._url)
                self._known = (self._clock.mono(), found)
            return (self._known[1],)
