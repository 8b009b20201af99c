"""The fleet: acquire an instance (warm or new), show what there is, end it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..clock import IDS, SYSTEM, Clock, Ids
from ..errors import (
    BadHostError,
    BootError,
    CancelledError,
    Error,
    HostKeyError,
    InstanceError,
    ProviderError,
)
from ..placement.cost import Hedge, hedge
from ..providers.base import Instance, Provider
from ..providers.gates import INSIDE_TAG
from ..resources import Ladder, Offer, Resources
from ..settings import Settings
from ..state import InstanceRow, Journal
from .boot import Reached as Answer
from .climb import Climb, note_denied
from .dial import SshDialer
from .events import Adopted
from .gang import Gangs, attachable
from .hedge import first_of, width
from .held import Held
from .ledger import row_of
from .locks import UseLock, key_of
from .passed import note_passed
from .patrol import Patrol
from .ports import Dialer, Reporter, Stop, never, target_of
from .registry import registry
from .rent import hold, reach, told
from .route import Demand, Route, Router
from .sights import Sight, capacity
from .sweep import Swept
from .watch import Row, Watch
from .ways import Way, Ways
from .workshop import Wish, Workshop

__all__ = ["Fleet", "Row", "Sight", "open_fleet"]


class Fleet(Watch, Gangs):
    """All instances of one installation. Safe to use from several threads.

    ``providers``: every provider this version has, by name. The clouds that a request names are
    used, else the configured ones, else this computer.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        providers: Mapping[str, Provider],
        dialer: Dialer,
        reporter: Reporter,
        clock: Clock,
        ids: Ids = IDS,
    ) -> None:
        super().__init__(settings, journal, providers, reporter, clock)
        parts = (ids, self._book, self._closing)
        self._shop = Workshop(settings, journal, providers, dialer, reporter, clock, *parts)
        self._router = Router(settings, journal, providers, reporter, clock)
        self._told_runs: set[str] = set()
        self._names: tuple[str, ...] = ()
        self._patrol = Patrol(lambda: self._sweep_of(self._names), reporter)

    # -- getting one --------------------------------------------------------------------------

    def acquire(
        self,
        resources: Resources,
        run_id: str,
        *,
        keep: bool = True,
        node: int = 0,
        stop: Stop = never,
        only: Sequence[str] = (),
    ) -> Held:
        """An instance for the caller alone, reachable and with its first connection open.

        A warm one when one fits, else a new one from the ladder. ``node`` numbers the instances of
        one run; ``stop`` says True to give up; ``only``: keys of the offers of an approved plan,
        tried in that order and no others. May be called from several threads at once. Raises
        PlacementError when nothing fits or no rung worked, the provider's own error when there was
        one rung, HostKeyError when another machine answers, CancelledError when told to stop.
        Whatever it raises, what it began it ends.
        """
        wish = Wish(resources, run_id, node, keep, stop, tuple(only))
        reporter, begun = self._reporter, self._clock.mono()
        reporter.stage("place", "start")
        try:
            swept = self._swept_for(resources)
            held = self._warm(wish, swept, begun)
            if held is not None:
                return held
            route = self._routed(wish)
        except Error as error:
            reporter.stage("place", "failed", error.message)
            raise
        first = route.ladder.rungs[0]
        detail = f"{first.offer.key()} ({first.reason})"
        reporter.stage("place", "done", detail, self._clock.mono() - begun)
        return Climb(self._shop, route, wish).up()

    def plan(self, resources: Resources, nodes: int = 1, only: Sequence[str] = ()) -> Ladder:
        """The ladder that :meth:`acquire` would climb: regions are surveyed and what was refused is
        remembered, but nothing is launched. ``nodes``: so many side by side; ``only``: as there.

        Raises PlacementError with the explanation when nothing fits.
        """
        demand = Demand(resources, only=tuple(only), nodes=nodes)
        return Route(self._router, demand).plan(patient=True)

    def hedge(self, resources: Resources, ladder: Ladder) -> Hedge | None:
        """What the hedge of the settings would cost on this ladder; None where none is made."""
        wanted = width(ladder.rungs, self._router.settings.hedge, self._router.providers)
        if wanted < 2:
            return None
        rungs = first_of(ladder.rungs, wanted)
        history = self._router.history(self._router.names(resources))
        return hedge([one.offer for one in rungs], history)

    def settle(self) -> None:
        """End what launches of this process have made whose answers were lost, and see that what
        was given up does end. For the end."""
        self._patrol.stop()
        self._shop.settle()

    def capacity(self, resources: Resources) -> list[Sight]:
        """What is known of getting each offer that fits, the cheapest first; nothing is launched.

        Every region that sells one is asked. Raises PlacementError for an unknown cloud.
        """
        return capacity(self._router, resources)

    # -- inside -------------------------------------------------------------------------------

    def _swept_for(self, resources: Resources) -> Swept:
        """A sweep before a launch; more of them follow for as long as this client lasts."""
        self._names = tuple(self._router.names(resources))
        swept = self._sweep_of(self._names)
        self._patrol.begin()
        return swept

    def _routed(self, wish: Wish) -> Route:
        """The wish's way, with its ladder made."""
        demand = Demand(wish.resources, wish.run, wish.only, wish.nodes, wish.stop)
        route = Route(self._router, demand)
        try:
            route.plan()
        finally:
            note_denied(self._shop, route, wish)
        if wish.run not in self._told_runs:  # once, not for each of its instances
            self._told_runs.add(wish.run)
            note_passed(self._shop, route, wish)
        return route

    def _warm(self, wish: Wish, swept: Swept, begun: float) -> Held | None:
        """A fitting instance that nobody holds, the best one first; None when there is none."""
        rows = {(row.provider, row.id): row for row in self.journal.instances()}
        for instance in self._candidates(wish, swept):
            row = rows.get((instance.provider, instance.id)) or row_of(instance)
            if not attachable(row, self._clock.wall()):
                continue
            lock = UseLock.take(self.home, key_of(instance))
            if lock is None:
                continue
            detail = f"warm {instance.provider}/{instance.id}"
            seconds = self._clock.mono() - begun
            self._reporter.stage("place", "done", detail, seconds)
            held = self._attach(wish, instance, row, lock)
            if held is not None:
                return held
        return None

    def _candidates(self, wish: Wish, swept: Swept) -> list[Instance]:
        rules = self._router.rules(wish.resources)
        able = [
            one
            for one in swept.instances()
            if one.state in ("running", "pending")
            and not rules.refusal(one.offer)
            # a paid GPU is not kept alive for work that needs none
            and (wish.resources.gpus or not one.offer.gpu_count or not one.offer.price)
            and (not wish.only or _approved(one.offer, wish.only))
            and (not one.tags.get(INSIDE_TAG) or self._shop.way_of(one.provider) != Way())
        ]
        return sorted(able, key=lambda one: (rules.order(one.offer), one.id))

    def _attach(
        self, wish: Wish, instance: Instance, row: InstanceRow, lock: UseLock
    ) -> Held | None:
        """Hold a warm instance; None when it does not answer, so that another one is tried."""
        try:
            return self._attached(wish, instance, row, lock)
        except (InstanceError, ProviderError) as error:
            if isinstance(error, (BootError, BadHostError)):
                self._shop.drop(instance, lock, error.message)  # it never came up, or is broken
            lock.release()
            if isinstance(error, HostKeyError):
                raise
            message = f"warm instance {instance.id} is passed over: {error.message}"
            self._shop.reporter.notice(message)
            return None
        except BaseException:
            lock.release()
            raise

    def _attached(self, wish: Wish, instance: Instance, row: InstanceRow, lock: UseLock) -> Held:
        """Hold it, and write down how that went."""
        shop, begun = self._shop, self._shop.clock.mono()
        attempt = shop.attempt(wish, instance.offer, "warm")._replace(instance_id=instance.id)
        try:
            held = self._hold(wish, instance, row, lock)
        except (InstanceError, ProviderError) as error:
            shop.journal.close_attempt(told(attempt, error, shop.clock.mono() - begun))
            raise
        with held.or_lost():
            shop.journal.close_attempt(attempt._replace(seconds=shop.clock.mono() - begun))
        return held

    def _hold(self, wish: Wish, instance: Instance, row: InstanceRow, lock: UseLock) -> Held:
        """Reach it: by one connection, or, when no client ever has, by waiting for its boot."""
        if row.reached:
            return self._enter(wish, instance, row, lock)
        self._reporter.stage("boot", "start", f"{instance.provider}/{instance.id}")
        boot = self._shop.boot(instance.provider)
        return reach(self._shop, boot, instance, row.host_key, lock, wish)

    def _enter(self, wish: Wish, instance: Instance, row: InstanceRow, lock: UseLock) -> Held:
        shop = self._shop
        if wish.stop():
            raise CancelledError("cancelled before an instance was reached")
        begun = shop.clock.mono()
        shop.reporter.stage("connect", "start")
        target = target_of(instance, row.host_key)
        connection = shop.dialer.connect(target, shop.settings.connect_timeout)
        taken = Adopted(key_of(instance), wish.run, wish.node, 0.0)
        answer = Answer(instance, connection, shop.clock.mono() - begun)
        return hold(shop, wish, answer, row.host_key, lock, taken)


def _approved(offer: Offer, only: Sequence[str]) -> bool:
    """Whether a plan names this offer, or its region without a zone."""
    return offer.key() in only or offer._replace(zone="").key() in only


@contextmanager
def open_fleet(
    settings: Settings,
    reporter: Reporter,
    environ: Mapping[str, str],
    clock: Clock = SYSTEM,
    dialer: Dialer | None = None,
) -> Iterator[Fleet]:
    """The fleet of a data folder; closes its journal at the end.

    ``dialer``: the way to machines, SSH unless given. Nothing is asked of a provider and no key is
    read yet. Raises SettingsError for a cloud that this version does not know, StateError when the
    journal cannot be used.
    """
    providers = registry(settings, environ, clock)
    journal = Journal.open(settings.home, clock)
    try:
        own = SshDialer(settings.home, clock, Ways(settings))
        fleet = Fleet(settings, journal, providers, dialer or own, reporter, clock)
        try:
            yield fleet
        finally:
            try:
                fleet.settle()
            finally:
                own.close()
    finally:
        journal.close()
