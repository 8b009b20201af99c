"""An emulated OCI tenancy, with machines of the emulator's world."""

from __future__ import annotations

import threading
from pathlib import Path

from ..ports import Reply, World
from . import server
from .account import BYOC, OWNER, Account
from .compute import Compute
from .identity import Identity
from .metadata import Metadata
from .network import Network
from .principals import Principals
from .schema import load
from .store import Store
from .usage import Usage
from .work import Work

STOP_POLL = 0.02
"""Seconds between two looks at whether to stop."""


class OciFacade:
    """One tenancy: all regions of the catalogue, one user, no resources.

    ``folder``: a private folder for the user's key and configuration. ``empty_pages``: some lists
    begin with an empty page, as the real ones may.
    """

    cloud = "oci"

    def __init__(self, world: World, folder: Path, empty_pages: bool = False) -> None:
        self._world = world
        self._account = Account(folder, world.wall())
        self._folder = folder
        schema = load()
        self._store = Store(schema, world.wall)
        principals = Principals(self._account.tenancy, world.wall)
        metadata = Metadata(self._account, principals)
        work = Work(self._store)
        usage = Usage(self._store, world)
        self._compute = Compute(self._store, world, usage, work, metadata)
        self._network = Network(self._store)
        handlers = {
            **self._compute.handlers(),
            **usage.handlers(),
            **work.handlers(),
            **self._network.handlers(),
            **Identity(self._store, self._account).handlers(),
        }
        self._service = server.Service(
            world, schema, handlers, self._account, principals, empty_pages
        )
        metadata.api = lambda request: _reply(self._service.answer(request))
        self._listener = server.listen(self._service)
        self._config = folder / "oci.cfg"
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(STOP_POLL,), name="emulator-oci", daemon=True
        )

    @property
    def address(self) -> str:
        """The URL at which it is served, without a region."""
        return f"http://127.0.0.1:{self._listener.server_address[1]}"

    @property
    def tenancy(self) -> str:
        """The tenancy's OCID, which is its root compartment's as well."""
        return self._account.tenancy

    def start(self) -> None:
        """Write the user's key and configuration, and serve."""
        self._config = self._account.write()
        self._thread.start()

    def environment(self) -> dict[str, str]:
        """How SDK, command line and byoc find the tenancy: byoc as a user with its own policy,
        everybody else as the administrator. The command line has no variable for the endpoint: it
        takes ``--endpoint $OCI_CLI_ENDPOINT``."""
        config = str(self._config)
        return {
            "BYOC_OCI_ENDPOINT": self.address + "/{region}",
            "BYOC_OCI_CONFIG_FILE": config,
            "BYOC_OCI_PROFILE": BYOC,
            "OCI_CONFIG_FILE": config,
            "OCI_CLI_CONFIG_FILE": config,
            "OCI_CLI_PROFILE": OWNER,
            "OCI_CLI_AUTH": "api_key",
            "OCI_CLI_ENDPOINT": self.address,
            "OCI_CLI_SUPPRESS_FILE_PERMISSIONS_WARNING": "True",
            "SUPPRESS_LABEL_WARNING": "True",
        }

    def preempt(self, id: str, notice: float) -> None:
        """Reclaim a preemptible instance. Its machine is told nothing: OCI's notice is an event in
        the tenancy, which byoc does not count on."""
        one = self._store.get(id, "Instance")
        one.notes["preempted"] = True
        self._world.later(notice, lambda: self._compute.end(one))

    def lets_in(self, source: str, target: str) -> bool:
        """By the rules of network security groups whose source is a group."""
        return self._network.joins(self._compute.groups(source), self._compute.groups(target))

    def admits(self, source: str, target: str) -> bool:
        """By the rules of an instance's groups, and of its subnet's lists."""
        subnet = self._compute.subnet(target)
        return self._network.admits(source, self._compute.groups(target), subnet)

    def leftovers(self) -> list[dict[str, str]]:
        """Boot volumes without an instance. Networks cost nothing."""
        used = [one.notes["disk"] for one in self._store.living(["Instance"])]
        disks = [one for one in self._store.every("BootVolume") if one not in used]
        return [{"kind": "disk", "id": one.id, "region": one.region} for one in disks]

    def stop(self) -> None:
        """Serve no more."""
        if self._thread.is_alive():
            self._listener.shutdown()
            self._thread.join()
        self._listener.server_close()


def _reply(answer: server.Answer) -> Reply:
    if answer.drop:
        return Reply(504)
    return Reply(answer.status, answer.body, answer.type)
