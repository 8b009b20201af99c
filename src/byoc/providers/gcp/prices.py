"""Google's prices as it tells them now: the SKUs of the Cloud Billing Catalog, all pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import AccessError
from ...pricing.refresh.quotes import Live
from ...pricing.refresh.skus import SERVICE, Skus
from ..lists import Asking, entries, live_of
from .clients import Google

API = "https://cloudbilling.googleapis.com"
QUERY = "currencyCode=USD&pageSize=5000"
"""The most SKUs of a page that there may be."""
FORBIDDEN = 403
ENABLE = "Run `gcloud services enable cloudbilling.googleapis.com`."


def live(asking: Asking) -> Live:
    """Every place of the catalogue whose parts have prices. Raises ProviderErrors: then nothing is
    known."""
    google = Google(asking.environ, asking.options)
    base = f"{google.endpoint or API}/v1/{SERVICE}/skus?{QUERY}"
    skus = Skus("Cloud Billing Catalog API")

    def ask(query: str) -> str:
        try:
            return str(google.http("GET", f"{base}&{query}" if query else base).text)
        except AccessError as error:
            if getattr(error.__cause__, "code", 0) == FORBIDDEN:  # logged in, but not let in
                error.hints = (*error.hints, ENABLE)
            raise

    for one in entries("gcp", asking, "skus", ask, _following):
        skus.sku(one)
    return live_of(asking, skus, base)


def _following(page: Mapping[str, Any], count: int) -> Mapping[str, Any]:
    token = page.get("nextPageToken")
    return {"pageToken": token} if token else {}
