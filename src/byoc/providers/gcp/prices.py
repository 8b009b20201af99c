"""Google's prices as it tells them now: the SKUs of the Cloud Billing Catalog, all pages."""

from __future__ import annotations

import urllib.parse
from functools import partial

from ...pricing.refresh.quotes import Live
from ...pricing.refresh.skus import SERVICE, Skus
from ..lists import MOST_PAGES, Asking, again, broken, page
from .clients import Google

API = "https://cloudbilling.googleapis.com"
PAGE = 5000
"""SKUs of a page, the most there may be."""


def live(asking: Asking) -> Live:
    """Every place of the catalogue whose parts have prices. Raises ProviderErrors: then nothing is
    known."""
    google = Google(asking.environ, asking.options)
    base = f"{google.endpoint or API}/v1/{SERVICE}/skus"
    skus = Skus()
    seen = {""}
    token = ""
    for number in range(1, MOST_PAGES + 1):
        asking.tell(f"page {number} of the SKUs")
        query = {"pageSize": PAGE, "currencyCode": "USD"} | ({"pageToken": token} if token else {})
        url = f"{base}?{urllib.parse.urlencode(query)}"
        answer = again(asking.clock, partial(google.http, "GET", url))
        told = page("gcp", answer.text, "skus")
        for one in told["skus"]:
            skus.sku(one)
        token = str(told.get("nextPageToken") or "")
        if not token:
            break
        if token in seen:
            raise broken("gcp", "a page leads back to an earlier one")
        seen.add(token)
    else:
        raise broken("gcp", f"it has more than {MOST_PAGES} pages")
    return Live(
        skus.quotes(asking.last.types, asking.last.places),
        frozenset(asking.regions()),
        doubts=skus.doubts(),
        new=skus.new,
        unread=skus.unread,
    )
