"""The sweep: replay open intents, believe the providers, rebuild what the journal lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..clock import Clock
from ..errors import ProviderError
from ..providers.base import OWNER_TAG, TOKEN_TAG, Instance, Provider
from ..state import Journal
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

    def sweep(self, names: Iterable[str]) -> Swept:
        """Ask the providers of ``names``, and those of live rows, for what is ours; then reconcile.

        A provider that cannot be asked is in ``failed``; nothing is concluded about its instances.
        """
        swept = self._list(names)
        # the lists first, the journal second: what is added in between waits for the next sweep
        locks: dict[str, UseLock] = {}
        settled: set[str] = set()
        try:
            view, held = self._view(swept, locks)
            swept.changes.extend(reconcile(view, swept.listed, held, self._clock.wall()))
            for change in swept.changes:
                self._apply(change, swept)
            settled = {c.token for c in swept.changes if isinstance(c, CloseIntent)}
        finally:
            for token, lock in locks.items():
                here = any(i.tags.get(TOKEN_TAG) == token for i in swept.instances())
                lock.release(remove=token in settled and not here)
        self._lose_runs()
        return swept

    def _list(self, names: Iterable[str]) -> Swept:
        swept = Swept({}, {}, [])
        owed = [row.provider for row in self._journal.instances()]
        owed += [intent.provider for intent in self._journal.intents()]
        for name in dict.fromkeys([*names, *owed]):
            if name not in self._providers:
                continue  # a provider of another version: its rows wait for that version
            try:
                mine = {OWNER_TAG: self._journal.owner}
                swept.listed[name] = self._providers[name].list(mine)
            except ProviderError as error:
                swept.failed[name] = error
        return swept

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
