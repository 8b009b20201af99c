"""Instances: launching, showing, ending them, and what they print."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ..ports import Events, Machine, World
from . import shapes
from .calls import Call, Handler, Page, Text, narrowed
from .metadata import Metadata
from .places import domains
from .refusals import OUT_OF_CAPACITY, WORK_REQUEST, Refusal, not_found, wrong
from .store import Resource, Store
from .usage import Usage
from .work import Work

CLOUD = "oci"
METADATA_LIMIT = 32_000
"""Bytes of metadata and extended metadata together, as the SDK's documentation says."""
SMALLEST_DISK = 50
"""GB; the smallest boot volume."""
ATTACH_DELAY = 0.2
"""Seconds until a new instance's network card is listed: later than the instance itself."""
MOST_TAGS = 10
"""Free-form tags that a resource has at most."""
NO_MATCH = "The resource has changed since the etag of the if-match header was given"
END_DELAY = 0.3
"""Seconds from an accepted terminate to TERMINATED."""


class Compute:
    """Handlers of the compute service. ``metadata``: the machines' metadata service."""

    def __init__(
        self, store: Store, world: World, usage: Usage, work: Work, metadata: Metadata
    ) -> None:
        self._store = store
        self._world = world
        self._usage = usage
        self._work = work
        self._metadata = metadata
        self._cards = 0

    def handlers(self) -> dict[str, Handler]:
        """By operation."""
        return {
            "launch_instance": self.launch,
            "get_instance": self.get,
            "list_instances": self.list,
            "update_instance": self.update,
            "instance_action": self.action,
            "terminate_instance": self.terminate,
            "list_vnic_attachments": self.attachments,
            "get_vnic_attachment": self.attachment,
            "get_vnic": self.vnic,
            "capture_console_history": self.capture,
            "get_console_history": self.history,
            "list_console_histories": self.histories,
            "get_console_history_content": self.printed,
            "delete_console_history": self.forget,
        }

    def groups(self, id: str) -> list[str]:
        """The network security groups of an instance; none of one that there is not."""
        with self._store.lock:
            found = [one for one in self._store.living(["Instance"]) if one.id == id]
            return [group for one in found for group in one.notes["card"].get("nsgIds") or ()]

    def subnet(self, id: str) -> str:
        """The subnet of an instance; empty for one that there is not."""
        with self._store.lock:
            found = [one for one in self._store.living(["Instance"]) if one.id == id]
            return next((str(one.notes["subnet"].id) for one in found), "")

    # --- launching --------------------------------------------------------------------------

    def launch(self, call: Call) -> dict[str, Any]:
        """Accept an instance and boot its machine."""
        body = call.body
        kind = self._sold(body, call.region)
        _check_size(kind, body)
        _check_metadata(body)
        _check_tags(body)
        image = self._image(body, kind)
        subnet = self._subnet(body)
        market = _market(body)
        if market == "spot" and not kind.preemptible:
            raise wrong(f"Shape {kind.name} does not support preemptible instances")
        with self._store.lock:
            self._usage.check(kind, body, call.region)
            name = sized(kind, body)
            zone = str(body["availabilityDomain"])
            if not self._world.room(CLOUD, zone, name, market):
                raise Refusal(500, "InternalError", OUT_OF_CAPACITY)
            one = self._add(call, kind, image, subnet)
        one.notes |= {"type": name, "market": market, "kind": kind}
        self._start(one, call)
        return dict(one.body)

    def _sold(self, body: dict[str, Any], region: str) -> shapes.Kind:
        name, zone = body.get("shape"), body["availabilityDomain"]
        if not name:
            raise wrong("shape must not be null", "MissingParameter")
        if zone not in domains(region):
            raise wrong(f"Parameter availabilityDomain does not match: {zone}")
        kind = shapes.kinds().get(name)
        if kind is None or kind not in shapes.sold(region):
            raise not_found(f"Shape {name}")
        return kind

    def _image(self, body: dict[str, Any], kind: shapes.Kind) -> Resource:
        source = body.get("sourceDetails") or {"imageId": body.get("imageId")}
        if source.get("sourceType") == "bootVolume":
            raise Refusal(501, "NotImplemented", "instances from boot volumes are not emulated")
        if not source.get("imageId"):
            raise wrong("sourceDetails.imageId must not be null", "MissingParameter")
        image = self._store.get(str(source["imageId"]), "Image")
        size = source.get("bootVolumeSizeInGBs")
        if size is not None and not SMALLEST_DISK <= int(size) <= 32_768:
            raise wrong("bootVolumeSizeInGBs must be between 50 and 32768")
        if not fits(image, kind):
            raise wrong(f"Shape {kind.name} is not valid for image {image.id}.")
        return image

    def _subnet(self, body: dict[str, Any]) -> Resource:
        card = body.get("createVnicDetails") or {"subnetId": body.get("subnetId")}
        subnet = self._store.get(str(card.get("subnetId")), "Subnet")
        for group in card.get("nsgIds") or ():
            found = self._store.get(group, "NetworkSecurityGroup")
            if found.body["vcnId"] != subnet.body["vcnId"]:
                raise wrong(f"NSG {group} is not in the VCN of subnet {subnet.id}")
        if card.get("assignPublicIp") and subnet.body.get("prohibitPublicIpOnVnic"):
            raise wrong("Public IP is not allowed on the VNIC of a private subnet")
        return subnet

    def _add(self, call: Call, kind: shapes.Kind, image: Resource, subnet: Resource) -> Resource:
        body, region = call.body, call.region
        source = body.get("sourceDetails") or {}
        size = int(source.get("bootVolumeSizeInGBs") or SMALLEST_DISK)
        config = body.get("shapeConfig") or {}
        one = self._store.add(
            "Instance",
            region,
            {**body, "region": region},
            faultDomain=body.get("faultDomain") or "FAULT-DOMAIN-1",
            metadata=body.get("metadata") or {},
            imageId=image.id,
            launchMode="PARAVIRTUALIZED",
            sourceDetails={
                "sourceType": "image", "imageId": image.id, "bootVolumeSizeInGBs": size,
            },
            shapeConfig={
                "ocpus": float(config.get("ocpus") or kind.ocpus),
                "memoryInGBs": float(config.get("memoryInGBs") or kind.memory),
            },
            systemTags={},
            lifecycleState="PROVISIONING",
        )  # fmt: skip
        where = {name: body[name] for name in ("compartmentId", "availabilityDomain")}
        disk = self._store.add(
            "BootVolume", region, where, imageId=image.id, sizeInGBs=size,
            sizeInMBs=size * 1024, vpusPerGB=int(source.get("bootVolumeVpusPerGB") or 10),
            displayName=f"{one.body['displayName']} (Boot Volume)",
        )  # fmt: skip
        card = body.get("createVnicDetails") or {}
        public = card.get("assignPublicIp")
        if public is None:
            public = not subnet.body.get("prohibitPublicIpOnVnic")
        self._cards += 1
        one.notes |= {
            "inside": f"10.77.{self._cards // 250}.{self._cards % 250 + 2}",
            "disk": disk,
            "subnet": subnet,
            "card": card,
            "public": public,
            "where": where,
        }
        return one

    def _start(self, one: Resource, call: Call) -> None:
        facts = {
            "region": one.region,
            "zone": str(one.body["availabilityDomain"]),
            "type": str(one.notes["type"]),
            "market": str(one.notes["market"]),
            "name": str(one.body["displayName"]),
        }
        self._world.made(CLOUD, one.id, facts)
        one.notes["work"] = self._work.begin("LaunchInstance", one)
        if call.fault is not None and call.fault.error == WORK_REQUEST:
            message = call.fault.message or OUT_OF_CAPACITY
            self._world.later(END_DELAY, lambda: self._fail(one, message))
            return
        self._world.later(ATTACH_DELAY, lambda: self._attach(one))
        address = self._world.address(CLOUD) if one.notes["public"] else ""
        one.notes["address"] = address
        body, kind = one.body, one.notes["kind"]
        machine = Machine(
            cloud=CLOUD, id=one.id, name=facts["name"], region=one.region, zone=facts["zone"],
            type=facts["type"], market=facts["market"], address=address,
            user_data=_user_data(body), metadata=self._metadata.of(one),
            keys=_keys(body), gpu=kind.gpu, gpu_count=kind.gpus, inside=one.notes["inside"],
        )  # fmt: skip
        events = Events(up=lambda: self._up(one), off=lambda why: self._off(one, why))
        self._world.power_on(machine, events)

    def _attach(self, one: Resource) -> None:
        with self._store.lock:
            if one.state not in {"PROVISIONING", "RUNNING"} or "vnic" in one.notes:
                return
            notes, card = one.notes, one.notes["card"]
            named = {**notes["where"], "subnetId": notes["subnet"].id}
            notes["vnic"] = self._store.add(
                "Vnic", one.region, {**named, "nsgIds": card.get("nsgIds") or []},
                displayName=one.body["displayName"], isPrimary=True, privateIp=notes["inside"],
                macAddress="02:00:17:00:00:01", skipSourceDestCheck=False,
                freeformTags=card.get("freeformTags") or {},
            )  # fmt: skip
            notes["vnic"].notes["instance"] = one.id
            notes["attachment"] = self._store.add(
                "VnicAttachment", one.region, {**named, "instanceId": one.id},
                vnicId=notes["vnic"].id, lifecycleState="ATTACHING",
            )  # fmt: skip

    def _up(self, one: Resource) -> None:
        with self._store.lock:
            if one.state != "PROVISIONING":
                return
            self._attach(one)
            if one.notes["public"]:
                one.notes["vnic"].body["publicIp"] = one.notes["address"]
            one.notes["attachment"].state = "ATTACHED"
            one.state = "RUNNING"
            self._work.end(one.notes["work"])
        self._world.billing(CLOUD, one.id, True)

    def _off(self, one: Resource, why: str) -> None:
        """The guest is off. The cloud goes on billing it: only a terminate ends that."""
        with self._store.lock:
            if one.state in {"RUNNING", "PROVISIONING"}:
                one.state = "STOPPED"
                one.notes["off"] = why

    def _fail(self, one: Resource, message: str) -> None:
        """What was accepted could not be made: the work request has the reason."""
        with self._store.lock:
            if one.state != "PROVISIONING":
                return
            self._work.end(one.notes["work"], message)
            one.state = "TERMINATED"
            self._store.remove(one.notes["disk"])
        self._world.gone(CLOUD, one.id)

    # --- showing ----------------------------------------------------------------------------

    def _one(self, id: str) -> Resource:
        one = self._store.get(id, "Instance")
        if self._world.hidden(CLOUD, id):
            raise not_found(f"instance {id}")
        return one

    def get(self, call: Call) -> dict[str, Any]:
        """GetInstance."""
        return dict(self._one(call.path["instanceId"]).body)

    def list(self, call: Call) -> Page:
        """ListInstances; it has no filter on tags."""
        found = [
            one.body
            for one in self._store.every("Instance", call.region)
            if not self._world.hidden(CLOUD, one.id)
        ]
        return Page(narrowed(found, call.filters()))

    def update(self, call: Call) -> dict[str, Any]:
        """UpdateInstance: names and tags, unless somebody has changed it in between."""
        one = self._one(call.path["instanceId"])
        other = set(call.body) - {"displayName", "freeformTags", "definedTags"}
        if other:
            raise Refusal(501, "NotImplemented", f"changing {sorted(other)} is not emulated")
        _check_tags(call.body)
        with self._store.lock:
            if one.state in {"TERMINATING", "TERMINATED"}:
                raise Refusal(409, "IncorrectState", f"The instance is in state {one.state}")
            if call.if_match not in ("", one.etag):
                raise Refusal(412, "NoEtagMatch", NO_MATCH)
            one.body.update(call.body)
            return dict(one.body)

    def attachments(self, call: Call) -> Page:
        """ListVnicAttachments."""
        found = [one.body for one in self._store.every("VnicAttachment", call.region)]
        return Page(narrowed(found, call.filters()))

    def attachment(self, call: Call) -> dict[str, Any]:
        """GetVnicAttachment."""
        return self._store.get(call.path["vnicAttachmentId"], "VnicAttachment").body

    def vnic(self, call: Call) -> dict[str, Any]:
        """GetVnic."""
        card = self._store.get(call.path["vnicId"], "Vnic")
        if self._world.address_known(CLOUD, str(card.notes["instance"])):
            return card.body
        return {name: value for name, value in card.body.items() if name != "publicIp"}

    # --- ending -----------------------------------------------------------------------------

    def action(self, call: Call) -> dict[str, Any]:
        """InstanceAction: only what stops one."""
        one, what = self._one(call.path["instanceId"]), call.asked("action")
        if what not in {"STOP", "SOFTSTOP"}:
            raise Refusal(501, "NotImplemented", f"the action {what} is not emulated")
        if one.notes["market"] == "spot":
            raise Refusal(409, "IncorrectState", "Preemptible instances cannot be stopped")
        if one.state != "RUNNING":
            raise Refusal(409, "IncorrectState", f"The instance is in state {one.state}")
        one.state = "STOPPED"
        self._world.power_off(CLOUD, one.id, gently=what == "SOFTSTOP")
        if not shapes.shown(one.notes["kind"])["isBilledForStoppedInstance"]:
            self._world.billing(CLOUD, one.id, False)
        return dict(one.body)

    def terminate(self, call: Call) -> None:
        """TerminateInstance; the boot volume stays only when asked for."""
        one = self._one(call.path["instanceId"])
        if one.state == "TERMINATED":
            raise not_found(f"instance {one.id}")
        self.end(one, keep=call.asked("preserveBootVolume", "false").lower() == "true")
        self._work.end(self._work.begin("TerminateInstance", one))

    def end(self, one: Resource, keep: bool = False) -> None:
        """End an instance, whoever wants it."""
        with self._store.lock:
            if one.state in {"TERMINATING", "TERMINATED"}:
                return
            one.state = "TERMINATING"
        self._world.power_off(CLOUD, one.id)
        self._world.billing(CLOUD, one.id, False)
        self._world.later(END_DELAY, lambda: self._ended(one, keep))

    def _ended(self, one: Resource, keep: bool) -> None:
        with self._store.lock:
            one.state = "TERMINATED"
            for name, state in (("vnic", "TERMINATED"), ("attachment", "DETACHED")):
                if name in one.notes:
                    one.notes[name].state = state
            if not keep:
                self._store.remove(one.notes["disk"])
        self._world.gone(CLOUD, one.id)

    # --- console ----------------------------------------------------------------------------

    def capture(self, call: Call) -> dict[str, Any]:
        """CaptureConsoleHistory: a copy of what was printed, ready a little later."""
        one = self._one(call.body["instanceId"])
        made = self._store.add(
            "ConsoleHistory", one.region, one.notes["where"], instanceId=one.id,
            lifecycleState="REQUESTED",
        )  # fmt: skip
        made.notes["text"] = self._world.console(CLOUD, one.id)
        self._world.later(ATTACH_DELAY, lambda: setattr(made, "state", "SUCCEEDED"))
        return made.body

    def history(self, call: Call) -> dict[str, Any]:
        """GetConsoleHistory."""
        return self._store.get(call.path["instanceConsoleHistoryId"], "ConsoleHistory").body

    def histories(self, call: Call) -> Page:
        """ListConsoleHistories."""
        found = [one.body for one in self._store.every("ConsoleHistory", call.region)]
        return Page(narrowed(found, call.filters()))

    def printed(self, call: Call) -> Text:
        """GetConsoleHistoryContent: ``length`` bytes from ``offset``."""
        one = self._store.get(call.path["instanceConsoleHistoryId"], "ConsoleHistory")
        if one.state != "SUCCEEDED":
            raise Refusal(409, "IncorrectState", f"The console history is in state {one.state}")
        offset, length = int(call.asked("offset", "0")), int(call.asked("length", "10240"))
        data = str(one.notes["text"]).encode()
        return Text(data[offset : offset + length].decode(errors="replace"))

    def forget(self, call: Call) -> None:
        """DeleteConsoleHistory."""
        self._store.remove(self._store.get(call.path["instanceConsoleHistoryId"], "ConsoleHistory"))


def fits(image: Resource, kind: shapes.Kind) -> bool:
    """Whether the image boots on the shape."""
    made = image.notes["image"]
    return made.arch == kind.arch and (bool(kind.gpus) or not made.gpu)


def sized(kind: shapes.Kind, body: dict[str, Any]) -> str:
    """How a scenario names what is launched: as byoc's offers do."""
    config = body.get("shapeConfig") or {}
    if not kind.flexible:
        return kind.name
    return f"{kind.name}:{config['ocpus']:g}o-{config['memoryInGBs']:g}g"


def _market(body: dict[str, Any]) -> str:
    return "spot" if body.get("preemptibleInstanceConfig") else "on-demand"


def _check_size(kind: shapes.Kind, body: dict[str, Any]) -> None:
    config = body.get("shapeConfig") or {}
    if not kind.flexible:
        if config.get("ocpus") or config.get("memoryInGBs"):
            raise wrong(f"shapeConfig is not allowed for shape {kind.name}")
        return
    if not config.get("ocpus"):
        raise wrong("shapeConfig.ocpus must be specified for flexible shapes", "MissingParameter")
    config.setdefault("memoryInGBs", config["ocpus"] * 16)
    if not 1 <= config["memoryInGBs"] / config["ocpus"] <= 64:
        raise wrong("memoryInGBs must be between 1 and 64 for each OCPU")


def _check_metadata(body: dict[str, Any]) -> None:
    values = [*(body.get("metadata") or {}).items(), *(body.get("extendedMetadata") or {}).items()]
    if sum(len(str(name)) + len(str(value)) for name, value in values) > METADATA_LIMIT:
        raise wrong("The combined size of metadata and extendedMetadata exceeds 32,000 bytes")
    try:
        _user_data(body)
    except (binascii.Error, ValueError):
        raise wrong("Invalid user data: base64 encoding expected") from None


def _check_tags(body: dict[str, Any]) -> None:
    if len(body.get("freeformTags") or {}) > MOST_TAGS:
        raise wrong(f"the number of freeformTags must not exceed {MOST_TAGS}", "LimitExceeded")


def _user_data(body: dict[str, Any]) -> str:
    text = (body.get("metadata") or {}).get("user_data") or ""
    return base64.b64decode(text, validate=True).decode()


def _keys(body: dict[str, Any]) -> tuple[str, ...]:
    text = (body.get("metadata") or {}).get("ssh_authorized_keys") or ""
    return tuple(line for line in text.splitlines() if line.strip())
