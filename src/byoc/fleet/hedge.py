"""A hedged launch: several rungs asked for at once, the first sound machine kept, the rest ended.

Each rung is rented as ever (intent on disk, lock, lease), in a thread of its own; what makes it a
hedge is that the others are told to stop as soon as one is ready. A launch whose answer comes after
that ends what it made. Who closes the fleet waits for those threads; should this process die first,
the open intents and the leases do the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from ..errors import (
    BadHostError,
    CancelledError,
    Error,
    PlacementError,
    ProviderError,
    TokenError,
)
from ..placement import History
from ..placement.cost import billed, dollars, hedge, hedge_words
from ..providers.base import Provider
from ..resources import Offer, Rung
from ..state import Attempt
from ..tasks import attempt
from .held import Held
from .ports import SLICE, Reporter
from .recall import Recall
from .rent import Failed, rent, told
from .workshop import Wish, Workshop

BEATEN = "beaten"
"""Outcome of an attempt that was ended because another of the same hedge was ready first."""

_Place = tuple[str, str, str, str]


class Lap(NamedTuple):
    """One try of a rung. ``begun``: of the monotonic clock; ``asked``: of the wall's; ``alone``: no
    other rung is left."""

    rung: Rung
    attempt: Attempt
    begun: float
    asked: float
    alone: bool


class Track(Protocol):
    """What a race needs of its climb; called by the thread that climbs alone."""

    def next(self) -> Rung | None: ...
    def claim(self, rung: Rung) -> None: ...
    def shut(self, rung: Rung) -> bool: ...
    def begin(self, rung: Rung, reason: str) -> Lap: ...
    def took(self, lap: Lap, held: Held) -> None: ...
    def failed(self, lap: Lap, failed: Failed) -> Error: ...
    def broke(self, lap: Lap, error: BaseException) -> None: ...
    def exhausted(self) -> Error: ...


def width(rungs: Sequence[Rung], wanted: int, providers: Mapping[str, Provider]) -> int:
    """How many of a ladder's rungs a hedge asks at once; 1 where there is nothing to hedge: one
    rung, or a best one that is this computer itself."""
    clouds = [one for one in rungs if not providers[one.offer.cloud].traits.shared_host]
    if not rungs or rungs[0] not in clouds[:1]:
        return 1
    return max(1, min(wanted, len(clouds)))


def first_of(rungs: Sequence[Rung], wanted: int) -> list[Rung]:
    """The rungs that a hedge asks first: the best ones, each of another type or place."""
    found: dict[_Place, Rung] = {}
    for one in rungs:
        if len(found) < wanted:
            found.setdefault(_place(one.offer), one)
    chosen = list(found.values())
    return [*chosen, *[one for one in rungs if one not in chosen][: wanted - len(chosen)]]


def _place(offer: Offer) -> _Place:
    return offer.cloud, offer.region, offer.zone, offer.type


class _Runner(NamedTuple):
    lap: Lap
    lane: Lane


_End = tuple[_Runner, "Held | BaseException"]


class Race:
    """The rungs of one hedge. ``most``: so many at once."""

    def __init__(
        self,
        shop: Workshop,
        wish: Wish,
        most: int,
        track: Track,
        recall: Recall,
        history: Callable[[], History],
    ) -> None:
        self._shop = shop
        self._wish = wish
        self._most = most
        self._track = track
        self._recall = recall
        self._history = history
        self._lock = threading.Lock()
        self._ends: SimpleQueue[_End] = SimpleQueue()
        self._running: dict[int, _Runner] = {}
        self._later: list[Rung] = []
        self._again: set[str] = set()
        self._capped = False
        self._over = ""  # why all that still runs is to end

    def run(self) -> Held:
        """The first sound instance. Raises as :meth:`.climb.Climb.up`."""
        try:
            self._start(self._first())
            while True:
                if not self._running:
                    raise self._track.exhausted()
                runner, end = self._wait()
                held = self._judge(runner, end)
                if held is not None:
                    return held
                rung = None if self._capped else self._pick()
                self._start([] if rung is None else [rung])
        except BaseException as error:
            self._finish(str(error) or type(error).__name__)
            raise

    # -- starting -----------------------------------------------------------------------------

    def _first(self) -> list[Rung]:
        """The rungs to begin with; says what that costs."""
        rungs: list[Rung] = []
        while len(rungs) < self._most:
            rung = self._pick([_place(one.offer) for one in rungs], bool(rungs))
            if rung is None:
                break
            rungs.append(rung)
        if len(rungs) > 1:
            price = hedge([one.offer for one in rungs], self._history())
            self._shop.reporter.notice(hedge_words(price))
        return rungs

    def _pick(self, places: Sequence[_Place] = (), beside: bool = False) -> Rung | None:
        """The next rung of another type or place than those that run; one that is like them when
        there is no other."""
        taken = {*places, *(_place(one.lap.rung.offer) for one in self._running.values())}
        beside = beside or bool(self._running)
        while (rung := self._track.next()) is not None:
            self._track.claim(rung)
            if _place(rung.offer) not in taken and not (beside and self._is_here(rung)):
                return rung
            self._later.append(rung)
        for rung in self._later[:]:
            if self._track.shut(rung):
                self._later.remove(rung)
            elif not (beside and self._is_here(rung)):
                self._later.remove(rung)
                return rung
        return None

    def _is_here(self, rung: Rung) -> bool:
        """It is this computer, of which there is one."""
        return self._shop.providers[rung.offer.cloud].traits.shared_host

    def _start(self, rungs: Sequence[Rung]) -> None:
        if rungs:
            names = " | ".join(one.offer.key() for one in rungs)
            self._shop.reporter.stage("boot", "start", names)
        for rung in rungs:
            self._launch(rung)

    def _launch(self, rung: Rung) -> None:
        lap = self._track.begin(rung, f"{rung.reason}; asked beside others")
        runner = _Runner(lap, Lane(self._shop.reporter, rung.offer))
        self._running[lap.attempt.seq] = runner
        name = f"byoc-hedge-{lap.attempt.seq}"
        thread = threading.Thread(target=self._work, args=(runner,), name=name, daemon=True)
        self._shop.trailing.append(thread)
        thread.start()

    # -- one of them, in its thread -----------------------------------------------------------

    def _work(self, runner: _Runner) -> None:
        shop, offer = self._shop.beside(runner.lane), runner.lap.rung.offer
        wish = self._wish._replace(stop=lambda: bool(self._over) or self._wish.stop())
        alone = runner.lap.alone and len(self._running) == 1
        end = attempt(partial(rent, shop, offer, wish, runner.lap.attempt.seq, alone))
        with self._lock:
            if not self._over:
                self._ends.put((runner, end))
                return
        self._lose(runner, end)

    def _lose(self, runner: _Runner, end: Held | BaseException) -> None:
        """It came too late. Raises nothing: others are to be given up as well, or wait."""
        lost = attempt(partial(self._give_up, runner, end))
        if isinstance(lost, BaseException):
            key = runner.lap.rung.offer.key()
            self._shop.reporter.notice(f"{key} could not be given up: {lost}")

    def _give_up(self, runner: _Runner, end: Held | BaseException) -> None:
        """End what there is, and write down what became of it."""
        shop, lap = self._shop, runner.lap
        seconds = shop.clock.mono() - lap.begun
        if isinstance(end, Held):
            ended = attempt(partial(end.lost, self._over))
            if isinstance(ended, BaseException):
                shop.reporter.notice(
                    f"instance {end.instance.id} is not needed and could not be ended ({ended}); "
                    "its own lease ends it"
                )
            self._close_beaten(lap, end.instance.id, seconds)
        elif isinstance(end, Failed) and isinstance(end.error, CancelledError):
            self._close_beaten(lap, end.instance, seconds)
        elif isinstance(end, Failed):
            self._remember(lap.rung.offer, end)
            failed = told(lap.attempt, end.error, seconds, sure=end.sure)
            shop.journal.close_attempt(failed._replace(instance_id=end.instance))
        else:
            self._track.broke(lap, end)

    def _close_beaten(self, lap: Lap, instance: str, seconds: float) -> None:
        cost = billed(lap.rung.offer, seconds)
        spent = f", after about {dollars(cost)}" if instance and cost is not None else ""
        what = "ended at once" if instance else "nothing was launched"
        self._shop.journal.close_attempt(
            lap.attempt._replace(
                outcome=BEATEN,
                instance_id=instance,
                seconds=seconds,
                message=f"{what}{spent}: {self._over}",
            )
        )

    def _remember(self, offer: Offer, failed: Failed) -> None:
        """What it met is worth knowing all the same."""
        if isinstance(failed.error, BadHostError):
            self._recall.quarantine(failed.error, offer)
        elif isinstance(failed.error, ProviderError):
            self._recall.add(self._wish.run, failed.error, offer)

    # -- who is first -------------------------------------------------------------------------

    def _wait(self) -> _End:
        while True:
            try:
                return self._ends.get(timeout=SLICE)
            except Empty:
                if self._wish.stop():
                    raise CancelledError("cancelled before an instance was had") from None

    def _judge(self, runner: _Runner, end: Held | BaseException) -> Held | None:
        """The instance when it is one; None when others may do better. Raises what stops all."""
        lap = runner.lap
        del self._running[lap.attempt.seq]
        if isinstance(end, Held):
            self._finish(f"{lap.rung.offer.key()} was ready first")
            self._track.took(lap, end)
            runner.lane.won()
            return end
        if not isinstance(end, Failed):
            self._track.broke(lap, end)
            raise end
        try:
            error = self._track.failed(lap, end)
        except PlacementError:  # a limit of the installation: those that run are within it
            if not self._running:
                raise
            self._capped = True
            return None
        key = lap.rung.offer.key()
        self._shop.reporter.stage("boot", "failed", f"{key}: {error.message}")
        if isinstance(error, TokenError) and key not in self._again:
            self._again.add(key)  # a token that is taken: once more, with the next one
            self._later.insert(0, lap.rung)
        return None

    def _finish(self, why: str) -> None:
        """Tell all that still run to end; they see to it themselves. Those that have ended since
        they were last asked are seen to here."""
        with self._lock:
            self._over = self._over or why
        while True:
            try:
                runner, end = self._ends.get_nowait()
            except Empty:
                return
            self._lose(runner, end)


class Lane:
    """What one of them tells. ``start`` and ``done`` are the race's to say, until it has won."""

    def __init__(self, reporter: Reporter, offer: Offer) -> None:
        self._reporter = reporter
        self._offer = offer
        self._won = False
        self._booted = 0.0

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        """See :class:`.ports.Reporter`."""
        if self._won:
            self._reporter.stage(name, status, detail, seconds)
        elif status == "wait":
            self._reporter.stage(name, status, f"{detail} ({self._offer.key()})")
        elif (name, status) == ("boot", "done"):
            self._booted = seconds

    def notice(self, message: str) -> None:
        """See :class:`.ports.Reporter`."""
        self._reporter.notice(message)

    def won(self) -> None:
        """From now on it speaks for all."""
        self._won = True
        self._reporter.stage("boot", "done", self._offer.key(), self._booted)
        self._reporter.stage("connect", "start")
