"""What climbing and attaching work with, the parts of one fleet; and how its instances end."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..clock import Clock, Ids
from ..errors import ProviderError
from ..providers.base import OWNER_TAG, TOKEN_TAG, Instance, Provider
from ..resources import Offer, Resources
from ..settings import Settings
from ..state import Attempt, Journal
from ..tasks import side_by_side
from .admitting import Admitting
from .book import Book
from .boot import Boot, Tools
from .closing import Closing
from .ending import Ender, follow
from .events import BOOTING, ENDING, UNSURE, Command, Ended, Found, GaveUp, Launched, Life
from .events import Closing as Settling
from .held import Surroundings
from .leases import Keeper
from .ledger import seen_of
from .locks import UseLock, key_of
from .pace import Pace
from .ports import Dialer, Reporter, Stop
from .ways import WayOf, Ways

SETTLED_AT_ONCE = 8
"""Instances that are looked after side by side at the end; each is a request or two."""
TRAILING = 90.0
"""Seconds that the end of a fleet waits for launches that were given up: a cloud's SDK waits up to
a minute for an answer, and ending what came of it is a request or two."""


class Wish(NamedTuple):
    """One acquire: what is wanted, and for whom. ``node`` numbers the instances of one run;
    ``only``: the keys of an approved plan, empty for any offer; ``nodes``: so many are wanted side
    by side; ``mesh``: others of its owner must reach it."""

    resources: Resources
    run: str
    node: int
    keep: bool
    stop: Stop
    only: tuple[str, ...] = ()
    nodes: int = 1
    mesh: bool = False


class Workshop:
    """What climbing and attaching work with: the parts of one fleet. ``book``: leads the lives;
    ``closing``: the firewalls. ``trailing``: threads of launches that were beaten by another one,
    which end what they made."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        providers: Mapping[str, Provider],
        dialer: Dialer,
        reporter: Reporter,
        clock: Clock,
        ids: Ids,
        book: Book,
        closing: Closing,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.providers = providers
        self.closing = closing
        self.dialer: Dialer = Admitting(dialer, closing, clock)
        self.way_of: WayOf = Ways(settings)
        self.reporter = reporter
        self.clock = clock
        self.ids = ids
        self.book = book
        self._tools = Tools(self.dialer, reporter, clock, ids, book, Pace(clock))
        self.leases = Keeper(reporter, clock)
        self.trailing: list[threading.Thread] = []

    @property
    def home(self) -> Path:
        """The data folder."""
        return self.settings.home

    def around(self, provider: str) -> Surroundings:
        """What a held instance of this provider works with."""
        return Surroundings(
            self.providers[provider],
            self.journal,
            self.dialer,
            self.reporter,
            self.clock,
            self.settings.connect_timeout,
            self.book,
            self.closing,
            self.leases,
        )

    def boot(self, provider: str) -> Boot:
        """A boot on this provider."""
        return Boot(self.providers[provider], self._tools)

    def beside(self, reporter: Reporter) -> Workshop:
        """The same parts, for one of several launches side by side, telling another reporter."""
        found = copy.copy(self)
        found.reporter = reporter
        found._tools = self._tools._replace(reporter=reporter)
        return found

    def attempt(self, wish: Wish, offer: Offer, outcome: str = "open", reason: str = "") -> Attempt:
        """A new attempt of the wish's run, on disk."""
        at = self.clock.wall()
        seq = self.journal.open_attempt(wish.run, offer.cloud, offer.key(), at)
        return Attempt(wish.run, seq, offer.cloud, offer.key(), at, outcome, reason=reason)

    def drop(self, instance: Instance, lock: UseLock, why: str) -> None:
        """End an instance that is of no use; when that fails, the next sweep goes on trying.

        The journal may be what failed, so the provider is asked whatever becomes of the note, for
        which StateError is raised at last. One that its provider says is gone needs no asking.
        """
        token = key_of(instance)
        life = self.book.life(token)
        if life is not None and not life.id:  # stopped right behind the cloud's answer
            self.book.tell(Launched(token, instance.id), instance)
        self._end(instance, lock, self.book.tell(GaveUp(token, why)))

    def _end(self, instance: Instance, lock: UseLock, commands: Sequence[Command]) -> None:
        token, gone = key_of(instance), False
        try:
            ender = Ender(self.book, self.providers[instance.provider], self.clock)
            gone, _ = ender.see(token, instance.id, commands)
        except ProviderError as error:
            self.reporter.notice(
                f"instance {instance.id} could not be ended ({error.message}); byoc asks "
                "again later, and its own lease ends it"
            )
        finally:
            lock.release(remove=gone)
        self.book.check(token)

    def settle(self) -> None:
        """End what launches have made after all whose answers were lost, and see that what was
        given up does end; for the end of a fleet.

        What cannot be seen yet stays with its open intent, for the next sweep.
        """
        self._await_trailing()
        lives = self.book.mine()
        works = [partial(self._find_again, one) for one in lives if _given_up(one)]
        works += [partial(self._see_ending, one) for one in lives if one.state == ENDING]
        side_by_side(works, SETTLED_AT_ONCE)
        self.closing.finish()

    def _await_trailing(self) -> None:
        deadline = self.clock.mono() + TRAILING
        for thread in self.trailing:
            thread.join(max(0.0, deadline - self.clock.mono()))
        late = [thread for thread in self.trailing if thread.is_alive()]
        self.trailing.clear()
        if late:
            self.reporter.notice(
                f"{len(late)} launches that were given up have not been answered yet; byoc ends "
                "what comes of them when it runs next, and their own leases do"
            )

    def _find_again(self, life: Life) -> None:
        """Look once more for what a launch has made whose answer was lost, and end it."""
        mark = {OWNER_TAG: self.journal.owner, TOKEN_TAG: life.token}
        try:
            found = self.providers[life.provider].list(mark, (life.region,))
        except ProviderError as error:
            place = f"{life.provider}/{life.region}"
            self.reporter.notice(f"a launch in {place} is not settled: {error.message}")
            return
        lock = UseLock.take(self.home, life.token) if found else None
        if lock is not None:  # else a sweep has found it, and somebody uses it
            commands = self.book.tell(Found(life.token, seen_of(found[0])), found[0])
            if not commands:  # a sweep has found it, and nobody uses it
                commands = self.book.tell(Ended(life.token, "its launch was given up"))
            self._end(found[0], lock, commands)

    def _see_ending(self, life: Life) -> None:
        try:
            commands = self.book.tell(Settling(life.token))
            last = follow(self.book, self.providers[life.provider], self.clock, commands)
        except ProviderError as error:
            self.reporter.notice(f"instance {life.id} could not be ended: {error.message}")
            return
        if last is not None and last.state not in ("gone", "ending"):
            self.reporter.notice(
                f"instance {life.id} goes on although its cloud was asked to end it; its own "
                "lease ends it"
            )


def _given_up(life: Life) -> bool:
    """Whether a launch of this process may have left an instance that nobody waits for: its answer
    was lost, and it was not seen since, or by a sweep only."""
    waited = life.lost_answers or life.throttled
    return life.state == UNSURE or (life.state == BOOTING and bool(waited))
