"""The emulated Google Cloud project of one world."""

from __future__ import annotations

import itertools
from pathlib import Path

from ..ports import World
from . import discovery
from .account import EMAIL, OWNER, PROJECT, Account
from .authority import Authority
from .calls import Call, Handler
from .instances import CLOUD, Instances
from .listing import aggregated, single
from .operations import Operations
from .project import Project
from .server import Desk, Server
from .stock import zones

_FIRST_NUMBER = 4_000_000_000_000_000_000
"""Google's ids are large numbers; these tell themselves from ours at a look."""


class GcpFacade:
    """See :class:`byoc.emulator.ports.Facade`. ``folder``: private, for the key file."""

    cloud = CLOUD

    def __init__(self, world: World, folder: Path) -> None:
        numbers = itertools.count(_FIRST_NUMBER)

        def number() -> str:
            return str(next(numbers))

        self._folder = folder
        self._account = Account(folder)
        self._operations = Operations(world, PROJECT, number)
        self._instances = Instances(world, PROJECT, self._operations, self._account, number)
        self.project = Project(world, PROJECT, self._operations, self._instances, number)
        authority = Authority(PROJECT, OWNER, EMAIL, lambda: world.permit(CLOUD))
        handlers = {
            **self.project.handlers(),
            **self._instance_handlers(),
            "cloudresourcemanager.projects.testIamPermissions": authority.tested,
        }
        desk = Desk(world, PROJECT, self._account, discovery.load(), handlers, authority)
        self._instances.api = desk.reply
        self._server = Server(desk)

    def start(self) -> None:
        self._server.start()

    def environment(self) -> dict[str, str]:
        base = self._server.base
        owner, own = (str(self._account.write(base, email)) for email in (OWNER, EMAIL))
        return {
            "BYOC_GCP_KEY_FILE": own,  # byoc has its own identity; everybody else is the owner
            "BYOC_GCP_ENDPOINT": base,
            "BYOC_GCP_PROJECT": PROJECT,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "GOOGLE_APPLICATION_CREDENTIALS": owner,
            # Google's libraries ask a metadata address for credentials unless told not to.
            "NO_GCE_CHECK": "true",
            "CLOUDSDK_CONFIG": str(self._folder / "gcloud"),
            "CLOUDSDK_CORE_PROJECT": PROJECT,
            "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": owner,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{base}/compute/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": f"{base}/",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        }

    def preempt(self, id: str, notice: float) -> None:
        self._instances.preempt(id, notice)

    def lets_in(self, source: str, target: str) -> bool:
        """By the firewall rules whose source and target are network tags."""
        tags = self._instances.network_tags(source), self._instances.network_tags(target)
        return self.project.joins(*tags)

    def admits(self, source: str, target: str) -> bool:
        """By the firewall rules whose source is networks, in the order of their priorities."""
        return self.project.admits(source, self._instances.network_tags(target))

    def leftovers(self) -> list[dict[str, str]]:
        return self.project.leftovers()

    def stop(self) -> None:
        self._operations.release()
        self._instances.release()
        self._server.stop()

    def _instance_handlers(self) -> dict[str, Handler]:
        instances = self._instances
        scopes = [f"zones/{zone}" for zone in zones()]
        return {
            "compute.instances.insert": self._insert,
            "compute.instances.delete": instances.delete,
            "compute.instances.get": instances.get,
            "compute.instances.stop": instances.stop,
            "compute.instances.setLabels": instances.set_labels,
            "compute.instances.getSerialPortOutput": instances.console,
            "compute.instances.getGuestAttributes": instances.guest_attributes,
            "compute.instances.list": lambda call: single(
                call,
                "compute#instanceList",
                [item for zone, item in instances.all() if zone == call.path["zone"]],
            ),
            "compute.instances.aggregatedList": lambda call: aggregated(
                call,
                "compute#instanceAggregatedList",
                "instances",
                [(f"zones/{zone}", item) for zone, item in instances.all()],
                scopes,
            ),
        }

    def _insert(self, call: Call) -> dict[str, object]:
        for interface in call.body.get("networkInterfaces") or []:
            self.project.need_network(interface.get("network") or "global/networks/default")
        return self._instances.insert(call)
