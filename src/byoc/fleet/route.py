"""From what is asked for to a ladder: offers, surveys, memory and history put together."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..clock import Clock
from ..errors import AccessError, PlacementError, ProviderError
from ..placement import History, Rules, Snapshot, history_of, ladder
from ..placement.history import MOST, WINDOW
from ..placement.match import gpu_rank
from ..providers.base import Provider, Survey
from ..resources import Ladder, Offer, Resources, Rung
from ..settings import LOCAL, Settings
from ..state import Journal, Refusal
from .ports import Reporter, Stop, never
from .recall import Recall
from .survey import FRESH, WAIT, WAIT_LATER, Place, Surveyor

FIRST = 6
"""Regions that are surveyed before the first rung is tried: the best one of each cloud and GPU
choice, then the next best. More would be questions about places that are hardly ever reached."""
LATER = 4
"""Regions that are surveyed together when a climb comes to one that has not been."""


class Demand(NamedTuple):
    """What a ladder is made for. ``run``: whose memory counts, empty for no run's. ``only``: keys
    of an approved plan. ``nodes``: so many side by side."""

    resources: Resources
    run: str = ""
    only: tuple[str, ...] = ()
    nodes: int = 1
    stop: Stop = never


class Router:
    """Makes ladders; one per fleet, shared by all its acquires. Safe from several threads."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        providers: Mapping[str, Provider],
        reporter: Reporter,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.providers = providers
        self.reporter = reporter
        self.clock = clock
        self._lock = threading.Lock()
        self._sold: dict[str, tuple[float, list[Offer]]] = {}
        self.surveyor = Surveyor(providers, reporter, clock)
        self.recall = Recall(journal, clock)

    def names(self, resources: Resources) -> tuple[str, ...]:
        """The providers that a request may use. Raises PlacementError for one nobody knows."""
        names = resources.clouds or self.settings.used_clouds()
        for name in names:
            if name not in self.providers:
                known = ", ".join(sorted(self.providers))
                raise PlacementError(
                    f"there is no cloud {name!r} in this version of byoc",
                    hints=(f"choose from: {known}",),
                )
        return tuple(names)

    def rules(self, resources: Resources) -> Rules:
        """What a request demands, the settings' limits included."""
        one = self.settings
        return Rules.of(
            resources,
            market=one.market,
            clouds=self.names(resources),
            regions=one.regions,
            max_price=one.max_price,
            exclude=one.exclude,
        )

    def offers(self, names: Sequence[str]) -> list[Offer]:
        """What these providers sell; one that fails is told and left out. Raises its error when
        there is no other."""
        offers: list[Offer] = []
        failures: list[ProviderError] = []
        for name in names:
            try:
                offers += self._offers_of(name)
            except ProviderError as error:
                failures.append(error)
                if len(names) > 1:
                    self.reporter.notice(f"{name} is left out: {error.message}")
        if failures and len(failures) == len(names):
            raise failures[0]
        return offers

    def history(self) -> History:
        """What past tries came to."""
        return history_of(self.journal.past_attempts(self.clock.wall() - WINDOW, MOST))

    def survey_of(self, offer: Offer) -> Survey | None:
        """What was told of the offer's region, if anything."""
        return self.surveyor.get(offer)

    def _offers_of(self, name: str) -> list[Offer]:
        provider, now = self.providers[name], self.clock.mono()
        if not provider.traits().regional:
            return provider.offers()  # a computer's room changes with what runs on it
        with self._lock:
            at, sold = self._sold.get(name, (-FRESH, []))
            if now - at >= FRESH:
                sold = provider.offers()
                self._sold[name] = (now, sold)
        return sold


class Route:
    """One demand's way: its ladder as it is now, and what is still to be asked."""

    def __init__(self, router: Router, demand: Demand) -> None:
        self.demand = demand
        self.router = router
        self._settings = router.settings
        self._names = router.names(demand.resources)
        self._offers = router.offers(self._names)
        self.rules = router.rules(demand.resources)
        self._able = self._allowed(self._offers)
        self._history = router.history()
        self.denied: list[tuple[Offer, AccessError]] = []
        self.ladder = Ladder(())

    def plan(self) -> Ladder:
        """The ladder, after the best regions have been surveyed.

        Raises PlacementError when nothing fits, and AccessError when that is because no cloud lets
        itself be asked.
        """
        first = self._make()
        places = self._best(first.rungs)
        self._ask(places, WAIT)
        self.ladder = self._make() if places else first
        return self.ladder

    def explore(self, ahead: Sequence[Offer]) -> bool:
        """Survey the region of the first of these offers, and with it the next ones that have not
        been, and make the ladder anew. False when the first one's was asked already: it is to be
        tried as it is."""
        surveyor = self.router.surveyor
        if ahead[0].zone or surveyor.asked(ahead[0]):
            return False
        unknown = [one for one in ahead if not one.zone and not surveyor.asked(one)]
        places = surveyor.places(unknown)[:LATER]
        if (ahead[0].cloud, ahead[0].region) not in places:
            return False
        self._ask(places, WAIT_LATER)
        try:
            self.ladder = self._make()
        except PlacementError:
            self.ladder = Ladder(())  # what was refused meanwhile is the climb's to tell
        return True

    def memory(self) -> list[Refusal]:
        """What this demand has to keep off now."""
        return self.router.recall.of(self.demand.run)

    # -- inside -------------------------------------------------------------------------------

    def _make(self) -> Ladder:
        router, settings, demand = self.router, self._settings, self.demand
        snapshot = Snapshot(
            self._offers,
            configured=bool(demand.resources.clouds or settings.clouds),
            known=tuple(sorted(set(router.providers) - {LOCAL})),
            surveys=router.surveyor.known(),
            memory=self.memory(),
            history=self._history,
            now=router.clock.wall(),
        )
        try:
            return ladder(
                demand.resources,
                snapshot,
                market=settings.market,
                clouds=self._names,
                regions=settings.regions,
                max_price=settings.max_price,
                exclude=settings.exclude,
                only=demand.only,
                nodes=demand.nodes,
            )
        except PlacementError:
            if self.denied and {one.cloud for one, _ in self.denied} >= set(self._names):
                raise self.denied[0][1] from None
            raise

    def _allowed(self, offers: Sequence[Offer]) -> dict[Place, list[Offer]]:
        """The offers that rules allow, by place: what a survey of it is to be about."""
        found: dict[Place, list[Offer]] = {}
        for one in offers:
            if not self.rules.refusal(one):
                found.setdefault((one.cloud, one.region), []).append(one)
        return found

    def _best(self, rungs: Sequence[Rung]) -> list[Place]:
        """The places to survey first: the best of each cloud and GPU choice, then by rank."""
        heads: dict[tuple[str, int], Offer] = {}
        for rung in rungs:
            rank = gpu_rank(self.demand.resources, rung.offer) or 0
            heads.setdefault((rung.offer.cloud, rank), rung.offer)
        offers = [*heads.values(), *(rung.offer for rung in rungs)]
        return self.router.surveyor.places(offers)[:FIRST]

    def _ask(self, places: Sequence[Place], seconds: float) -> None:
        surveyor = self.router.surveyor
        wanted = {place: self._able.get(place, []) for place in places}
        if not wanted:
            return
        shown = ", ".join("/".join(place) for place in places)
        self.router.reporter.stage("place", "wait", f"asking {shown} what they have")
        surveyor.ask(wanted, seconds, self.demand.stop)
        failed = surveyor.failed()
        for place in places:
            if place in failed and wanted[place]:
                self._unasked(wanted[place][0], failed[place])

    def _unasked(self, offer: Offer, error: ProviderError) -> None:
        """No question could be asked there. A missing permission shuts what it says; anything else
        is found out by trying."""
        if isinstance(error, AccessError):
            if all(one.cloud != offer.cloud for one, _ in self.denied):
                self.denied.append((offer, error))
            self.router.recall.add(self.demand.run, error, offer)
        else:
            place = f"{offer.cloud}/{offer.region}"
            self.router.reporter.notice(f"{place} could not be surveyed: {error.message}")
