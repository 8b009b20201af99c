"""Reading a cloud's lists of prices: what is given to who reads them, and pages that must be whole.

A list that ends in the middle is an error: half of a price list is no price list.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

from ..clock import Clock
from ..errors import AccessError, ThrottleError, TransientError
from ..pricing.catalog import Snapshot
from ..pricing.refresh.quotes import Doubt, Key, Live, Quote
from ..resources import Offer
from .ingress import is_loopback

T = TypeVar("T")

TRIES = 3
"""How often a page is asked for in all."""
PAUSE = 1.0
"""Seconds before the second time; doubles."""
MOST_PAGES = 200
"""Pages of one list: the longest, of 5,000 entries each, has 10."""
LARGEST = 64 * 1024 * 1024
"""Bytes of one page; Oracle's whole list has 1 MiB, Google's pages 15."""
TIMEOUT = 60.0
"""Seconds without a byte."""


class Asking(NamedTuple):
    """What is known when prices are asked for. ``options``: the cloud's settings. ``last``: the
    catalogue so far: its types and regions are what is asked about. ``tell``: takes a few words
    about how far it is."""

    environ: Mapping[str, str]
    clock: Clock
    options: Mapping[str, str]
    last: Snapshot
    tell: Callable[[str], None]

    def regions(self) -> list[str]:
        """The regions of the catalogue, sorted."""
        return sorted({place[0] for place in self.last.places})


class Parts(Protocol):
    """What read a list that has prices of parts, the same in all its places or by region."""

    unread: int

    @property
    def new(self) -> tuple[str, ...]:
        """What is listed and nothing is made of."""

    def quotes(self, types: Mapping[str, Offer], places: Iterable[Key]) -> dict[Key, Quote]:
        """A quote for each of these places whose parts all have prices."""

    def doubts(self) -> tuple[Doubt, ...]:
        """Prices that cannot be."""


def live_of(asking: Asking, parts: Parts, url: str) -> Live:
    """What a list of parts, read from that address, makes of the catalogue's places."""
    return Live(
        parts.quotes(asking.last.types, asking.last.places),
        frozenset(asking.regions()),
        doubts=parts.doubts(),
        new=parts.new,
        unread=parts.unread,
        emulated=is_loopback(url),
    )


def again(clock: Clock, ask: Callable[[], T]) -> T:
    """What ``ask`` gives, asked again where that may help."""
    for turn in range(TRIES - 1):
        try:
            return ask()
        except (TransientError, ThrottleError):
            clock.sleep(PAUSE * 2**turn)
    return ask()


def entries(
    cloud: str,
    asking: Asking,
    items: str,
    ask: Callable[[str], str | bytes],
    following: Callable[[Mapping[str, Any], int], Mapping[str, Any]],
) -> Iterator[Any]:
    """The entries of a list, page after page. ``items``: where a page has them. ``ask``: what a
    query such as ``page=2`` is answered with. ``following``: what the next page is asked by, after
    a page and so many entries in all; nothing after the last. Raises ProviderErrors."""
    query, count = "", 0
    seen: set[str] = set()
    while query not in seen:
        if len(seen) == MOST_PAGES:
            raise broken(cloud, f"it has more than {MOST_PAGES} pages")
        seen.add(query)
        asking.tell(f"page {len(seen)} of the price list")
        told = page(cloud, again(asking.clock, partial(ask, query)), items)
        yield from told[items]
        count += len(told[items])
        more = following(told, count)
        if not more:
            return
        query = urllib.parse.urlencode(more)
    raise broken(cloud, "a page leads back to an earlier one")


def page(cloud: str, body: str | bytes, items: str) -> Mapping[str, Any]:
    """The object of a page, whose ``items`` are a list. Raises TransientError."""
    try:
        found = json.loads(body)
    except ValueError as error:
        raise broken(cloud, f"a page is not JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get(items), list):
        raise broken(cloud, f"a page has no list of {items}")
    return found


def broken(cloud: str, why: str) -> TransientError:
    """The error for a list that cannot be read to its end."""
    return TransientError(
        f"the price list of {cloud} cannot be read: {why}",
        provider=cloud,
        hints=("Ask again later.",),
    )


def fetched(cloud: str, url: str, environ: Mapping[str, str]) -> bytes:
    """What an address answers, without logging in. ``environ``: where a proxy is looked up. Raises
    TransientError and AccessError."""
    proxies = {
        scheme: environ[name]
        for scheme in ("http", "https")
        for name in (f"{scheme.upper()}_PROXY", f"{scheme}_proxy")
        if environ.get(name)
    }
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(url, timeout=TIMEOUT) as answer:
            body: bytes = answer.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403, 407):
            raise AccessError(
                f"{url} refuses to tell prices: {error}", provider=cloud, scope="cloud"
            ) from error
        raise broken(cloud, f"{url}: {error}") from error
    except (OSError, http.client.HTTPException) as error:  # unreachable, cut off
        raise broken(cloud, f"{url}: {error} ({type(error).__name__})") from error
    if len(body) > LARGEST:
        raise broken(cloud, f"{url} answers with more than {LARGEST} bytes")
    return body
