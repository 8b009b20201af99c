"""Gangs: several instances on one rung of the ladder, side by side, all of them or none."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from ..clock import Clock
from ..errors import CancelledError, Error
from ..providers.base import MESH_TAG, Instance
from ..resources import Offer, Resources
from ..state import Attempt, InstanceRow, Journal
from ..tasks import Task, attempt, side_by_side
from .climb import Climb
from .held import Held
from .ledger import row_of
from .locks import UseLock, key_of
from .ports import Reporter, Stop, never
from .rent import Failed, rent, told
from .route import Route
from .sweep import Swept
from .workshop import Wish, Workshop

AT_ONCE = 64
"""Instances of a gang that are launched side by side: each is a thread that mostly waits."""
WARM_MARGIN = 1.0
"""Seconds that an idle instance must still have: attaching takes 50 ms on this computer and about
a second across an ocean, and its own clock does not wait."""


class Party:
    """Rents a gang's instances on one offer: what a climb takes a rung by.

    ``nodes``: their numbers in the run. ``members``: once it has worked, all of them in that order.
    """

    def __init__(self, nodes: Sequence[int]) -> None:
        self._nodes = tuple(nodes)
        self._lock = threading.Lock()
        self._failed: list[BaseException] = []
        self.members: list[Held] = []

    def __call__(self, shop: Workshop, offer: Offer, wish: Wish, seq: int, alone: bool) -> Held:
        """All of them, of which the first is returned. As :func:`.rent.rent`; it raises what the
        first one failed on, once the others are told to end."""
        self._failed.clear()
        had: dict[int, Held] = {}
        lead = partial(self._lead, shop, offer, wish, seq, alone)
        try:
            if not offer.zone and shop.providers[offer.cloud].traits.regional:
                # The cloud chooses the first one's zone, and the others follow it there.
                had[0] = lead()
                offer = had[0].instance.offer
            works = [] if had else [(0, lead)]
            works += [
                (place, partial(self._member, shop, offer, wish._replace(node=node), alone))
                for place, node in enumerate(self._nodes[1:], 1)
            ]
            self._run(works, had)
        except BaseException as error:  # Ctrl-C: those under way hear it by their stop
            self._fail(error)
            self._give_up(shop, had, error)
            raise
        if self._failed:
            self._give_up(shop, had, self._failed[0])
            raise self._failed[0]
        self.members = [had[place] for place in range(len(self._nodes))]
        return self.members[0]

    def _run(self, works: Sequence[tuple[int, partial[Held]]], had: dict[int, Held]) -> None:
        """Each in a thread, none of which is left behind: an interrupt is passed on at the end."""

        def one(place: int, work: partial[Held]) -> None:
            found = attempt(work)
            if isinstance(found, BaseException):
                self._fail(found)
            else:
                had[place] = found

        interrupted: BaseException | None = None
        for task in [Task("byoc-gang", partial(one, *work)) for work in works]:
            while (error := attempt(task.result)) is not None:  # Ctrl-C, perhaps again
                self._fail(error)
                interrupted = interrupted or error
        if interrupted is not None:
            raise interrupted

    def _fail(self, error: BaseException) -> bool:
        """Note a failure, once; whether it is the first one. That one counts: the later ones are of
        those that were told to stop."""
        with self._lock:
            if error not in self._failed:
                self._failed.append(error)
            return self._failed[0] is error

    def _wish(self, wish: Wish) -> Wish:
        return wish._replace(stop=lambda: bool(self._failed) or wish.stop())

    def _lead(self, shop: Workshop, offer: Offer, wish: Wish, seq: int, alone: bool) -> Held:
        return rent(shop, offer, self._wish(wish), seq, alone)

    def _member(self, shop: Workshop, offer: Offer, wish: Wish, alone: bool) -> Held:
        """One of the others, with an attempt of its own in the journal."""
        reason = f"beside the first of {len(self._nodes)}"
        mine, begun = shop.attempt(wish, offer, reason=reason), shop.clock.mono()
        try:
            if self._failed:
                raise CancelledError("another instance of the gang was not to be had")
            held = rent(shop, offer, self._wish(wish), mine.seq, alone)
        except BaseException as error:
            seconds = shop.clock.mono() - begun
            if self._fail(error):  # the first one's attempt tells it
                text = f"the gang failed on this one: {_text(error)}"
                failed = mine._replace(outcome="failed", message=text, seconds=seconds)
                shop.journal.close_attempt(failed)
            else:
                _close(shop, mine, error, seconds)
            raise
        seconds = shop.clock.mono() - begun
        done = mine._replace(outcome="ok", instance_id=held.instance.id, seconds=seconds)
        with held.or_lost():
            shop.journal.close_attempt(done)
        return held

    def give_up(self, shop: Workshop, error: BaseException) -> None:
        """Have all members end."""
        self._give_up(shop, dict(enumerate(self.members)), error)

    def _give_up(self, shop: Workshop, had: Mapping[int, Held], error: BaseException) -> None:
        """Have those end that were had; whoever closes the fleet sees that they do."""
        why = f"the gang is not complete: {_text(error)}"
        works = [partial(attempt, partial(held.lost, why)) for held in had.values()]
        for failed in side_by_side(works, AT_ONCE):
            if isinstance(failed, BaseException):
                shop.reporter.notice(f"an instance of a gang could not be ended: {_text(failed)}")


class Whole(Protocol):
    """What a gang needs of the fleet."""

    journal: Journal
    _shop: Workshop
    _reporter: Reporter
    _clock: Clock

    @property
    def home(self) -> Path:
        """The data folder."""

    def _swept_for(self, resources: Resources) -> Swept:
        """A sweep before a launch."""

    def _routed(self, wish: Wish) -> Route:
        """The wish's way, with its ladder made."""

    def _candidates(self, wish: Wish, swept: Swept) -> list[Instance]:
        """Warm instances that fit, the best first."""

    def _attach(
        self, wish: Wish, instance: Instance, row: InstanceRow, lock: UseLock
    ) -> Held | None:
        """Hold a warm instance; None when it does not answer."""


class Gangs:
    """The part of a fleet that acquires gangs."""

    def gang(
        self: Whole,
        resources: Resources,
        run_id: str,
        nodes: Sequence[int],
        *,
        keep: bool = True,
        stop: Stop = never,
        only: Sequence[str] = (),
    ) -> list[Held]:
        """Instances for the caller alone that reach each other: as many as ``nodes`` has numbers,
        each fit for ``resources``, all of them on one offer in one zone.

        Warm ones of an earlier gang when enough fit, else new ones, launched side by side. When one
        of them is refused or never answers, the others are ended at once and the next rung is
        tried. ``only``: keys of the offers to try and no others, such as the place of a gang that
        lacks one. Otherwise as :meth:`Fleet.acquire`, and it raises what that does; whatever it
        raises, none is left.
        """
        many = len(nodes)
        wish = Wish(resources, run_id, nodes[0], keep, stop, tuple(only), nodes=many, mesh=True)
        reporter, begun = self._reporter, self._clock.mono()
        reporter.stage("place", "start")
        try:
            found = _warm(self, wish, nodes, self._swept_for(resources))
            route = None if found else self._routed(wish)
        except Error as error:
            reporter.stage("place", "failed", error.message)
            raise
        if route is None:
            detail = f"{many} warm on {found[0].instance.offer.key()}"
            reporter.stage("place", "done", detail, self._clock.mono() - begun)
            return found
        first = route.ladder.rungs[0]
        detail = f"{many} times {first.offer.key()} ({first.reason})"
        reporter.stage("place", "done", detail, self._clock.mono() - begun)
        party = Party(nodes)
        try:
            Climb(self._shop, route, wish, party).up()
        except BaseException as error:  # the climb ends the first of them, if it had it
            party.give_up(self._shop, error)
            raise
        return party.members


# --- warm ones ----------------------------------------------------------------------------------


def _warm(fleet: Whole, wish: Wish, nodes: Sequence[int], swept: Swept) -> list[Held]:
    """As many warm instances of one place as are wanted; empty when there are not enough."""
    places: dict[str, list[Instance]] = {}
    for one in fleet._candidates(wish, swept):
        if MESH_TAG in one.tags:
            places.setdefault(one.offer.key(), []).append(one)
    for members in places.values():
        found = _all_warm(fleet, wish, nodes, members) if len(members) >= len(nodes) else []
        if found:
            return found
    return []


def _all_warm(
    fleet: Whole, wish: Wish, nodes: Sequence[int], members: Sequence[Instance]
) -> list[Held]:
    """Hold so many of these, or none."""
    locked = _locked(fleet, members, len(nodes))
    works = [
        partial(attempt, partial(fleet._attach, wish._replace(node=node), *one))
        for node, one in zip(nodes, locked, strict=False)
    ]
    answers = side_by_side(works, AT_ONCE)
    found = [one for one in answers if isinstance(one, Held)]
    if locked and len(found) == len(nodes):
        return found
    for held, (_, row, _) in zip(answers, locked, strict=True):
        if isinstance(held, Held):  # it goes on as if nobody had come
            held.release(max(1.0, row.idle_until - fleet._clock.wall()))
    for failed in answers:
        if isinstance(failed, BaseException):
            raise failed
    return []


def _locked(
    fleet: Whole, members: Sequence[Instance], count: int
) -> list[tuple[Instance, InstanceRow, UseLock]]:
    """So many that nobody uses, locked; or none."""
    rows = {(row.provider, row.id): row for row in fleet.journal.instances()}
    locked: list[tuple[Instance, InstanceRow, UseLock]] = []
    for one in members:
        row = rows.get((one.provider, one.id)) or row_of(one)
        if len(locked) == count or not attachable(row, fleet._clock.wall()):
            continue
        lock = UseLock.take(fleet.home, key_of(one))
        if lock is not None:
            locked.append((one, row, lock))
    if len(locked) == count:
        return locked
    for _, _, lock in locked:
        lock.release()
    return []


def attachable(row: InstanceRow, now: float) -> bool:
    """Whether a warm instance may be had, by what the journal knows of it."""
    if not row.host_key or row.state in ("draining", "ending", "lost"):
        return False
    return row.state != "idle" or row.idle_until - now >= WARM_MARGIN


def _close(shop: Workshop, mine: Attempt, error: BaseException, seconds: float) -> None:
    """Write down what an attempt came to."""
    if isinstance(error, Failed):
        done = told(mine, error.error, seconds, sure=error.sure)
        done = done._replace(instance_id=error.instance)
    else:
        done = mine._replace(outcome="failed", message=_text(error), seconds=seconds)
    shop.journal.close_attempt(done)


def _text(error: BaseException) -> str:
    inner = error.error if isinstance(error, Failed) else error
    return inner.message if isinstance(inner, Error) else str(inner) or type(inner).__name__
