"""The sweep: ask the providers what there is, and do what follows from it.

What follows is decided by the reducer (:mod:`byoc.fleet.listing`); here are the requests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..clock import Clock
from ..errors import ProviderError
from ..providers.base import OWNER_TAG, TOKEN_TAG, Instance, Provider
from ..state import Journal
from ..tasks import side_by_side
from .book import Book, Ruled
from .ending import passing
from .events import CLOSED, GONE, End, EndAccepted, EndFailed, Life, Look, Looked, LookFailed, Tell
from .ledger import seen_of
from .listing import NO_CLIENT, forged
from .locks import UseLock, alive
from .ports import Reporter

RECENT = 3600.0
"""Seconds after its end for which an instance's region is still looked at: one whose end was only
claimed would be seen there."""
AT_ONCE = 8
"""Instances looked at, or ended, at the same moment; each is a request or two."""


class Swept(NamedTuple):
    """What a sweep saw; it fills these while it looks.

    ``listed``: provider -> its instances of this owner, now. ``failed``: the providers that could
    not be asked, and why. ``changes``: lives as the lists have changed them.
    """

    listed: dict[str, list[Instance]]
    failed: dict[str, ProviderError]
    changes: list[Life]

    def instances(self) -> list[Instance]:
        """All that were listed."""
        return [one for instances in self.listed.values() for one in instances]


class Sweeper:
    """Brings the journal in line with the providers. Cheap enough to come before each acquire."""

    def __init__(
        self,
        home: Path,
        journal: Journal,
        book: Book,
        providers: Mapping[str, Provider],
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self._home = home
        self._journal = journal
        self._book = book
        self._providers = providers
        self._reporter = reporter
        self._clock = clock
        self._turn = threading.Lock()
        self._latest: tuple[int, tuple[str, ...], Swept] = (0, (), Swept({}, {}, []))
        self._begun = 0
        self._told: set[Tell] = set()

    def sweep(self, names: Iterable[str], *, everywhere: bool = False) -> Swept:
        """Ask the providers of ``names``, and those of live rows, for what is ours; then reconcile.

        A provider that cannot be asked is in ``failed``; nothing is concluded about its instances.
        Of a provider that sells by region, only the regions are asked where the journal says that
        something of ours is, or was lately; all of them when the journal was lost, or with
        ``everywhere``. Callers that arrive while a sweep is under way share the next one: its
        requests begin after they came.
        """
        names = (*names, *(("*",) if everywhere else ()))
        came = self._begun
        with self._turn:
            begun, about, swept = self._latest
            if begun > came and about == names:
                return swept
            self._begun += 1
            begun = self._begun
            swept = self._sweep(names)
            self._latest = (begun, names, swept)
            return swept

    def _sweep(self, names: Sequence[str]) -> Swept:
        swept = Swept({}, {}, [])
        # the lists first, the journal second: what is added in between waits for the next sweep
        asked = self._book.now()
        where = self._list(names, swept)
        for name, instances in swept.listed.items():
            traits = self._providers[name].traits
            ruled = self._book.lists(name, where[name], instances, asked, traits)
            swept.listed[name] = [
                one
                for one in instances
                if not forged(seen_of(one), one.tags.get(TOKEN_TAG, ""), origins=traits.origins)
            ]
            swept.changes.extend(ruled.changes)
            self._carry_out(name, ruled, swept)
            if not where[name]:
                self._note_listed(name, swept.listed[name])
        self._lose_runs()
        return swept

    def _list(self, names: Sequence[str], swept: Swept) -> dict[str, tuple[str, ...]]:
        """Ask for the lists; returns the regions that each is of."""
        where = self._regions()
        asked: dict[str, tuple[str, ...]] = {}
        for name in dict.fromkeys([*names, *where]):
            if name not in self._providers:
                continue  # a provider of another version: its rows wait for that version
            regional = self._providers[name].traits.regional
            if not regional or "*" in names or self._journal.unlisted(name):
                asked[name] = ()
            elif where.get(name):
                asked[name] = tuple(sorted(where[name]))
        works = [partial(self._ask_all, name, asked[name], swept) for name in asked]
        side_by_side(works, len(works))
        return asked

    def _note_listed(self, name: str, instances: Sequence[Instance]) -> None:
        """The journal knows the regions of this provider from now on: each instance has its row.

        One that a client holds whose journal was lost gets none yet; its region is asked again.
        """
        if self._journal.unlisted(name) and all(
            self._book.life(one.tags.get(TOKEN_TAG, "")) is not None for one in instances
        ):
            self._journal.set_listed(name)

    def _regions(self) -> dict[str, set[str]]:
        """By provider, the regions where something of ours is, may come to be, or was lately."""
        found: dict[str, set[str]] = {}
        rows = self._journal.recent_instances(self._clock.wall() - RECENT)
        places = [(row.provider, row.offer.region) for row in rows]
        places += [(one.provider, one.offer.region) for one in self._journal.intents()]
        for provider, region in places:
            found.setdefault(provider, set()).add(region)
        return found

    def _ask_all(self, name: str, regions: Sequence[str], swept: Swept) -> None:
        try:
            found = self._providers[name].list({OWNER_TAG: self._journal.owner}, regions)
        except ProviderError as error:
            swept.failed[name] = error
        else:
            swept.listed[name] = [one for one in found if one.kind == "instance"]

    def _carry_out(self, name: str, ruled: Ruled, swept: Swept) -> None:
        """Do what a list led to, and let go of its locks."""
        ends = [one for one in ruled.commands if isinstance(one, End)]
        looks = [one for one in ruled.commands if isinstance(one, Look)]
        closed = {one.token for one in ruled.changes if one.state in CLOSED}
        busy = {one.token for one in ends}
        for token, lock in ruled.locks.items():
            if token not in busy:
                lock.release(remove=token in closed)
        works = [partial(self._end, name, one, ruled.locks[one.token]) for one in ends]
        side_by_side([*works, *(partial(self._look, name, one, swept) for one in looks)], AT_ONCE)
        for one in ruled.commands:
            if isinstance(one, Tell) and one not in self._told:
                self._told.add(one)
                self._reporter.notice(_told(one))

    def _look(self, name: str, look: Look, swept: Swept) -> None:
        """Ask by id for what the list lacks."""
        try:
            now = self._providers[name].get(look.id)
        except ProviderError as error:
            swept.failed[name] = error
            self._book.tell(LookFailed(look.token))
            return
        self._book.tell(Looked(look.token, seen_of(now)), now)
        life = self._book.life(look.token)
        if life is not None and life.state == GONE:
            lock = UseLock.take(self._home, look.token)
            if lock is not None:
                lock.release(remove=True)

    def _end(self, name: str, end: End, lock: UseLock) -> None:
        """End an instance that nobody holds, after one more look at it."""
        provider, gone = self._providers[name], False
        try:
            now = provider.get(end.id)
            self._book.tell(Looked(end.token, seen_of(now)), now)
            life = self._book.life(end.token)
            gone = life is not None and life.state == GONE
            if not gone and now.tags.get(TOKEN_TAG, end.token) == end.token:
                provider.terminate(end.id)
                self._book.tell(EndAccepted(end.token))
                if life is not None and life.why == NO_CLIENT:
                    self._reporter.notice(f"instance {end.id} had no client any more: it is ended")
        except ProviderError as error:
            self._book.tell(EndFailed(end.token, again=passing(error)))
            self._reporter.notice(f"instance {end.id} still cannot be ended: {error.message}")
        finally:
            lock.release(remove=gone)

    def _lose_runs(self) -> None:
        """Runs whose client is no more did not end by themselves."""
        for run in self._journal.runs(status="running"):
            if run.pid and not alive(run.pid):
                self._journal.end_run(run.id, "lost", ended=self._clock.wall())


def _told(tell: Tell) -> str:
    names = ", ".join(tell.ids)
    if tell.what == "forged":
        return f"left alone at {tell.provider}: byoc's tags are on {names}, which byoc did not make"
    if tell.what == "shrunk":
        return (
            f"the list of {tell.provider} suddenly lacks {names}: nothing is concluded from it, "
            "each is asked for by its id"
        )
    return (
        f"{len(tell.ids)} instances at {tell.provider} have no client any more, too many to end "
        "them unasked: see `byoc ps`, and end them with `byoc down` or `byoc reap`"
    )
