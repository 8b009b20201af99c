"""Instances of Google Compute Engine, behind byoc's contract."""

from __future__ import annotations

import builtins
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from ...clock import Clock
from ...errors import TokenError, TransientError
from ...pricing import catalog
from ...resources import Offer
from .. import bootdata
from ..base import OWNER_TAG, TOKEN_TAG, Finding, Instance, LaunchRequest, Survey, Traits
from ..found import gone
from ..ingress import Ingress
from ..prepared import Zones
from ..tags import holds, rewritten
from . import body, check, images, labels, network, states
from .clients import API, Google, of_operation
from .codes import NO_NOTICE
from .sdk import load
from .survey import choose, survey

SSH_PORT = 22
CONSOLE = 64 * 1024
"""Characters of the serial port's output that are given at most."""
_REST = {
    "disk": ("disks", "zone"),
    "address": ("addresses", "region"),
    "firewall": ("firewalls", ""),
}
"""Kind -> (service, what its place is)."""
T = TypeVar("T")


class GcpProvider:
    """One project. ``options``: ``project``, ``endpoint``, ``key_file``, ``image``, ``network``,
    ``service_account``, ``ssh_port``, ``ingress``. Safe from any thread."""

    name = "gcp"

    def __init__(
        self,
        home: Path,
        clock: Clock,
        environ: Mapping[str, str],
        options: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        del home  # nothing is kept
        self._clock = clock
        self._google = Google(environ, options)
        self._image = options.get("image", "")
        self._network = options.get("network", "")
        self._account = options.get("service_account", "")
        self._port = int(options.get("ssh_port") or SSH_PORT)
        self._ingress = Ingress(options.get("ingress", ""), environ, clock)
        self._lock = threading.Lock()
        self._known: dict[tuple[str, ...], Any] = {}
        self._zones = Zones()
        self._notice = body.NOTICE

    @property
    def traits(self) -> Traits:
        return Traits(
            end_command=(bootdata.END_COMMAND,),
            root=True,
            notice=float(body.SURE_NOTICE),
            notice_source="gcp",
            self_end="gone" if self._account else "stopped",
            regional=True,
            boot=40.0,
            origins=True,
        )

    def offers(self) -> builtins.list[Offer]:
        return catalog.offers("gcp")

    def survey(self, region: str, offers: Sequence[Offer]) -> Survey:
        return survey(self._google, region, offers)

    def check(self) -> builtins.list[Finding]:
        return check.check(self._google, self._clock, self._network, self._account)

    def launch(self, request: LaunchRequest) -> Instance:
        request = self._zones.placed(request, lambda: choose(self._google, request.offer))
        offer = request.offer
        place = self._place(request)
        script = body.end_script(self._google.endpoint or API, self._account)
        made = load("types.compute").Instance.from_json(
            json.dumps(body.make(request, place, script, self._notice)), ignore_unknown_fields=True
        )  # an SDK that is older than a field leaves the field out
        name = body.name(request.token)
        pending = Instance(
            "gcp", f"{offer.zone}/{name}", "pending", offer,
            {**request.tags, labels.MANAGED: "1", TOKEN_TAG: request.token},
            user="root", started=self._clock.wall(), detail="the insert operation is running",
        )  # fmt: skip
        try:
            operation = self._google.once(
                "instances", "insert_unary", project=self._google.project, zone=offer.zone,
                instance_resource=made, request_id=body.request_id(request.token),
            )  # fmt: skip
        except TokenError as error:
            return self._ours(offer.zone, name, request.token, error)
        except TransientError as error:
            if re.search(NO_NOTICE, error.message, re.IGNORECASE):
                self._notice = 0  # the launch is asked for again, and then without
            raise
        if operation.status.name != "DONE":
            return pending
        return self._repeated(pending, operation)

    def get(self, instance_id: str) -> Instance:
        place, kind, name = states.parts(instance_id)
        if kind != "instance":
            return self._get_rest(instance_id, place, kind, name)
        raw = self._raw(place, name)
        if raw is None:
            return states.fate(self._google, place, name, self._clock.wall())
        found = states.of_instance(place, raw, self._port)
        if found.state != "ending":
            return found
        taken = states.preemption(states.history(self._google, place, name))
        if taken is None:
            return found
        return found._replace(failure=taken, detail=taken.message)

    def mark(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """Labels are replaced as a whole, by whoever has read the latest: read and written again
        when somebody else was faster."""
        place, kind, name = states.parts(instance_id)
        if kind != "instance" or not tags:
            return
        rewritten(  # refused as conditionNotMet
            lambda: self._label(place, name, tags), lambda error: isinstance(error, TokenError)
        )

    def _label(self, zone: str, name: str, tags: Mapping[str, str]) -> None:
        raw = self._raw(zone, name)
        if raw is None:
            self._must_be_gone(zone, name, "marked")
            return
        told = labels.changed(raw.labels, tags)
        wanted = {"labels": told, "label_fingerprint": raw.label_fingerprint}
        self._google.find(
            "instances", "set_labels_unary",
            project=self._google.project, zone=zone, instance=name,
            instances_set_labels_request_resource=wanted,
        )  # fmt: skip

    def terminate(self, instance_id: str) -> None:
        place, kind, name = states.parts(instance_id)
        if not kind:
            return
        if kind == "instance":
            service, where = "instances", {"zone": place, "instance": name}
        else:
            service, where = self._where(place, kind, name)
        google = self._google
        if kind == "firewall":
            self._forget("firewall")
            network.must_be_unused(google, name)
        operation = google.find(service, "delete_unary", project=google.project, **where)
        if operation is not None:
            if kind == "firewall":  # else the next launch would find the rule that is on its way
                network.wait(google, operation)
            return
        if kind == "instance":
            self._must_be_gone(place, name, "ended")

    def _must_be_gone(self, zone: str, name: str, done: str) -> None:
        """Not found may mean: not shown yet. Raises TransientError then."""
        fate = states.fate(self._google, zone, name, self._clock.wall())
        if fate.state == "pending":
            raise TransientError(
                f"{fate.id} cannot be {done} yet: {fate.detail}",
                provider="gcp", vendor_code="notFound", scope="request",
            )  # fmt: skip

    def list(
        self, tags: Mapping[str, str], regions: Sequence[str] = (), everything: bool = False
    ) -> builtins.list[Instance]:
        query = labels.query(tags)
        found = [
            states.of_instance(zone, raw, self._port)
            for zone, raw in self._google.everywhere("instances", "instances", query)
        ]
        if everything:
            found += self._rest(tags, query)
        wanted = set(regions)
        return [
            item for item in found
            if holds(item.tags, tags)
            and (not wanted or item.offer.region in wanted | {"global"})
        ]  # fmt: skip

    def console(self, instance_id: str) -> str:
        zone, kind, name = states.parts(instance_id)
        if kind != "instance":
            return ""
        printed = self._google.find(
            "instances", "get_serial_port_output",
            project=self._google.project, zone=zone, instance=name, port=1,
        )  # fmt: skip
        return "" if printed is None else str(printed.contents)[-CONSOLE:]

    # --- launching ----------------------------------------------------------------------------

    def _place(self, request: LaunchRequest) -> body.Place:
        """The image, network and firewall of a launch, each asked for once."""
        offer, owner = request.offer, request.tags.get(OWNER_TAG, "")
        google, given = self._google, self._network
        wanted = images.candidates(offer)
        image = self._once(
            ("image", *wanted[0]), lambda: images.look_up(google, offer, self._image)
        )
        cidrs = self._ingress.networks(google.endpoint or API)
        tag = self._once(
            ("firewall", owner, *cidrs),
            lambda: network.open_port(google, owner, given, cidrs, self._port)[0],
        )
        if request.mesh:
            self._once(
                ("firewall", owner, network.MESH),
                lambda: network.open_mesh(google, owner, given),
            )
        subnet = self._once(
            ("subnet", offer.region), lambda: network.subnet(google, given, offer.region)
        )
        link = network.link(given)
        return body.Place(image.link, image.size, link, subnet, tag, self._account)

    def gate(self, region: str) -> str:
        """See :class:`byoc.providers.gates.Gate`: one firewall rule for the whole project."""
        return "global"

    def admit(self, region: str, owner: str) -> bool:
        """See :class:`byoc.providers.gates.Gate`."""
        google = self._google
        self._forget("firewall")
        cidrs = self._ingress.networks(google.endpoint or API, fresh=True)
        return network.open_port(google, owner, self._network, cidrs, self._port)[1]

    def _once(self, key: tuple[str, ...], ask: Callable[[], T]) -> T:
        """The answer to a question that this provider has asked before, or asks now."""
        with self._lock:
            if key not in self._known:
                self._known[key] = ask()
            found: T = self._known[key]
            return found

    def _forget(self, kind: str) -> None:
        with self._lock:
            self._known = {key: found for key, found in self._known.items() if key[0] != kind}

    def _ours(self, zone: str, name: str, token: str, error: TokenError) -> Instance:
        """The instance that holds the name already, if this very token made it."""
        raw = self._raw(zone, name)
        if raw is None:
            raise error
        found = states.of_instance(zone, raw, self._port)
        if found.tags.get(TOKEN_TAG) != token:
            raise error
        return found

    def _repeated(self, pending: Instance, operation: Any) -> Instance:
        """What a launch that was done before has led to."""
        refused = of_operation(operation)
        if refused is not None:
            raise refused
        found = self.get(pending.id)
        if found.state != "gone":
            return found
        raise TokenError(
            "the instance of this token has ended", provider="gcp", scope="request",
            vendor_code="gone", request_id=operation.name,
        )  # fmt: skip

    def _raw(self, zone: str, name: str) -> Any | None:
        return self._google.find(
            "instances", "get", project=self._google.project, zone=zone, instance=name
        )

    # --- what instances leave behind ----------------------------------------------------------

    def _rest(self, tags: Mapping[str, str], query: str) -> builtins.list[Instance]:
        google = self._google
        found = [
            states.of_rest(zone, "disk", raw, labels.decode(raw.labels))
            for zone, raw in google.everywhere("disks", "disks", query)
            if not raw.users  # one that is attached goes with its instance
        ]
        found += [
            states.of_rest(region, "address", raw, labels.decode(raw.labels))
            for region, raw in google.everywhere("addresses", "addresses", query)
        ]
        pages = google.pages(
            "firewalls", "list", project=google.project, filter=f"name eq {network.PREFIX}.*"
        )
        found += [
            states.of_rest("global", "firewall", rule, network.tags_of(rule))
            for page in pages
            for rule in page.items
            if network.tags_of(rule).get(labels.MANAGED) == "1"
        ]
        return found

    def _get_rest(self, instance_id: str, place: str, kind: str, name: str) -> Instance:
        if not kind:
            return gone("gcp", instance_id)
        service, where = self._where(place, kind, name)
        raw = self._google.find(service, "get", project=self._google.project, **where)
        if raw is None:
            return gone("gcp", instance_id)._replace(kind=kind)
        told = network.tags_of(raw) if kind == "firewall" else labels.decode(raw.labels)
        return states.of_rest(place, kind, raw, told)

    @staticmethod
    def _where(place: str, kind: str, name: str) -> tuple[str, dict[str, str]]:
        service, scope = _REST[kind]
        return service, {**({scope: place} if scope else {}), kind: name}
