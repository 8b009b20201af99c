"""What a scenario does to instances: at a time, or after a moment of one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .faults import matches
from .ledger import Entry
from .scenario import ANY, FOREVER, NOTICES, Event

Act = Callable[[Entry, str, float, float], None]
"""(instance, action, notice, seconds after which it heals)."""
Later = Callable[[float, Callable[[], None]], None]


class Done(NamedTuple):
    """One event that happened to one instance; ``at``: seconds after the start."""

    at: float
    cloud: str
    id: str
    action: str
    after: str


class _Waiting:
    """An event and how many more instances it wants."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.left = event.number
        self.due = event.at is None

    def fits(self, entry: Entry) -> bool:
        event = self.event
        facts = {**entry.facts, "id": entry.id}
        return self.left != 0 and event.cloud in (ANY, entry.cloud) and matches(event.match, facts)

    def take(self) -> None:
        self.left -= 0 if self.left == FOREVER else 1


class Happenings:
    """The events of a scenario. Safe from any thread.

    An event with ``at`` takes the oldest instances that run at that time; where there are fewer
    than it wants, the next ones that come up. One with ``after`` takes the instance whose moment it
    was. ``alive``: instances that are not gone, oldest first.
    """

    def __init__(
        self,
        events: Sequence[Event],
        later: Later,
        alive: Callable[[], list[Entry]],
        act: Act,
        now: Callable[[], float],
    ) -> None:
        self._waiting = [_Waiting(event) for event in events]
        self._later = later
        self._alive = alive
        self._act = act
        self._now = now
        self._lock = threading.Lock()
        self._done: list[Done] = []

    def start(self) -> None:
        """Time counts from now on."""
        for waiting in self._waiting:
            if waiting.event.at is not None:
                self._later(waiting.event.at + waiting.event.delay, lambda w=waiting: self._due(w))  # type: ignore[misc]

    def moment(self, name: str, entry: Entry) -> None:
        """A moment of an instance's life, the first of that name."""
        for waiting in self._waiting:
            timed = waiting.event.at is not None
            with self._lock:
                wanted = waiting.due and name == "running" if timed else name == waiting.event.after
                if not wanted or not waiting.fits(entry):
                    continue
                waiting.take()
            self._later(
                0.0 if timed else waiting.event.delay,
                lambda w=waiting: self._happen(w.event, entry),  # type: ignore[misc]
            )

    def done(self) -> list[Done]:
        """What has happened."""
        with self._lock:
            return list(self._done)

    def missed(self) -> list[Event]:
        """Events that have met no instance."""
        with self._lock:
            return [
                w.event for w in self._waiting if w.left and w.left == w.event.number != FOREVER
            ]

    def _due(self, waiting: _Waiting) -> None:
        with self._lock:
            waiting.due = True
            chosen = []
            for entry in self._alive():
                if "running" in entry.moments and waiting.fits(entry):
                    waiting.take()
                    chosen.append(entry)
            if waiting.left == FOREVER:
                waiting.left = 0  # all of them were those that ran at that time
        for entry in chosen:
            self._happen(waiting.event, entry)

    def _happen(self, event: Event, entry: Entry) -> None:
        if entry.gone is not None:
            return
        notice = NOTICES[entry.cloud] if event.notice is None else event.notice
        with self._lock:
            self._done.append(Done(self._now(), entry.cloud, entry.id, event.action, event.after))
        self._act(entry, event.action, notice, event.lasts)
