"""Firewalls follow their client and go with the last instance.

The door is opened by a launch. This module moves it when the client has moved to another network,
and closes it again once nothing of ours lives behind it.

Why a closed door never shuts out a launch that goes on beside: a launch has its intent on disk,
then :meth:`Closing.opens` notes the door, then the cloud is asked. A closing client looks at the
journal, closes, takes its note away and looks again: an intent that it did not see the first time
it sees now, and opens the door anew. A client that relies on what it found earlier keeps others
from closing for as long as its run goes on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..clock import Clock
from ..errors import ProviderError, StateError, TransientError
from ..providers.base import OWNER_TAG, TOKEN_TAG, Instance, Provider
from ..providers.gates import gate_of
from ..state import Journal
from ..tasks import Task, side_by_side
from .ledger import seen_of
from .listing import forged
from .locks import alive
from .ports import Reporter

FOLDER = "gates"
"""In the data folder: a file for each firewall that may be open, so that one is closed later whose
last instance ended by itself."""
AT_ONCE = 8
"""Firewalls closed side by side."""
MOVED_AGAIN = 60.0
"""Seconds until the same firewall is looked at again because nobody answers behind it: a laptop
does not move more often, and a machine that is off is no reason to ask at all."""
RECENT = 600.0
"""Seconds for which a list may still show an instance that has ended."""
_OVER = ("ending", "lost", "gone")
"""States of a row that needs no door any more."""
_SEPARATOR = "--"


class Place(NamedTuple):
    """One firewall: its cloud, its name there (:meth:`Gate.gate`) and a region that it is for."""

    cloud: str
    gate: str
    region: str


class Closing:
    """What one client knows of its firewalls. Safe from any thread."""

    def __init__(
        self,
        home: Path,
        journal: Journal,
        providers: Mapping[str, Provider],
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self._folder = home / FOLDER
        self._journal = journal
        self._providers = providers
        self._reporter = reporter
        self._clock = clock
        self._lock = threading.Lock()
        self._works: dict[tuple[str, str], tuple[Place, Task[list[str]]]] = {}
        self._looked: dict[tuple[str, str], float] = {}

    # -- opening ------------------------------------------------------------------------------

    def opens(self, cloud: str, region: str) -> None:
        """A launch is about to open the door of a region; its intent is on disk already."""
        place = self._place(cloud, region)
        if place is not None:
            self._note(place)

    def moved(self, cloud: str, region: str) -> bool:
        """Nobody answers behind this door: has this client moved to another network?

        If so the firewall lets in its new one, and the user is told. Looks once a minute at most.
        """
        place = self._place(cloud, region)
        if place is None:
            return False
        with self._lock:
            last = self._looked.get(place[:2])
            now = self._clock.mono()
            if last is not None and now - last < MOVED_AGAIN:
                return False
            self._looked[place[:2]] = now
        try:
            changed = self._admit(place)
        except ProviderError as error:
            self._reporter.notice(
                f"the firewall of {cloud}/{place.gate} could not be looked at: {error.message}"
            )
            return False
        if changed:
            self._reporter.notice(
                f"the firewall of {cloud}/{place.gate} did not let this computer in, which is in "
                "another network than before: it does now"
            )
        return changed

    # -- closing ------------------------------------------------------------------------------

    def ends(self, cloud: str, region: str) -> None:
        """An instance there is about to end. When it is the last one the door begins to close,
        beside the wait for the end."""
        place = self._place(cloud, region)
        try:
            if place is None or self._needed(place):
                return
        except StateError:  # a journal that cannot be read must not keep an instance from ending
            return
        with self._lock:
            if place[:2] not in self._works:
                task = Task("byoc-closing", partial(self._close, place))
                self._works[place[:2]] = place, task

    def finish(self) -> None:
        """Close every door of ours behind which nothing lives; for the end of a client.

        One that cannot be closed is told of; the next client tries again.
        """
        try:
            with self._lock:
                begun = [place for place, _ in self._works.values()]
            known = {place[:2]: place for place in [*begun, *self._noted()]}
            places = [place for place in known.values() if not self._needed(place)]
            side_by_side([partial(self._finish, place) for place in places], AT_ONCE)
        except StateError as error:
            self._reporter.notice(f"firewalls are not looked after: {error.message}")

    def _finish(self, place: Place) -> None:
        with self._lock:
            _, begun = self._works.pop(place[:2], (place, None))
        try:
            if begun is None:
                self._close(place)
            elif left := begun.result():  # it was in use by what is gone now
                self._remove(place, left)
                self._reopen(place)
        except ProviderError as error:
            self._reporter.notice(
                f"the firewall of {place.cloud}/{place.gate} is still open for this computer: "
                f"{error.message}; the next command closes it, or `byoc reap`"
            )

    def _close(self, place: Place) -> list[str]:
        """Close it unless something of ours lives behind it. Returns what is closed and could not
        be removed, because something that is ending still uses it."""
        provider, owner = self._providers[place.cloud], self._journal.owner
        regions = (place.region,) if place.gate == place.region else ()
        recent = self._journal.recent_instances(self._clock.wall() - RECENT)
        over = {row.id for row in recent if row.state in _OVER}  # lists may show them for a while
        found = provider.list({OWNER_TAG: owner}, regions, everything=True)
        for one in found:
            if (
                one.kind == "instance"
                and one.state in ("pending", "running")
                and one.id not in over
                and not self._foreign(one)
            ):
                return []  # not in our journal: the list shows it, so the next sweep will as well
        left = self._remove(place, [one.id for one in found if one.kind == "firewall"])
        self._path(place).unlink(missing_ok=True)
        return [] if self._reopen(place) else left

    def _foreign(self, one: Instance) -> bool:
        """Our tags were put on it by hand: no door is held open for it."""
        origins = self._providers[one.provider].traits.origins
        return forged(seen_of(one), one.tags.get(TOKEN_TAG, ""), origins=origins)

    def _reopen(self, place: Place) -> bool:
        """Open a door anew that was just closed, if a launch began meanwhile: whether one did."""
        if not self._needed(place):
            return False
        self._admit(place)
        return True

    def _remove(self, place: Place, doors: list[str]) -> list[str]:
        """Close these, and say which could not be removed."""
        left = []
        for door in doors:
            try:
                self._providers[place.cloud].terminate(door)
            except TransientError:
                left.append(door)
        return left

    # -- inside -------------------------------------------------------------------------------

    def _admit(self, place: Place) -> bool:
        gate = gate_of(self._providers[place.cloud])
        assert gate is not None, "only a provider with a gate has a place"
        self._note(place)
        return gate.admit(place.region, self._journal.owner)

    def _place(self, cloud: str, region: str) -> Place | None:
        """The door of a region's instances, None where byoc makes none."""
        gate = gate_of(self._providers.get(cloud))
        return Place(cloud, gate.gate(region), region) if gate is not None and region else None

    def _needed(self, place: Place) -> bool:
        """Whether something of ours lives, or may come to be, behind a door; or another client is
        at work, who closes it when it ends."""
        here = os.getpid()
        for run in self._journal.runs(status="running"):
            if run.pid and run.pid != here and alive(run.pid):
                return True
        living = [row for row in self._journal.instances() if row.state not in _OVER]
        wanted = [(one.provider, one.offer.region) for one in self._journal.intents()]
        wanted += [(row.provider, row.offer.region) for row in living]
        return any(
            cloud == place.cloud and (found := self._place(cloud, region)) is not None
            and found.gate == place.gate
            for cloud, region in wanted
        )  # fmt: skip

    def _path(self, place: Place) -> Path:
        return self._folder / f"{place.cloud}{_SEPARATOR}{place.gate}"

    def _note(self, place: Place) -> None:
        path = self._path(place)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(place.region, encoding="utf-8")
        except OSError as error:
            raise StateError(
                f"{path} cannot be written: {error.strerror}",
                hints=("make the data folder writable, or set BYOC_HOME to one that is",),
            ) from error

    def _noted(self) -> list[Place]:
        if not self._folder.is_dir():
            return []
        found = []
        for path in sorted(self._folder.iterdir()):
            cloud, _, gate = path.name.partition(_SEPARATOR)
            if cloud not in self._providers:  # of another version of byoc
                continue
            with suppress(FileNotFoundError):  # another client has just closed it
                found.append(Place(cloud, gate, path.read_text("utf-8").strip() or gate))
        return found
