"""The Price List API's GetProducts: what the catalogue sells on demand, as AWS's list has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...pricing import catalog
from ...resources import Offer
from .refusals import Refusal
from .rentals import CLOUD

PAGE = 100
"""Products of a page, the most there are."""
_TERM, _DIMENSION = "JRTCKXETXF", "6YS6EN2CT7"


def products(params: Mapping[str, Any]) -> dict[str, Any]:
    """One page. Filters on fields that a product here lacks let it pass."""
    if params.get("ServiceCode") != "AmazonEC2":
        raise Refusal("NotFoundException", "Invalid service code", 400)
    wanted = {one["Field"]: one["Value"] for one in params.get("Filters", ())}
    found = [
        product
        for offer in catalog.offers(CLOUD)
        if offer.market == "on-demand" and offer.price is not None
        for product in (_product(offer),)
        if _fits(product["product"], wanted)
    ]
    first = int(params.get("NextToken") or 0)
    size = int(params.get("MaxResults") or PAGE)
    page: dict[str, Any] = {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(one) for one in found[first : first + size]],
    }
    return page | ({"NextToken": str(first + size)} if first + size < len(found) else {})


def _fits(product: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    about = {**product["attributes"], "productFamily": product["productFamily"]}
    return all(about.get(field, value) == value for field, value in wanted.items())


def _product(offer: Offer) -> dict[str, Any]:
    metal = ".metal" in offer.type
    sku = f"{offer.region}-{offer.type}".upper().replace(".", "")
    attributes = {
        "servicecode": "AmazonEC2",
        "instanceType": offer.type,
        "regionCode": offer.region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "tenancy": "Dedicated" if metal else "Shared",
        "vcpu": f"{offer.vcpus:g}",
        **({"gpu": str(offer.gpu_count)} if offer.gpu_count else {}),
    }
    dimension = {
        "unit": "Hrs",
        "beginRange": "0",
        "endRange": "Inf",
        "rateCode": f"{sku}.{_TERM}.{_DIMENSION}",
        "pricePerUnit": {"USD": f"{offer.price:.10f}"},
    }
    term = {"sku": sku, "priceDimensions": {f"{sku}.{_TERM}.{_DIMENSION}": dimension}}
    family = "Compute Instance (bare metal)" if metal else "Compute Instance"
    return {
        "serviceCode": "AmazonEC2",
        "product": {"sku": sku, "productFamily": family, "attributes": attributes},
        "terms": {"OnDemand": {f"{sku}.{_TERM}": term}},
    }
