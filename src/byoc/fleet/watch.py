"""Seeing and ending what this installation has rented: ``byoc ps`` and ``byoc down``.

Apart from :class:`~byoc.fleet.core.Fleet` because it needs neither placement nor transport, which
would cost such a short command a fifth of its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ..clock import SYSTEM, Clock
from ..errors import InstanceError, NotFoundError, ProviderError
from ..providers.base import Instance, Provider
from ..resources import Offer
from ..settings import Settings
from ..state import InstanceRow, Journal
from ..tasks import side_by_side
from .book import Book
from .closing import Closing
from .ending import Ender
from .events import Command, Ended
from .ledger import row_of
from .locks import holder, key_of
from .policy import END_WAIT, Policy
from .ports import Reporter
from .reap import of_run
from .registry import registry
from .sweep import Sweeper, Swept

_AT_ONCE = 8
"""Instances ended at the same moment; clouds allow some tens of requests a second."""


class Row(NamedTuple):
    """One line of ``byoc ps``: the provider's truth with what the journal knows besides.

    ``use``: ``busy`` (a client of this data folder holds it; ``pid``), ``idle`` (warm until
    ``idle_until``) or ``unattended`` (no client; its lease ends it). ``state`` is the provider's.
    """

    provider: str
    id: str
    state: str
    use: str
    offer: Offer
    price: float | None
    run: str
    address: str
    port: int
    user: str
    host_key: str
    started: float
    idle_until: float
    pid: int
    detail: str


class Watch:
    """What can be done without reaching a machine.

    ``providers``: every provider this version has, by name.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        providers: Mapping[str, Provider],
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self.journal = journal
        self._settings = settings
        self._providers = providers
        self._reporter = reporter
        self._clock = clock
        policy = Policy(max_instances=settings.max_instances)
        self._book = Book(settings.home, journal, clock, policy)
        self._sweeper = Sweeper(settings.home, journal, self._book, providers, reporter, clock)
        self._closing = Closing(settings.home, journal, providers, reporter, clock)
        self._told = False
        self._partly: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        """The data folder."""
        return self._settings.home

    def sweep(self) -> Swept:
        """Replay open intents and bring the journal in line with the providers."""
        return self._sweep_of(self._settings.used_clouds())

    def ps(self) -> list[Row]:
        """What there is now, oldest first. A provider that cannot be asked is told by a notice."""
        return list(self._shown())

    def partial(self) -> tuple[str, ...]:
        """The clouds of which the latest :meth:`ps` has asked only the regions in which the journal
        knows of something."""
        return self._partly

    def down(self, ids: Sequence[str] | None = None) -> list[Row]:
        """End instances by id (or the beginning of one), or by run or the beginning of its name up
        to a ``-``; None ends all of ours. What the journal does not point to is looked for in every
        region before it is said not to exist.

        Returns what was ended, once each is gone. Raises NotFoundError for an id that names none,
        before anything is ended, and InstanceError when one has not ended after a minute.
        """
        tokens = self._shown()
        try:
            chosen = list(tokens) if ids is None else _chosen(list(tokens), ids)
        except NotFoundError:
            if not self._partly:
                raise
            tokens = self._shown(everywhere=True)
            chosen = _chosen(list(tokens), ids or ())
        begun = [
            (row, tokens[row], self._book.tell(Ended(tokens[row], "ended by `byoc down`")))
            for row in chosen
        ]
        for row in chosen:
            self._closing.ends(row.provider, row.offer.region)
        failures = side_by_side([partial(self._end, *one) for one in begun], _AT_ONCE)
        self._closing.finish()
        if any(failures):
            left = [failure for failure in failures if failure is not None]
            hints = chain.from_iterable(failure.hints for failure in left)
            raise InstanceError(
                f"not ended: {'; '.join(failure.message for failure in left)}",
                hints=(
                    *dict.fromkeys(hints),
                    "try again; each instance ends by its own lease at the latest",
                ),
            )
        return chosen

    # -- inside -------------------------------------------------------------------------------

    def _sweep_of(self, names: Sequence[str], *, everywhere: bool = False) -> Swept:
        if not self._told and self.journal.recovered:
            self._reporter.notice(self.journal.recovered)
        self._told = True
        return self._sweeper.sweep(names, everywhere=everywhere)

    def _shown(self, *, everywhere: bool = False) -> dict[Row, str]:
        """The rows of what there is, oldest first, each with its lock's name."""
        names = self._settings.used_clouds()
        self._partly = tuple(
            name
            for name in names
            if not (everywhere or self.journal.unlisted(name))
            and self._providers[name].traits.regional
        )
        swept = self._sweep_of(names, everywhere=everywhere)
        for name, error in swept.failed.items():
            self._reporter.notice(f"{name} could not be asked: {error.message}")
        rows = {(row.provider, row.id): row for row in self.journal.instances()}
        found = [
            (self._row(one, rows.get((one.provider, one.id))), key_of(one))
            for one in swept.instances()
        ]
        return dict(sorted(found, key=lambda pair: (pair[0].started, pair[0].id)))

    def _row(self, instance: Instance, known: InstanceRow | None) -> Row:
        row = known or row_of(instance)
        pid = holder(self.home, key_of(instance))
        use = "busy" if pid else "idle" if row.state == "idle" else "unattended"
        return Row(
            provider=instance.provider,
            id=instance.id,
            state=instance.state,
            use=use,
            offer=instance.offer,
            price=row.price,
            run=row.run,
            address=instance.address,
            port=instance.port,
            user=instance.user,
            host_key=row.host_key,
            started=instance.started,
            idle_until=row.idle_until,
            pid=pid,
            detail=instance.detail or row.detail,
        )

    def _end(self, row: Row, token: str, commands: Sequence[Command]) -> InstanceError | None:
        """End one and wait until it is gone; what to complain about, if anything."""
        provider = self._providers[row.provider]
        try:
            ender = Ender(self._book, provider, self._clock)
            gone, last = ender.see(token, row.id, commands, END_WAIT)
        except ProviderError as error:
            return InstanceError(f"{row.id}: {error.message}", hints=error.hints)
        if gone:
            return None
        state = last.state if last is not None else row.state
        return InstanceError(f"{row.id}: still {state} after {END_WAIT:.0f} s")


@contextmanager
def open_watch(
    settings: Settings, reporter: Reporter, environ: Mapping[str, str], clock: Clock = SYSTEM
) -> Iterator[Watch]:
    """The watch over a data folder; its journal is closed at the end.

    Raises SettingsError for a cloud that this version does not know, StateError when the journal
    cannot be used.
    """
    providers = registry(settings, environ, clock)
    journal = Journal.open(settings.home, clock)
    try:
        yield Watch(settings, journal, providers, reporter, clock)
    finally:
        journal.close()


def _chosen(rows: list[Row], ids: Sequence[str]) -> list[Row]:
    """The rows that the ids name. Raises NotFoundError for an id that names none, or several."""
    chosen: dict[tuple[str, str], Row] = {}
    for text in ids:
        exact = [row for row in rows if text in (row.id, row.run, f"{row.provider}/{row.id}")]
        exact = exact or [row for row in rows if of_run(row.run, text)]
        found = exact or [row for row in rows if text and row.id.startswith(text)]
        if not found:
            raise NotFoundError(f"no instance and no run with one is called {text!r}", hints=_LOOK)
        if not exact and len(found) > 1:
            raise NotFoundError(f"several instances begin with {text!r}", hints=_LOOK)
        chosen |= {(row.provider, row.id): row for row in found}
    return list(chosen.values())


_LOOK = ("see `byoc ps` for the instances and their runs",)
