"""The local provider: instances on this host, met over real SSH; no root, Docker or account."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ... import _lazy, limits
from ...clock import Clock
from ...errors import BadRequestError, BootError, InstanceError
from ...resources import Offer
from ..base import Finding, Instance, LaunchRequest, Survey, Traits
from ..tags import holds
from . import checks, host
from .folder import END_COMMAND, ID, Folder, Room, instance_id
from .machine import files, processes
from .modes import Mode, base_python, choose, find_uv

if TYPE_CHECKING:
    from .instance import Launcher

END_TIMEOUT = limits.END_GRACE + 3.0
"""How long terminate waits for a guardian: the grace that processes get, and time to clear up."""
CONSOLE = 64 * 1024
"""Bytes of a machine's log that :meth:`LocalProvider.console` gives at most."""
_KILL_TIMEOUT = 2.0  # a killed guardian's machine follows it in milliseconds
_NO_OFFER = Offer("local", "local", "host", "host", "on-demand", 0.0, 0.0, 0)


class LocalProvider:
    """Instances of this host. ``home``: ``BYOC_HOME``. ``environ``: the client's environment."""

    name = "local"

    def __init__(
        self,
        home: Path,
        clock: Clock,
        environ: Mapping[str, str],
        options: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._home = Path(os.path.realpath(home))
        self._clock = clock
        self._environ = environ
        self._folder = Folder(self._home / "local", clock)
        self._mode: Mode | None = None

    def mode(self) -> Mode:
        """The parts in use. Raises SettingsError when a forced one is not possible."""
        if self._mode is None:
            self._mode = choose(self._environ, self._folder.root / "probe.json")
        return self._mode

    @property
    def traits(self) -> Traits:
        """See :class:`byoc.providers.base.Traits`; instances end by :data:`END_COMMAND`."""
        return Traits(
            end_command=(END_COMMAND,),
            python=base_python(),
            uv=find_uv(self._environ),
            cache=str(self._folder.cache),
            root=False,
            real_root=self.mode().isolation == "bwrap",
            shared_host=True,
            origins=True,
        )

    def offers(self) -> builtins.list[Offer]:
        """The host itself, free of charge. Safe to repeat."""
        gpus = host.find_gpus(self._environ, self._folder.root / "gpus.json", self._clock)
        return [host.offer(gpus, self._home)]

    def survey(self, region: str, offers: Sequence[Offer]) -> Survey:
        """This host is what it is: nothing to ask."""
        return Survey(region)

    def launch(self, request: LaunchRequest) -> Instance:
        """Boots one instance; it accepts connections on return.

        Idempotent on ``request.token`` while the instance lives, among all processes of the host.
        Raises BadRequestError for an offer that is not ours, TransientError when another client
        holds the launch lock too long, SettingsError when a forced mode is impossible, BootError
        when this host lacks disk, sockets or rights for it.
        """
        if request.offer.key() not in {offer.key() for offer in self.offers()}:
            raise BadRequestError(
                f"{request.offer.key()} is not offered here", provider=self.name, scope="instance"
            )
        room = self._folder.room(instance_id(request.token))
        try:
            self._folder.make()
            with self._folder.launching():
                if not room.lives():
                    self._clear_for(room)
                    self._launcher().launch(request)
        except OSError as error:
            raise BootError(
                f"{room.id} cannot be put up: {error}",
                hints=(f"Make room and writable what is below {self._home}.",),
            ) from error
        return self.get(room.id)

    def _clear_for(self, room: Room) -> None:
        """Makes place for a machine of a token that was used before, or whose launch crashed."""
        if room.path.exists():
            self._folder.bury(room, "died")
        self._folder.tombstone_path(room.id).unlink(missing_ok=True)
        self._folder.sweep()

    def _launcher(self) -> Launcher:
        """The launching side, which `byoc ps` need not load."""
        made: Callable[..., Launcher] = _lazy.load("byoc.providers.local.instance:launcher")
        return made(self._home, self._folder.root, self.mode(), self._environ, self._clock)

    def get(self, instance_id: str) -> Instance:
        """The instance now; one that ended is ``gone``, with the reason as ``detail``."""
        if not ID.match(instance_id):
            return self._gone(instance_id)
        room = self._folder.room(instance_id)
        if room.lives():
            return self._instance(room)
        self._clear(room)
        return self._gone(instance_id)

    def list(
        self,
        tags: Mapping[str, str],
        regions: Sequence[str] = (),
        everything: bool = False,
    ) -> builtins.list[Instance]:
        """Every living instance with all of ``tags``. Clears dead ones on the way. There is one
        region, and nothing else is made."""
        found = []
        for room in self._folder.rooms():
            if not room.lives():
                self._clear(room)
                continue
            instance = self._instance(room)
            if holds(instance.tags, tags):
                found.append(instance)
        return found

    def console(self, instance_id: str) -> str:
        """The end of the machine's log, of an ended one as well."""
        if not ID.match(instance_id):
            return ""
        room = self._folder.room(instance_id)
        if room.lives():
            return files.read_tail(str(room.path / "log"), CONSOLE)
        return str((self._folder.tombstone(instance_id) or {}).get("log", ""))

    def _clear(self, room: Room) -> None:
        """Buries a machine whose guardian is gone without having done so."""
        if room.path.exists() and not room.lives():
            with self._folder.launching():
                if room.path.exists() and not room.lives():
                    self._folder.bury(room, "died")

    def _instance(self, room: Room) -> Instance:
        """A living machine; one whose record was damaged is still there to be ended."""
        ending = room.ending()
        instance = self._from_record(room.id, "ending" if ending else "running", room.machine())
        if instance is None:
            detail = "its record cannot be read"
            return Instance(self.name, room.id, "running", _NO_OFFER, {}, detail=detail)
        return instance._replace(detail=ending)

    def _from_record(
        self, instance_id: str, state: str, record: Mapping[str, Any] | None
    ) -> Instance | None:
        if record is None:
            return None
        try:
            return Instance(
                provider=self.name,
                id=instance_id,
                state=state,
                offer=Offer(**record["offer"]),
                tags=dict(record["tags"]),
                address=str(record["address"]),
                port=int(record["port"]),
                user=str(record["user"]),
                host_key=str(record["host_key"]),
                started=float(record["started"]),
                origin=str(record.get("token", "")),
                inside=str(record["address"]),
            )
        except (KeyError, TypeError, ValueError):  # torn, or of another version
            return None

    def _gone(self, instance_id: str) -> Instance:
        grave = self._folder.tombstone(instance_id) if ID.match(instance_id) else None
        unknown = Instance(self.name, instance_id, "gone", _NO_OFFER, {})
        if grave is None:
            return unknown
        detail = str(grave.get("reason", ""))
        log = str(grave.get("log", "")).strip()
        if detail == "died" and log:
            detail += "; the end of its log: " + log
        known = self._from_record(instance_id, "gone", grave) or unknown
        return known._replace(detail=detail)

    def mark(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """Writes tags into the machine's record, alone among all clients."""
        if not ID.match(instance_id) or not tags:
            return
        room = self._folder.room(instance_id)
        if not room.lives():
            return
        with self._folder.launching():
            record = room.machine()
            if record is None or not isinstance(record.get("tags"), dict):
                return  # gone meanwhile, or damaged: there is nothing to add to
            record["tags"].update(tags)
            try:
                files.write_json(str(room.path / "machine.json"), record)
            except FileNotFoundError:  # it has ended meanwhile
                return

    def terminate(self, instance_id: str) -> None:
        """Ends the instance and waits until nothing of it is left. Already gone is success.

        Raises InstanceError when processes cannot be ended, which only the kernel can cause.
        """
        if not ID.match(instance_id):
            return
        room = self._folder.room(instance_id)
        if self._wait_ended(room, END_TIMEOUT, ask=True):
            return
        pid = room.guardian_pid()
        if pid and instance_id in processes.command_line(pid):
            processes.kill_all(lambda: processes.tree(pid))
        if not self._wait_ended(room, _KILL_TIMEOUT, ask=False):
            raise InstanceError(
                f"{instance_id} does not end although it was killed",
                hints=(f"Look at the processes that hold {room.path / 'lock'}.",),
            )

    def _wait_ended(self, room: Room, seconds: float, ask: bool) -> bool:
        """Waits for the guardian to leave, asking it to unless it has heard already."""
        deadline = self._clock.mono() + seconds
        while room.lives():
            if ask and room.ask("terminate"):
                ask = False
            if self._clock.mono() > deadline:
                return False
            self._clock.sleep(processes.LOOK_EVERY)
        self._clear(room)
        return True

    def check(self) -> builtins.list[Finding]:
        """What was found on this host and what it isolates; tries everything anew."""
        mode = choose(self._environ, self._folder.root / "probe.json", fresh=True)
        self._mode = mode
        kept = self._folder.root / "gpus.json"
        gpus = host.find_gpus(self._environ, kept, self._clock, fresh=True)
        return checks.findings(mode, gpus, find_uv(self._environ))
