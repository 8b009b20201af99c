"""The shell around the reducer: events in, the journal written, commands out.

What happens to an instance is told here and nowhere else. An event's changes are in the journal
before its commands are handed out; between the reading and the writing no other client writes.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ..clock import Clock
from ..errors import StateError
from ..providers.base import TOKEN_TAG, Instance, Traits
from ..state import InstanceRow, Intent, Journal
from .events import ENDING, GONE, REFUSED, UNSURE, Command, End, Event, Life, Listed, Step, Wanted
from .hours import Hours
from .ledger import Rows, lives_of, read, read_open, rows_of, seen_of
from .life import after, recalled, step
from .listing import forged
from .locks import UseLock, holder
from .policy import USUAL, Policy

_CLOSING = (ENDING, GONE, UNSURE, REFUSED)
"""Changes to these are acted on although they cannot be written."""


class Teller(Protocol):
    """Whom those who do commands tell what came of them."""

    def now(self) -> float:
        """Seconds since the epoch, which never go back: what the ``at`` of commands counts in."""

    def tell(self, event: Event, instance: Instance | None = None) -> tuple[Command, ...]:
        """What is to be done next. ``instance``: as it was just seen."""


class Ruled(NamedTuple):
    """What a list led to. ``locks``: of the instances to be ended, and of what was closed: the
    caller lets go of them when it has done the commands. ``changes``: lives as they are now."""

    commands: tuple[Command, ...]
    locks: dict[str, UseLock]
    changes: tuple[Life, ...]


class Book:
    """All lives that the journal knows, led by events. Safe to use from several threads.

    ``home``: the data folder, whose locks tell what is held.
    """

    def __init__(self, home: Path, journal: Journal, clock: Clock, policy: Policy = USUAL) -> None:
        self._home = home
        self._journal = journal
        self._policy = policy
        self._hours = Hours(clock)
        self._guard = threading.RLock()
        self._mine: dict[str, Life] = {}
        self._ahead: dict[str, StateError] = {}

    def now(self) -> float:
        """See :class:`Teller`."""
        return self._hours.now()

    def tell(
        self, event: Event, instance: Instance | None = None, intent: Intent | None = None
    ) -> tuple[Command, ...]:
        """Lead a life on by an event that concerns it alone; what is to be done next.

        ``intent``: what goes on disk with a Wanted, which waits for the disk itself. Raises
        StateError when the journal cannot be written, but for what leads to an end: that is gone on
        with from memory, and :meth:`check` raises it at last.
        """
        if isinstance(event, Listed):
            raise TypeError("a list is told by lists()")
        thought: list[tuple[Step, list[Intent], list[InstanceRow]]] = []

        def work() -> tuple[list[Intent], list[InstanceRow]]:
            thought.append(self._think(event, instance, intent))
            return thought[-1][1:]

        try:
            if isinstance(event, Wanted) or any(work()):  # a look that shows no news writes nothing
                self._journal.change(work, durable=isinstance(event, Wanted))
        except StateError as error:
            done = thought[-1][0] if thought else step(self._mine, event, self.now(), self._policy)
            self._keep(done.changes, error)
            if not done.changes or any(one.state not in _CLOSING for one in done.changes):
                raise
            return done.commands
        done = thought[-1][0]
        self._keep(done.changes, None)
        return done.commands

    def life(self, token: str) -> Life | None:
        """A life as it is now; as this process knows it where the journal cannot be read."""
        try:
            return self._with_memory(read(self._journal, [token])).get(token)
        except StateError:
            with self._guard:
                known = self._mine.get(token)
            if known is None:
                raise
            return known

    def mine(self) -> list[Life]:
        """The lives that this process has led, as it knows them."""
        with self._guard:
            return list(self._mine.values())

    def check(self, token: str) -> None:
        """Raise what kept a life's end from being written, if anything."""
        with self._guard:
            error = self._ahead.get(token)
        if error is not None:
            raise error

    def lists(
        self,
        provider: str,
        regions: Sequence[str],
        instances: Sequence[Instance],
        asked: float,
        traits: Traits,
    ) -> Ruled:
        """Lead lives on by what a provider listed. Arguments as in
        :class:`~byoc.fleet.events.Listed`; ``asked`` by :meth:`now`. Raises StateError."""
        event = Listed(
            provider,
            tuple(regions),
            tuple(seen_of(one) for one in instances),
            asked,
            stays=traits.self_end != "gone",
            origins=traits.origins,
        )
        shown = {  # of two with one token, the one that was launched with it
            one.tags[TOKEN_TAG]: one
            for one in instances
            if one.tags.get(TOKEN_TAG)
            and not forged(seen_of(one), one.tags[TOKEN_TAG], origins=traits.origins)
        }
        locks: dict[str, UseLock] = {}
        thought: list[Step] = []

        def work() -> tuple[list[Intent], list[InstanceRow]]:
            known = read_open(self._journal, shown)
            done, held = self._rule(event, self._with_memory(known), locks)
            thought.append(done)
            return self._healed(event, done, held, known, shown)

        try:
            self._journal.change(work)
        except BaseException:
            for lock in locks.values():
                lock.release()
            raise
        done = thought[-1]
        self._keep(done.changes, None)
        return Ruled(done.commands, locks, done.changes)

    # -- inside -------------------------------------------------------------------------------

    def _think(
        self, event: Event, instance: Instance | None, intent: Intent | None
    ) -> tuple[Step, list[Intent], list[InstanceRow]]:
        """A step for one life, and the rows that it changes."""
        token = "" if isinstance(event, Listed) else event.token
        if isinstance(event, Wanted):
            known = read_open(self._journal, [token], event.run)
        else:
            known = read(self._journal, [token])
        done = step(self._with_memory(known, token), event, self.now(), self._policy)
        if intent is not None:
            known[token] = Rows(intent)
        writes = _Writes()
        for life in done.changes:
            writes.add(life, known.get(life.token, Rows()), instance, new=intent is not None)
        return done, writes.intents, writes.rows

    def _rule(
        self, event: Listed, ledger: Mapping[str, Life], locks: dict[str, UseLock]
    ) -> tuple[Step, dict[str, bool]]:
        """The step of a list, with a lock on each life whose state it changes: what somebody takes
        meanwhile is held, and left alone."""
        tokens = dict.fromkeys((*ledger, *(one.token for one in event.seen if one.token)))
        held = {token: True for token in tokens if holder(self._home, token)}
        while True:
            done = step(ledger, event._replace(held=tuple(held)), self.now(), self._policy)
            wanted = dict.fromkeys(
                [one.token for one in done.changes if _moves(ledger, one)]
                + [one.token for one in done.commands if isinstance(one, End)]
            )
            before = len(held)
            for token in wanted:
                if token not in locks:
                    lock = UseLock.take(self._home, token)
                    if lock is None:
                        held[token] = True
                    else:
                        locks[token] = lock
            if len(held) == before:
                return done, held

    def _healed(
        self,
        event: Listed,
        done: Step,
        held: Mapping[str, bool],
        known: Mapping[str, Rows],
        shown: Mapping[str, Instance],
    ) -> tuple[list[Intent], list[InstanceRow]]:
        """The rows of a list's step, and of every listed life whose rows lag what is known of it:
        an address, an intent that its client did not come to close."""
        writes = _Writes()
        for token, life in after(self._with_memory(known), done).items():
            if token not in held and life.provider == event.provider:
                instance = shown.get(token)
                mine = instance if instance is not None and instance.id == life.id else None
                writes.add(life, known.get(token, Rows()), mine)
        return writes.intents, writes.rows

    def _with_memory(self, known: Mapping[str, Rows], token: str = "") -> dict[str, Life]:
        """The lives of these rows, with what this process knows besides."""
        lives = lives_of(known)
        with self._guard:
            found = {
                name: self._mine[name]
                if name in self._ahead
                else recalled(one, self._mine.get(name))
                for name, one in lives.items()
            }
            if token and token not in found and token in self._mine:  # the journal was lost
                found[token] = self._mine[token]
        return found

    def _keep(self, changes: Sequence[Life], error: StateError | None) -> None:
        """Remember lives of this process; those that could not be written are ahead of the disk."""
        with self._guard:
            for life in changes:
                self._mine[life.token] = life
                if error is not None:
                    self._ahead[life.token] = error
                else:
                    self._ahead.pop(life.token, None)


class _Writes:
    """Rows that differ from what the journal has."""

    def __init__(self) -> None:
        self.intents: list[Intent] = []
        self.rows: list[InstanceRow] = []

    def add(self, life: Life, known: Rows, instance: Instance | None, *, new: bool = False) -> None:
        wanted = rows_of(life, known, instance)
        if wanted.intent is not None and (new or wanted.intent != known.intent):
            self.intents.append(wanted.intent)
        if wanted.row is not None and wanted.row != known.row:
            self.rows.append(wanted.row)


def _moves(ledger: Mapping[str, Life], life: Life) -> bool:
    return life.token not in ledger or ledger[life.token].state != life.state
