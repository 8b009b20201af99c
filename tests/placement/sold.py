"""Offers, surveys and refusals for the tests of placement."""

from __future__ import annotations

from hypothesis import strategies as st

from byoc.errors import (
    AccessError,
    BadRequestError,
    CapacityError,
    NotOfferedError,
    ProviderError,
    QuotaError,
    TransientError,
    UnclassifiedError,
)
from byoc.providers.base import Draw, Quota, Survey
from byoc.resources import MARKETS, Offer, Resources, parse_gpus

CLOUDS = ("one", "two")
REGIONS = ("r1", "r2")
ZONES = ("a", "b", "c")
TYPES = ("t1", "t2", "t3")
BUCKETS = ("B1", "B2")


def offer(
    type: str = "t1",
    price: float | None = 1.0,
    *,
    cloud: str = "one",
    region: str = "r1",
    zone: str = "",
    market: str = "on-demand",
    cpus: float = 4,
    memory: int = 8192,
    gpu: str = "",
    gpu_count: int = 0,
    arch: str = "x86_64",
    minimum: float = 60.0,
) -> Offer:
    """One offer of a whole region, unless it has a zone."""
    return Offer(
        cloud, region, zone, type, market, price, cpus, memory, 0, gpu, gpu_count, 0, cpus * 2,
        arch, minimum,
    )  # fmt: skip


GPUS = st.sampled_from([("", 0), ("T4", 1), ("H100", 1), ("H100", 8), ("A100-80GB", 2)])
OFFERS = st.lists(
    st.builds(
        lambda kind, price, gpu, market, cloud, region, arch: offer(
            kind, price, gpu=gpu[0], gpu_count=gpu[1], market=market, cloud=cloud, region=region,
            arch=arch,
        ),
        st.sampled_from(TYPES),
        st.none() | st.sampled_from([0.1, 1.0, 3.0]),
        GPUS,
        st.sampled_from(MARKETS),
        st.sampled_from(CLOUDS),
        st.sampled_from(REGIONS),
        st.sampled_from(["x86_64", "x86_64", "arm64"]),
    ),
    max_size=10,
    unique_by=Offer.key,
)  # fmt: skip
ASKED = st.builds(
    lambda gpus, cpu, market, price, exclude: Resources(
        parse_gpus(gpus), cpu, 512, market=market, max_price=price, exclude=exclude
    ),
    st.sampled_from([None, "T4", "H100:2", "any", "H100,any"]),
    st.sampled_from([0.125, 4.0]),
    st.sampled_from([None, *MARKETS]),
    st.none() | st.just(2.0),
    st.sampled_from([(), ("one",), ("*/r1/a",), ("two/*/*/t?",)]),
)
PAIRS = [(kind, market) for kind in TYPES for market in MARKETS]
SURVEYS = st.dictionaries(
    st.tuples(st.sampled_from(CLOUDS), st.sampled_from(REGIONS)),
    st.builds(
        lambda zones, limits, draws, full, prices: Survey(
            "",
            {kind: tuple(found) for kind, found in zones.items()},
            tuple(Quota(bucket, "", limit, used) for bucket, limit, used in limits),
            {pair: (Draw(*draw),) for pair, draw in draws.items()},
            {(kind, zone, market): said for kind, zone, market, said in full},
            {(kind, zone, market): price for kind, zone, market, price in prices},
        ),
        st.dictionaries(
            st.sampled_from(TYPES), st.lists(st.sampled_from(ZONES), max_size=3, unique=True)
        ),
        st.lists(
            st.tuples(st.sampled_from(BUCKETS), st.integers(0, 8), st.none() | st.integers(0, 8)),
            max_size=2,
        ),
        st.dictionaries(
            st.sampled_from(PAIRS), st.tuples(st.sampled_from(BUCKETS), st.integers(1, 8))
        ),
        st.lists(
            st.tuples(
                st.sampled_from(TYPES), st.sampled_from(ZONES), st.sampled_from(MARKETS),
                st.booleans(),
            ),
            max_size=3,
        ),
        st.lists(
            st.tuples(
                st.sampled_from(TYPES), st.sampled_from(ZONES), st.sampled_from(MARKETS),
                st.sampled_from([0.2, 2.5]),
            ),
            max_size=3,
        ),
    ),
).map(
    lambda found: {place: one._replace(region=place[1]) for place, one in found.items()}
)  # fmt: skip
ZONED = st.builds(
    lambda cloud, region, zone, kind, market: offer(
        kind, cloud=cloud, region=region, zone=zone, market=market
    ),
    st.sampled_from(CLOUDS),
    st.sampled_from(REGIONS),
    st.sampled_from(("", *ZONES)),
    st.sampled_from(TYPES),
    st.sampled_from(MARKETS),
)
DRAWS = st.lists(
    st.builds(Draw, st.sampled_from(BUCKETS), st.sampled_from([1.0, 4.0, 8.0])), max_size=2
).map(tuple)
KINDS = (
    CapacityError, NotOfferedError, QuotaError, BadRequestError, AccessError, TransientError,
    UnclassifiedError, ProviderError,
)  # fmt: skip
SCOPES = ("", "request", "offer", "type@zone", "zone", "bucket", "spot", "region", "cloud")
ERRORS: st.SearchStrategy[ProviderError] = st.builds(
    lambda kind, scope, bucket, remember: kind("no", scope=scope, bucket=bucket, remember=remember),
    st.sampled_from(KINDS),
    st.sampled_from(SCOPES),
    st.sampled_from(("", *BUCKETS)),
    st.sampled_from([0.0, 60.0]),
)
