"""Instances: made, shown, ended; what becomes of them is told to the world."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ports import Events, Machine, Metadata, World
from . import rules, shapes, stock
from .account import EMAIL, Account
from .calls import Call
from .metadata import MetadataServer, tree
from .operations import ROOT, Operations, stamp
from .refusals import Failure, Refusal, Words, later

CLOUD = "gcp"
STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"
SHUTDOWN = 0.3
"""Seconds of a machine's way from STOPPING to TERMINATED or gone; real ones take up to 30."""


@dataclass
class Box:
    """One instance. ``body``: as the API shows it. ``address``: empty until it boots."""

    body: dict[str, Any]
    plan: rules.Plan
    zone: str
    name: str
    address: str = ""
    metadata: MetadataServer | None = None
    ended: bool = field(default=False)

    @property
    def id(self) -> str:
        """How the world and byoc name it."""
        return f"{self.zone}/{self.name}"


class Instances:
    """All instances and disks of the project. Safe from any thread."""

    def __init__(
        self,
        world: World,
        project: str,
        operations: Operations,
        account: Account,
        number: Callable[[], str],
    ) -> None:
        self._world = world
        self._project = project
        self._operations = operations
        self._account = account
        self._number = number
        self._lock = threading.RLock()
        self._boxes: dict[tuple[str, str], Box] = {}
        self._asked: dict[tuple[str, str], str] = {}
        self._cards = 0
        self.disks: dict[tuple[str, str], dict[str, Any]] = {}
        self.api: Metadata | None = None
        """Answers what machines ask Compute Engine; set when there is one."""

    # --- requests ---------------------------------------------------------------------------
    def insert(self, call: Call) -> dict[str, Any]:
        """``compute.instances.insert``: accepted; it may fail later, for capacity or quota."""
        zone, body = call.path["zone"], call.body
        name = body.get("name", "")
        with self._lock:
            known = self._repeated(call)
            if known is not None:
                return known
            plan = rules.plan(self._project, zone, body)
            link = self._link(zone, name)
            if (zone, name) in self._boxes:
                place = link.removeprefix(f"{ROOT}/")
                raise Refusal(409, "alreadyExists", f"The resource '{place}' already exists")
            box = Box(
                shapes.instance(body, plan, link, self._number(), stamp(self._world.wall())),
                plan, zone, name,
            )  # fmt: skip
            self._cards += 1
            card = box.body["networkInterfaces"][0]
            card["networkIP"] = f"10.128.{self._cards // 250}.{self._cards % 250 + 2}"
            self._boxes[zone, name] = box
            work = self._fitting(call, box)
            return self._started(call, "insert", zone, link, work)

    def delete(self, call: Call) -> dict[str, Any]:
        """``compute.instances.delete``."""
        zone = call.path["zone"]
        with self._lock:
            known = self._repeated(call)
            if known is not None:
                return known
            box = self._box(call)
            if box.body.get("deletionProtection"):
                raise Refusal(
                    400, "resourceInUseByAnotherResource", "Invalid resource usage: 'Resource"
                    " cannot be deleted if it's protected against deletion.'",
                )  # fmt: skip
            if call.fault is not None:
                return self._started(call, "delete", zone, box.body["selfLink"], _spoilt(call, box))
            box.body["status"] = "STOPPING"
            work = _without_failure(lambda: self._remove(box))
            return self._started(call, "delete", zone, box.body["selfLink"], work)

    def stop(self, call: Call) -> dict[str, Any]:
        """``compute.instances.stop``: the machine goes, its disk stays."""
        box = self._box(call)
        work = _without_failure(lambda: self._halt(box, gently=True))
        return self._started(call, "stop", box.zone, box.body["selfLink"], work)

    def set_labels(self, call: Call) -> dict[str, Any]:
        """``compute.instances.setLabels``, which needs the fingerprint that was read last."""
        box = self._box(call)
        rules.labels(call.body.get("labels") or {})
        with self._lock:
            if call.body.get("labelFingerprint") != box.body["labelFingerprint"]:
                raise Refusal(
                    412, "conditionNotMet",
                    "Labels fingerprint either invalid or resource labels have changed",
                )  # fmt: skip
            box.body.update(
                labels=call.body.get("labels") or {}, labelFingerprint=shapes.fingerprint()
            )
        return self._started(call, "setLabels", box.zone, box.body["selfLink"], None)

    def network_tags(self, id: str) -> Sequence[str]:
        """Of an instance as the world names it; none of one that there is not."""
        zone, _, name = id.partition("/")
        with self._lock:
            box = self._boxes.get((zone, name))
            found: Sequence[str] = ((box.body.get("tags") or {}).get("items") or ()) if box else ()
            return found

    def get(self, call: Call) -> dict[str, Any]:
        """``compute.instances.get``."""
        return self._view(self._box(call))

    def all(self) -> list[tuple[str, dict[str, Any]]]:
        """(zone, instance) of all that reads show."""
        with self._lock:
            boxes = list(self._boxes.values())
        return [
            (box.zone, self._view(box)) for box in boxes if not self._world.hidden(CLOUD, box.id)
        ]

    def console(self, call: Call) -> dict[str, Any]:
        """``compute.instances.getSerialPortOutput``."""
        box = self._box(call)
        text = self._world.console(CLOUD, box.id)
        start = min(int(call.asked("start") or 0), len(text))
        return {
            "kind": "compute#serialPortOutput",
            "contents": text[start:],
            "start": str(start),
            "next": str(len(text)),
            "selfLink": f"{box.body['selfLink']}/serialPort",
        }

    def guest_attributes(self, call: Call) -> dict[str, Any]:
        """``compute.instances.getGuestAttributes``."""
        box, path = self._box(call), call.asked("queryPath")
        space, _, key = path.partition("/")
        told = box.metadata.get("instance/guest-attributes") if box.metadata else {}
        items = [
            {"namespace": ns, "key": k, "value": value}
            for ns, values in (told or {}).items()
            for k, value in values.items()
            if space in ("", ns) and key in ("", k)
        ]
        if not items:
            message = f"The resource '{path}' of type 'Guest Attribute' was not found."
            raise Refusal(404, "notFound", message)
        link = f"{box.body['selfLink']}/guestAttributes/"
        kind = "compute#guestAttributes"
        return {"kind": kind, "queryPath": path, "queryValue": {"items": items}, "selfLink": link}

    def used(self, region: str, metric: str) -> float:
        """How much of a metric instances take; ``region`` empty for everywhere."""
        with self._lock:
            return sum(
                amount
                for box in self._boxes.values()
                if not box.ended and region in ("", stock.region_of(box.zone))
                for name, amount in self._draws(box)
                if name == metric
            )

    # --- events -----------------------------------------------------------------------------
    def preempt(self, id: str, notice: float) -> None:
        """The flag of the metadata server turns, and after ``notice`` seconds it is taken."""
        zone, _, name = id.partition("/")
        with self._lock:
            box = self._boxes.get((zone, name))
        if box is None:
            return
        if box.metadata is not None:
            box.metadata.set("instance/preempted", "TRUE")
        self._world.later(notice, lambda: self._take(box))

    def release(self) -> None:
        """Let whoever waits for a metadata server go."""
        with self._lock:
            boxes = list(self._boxes.values())
        for box in boxes:
            if box.metadata is not None:
                box.metadata.end()

    # --- inside -----------------------------------------------------------------------------
    def _take(self, box: Box) -> None:
        if box.ended:
            return
        target = box.body["selfLink"]
        message = "Instance was preempted."
        self._operations.record("compute.instances.preempted", f"zones/{box.zone}", target, message)
        self._end(box, gently=True)

    def _expire(self, box: Box) -> None:
        if box.ended:
            return
        self._operations.record(
            "delete", f"zones/{box.zone}", box.body["selfLink"], "Instance reached its run limit."
        )
        self._end(box, gently=False)

    def _end(self, box: Box, gently: bool) -> None:
        """Stop it and do what its termination action says."""
        if box.body["scheduling"].get("instanceTerminationAction") != "DELETE":
            self._halt(box, gently)
            return
        with self._lock:
            box.body["status"] = "STOPPING"
        self._world.power_off(CLOUD, box.id, gently)
        self._world.later(SHUTDOWN, lambda: self._remove(box))

    def _halt(self, box: Box, gently: bool) -> None:
        """Switch it off; the instance and its disk stay."""
        with self._lock:
            if box.ended or box.body["status"] in ("STOPPING", "TERMINATED"):
                return
            box.body["status"] = "STOPPING"
        self._world.power_off(CLOUD, box.id, gently)
        self._world.later(SHUTDOWN, lambda: self._halted(box))

    def _halted(self, box: Box) -> None:
        with self._lock:
            if box.ended:
                return
            box.body.update(status="TERMINATED", lastStopTimestamp=stamp(self._world.wall()))
        self._world.billing(CLOUD, box.id, False)

    def _remove(self, box: Box) -> None:
        with self._lock:
            if box.ended:
                return
            box.ended = True
            self._boxes.pop((box.zone, box.name), None)
            disk = self.disks[box.zone, box.name]
            if box.body["disks"][0]["autoDelete"]:
                del self.disks[box.zone, box.name]
            else:
                disk["users"] = []
        if box.metadata is not None:
            box.metadata.end()
        self._world.gone(CLOUD, box.id)

    def _fitting(self, call: Call, box: Box) -> Callable[[], Failure | None]:
        """What the insert operation will do: boot the machine, or fail and take it back."""
        fault, words = call.fault, self._words(box)
        if fault is not None and fault.error == "ignore":
            return self._failing(box, None)
        if fault is not None:
            return self._failing(box, later(fault.error, fault.message, fault.status, words))
        failure = self._shortage(box, words)
        if failure is not None:
            self._world.refused(
                CLOUD, call.method.id, self.facts(box), failure.code, failure.message
            )
            return self._failing(box, failure)
        self._world.made(CLOUD, box.id, self.facts(box))
        self._add_disk(box)
        return _without_failure(lambda: self._boot(box))

    def _failing(self, box: Box, failure: Failure | None) -> Callable[[], Failure | None]:
        box.ended = True  # it counts nowhere, but reads show it until the operation has failed

        def fail() -> Failure | None:
            with self._lock:
                self._boxes.pop((box.zone, box.name), None)
            return failure

        return fail

    def _shortage(self, box: Box, words: Words) -> Failure | None:
        plan, region = box.plan, stock.region_of(box.zone)
        for metric, amount in self._draws(box):
            where = "" if metric.endswith("ALL_REGIONS") else region
            limit = self.limit(where, metric)
            used = self.used(where, metric) - amount  # it is among them already
            if used + amount > limit:
                told = words._replace(metric=metric, limit=limit)
                return later("QUOTA_EXCEEDED", "", 0, told)
        if not self._world.room(CLOUD, box.zone, plan.type, plan.market):
            return later(STOCKOUT, "", 0, words._replace(others=self._others(box)))
        return None

    def limit(self, region: str, metric: str) -> float:
        """The account's limit; ``region`` empty for one of the whole project."""
        return self._world.quota(CLOUD, region, metric, stock.usual(metric))

    def _draws(self, box: Box) -> list[tuple[str, float]]:
        """(metric, amount) that it takes. Spot processors have a metric of their own once the
        account has been given some; before that they count in the ordinary one."""
        plan, region = box.plan, stock.region_of(box.zone)
        found: list[tuple[str, float]] = []
        if plan.cards:
            metric = stock.METRICS[plan.card]
            found.append((f"PREEMPTIBLE_{metric}" if plan.spot else metric, plan.cards))
            found.append((stock.ALL_GPUS, plan.cards))
        family = plan.machine.name.partition("-")[0]
        metric = stock.FAMILY_CPUS.get(family, f"{family.upper()}_CPUS")
        if plan.spot and self.limit(region, stock.SPOT_CPUS) > 0:
            metric = stock.SPOT_CPUS
        found.append((metric, plan.machine.cpus))
        return found

    def _others(self, box: Box) -> tuple[str, ...]:
        plan = box.plan
        return tuple(
            zone
            for zone in stock.zones(stock.region_of(box.zone))
            if zone != box.zone
            and stock.is_sold(zone, plan.machine.name)
            and self._world.spare(CLOUD, zone, plan.type, plan.market) != 0
        )

    def _words(self, box: Box) -> Words:
        plan, zones = box.plan, stock.zones(stock.region_of(box.zone))
        return Words(
            project=self._project,
            target=box.body["selfLink"].removeprefix(f"{ROOT}/"),
            zone=box.zone,
            region=stock.region_of(box.zone),
            type=plan.machine.name,
            attachment=f"{plan.cards} {plan.card}" if plan.cards else "",
            metric=stock.METRICS.get(plan.card, "CPUS"),
            others=tuple(zone for zone in zones if zone != box.zone),
        )

    def facts(self, box: Box) -> Mapping[str, str]:
        """What the world and scenarios know of it."""
        return {
            "region": stock.region_of(box.zone), "zone": box.zone, "type": box.plan.type,
            "market": box.plan.market, "name": box.name, "id": box.id,
        }  # fmt: skip

    def _boot(self, box: Box) -> None:
        accounts = box.body.get("serviceAccounts") or []
        email = accounts[0]["email"] if accounts else ""
        with self._lock:
            if box.ended or box.body["status"] != "PROVISIONING":
                return  # deleted before it was made
            box.body["status"] = "STAGING"
            public = box.body["networkInterfaces"][0].get("accessConfigs")
            address = self._world.address(CLOUD) if public else ""
            told = tree(self._project, box.body, address)
            server = MetadataServer(told, self._issuer(email) if email else None, self.api)
            box.address, box.metadata = address, server
        attributes = told["instance"]["attributes"]
        gpu = next((name for name, card in stock.CARDS.items() if card == box.plan.card), "")
        machine = Machine(
            cloud=CLOUD, id=box.id, name=box.name, region=stock.region_of(box.zone),
            zone=box.zone, type=box.plan.type, market=box.plan.market, address=address,
            user_data=attributes.get("user-data", ""), metadata=server.answer,
            keys=tuple(_key(line) for line in attributes.get("ssh-keys", "").splitlines()),
            gpu=gpu or ("H100" if box.plan.cards else ""), gpu_count=box.plan.cards,
            inside=box.body["networkInterfaces"][0]["networkIP"],
        )  # fmt: skip
        events = Events(up=lambda: self._up(box), off=lambda reason: self._off(box, reason))
        self._world.power_on(machine, events)

    def _issuer(self, email: str) -> Callable[[], dict[str, Any]]:
        whom = EMAIL if email == "default" else email
        return lambda: self._account.issue(whom, self._world.wall())

    def _up(self, box: Box) -> None:
        with self._lock:
            if box.ended or box.body["status"] != "STAGING":
                return
            box.body.update(status="RUNNING", lastStartTimestamp=stamp(self._world.wall()))
        self._world.billing(CLOUD, box.id, True)
        limit = box.body["scheduling"].get("maxRunDuration")
        if limit:
            self._world.later(float(limit["seconds"]), lambda: self._expire(box))

    def _off(self, box: Box, reason: str) -> None:
        """A guest that powers itself off leaves a stopped instance, whatever its action is."""
        kind = "guestTerminate" if reason == "shutdown" else "hostError"
        target = box.body["selfLink"]
        self._operations.record(f"compute.instances.{kind}", f"zones/{box.zone}", target)
        self._halt(box, gently=False)

    def _add_disk(self, box: Box) -> None:
        self.disks[box.zone, box.name] = shapes.disk(box.body, self._number())

    def _view(self, box: Box) -> dict[str, Any]:
        """The instance now; its address once it is told."""
        with self._lock:
            shown = dict(box.body)
        disk = {k: v for k, v in shown["disks"][0].items() if k != "initializeParams"}
        shown["disks"] = [disk]
        known = shown["status"] == "RUNNING" and self._world.address_known(CLOUD, box.id)
        interface = dict(shown["networkInterfaces"][0])
        if known and interface.get("accessConfigs"):
            first, *rest = interface["accessConfigs"]
            interface["accessConfigs"] = [{**first, "natIP": box.address}, *rest]
        shown["networkInterfaces"] = [interface]
        return shown

    def _box(self, call: Call) -> Box:
        zone, name = call.path["zone"], call.path["instance"]
        with self._lock:
            box = self._boxes.get((zone, name))
        if box is None or self._world.hidden(CLOUD, box.id):
            place = f"projects/{self._project}/zones/{zone}/instances/{name}"
            raise Refusal(404, "notFound", f"The resource '{place}' was not found")
        return box

    def _link(self, zone: str, name: str) -> str:
        return f"{ROOT}/projects/{self._project}/zones/{zone}/instances/{name}"

    def _repeated(self, call: Call) -> dict[str, Any] | None:
        """The operation of a request whose id was seen before."""
        given = call.asked("requestId")
        if not given:
            return None
        rules.request_id(given)
        known = self._asked.get((call.path["zone"], given))
        return self._operations.get(f"zones/{call.path['zone']}", known) if known else None

    def _started(
        self,
        call: Call,
        kind: str,
        zone: str,
        target: str,
        work: Callable[[], Failure | None] | None,
    ) -> dict[str, Any]:
        operation = self._operations.start(kind, f"zones/{zone}", target, work, call.user)
        given = call.asked("requestId")
        if given:
            self._asked[zone, given] = operation["name"]
        return operation


def _spoilt(call: Call, box: Box) -> Callable[[], Failure | None] | None:
    """What a scenario makes of a delete: nothing at all, or a failed operation."""
    fault = call.fault
    assert fault is not None
    if fault.error == "ignore":
        return None
    words = Words("", box.body["selfLink"].removeprefix(f"{ROOT}/"), box.zone)
    return lambda: later(fault.error, fault.message, fault.status, words)


def _without_failure(work: Callable[[], None]) -> Callable[[], Failure | None]:
    def done() -> Failure | None:
        work()
        return None

    return done


def _key(line: str) -> str:
    """The key of a line of ``ssh-keys``: ``user:ssh-ed25519 AAAA...``."""
    return line.partition(":")[2] or line
