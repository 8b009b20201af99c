"""The sweep: replay open intents, believe the providers, rebuild what the journal lost."""

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
from .locks import UseLock, alive, holder, key_of
from .ports import Reporter
from .reconcile import (
    LIST_GRACE,
    Ask,
    Change,
    CloseIntent,
    EndAgain,
    Put,
    View,
    reconcile,
    row_of,
)

RECENT = 3600.0
"""Seconds after its end for which an instance's region is still looked at: one whose end was only
claimed would be seen there."""


class Swept(NamedTuple):
    """What a sweep saw; it fills these while it looks.

    ``listed``: provider -> its instances of this owner, now. ``failed``: the providers that could
    not be asked, and why. ``changes``: what was done.
    """

    listed: dict[str, list[Instance]]
    failed: dict[str, ProviderError]
    changes: list[Change]

    def instances(self) -> list[Instance]:
        """All that were listed."""
        return [one for instances in self.listed.values() for one in instances]


class Sweeper:
    """Brings the journal in line with the providers. Cheap enough to come before each acquire."""

    def __init__(
        self,
        home: Path,
        journal: Journal,
        providers: Mapping[str, Provider],
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self._home = home
        self._journal = journal
        self._providers = providers
        self._reporter = reporter
        self._clock = clock
        self._turn = threading.Lock()
        self._latest: tuple[int, tuple[str, ...], Swept] = (0, (), Swept({}, {}, []))
        self._begun = 0

    def sweep(self, names: Iterable[str]) -> Swept:
        """Ask the providers of ``names``, and those of live rows, for what is ours; then reconcile.

        A provider that cannot be asked is in ``failed``; nothing is concluded about its instances.
        Of a provider that sells by region, only the regions are asked where the journal says that
        something of ours is, or was lately; all of them when the journal was lost. Callers that
        arrive while a sweep is under way share the next one: its requests begin after they came.
        """
        names = tuple(names)
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
        swept = self._list(names)
        # the lists first, the journal second: what is added in between waits for the next sweep
        locks: dict[str, UseLock] = {}
        settled: set[str] = set()
        try:
            view, held = self._view(swept, locks)
            swept.changes.extend(
                reconcile(view, swept.listed, held, self._clock.wall(), self._stays(swept))
            )
            for change in swept.changes:
                self._apply(change, swept)
            settled = {c.token for c in swept.changes if isinstance(c, CloseIntent)}
        finally:
            for token, lock in locks.items():
                here = any(i.tags.get(TOKEN_TAG) == token for i in swept.instances())
                lock.release(remove=token in settled and not here)
        self._lose_runs()
        return swept

    def _stays(self, swept: Swept) -> set[str]:
        """The providers whose machines are paid for after they have shut themselves down."""
        ending = {i.provider for i in swept.instances() if i.state == "ending"}
        return {name for name in ending if self._providers[name].traits.self_end != "gone"}

    def _list(self, names: Sequence[str]) -> Swept:
        swept = Swept({}, {}, [])
        where = self._regions()
        asked: dict[str, tuple[str, ...]] = {}
        for name in dict.fromkeys([*names, *where]):
            if name not in self._providers:
                continue  # a provider of another version: its rows wait for that version
            if not self._providers[name].traits.regional or self._journal.unlisted(name):
                asked[name] = ()
            elif where.get(name):
                asked[name] = tuple(sorted(where[name]))
        works = [partial(self._ask_all, name, asked[name], swept) for name in asked]
        side_by_side(works, len(works))
        for name in swept.listed:
            if not asked[name] and self._journal.unlisted(name):
                self._journal.set_listed(name)
        return swept

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

    def _view(self, swept: Swept, locks: dict[str, UseLock]) -> tuple[View, set[str]]:
        """The journal's side, and the lock names that live clients hold.

        The intents that nobody holds are locked here, so that nobody else settles them meanwhile.
        """
        held = set()
        intents = self._journal.intents()
        for intent in intents:
            lock = UseLock.take(self._home, intent.token)
            if lock is None:
                held.add(intent.token)
            else:
                locks[intent.token] = lock
        # one that was settled before we had its lock needs nothing more
        still_open = {intent.token for intent in self._journal.intents()} if locks else held
        rows = self._journal.instances()
        keys = {key_of(one) for one in swept.instances()} | {row.token for row in rows if row.token}
        held |= {key for key in keys if key not in locks and holder(self._home, key)}
        return View([one for one in intents if one.token in still_open], rows), held

    def _apply(self, change: Change, swept: Swept) -> None:
        if isinstance(change, CloseIntent):
            self._journal.update_intent(
                change.token, change.state, instance_id=change.instance_id, detail=change.detail
            )
        elif isinstance(change, Put):
            self._journal.put_instance(change.row)
        elif isinstance(change, Ask):
            self._ask(change, swept)
        else:
            self._end_again(change, swept)

    def _ask(self, change: Ask, swept: Swept) -> None:
        row = change.row
        try:
            now = self._providers[row.provider].get(row.id)
        except ProviderError as error:
            swept.failed[row.provider] = error
            return
        if now.state != "gone":
            self._journal.put_instance(row_of(now, row=row))
        elif now.detail or self._clock.wall() - row.started > LIST_GRACE:
            detail = "; ".join(dict.fromkeys(text for text in (row.detail, now.detail) if text))
            self._journal.update_instance(
                row.provider, row.id, state="gone", ended=self._clock.wall(), detail=detail
            )
            if row.token and (lock := UseLock.take(self._home, row.token)):
                lock.release(remove=True)

    def _end_again(self, change: EndAgain, swept: Swept) -> None:
        row = change.row
        try:
            self._providers[row.provider].terminate(row.id)
        except ProviderError as error:
            swept.failed[row.provider] = error
            self._reporter.notice(f"instance {row.id} still cannot be ended: {error.message}")

    def _lose_runs(self) -> None:
        """Runs whose client is no more did not end by themselves."""
        for run in self._journal.runs(status="running"):
            if run.pid and not alive(run.pid):
                self._journal.end_run(run.id, "lost", ended=self._clock.wall())
