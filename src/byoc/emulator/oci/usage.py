"""Shapes, images, service limits and the capacity report: what may be launched, and what is used.

Limits hold for each availability domain by itself, as the real ones of compute do.
"""

from __future__ import annotations

from typing import Any

from ...providers.oci.shapes import Shape, draw
from ..ports import World
from . import shapes
from .calls import Call, Handler, Page, narrowed
from .places import domains
from .refusals import LIMIT, Refusal, not_found, wrong
from .store import Resource, Store

CLOUD = "oci"
REPORT_MOST = 10
"""Shapes in one capacity report."""
PLENTY = 100
"""What a report says where the scenario sets no number."""


class Usage:
    """Handlers of the limits service, and the compute service's questions without effect."""

    def __init__(self, store: Store, world: World) -> None:
        self._store = store
        self._world = world
        for made in shapes.IMAGES:
            image = store.add(
                "Image", "", {}, displayName=made.name, operatingSystem=made.system,
                operatingSystemVersion=made.version, createImageAllowed=True, sizeInMBs=47694,
                launchMode="PARAVIRTUALIZED", compartmentId="ocid1.tenancy.oc1..platform",
                listingType="NONE",
            )  # fmt: skip
            image.notes["image"] = made

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {
            "list_shapes": self.list_shapes,
            "list_images": self.list_images,
            "get_image": self.get_image,
            "list_limit_values": self.limit_values,
            "list_limit_definitions": self.limit_definitions,
            "list_services": self.services,
            "get_resource_availability": self.availability,
            "create_compute_capacity_report": self.report,
        }

    def list_shapes(self, call: Call) -> Page:
        """ListShapes of a region or one availability domain."""
        zone = call.asked("availabilityDomain")
        if zone and zone not in domains(call.region):
            raise wrong(f"Parameter availabilityDomain does not match: {zone}")
        return Page([shapes.shown(kind) for kind in shapes.sold(call.region)])

    def list_images(self, call: Call) -> Page:
        """ListImages, newest first; those that boot on ``shape`` when it is given."""
        filters = call.filters()
        filters.pop("compartmentId", None)
        kind = shapes.kinds().get(filters.pop("shape", ""))
        found = [
            {**image.body, "compartmentId": call.asked("compartmentId")}
            for image in self._store.every("Image")
            if kind is None or _boots(image, kind)
        ]
        found.sort(key=lambda one: str(one["displayName"])[-12:], reverse=True)
        return Page(narrowed(found, filters))

    def get_image(self, call: Call) -> dict[str, Any]:
        """GetImage."""
        return self._store.get(call.path["imageId"], "Image").body

    # --- limits -----------------------------------------------------------------------------

    def limit(self, region: str, name: str) -> float:
        """What may be held of a limit in one availability domain."""
        return self._world.quota(CLOUD, region, name, shapes.usual_limit(name))

    def used(self, name: str, zone: str) -> float:
        """What living instances hold of it there."""
        return sum(
            _drawn(name, one.notes["kind"], one.body)
            for one in self._store.living(["Instance"])
            if one.body["availabilityDomain"] == zone and "kind" in one.notes
        )

    def check(self, kind: shapes.Kind, body: dict[str, Any], region: str) -> None:
        """Raise LimitExceeded when one more of it is too much."""
        zone = str(body["availabilityDomain"])
        for name in kind.limits:
            wanted = self.used(name, zone) + _drawn(name, kind, body)
            if wanted > self.limit(region, name):
                raise Refusal(400, "LimitExceeded", LIMIT.format(limit=name))

    def limit_values(self, call: Call) -> Page:
        """ListLimitValues: of compute only, each by availability domain."""
        if call.path.get("serviceName", call.asked("serviceName")) != "compute":
            return Page([])
        values = [
            {
                "name": name,
                "scopeType": "AD",
                "availabilityDomain": zone,
                "value": int(self.limit(call.region, name)),
            }
            for name in _names(call.region)
            for zone in domains(call.region)
        ]
        filters = call.filters()
        for other in ("compartmentId", "serviceName"):
            filters.pop(other, None)
        return Page(narrowed(values, filters))

    def limit_definitions(self, call: Call) -> Page:
        """ListLimitDefinitions of compute."""
        asked = call.asked("name")
        return Page(
            [
                {
                    "name": name, "serviceName": "compute", "scopeType": "AD",
                    "areQuotasSupported": True, "isResourceAvailabilitySupported": True,
                    "isDeprecated": False, "isEligibleForLimitIncrease": True, "isDynamic": False,
                }
                for name in _names(call.region)
                if asked in {"", name}
            ]
        )  # fmt: skip

    def services(self, call: Call) -> Page:
        """ListServices."""
        return Page([{"name": "compute", "description": "Compute"}])

    def availability(self, call: Call) -> dict[str, Any]:
        """GetResourceAvailability of a limit that is counted by availability domain."""
        name, zone = call.path["limitName"], call.asked("availabilityDomain")
        if name not in _names(call.region):
            raise not_found(f"limit {name}")
        if zone not in domains(call.region):
            raise wrong("availabilityDomain must be set for a limit of the scope AD")
        limit, used = self.limit(call.region, name), self.used(name, zone)
        return {
            "used": int(used),
            "available": int(max(0.0, limit - used)),
            "fractionalUsage": used,
            "fractionalAvailability": max(0.0, limit - used),
            "effectiveQuotaValue": limit,
        }

    # --- capacity ---------------------------------------------------------------------------

    def report(self, call: Call) -> dict[str, Any]:
        """CreateComputeCapacityReport: reserves nothing, costs nothing."""
        body = call.body
        asked = body["shapeAvailabilities"]
        if not body["compartmentId"].startswith("ocid1.tenancy."):
            raise wrong("A capacity report is made for the root compartment")
        if len(asked) > REPORT_MOST:
            raise wrong(f"A capacity report has at most {REPORT_MOST} shapes")
        zone = body["availabilityDomain"]
        if zone not in domains(call.region):
            raise wrong(f"Parameter availabilityDomain does not match: {zone}")
        return {
            "compartmentId": body["compartmentId"],
            "availabilityDomain": zone,
            "timeCreated": self._store.now(),
            "shapeAvailabilities": [self._availability(one, zone, call.region) for one in asked],
        }

    def _availability(self, asked: dict[str, Any], zone: str, region: str) -> dict[str, Any]:
        kind = shapes.kinds().get(asked["instanceShape"])
        found = {key: asked[key] for key in asked if key != "clusterConfigDetails"}
        if kind is None or kind not in shapes.sold(region):
            return {**found, "availabilityStatus": "HARDWARE_NOT_SUPPORTED", "availableCount": 0}
        config = asked.get("instanceShapeConfig") or {}
        name = kind.name
        if kind.flexible and config.get("ocpus") and config.get("memoryInGBs"):
            name = f"{kind.name}:{config['ocpus']:g}o-{config['memoryInGBs']:g}g"
        spare = self._world.spare(CLOUD, zone, name, "on-demand")
        count = PLENTY if spare is None else spare
        status = "AVAILABLE" if count else "OUT_OF_HOST_CAPACITY"
        return {**found, "availabilityStatus": status, "availableCount": count}


def _boots(image: Resource, kind: shapes.Kind) -> bool:
    made = image.notes["image"]
    return made.arch == kind.arch and (bool(kind.gpus) or not made.gpu)


def _drawn(name: str, kind: shapes.Kind, body: dict[str, Any]) -> float:
    if name not in kind.limits:
        return 0.0
    config = body.get("shapeConfig") or {}
    ocpus = float(config.get("ocpus") or kind.ocpus)
    memory = float(config.get("memoryInGBs") or kind.memory)
    return draw(name, Shape(kind.name, ocpus, memory), kind.gpus, ocpus, memory)


def _names(region: str) -> list[str]:
    return sorted({name for kind in shapes.sold(region) for name in kind.limits})
