"""The lease that the cloud itself keeps: until when an instance has a right to live, in its tags.

Whoever has only credentials (:mod:`byoc.fleet.reap`) goes by it. It is written by the launch and
moved on, while somebody holds the instance, when half of it is over: a short run asks for nothing.
A tag that cannot be written stops nothing: an instance that answers is not reaped.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from ..clock import Clock
from ..errors import ProviderError
from ..limits import TAG_LEASE
from ..providers.base import EXPIRES_TAG, RUN_TAG, UNTIL_TAG, Instance, Provider
from ..tasks import attempt, side_by_side
from .ports import Reporter

RENEW_AT = 0.5
"""The part of a lease after which it is moved on; half leaves time for seven more tries."""
TRY_AGAIN = 60.0
"""Seconds after which a tag that could not be written is tried again."""
IDLE_MARGIN = 120.0
"""Seconds by which the tag of a warm instance outlasts its time: it ends itself then, and clouds
take a while to show that."""
AT_ONCE = 8
"""Tags written side by side; clouds allow some tens of requests a second."""
SLICE = 15.0
"""Seconds of one wait of the keeper's thread: a computer that slept is noticed after so many."""
NEVER = float("inf")


class Lease(NamedTuple):
    """When an instance loses its right to live, seconds since the epoch. ``until``: beyond which it
    is not moved, 0 for no limit."""

    expires: float
    until: float = 0.0

    def due(self) -> float:
        """When it has to be moved on; never, once it has reached its limit."""
        if self.until and self.expires >= self.until:
            return NEVER
        return self.expires - TAG_LEASE * (1.0 - RENEW_AT)

    def moved(self, least: float) -> Lease:
        """The lease when it must hold until then; never shortened, and never past its limit."""
        wanted = max(self.expires, least)
        return self._replace(expires=min(wanted, self.until) if self.until else wanted)


def granted(now: float, lifetime: float) -> dict[str, str]:
    """The tags of a lease that begins now, for a launch. ``lifetime``: seconds, 0 for no limit."""
    until = now + lifetime if lifetime else 0.0
    lease = Lease(now, until).moved(now + TAG_LEASE)
    limit = {UNTIL_TAG: str(int(until))} if until else {}
    return {EXPIRES_TAG: str(int(lease.expires)), **limit}


def lease_of(tags: Mapping[str, str]) -> Lease:
    """The lease that tags tell of; what is missing or no number is 0, and over."""
    return Lease(_seconds(tags.get(EXPIRES_TAG, "")), _seconds(tags.get(UNTIL_TAG, "")))


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if 0.0 <= found < NEVER else 0.0


class _Kept:
    """A held instance whose lease is moved on. ``again``: not tried before. ``tags``: what is to be
    written besides, at the next chance. ``writing``: held by whoever writes its tags."""

    def __init__(self, provider: Provider, instance: Instance, run: str) -> None:
        self.provider = provider
        self.id = instance.id
        self.lease = lease_of(instance.tags)
        self.again = 0.0
        self.tags = {} if instance.tags.get(RUN_TAG) == run else {RUN_TAG: run}
        self.writing = threading.Lock()

    def due(self) -> float:
        return max(0.0 if self.tags else self.lease.due(), self.again)


class Keeper:
    """Moves the leases of one fleet's instances on. Safe to use from several threads.

    There is one thread, while something is held; with ``threaded`` False none, and :meth:`turn` is
    called by whoever made this.
    """

    def __init__(self, reporter: Reporter, clock: Clock, *, threaded: bool = True) -> None:
        self._reporter = reporter
        self._clock = clock
        self._threaded = threaded
        self._changed = threading.Condition()
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._told: set[str] = set()
        self._running = False

    def hold(self, provider: Provider, instance: Instance, run: str) -> None:
        """Move its lease on from now on, for as long as it is held. Asks for nothing by itself.

        One that was launched for another run, and is held again, is marked with the new one soon.
        """
        with self._changed:
            self._kept[instance.provider, instance.id] = _Kept(provider, instance, run)
            start = self._threaded and not self._running
            self._running = self._running or start
            self._changed.notify_all()
        if start:
            threading.Thread(target=self._work, name="byoc-leases", daemon=True).start()

    def idle(self, instance: Instance, until: float) -> None:
        """It is held no more and stays warm until then: its tag must outlast that. Writes it when
        it would not; asks for nothing else."""
        kept = self._take(instance)
        if kept is None:
            return
        with kept.writing:  # a renewal that is under way comes first, and may be enough
            wanted = kept.lease.moved(until + IDLE_MARGIN)
            if wanted != kept.lease:
                self._write(kept, {EXPIRES_TAG: str(int(wanted.expires))}, wanted)

    def drop(self, instance: Instance) -> None:
        """It is held no more, and ends."""
        self._take(instance)

    def turn(self, now: float) -> float:
        """Move on what is due, side by side; when the next one will be, seconds since the epoch."""
        with self._changed:
            due = [kept for kept in self._kept.values() if kept.due() <= now]
        side_by_side([partial(self._renew, kept, now) for kept in due], AT_ONCE)
        with self._changed:
            return min((kept.due() for kept in self._kept.values()), default=NEVER)

    # -- inside -------------------------------------------------------------------------------

    def _take(self, instance: Instance) -> _Kept | None:
        with self._changed:
            kept = self._kept.pop((instance.provider, instance.id), None)
            self._changed.notify_all()
        return kept

    def _renew(self, kept: _Kept, now: float) -> None:
        with kept.writing:
            if kept.due() > now:
                return
            wanted = kept.lease.moved(now + TAG_LEASE)
            tags = {**kept.tags, EXPIRES_TAG: str(int(wanted.expires))}
            if self._write(kept, tags, wanted):
                kept.tags = {}

    def _write(self, kept: _Kept, tags: Mapping[str, str], lease: Lease) -> bool:
        """Whether it could be written; that it could not is told once of each cloud."""
        failure = attempt(lambda: kept.provider.mark(kept.id, tags))
        if failure is None:
            kept.lease, kept.again = lease, 0.0
            return True
        kept.again = self._clock.wall() + TRY_AGAIN
        name = kept.provider.name
        with self._changed:
            news = name not in self._told
            self._told.add(name)
        if news:
            why = failure.message if isinstance(failure, ProviderError) else repr(failure)
            self._reporter.notice(
                f"the lease of {kept.id} cannot be renewed in its tags ({why}); `byoc reap` run "
                "elsewhere relies on them"
            )
        return False

    def _work(self) -> None:
        """The thread: turns until nothing is held."""
        while True:
            nearest = self.turn(self._clock.wall())
            with self._changed:
                if not self._kept:
                    self._running = False
                    return
                left = nearest - self._clock.wall()
                self._changed.wait(min(max(left, 0.0), SLICE))
