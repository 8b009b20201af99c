"""From what is asked for to a ladder: offers, surveys, memory and history put together."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..clock import Clock
from ..errors import AccessError, Error, PlacementError, ProviderError
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
REUSED = 1.0
"""Seconds for which a ladder is used again while nothing was learned: making one of four thousand
offers takes 40 ms, which fifty acquires at once should pay once."""
_KEPT = 16
"""Demands whose ladders are kept: more than a run has kinds of functions."""


class Demand(NamedTuple):
    """What a ladder is made for. ``run``: whose memory counts, empty for no run's. ``only``: keys
    of an approved plan. ``nodes``: so many side by side."""

    resources: Resources
    run: str = ""
    only: tuple[str, ...] = ()
    nodes: int = 1
    stop: Stop = never


class _Made(NamedTuple):
    """A ladder, when it was made (monotonic), and the versions of what it was made from."""

    at: float
    version: tuple[int, int, int]
    ladder: Ladder


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
        self._making = threading.Lock()
        self._sold: dict[str, tuple[float, list[Offer]]] = {}
        self._ladders: dict[Demand, _Made] = {}
        self._ables: dict[Resources, tuple[float, dict[Place, list[Offer]]]] = {}
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

    def history(self, names: Sequence[str]) -> History:
        """What past tries came to, and how long machines boot where none was tried."""
        found = history_of(self.journal.past_attempts(self.clock.wall() - WINDOW, MOST))
        usual = {name: self.providers[name].traits.boot for name in names}
        return found._replace(usual=usual)

    def survey_of(self, offer: Offer) -> Survey | None:
        """What was told of the offer's region, if anything."""
        return self.surveyor.get(offer)

    def ladder(self, demand: Demand) -> Ladder:
        """The ladder as it is now, by what surveys have told so far. Raises PlacementError.

        Of clouds alone, one that was just made for the same demand is used again while nothing was
        learned since: many instances started at once climb the same one.
        """
        names = self.names(demand.resources)
        if not all(self.providers[name].traits.regional for name in names):
            return self._make(demand, names)
        key = demand._replace(stop=never)
        with self._making:
            version = (self.recall.version, self.surveyor.version, self.journal.news)
            now = self.clock.mono()
            known = self._ladders.get(key)
            if known is not None and known.version == version and now - known.at < REUSED:
                return known.ladder
            made = self._make(demand, names)
            if len(self._ladders) >= _KEPT:
                self._ladders.clear()
            self._ladders[key] = _Made(now, version, made)
            return made

    def able(self, resources: Resources) -> Mapping[Place, Sequence[Offer]]:
        """The offers of clouds that a request may use, by place: what surveys are to be about."""
        names = [name for name in self.names(resources) if self.providers[name].traits.regional]
        with self._making:
            at, found = self._ables.get(resources, (-FRESH, {}))
            if self.clock.mono() - at < FRESH or not names:
                return found
            found, rules = {}, self.rules(resources)
            for one in self.offers(names):
                if not rules.refusal(one, price_to_come=True):
                    found.setdefault((one.cloud, one.region), []).append(one)
            if len(self._ables) >= _KEPT:
                self._ables.clear()
            self._ables[resources] = (self.clock.mono(), found)
            return found

    def _make(self, demand: Demand, names: Sequence[str]) -> Ladder:
        settings = self.settings
        snapshot = Snapshot(
            self.offers(names),
            configured=bool(demand.resources.clouds or settings.clouds),
            known=tuple(sorted(set(self.providers) - {LOCAL})),
            surveys=self.surveyor.known(),
            memory=self.recall.of(demand.run),
            history=self.history(names),
            now=self.clock.wall(),
        )
        return ladder(
            demand.resources,
            snapshot,
            market=settings.market,
            clouds=names,
            regions=settings.regions,
            max_price=settings.max_price,
            exclude=settings.exclude,
            only=demand.only,
            nodes=demand.nodes,
        )

    def _offers_of(self, name: str) -> list[Offer]:
        provider, now = self.providers[name], self.clock.mono()
        if not provider.traits.regional:
            return provider.offers()  # a computer's room changes with what runs on it
        with self._lock:
            at, sold = self._sold.get(name, (-FRESH, []))
            if now - at >= FRESH:
                sold = provider.offers()
                self._sold[name] = (now, sold)
        return sold


class Route:
    """One demand's way: its ladder as it is now, and what is still to be asked.

    ``denied``: the clouds that did not let themselves be asked, each with its best offer. ``over``:
    why nothing is left, once that is so.
    """

    def __init__(self, router: Router, demand: Demand) -> None:
        self.demand = demand
        self.router = router
        self.rules = router.rules(demand.resources)
        self.denied: list[tuple[Offer, AccessError]] = []
        self.over: Error | None = None
        self.ladder = Ladder(())
        self._version = -1
        self._waited: set[Place] = set()

    def plan(self, patient: bool = False) -> Ladder:
        """The ladder, after the best regions have been surveyed. ``patient``: all of them, where a
        launch makes do with the best one's answer.

        Raises PlacementError when nothing fits, and AccessError when that is because no cloud lets
        itself be asked.
        """
        self.ladder = self.router.ladder(self.demand)
        places = self._best(self.ladder.rungs)
        if places:
            self._ask(places, WAIT, "place", None if patient else places[0])
            self.ladder = self._again()
        return self.ladder

    def explore(self, ahead: Sequence[Offer]) -> bool:
        """Have the zones of the first of these offers told, if it lacks one or the price that it
        needs, and with it those of the next ones, and make the ladder anew. False when nothing more
        is to be had: it is to be tried as it is."""
        surveyor, first = self.router.surveyor, ahead[0]
        here = (first.cloud, first.region)
        if first.zone and not self.rules.unpriced(first):
            return False
        if surveyor.version == self._version:  # else answers have come since the ladder was made
            if surveyor.asked(first) and not surveyor.pending(first):
                return False
            unknown = [one for one in ahead if not one.zone and not surveyor.asked(one)]
            places = list(dict.fromkeys([*surveyor.places([first]), *surveyor.places(unknown)]))
            if here not in places or here in self._waited:
                return False
            self._waited.add(here)
            self._ask(places[:LATER], WAIT_LATER, "boot", here)
        try:
            self.ladder = self._again()
        except (PlacementError, AccessError) as error:
            self.ladder, self.over = (
                Ladder(()),
                error,
            )  # the climb has more to tell, if it tried any
        return True

    def memory(self) -> list[Refusal]:
        """What this demand has to keep off now."""
        return self.router.recall.of(self.demand.run)

    # -- inside -------------------------------------------------------------------------------

    def _again(self) -> Ladder:
        self._version = self.router.surveyor.version
        try:
            return self.router.ladder(self.demand)
        except PlacementError:
            names = set(self.router.names(self.demand.resources))
            if self.denied and {one.cloud for one, _ in self.denied} >= names:
                raise self.denied[0][1] from None
            raise

    def _best(self, rungs: Sequence[Rung]) -> list[Place]:
        """The places to survey first: the best of each cloud and GPU choice, then by rank."""
        heads: dict[tuple[str, int], Offer] = {}
        for rung in rungs:
            rank = gpu_rank(self.demand.resources, rung.offer) or 0
            heads.setdefault((rung.offer.cloud, rank), rung.offer)
        offers = [*heads.values(), *(rung.offer for rung in rungs)]
        return self.router.surveyor.places(offers)[:FIRST]

    def _ask(
        self, places: Sequence[Place], seconds: float, stage: str, best: Place | None = None
    ) -> None:
        surveyor, able = self.router.surveyor, self.router.able(self.demand.resources)
        wanted = {place: able[place] for place in places if place in able}
        unasked = [place for place in wanted if not all(map(surveyor.asked, wanted[place]))]
        if unasked:
            shown = ", ".join("/".join(place) for place in unasked)
            self.router.reporter.stage(stage, "wait", f"asking {shown} what they have")
        surveyor.ask(wanted, seconds, self.demand.stop, best)
        failed = surveyor.failed()
        for place in places:
            if place in failed:
                offers = [rung.offer for rung in self.ladder.rungs]
                first = next(one for one in offers if (one.cloud, one.region) == place)
                self._unasked(first, failed[place])

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
