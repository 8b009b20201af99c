"""EC2's answers that moto has not, or not as EC2 gives them, by operation."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from ...pricing import catalog
from .. import prices
from ..ports import World
from . import places
from .refusals import refusal
from .rentals import CLOUD, Rentals, Rented

CONSOLE = 64 * 1024
"""Bytes of a machine's output that EC2 keeps."""
SPREAD = 0.03
"""By how much the spot price of a zone exceeds that of the zone before it."""

Params = Mapping[str, Any]
Answer = Callable[[str, Params], dict[str, Any]]


class Answers:
    """Answers as mappings, named as in boto3. ``byoc.emulator.aws.schema`` makes XML of them."""

    def __init__(self, world: World, rentals: Rentals) -> None:
        self._world = world
        self._rentals = rentals

    def table(self) -> dict[str, Answer]:
        """By operation, a function of region and parameters."""
        return {
            "DescribeRegions": self.regions,
            "DescribeSpotPriceHistory": self.spot_prices,
            "DescribeSpotInstanceRequests": self.spot_requests,
            "GetConsoleOutput": self.console,
        }

    def regions(self, region: str, params: Params) -> dict[str, Any]:
        """The account's regions, or all there are."""
        wanted = [*params.get("RegionNames", ()), *_filter(params, "region-name")]
        found = [
            one
            for one in places.regions()
            if (params.get("AllRegions") or one["OptInStatus"] != "not-opted-in")
            and (not wanted or one["RegionName"] in wanted)
        ]
        return {"Regions": found}

    def spot_prices(self, region: str, params: Params) -> dict[str, Any]:
        """One price for each type and zone: the present one."""
        wanted = params.get("InstanceTypes") or catalog.types(CLOUD)
        now = dt.datetime.fromtimestamp(self._world.wall(), dt.timezone.utc)
        history = [
            {
                "AvailabilityZone": zone,
                "InstanceType": kind,
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": f"{price * (1 + SPREAD * place):.6f}",
                "Timestamp": now,
            }
            for kind in wanted
            if (price := prices.price(CLOUD, region, kind, "spot").hourly) is not None
            for place, zone in enumerate(places.sold(region).get(kind, ()))
        ]
        return {"SpotPriceHistory": history, "NextToken": ""}

    def spot_requests(self, region: str, params: Params) -> dict[str, Any]:
        """A request for each spot instance, made along with it."""
        wanted = params.get("SpotInstanceRequestIds") or _filter(params, "spot-instance-request-id")
        found = [
            _spot_request(one)
            for one in self._rentals.every()
            if one.spot and one.instance.region_name == region
        ]
        return {
            "SpotInstanceRequests": [
                one for one in found if not wanted or one["SpotInstanceRequestId"] in wanted
            ]
        }

    def console(self, region: str, params: Params) -> dict[str, Any]:
        """What the machine printed, encoded as EC2 does."""
        wanted = params["InstanceId"]
        rented = self._rentals.get(wanted)
        if rented is None or rented.instance.region_name != region:
            raise refusal("ec2", "InvalidInstanceID.NotFound", {"id": wanted})
        said = self._world.console(CLOUD, wanted)[-CONSOLE:]
        now = dt.datetime.fromtimestamp(self._world.wall(), dt.timezone.utc)
        output = base64.b64encode(said.encode()).decode()
        return {"InstanceId": wanted, "Timestamp": now, "Output": output}


def _filter(params: Params, name: str) -> list[str]:
    return [
        value
        for one in params.get("Filters", ())
        if one.get("Name") == name
        for value in one.get("Values", ())
    ]


def _spot_request(rented: Rented) -> dict[str, Any]:
    instance = rented.instance
    over = instance.state in ("shutting-down", "terminated")
    code = instance.state_reason.code
    status = "instance-terminated-by-user" if over else "fulfilled"
    if over and code == "Server.SpotInstanceTermination":
        status = "instance-terminated-no-capacity"
    return {
        "SpotInstanceRequestId": rented.request,
        "InstanceId": instance.id,
        "State": "closed" if over else "active",
        "Status": {"Code": status, "Message": status.replace("-", " ")},
        "Type": "one-time",
        "LaunchedAvailabilityZone": instance.availability_zone,
        "ProductDescription": "Linux/UNIX",
        "InstanceInterruptionBehavior": "terminate",
        "CreateTime": dt.datetime.fromtimestamp(rented.made, dt.timezone.utc),
        "Tags": [{"Key": k, "Value": v} for k, v in sorted(rented.request_tags.items())],
    }
