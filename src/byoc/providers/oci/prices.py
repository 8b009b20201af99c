"""OCI's prices as it tells them now: Oracle's public list, for which nobody logs in."""

from __future__ import annotations

import urllib.parse
from functools import partial

from ...pricing.refresh.products import Products
from ...pricing.refresh.quotes import Live
from ...pricing.tariff import tariffs
from ..lists import MOST_PAGES, Asking, again, broken, fetched, page
from .codes import CLOUD

API = "https://apexapps.oracle.com"
HOME = "us-ashburn-1"
"""Where an emulated tenancy is asked."""
PATH = "/pls/apex/cetools/api/v1/products/"


def live(asking: Asking) -> Live:
    """Every place of the catalogue whose parts have prices. Raises ProviderErrors: then nothing is
    known."""
    emulated = asking.options.get("endpoint", "").replace("{region}", tariffs()[CLOUD].home)
    base = f"{emulated.rstrip('/') or API}{PATH}"
    products = Products()
    offset = 0
    for number in range(1, MOST_PAGES + 1):
        asking.tell(f"page {number} of the price list")
        query = {"currencyCode": "USD"} | ({"offset": str(offset)} if offset else {})
        url = f"{base}?{urllib.parse.urlencode(query)}"
        body = again(asking.clock, partial(fetched, CLOUD, url, asking.environ))
        told = page(CLOUD, body, "items")
        for one in told["items"]:
            products.product(one)
        if not told.get("hasMore"):
            break
        if not told["items"]:
            raise broken(CLOUD, "a page has nothing, and says that there is more")
        offset += len(told["items"])
    else:
        raise broken(CLOUD, f"it has more than {MOST_PAGES} pages")
    return Live(
        products.quotes(asking.last.types, asking.last.places),
        frozenset(asking.regions()),
        doubts=products.doubts(),
        new=products.new,
        unread=products.unread,
    )
