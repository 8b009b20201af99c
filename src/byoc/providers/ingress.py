"""From where instances may be reached: the networks of the settings, else this client's address.

A firewall that is open to everybody is never made by default.
"""

from __future__ import annotations

import ipaddress
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping

from ..clock import Clock
from ..errors import AccessError

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


def own(environ: Mapping[str, str], clock: Clock, url: str = CHECK_URL) -> str:
    """This client's public address as a network, ``203.0.113.7/32``. Asks ``url`` each time.

    ``environ`` is where a proxy is looked up (``https_proxy``). Raises AccessError when it cannot
    be told.
    """
    proxies = {
        scheme: environ[name]
        for scheme in ("http", "https")
        for name in (f"{scheme.upper()}_PROXY", f"{scheme}_proxy")
        if environ.get(name)
    }
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
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

    def networks(self, endpoint: str) -> tuple[str, ...]:
        """CIDRs, in order. ``endpoint``: of the cloud's API; when it is on loopback the cloud is
        emulated on this computer, and so is whoever connects. Raises AccessError."""
        if self._given:
            return self._given
        if is_loopback(endpoint):
            return (LOOPBACK,)
        with self._lock:
            now = self._clock.mono()
            if self._known is None or now - self._known[0] > KEEP:
                self._known = (now, own(self._environ, self._clock, self._url))
            return (self._known[1],)
