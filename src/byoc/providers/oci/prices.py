"""OCI's prices as it tells them now: Oracle's public list, for which nobody logs in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...pricing.refresh.products import Products
from ...pricing.refresh.quotes import Live
from ..lists import Asking, entries, fetched, live_of
from .codes import CLOUD

API = "https://apexapps.oracle.com"
PATH = "/pls/apex/cetools/api/v1/products/?currencyCode=USD"


def live(asking: Asking) -> Live:
    """Every place of the catalogue whose parts have prices. Raises ProviderErrors: then nothing is
    known."""
    emulated = asking.options.get("endpoint", "").replace("/{region}", "").rstrip("/")
    base = f"{emulated or API}{PATH}"
    products = Products("OCI public price list")

    def ask(query: str) -> bytes:
        return fetched(CLOUD, f"{base}&{query}" if query else base, asking.environ)

    def following(page: Mapping[str, Any], count: int) -> Mapping[str, Any]:
        return {"offset": count} if page.get("hasMore") else {}

    for one in entries(CLOUD, asking, "items", ask, following):
        products.product(one)
    return live_of(asking, products, base)
