"""How each cloud bills what an instance costs, beside its price: data, with where it is from.

Prices of disks and addresses are the clouds' list prices of their home regions; elsewhere they
differ by up to a third, which is a few cents a day beside a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

MONTH = 730.0
"""Hours in the month that all three clouds reckon with."""
SURE, USUAL = "told", "general knowledge"
"""How a figure is known: from a source of the catalogue's research, or not found there."""


class Tariff(NamedTuple):
    """One cloud's rules.

    ``disk``: dollars for a GiB and month of the boot disk byoc makes. ``address``: dollars an hour
    for a public IPv4 address, by market. ``egress``: dollars for a GiB to the internet after
    ``egress_free`` GiB a month. ``free``: seconds within which a spot instance that the cloud
    takes away costs nothing. ``sources``: by field, who said so, or :data:`USUAL`.
    """

    disk: float
    address: Mapping[str, float]
    egress: float
    egress_free: float
    free: float
    sources: Mapping[str, str]


def _address(on_demand: float, spot: float) -> Mapping[str, float]:
    return MappingProxyType({"on-demand": on_demand, "spot": spot})


TARIFFS: Mapping[str, Tariff] = MappingProxyType(
    {
        "aws": Tariff(
            disk=0.08,  # gp3
            address=_address(0.005, 0.005),
            egress=0.09,
            egress_free=100.0,
            free=3600.0,
            sources=MappingProxyType(
                {
                    "disk": USUAL,
                    "address": "doit.com/aws-public-ipv4-price-increase-the-complete-guide",
                    "egress": USUAL,
                    "free": "AWS user guide, billing-for-interrupted-spot-instances",
                }
            ),
        ),
        "gcp": Tariff(
            disk=0.10,  # pd-balanced
            address=_address(0.005, 0.0025),
            egress=0.12,
            egress_free=0.0,
            free=60.0,
            sources=MappingProxyType(dict.fromkeys(("disk", "address", "egress", "free"), USUAL)),
        ),
        "oci": Tariff(
            disk=0.0425,  # with 10 VPU; the first 200 GB of a tenancy are free
            address=_address(0.0, 0.0),
            egress=0.0085,
            egress_free=10240.0,
            free=60.0,
            sources=MappingProxyType(
                {
                    "disk": "OCI price list, B91961 and B91962",
                    "address": USUAL,
                    "egress": "OCI price list, B88327",
                    "free": "docs.oracle.com, preemptible instances",
                }
            ),
        ),
    }
)
"""By cloud; one that is not here (this computer) costs nothing."""
