"""Entries of the clouds' price lists, in the shapes that their references document."""

from __future__ import annotations

import json
from typing import Any


def product(
    kind: str, region: str, dollars: str, currency: str = "USD", unit: str = "Hrs", **about: str
) -> str:
    """An item of GetProducts: a JSON text."""
    metal = ".metal" in kind
    family = "Compute Instance (bare metal)" if metal else "Compute Instance"
    attributes = {
        "servicecode": "AmazonEC2",
        "location": "somewhere",
        "instanceType": kind,
        "regionCode": region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
        "tenancy": "Dedicated" if metal else "Shared",
        **about,
    }
    dimension = {
        "unit": unit,
        "endRange": "Inf",
        "beginRange": "0",
        "description": f"${dollars} per On Demand Linux {kind} Instance Hour",
        "appliesTo": [],
        "pricePerUnit": {currency: dollars},
    }
    terms = {"SKU.JRTCKXETXF": {"priceDimensions": {"SKU.JRTCKXETXF.6YS6EN2CT7": dimension}}}
    return json.dumps({
        "product": {"productFamily": family, "attributes": attributes, "sku": "SKU"},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": terms, "Reserved": {"SKU.4NA7Y494T4": {"priceDimensions": {}}}},
        "version": "20261120000000",
        "publicationDate": "2026-11-20T00:00:00Z",
    })  # fmt: skip


def history(kind: str, zone: str, dollars: str, at: int = 0, **more: str) -> dict[str, Any]:
    """An entry of DescribeSpotPriceHistory as boto3 gives it."""
    return {
        "AvailabilityZone": zone,
        "InstanceType": kind,
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": dollars,
        "Timestamp": at,
        **more,
    }


def sku(
    text: str, dollars: float, *regions: str, usage: str = "", currency: str = "USD", free: int = 0
) -> dict[str, Any]:
    """A SKU of the Cloud Billing Catalog; ``free``: so many tiers before the one that is paid."""
    told = "Preemptible" if "Preemptible" in text else "OnDemand"
    tiers: list[dict[str, Any]] = [
        {
            "startUsageAmount": number,
            "unitPrice": {"currencyCode": currency, "units": "0", "nanos": 0},
        }
        for number in range(free)
    ]
    nanos = round(dollars * 1e9)
    price = {
        "currencyCode": currency,
        "units": str(nanos // 10**9),
        "nanos": nanos % 10**9,
    }
    tiers.append({"startUsageAmount": free, "unitPrice": price})
    return {
        "name": "services/6F81-5844-456A/skus/0000-0000-0000",
        "skuId": "0000-0000-0000",
        "description": text,
        "category": {
            "serviceDisplayName": "Compute Engine",
            "resourceFamily": "Compute",
            "resourceGroup": "CPU",
            "usageType": usage or told,
        },
        "serviceRegions": list(regions),
        "pricingInfo": [
            {
                "summary": "",
                "pricingExpression": {"usageUnit": "h", "tieredRates": tiers},
                "currencyConversionRate": 1,
                "effectiveTime": "2026-11-20T00:00:00Z",
            }
        ],
        "serviceProviderName": "Google",
    }


def part(
    number: str, name: str, *tiers: float, currency: str = "USD", metric: str = "GPU Per Hour"
) -> dict[str, Any]:
    """A product of Oracle's list; of several tiers the last is the dearest."""
    prices: list[dict[str, Any]] = [{"model": "PAY_AS_YOU_GO", "value": tier} for tier in tiers]
    if len(tiers) > 1:
        for place, price in enumerate(prices):
            price |= {"rangeMin": place * 1000, "rangeMax": (place + 1) * 1000, "rangeUnit": "HOUR"}
    return {
        "partNumber": number,
        "displayName": name,
        "metricName": metric,
        "serviceCategory": "Compute",
        "currencyCodeLocalizations": [{"currencyCode": currency, "prices": prices}],
    }
