"""Asking regions what they sell now, side by side, and not waiting for the slow ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from ..clock import Clock
from ..errors import ProviderError
from ..providers.base import Provider, Survey
from ..resources import Offer
from ..tasks import attempt
from .ports import SLICE, Reporter, Stop, never

WAIT = 5.0
"""Seconds that an acquire waits for surveys before it climbs. A region answers in about one; what
is not known after five is found out by trying."""
SOON = 1.5
"""Seconds after which the answer of the best region is enough: the others are only needed when that
one refuses, and will have answered by then."""
WAIT_LATER = 1.5
"""The same for regions that a climb comes to later: within the two seconds that a failover may
take."""
FRESH = 60.0
"""Seconds for which a survey is used again: many instances started at once ask once, and quotas and
prices do not move faster than that."""
MOST = 8
"""Regions asked at the same moment: each asks several questions at once itself, and clouds' limits
are some tens of requests a second."""

Place = tuple[str, str]
"""A cloud and one of its regions."""

_LOG = logging.getLogger(__name__)


class _Entry:
    """One survey: under way, there, or failed."""

    def __init__(self, begun: float, offers: Mapping[tuple[str, str], Offer]) -> None:
        self.begun = begun
        self.offers = offers  # by type and market: prices may change on the way
        self.done = False
        self.told = False
        self.survey: Survey | None = None
        self.error: ProviderError | None = None


class Surveyor:
    """The surveys of one process, by place. Safe to use from several threads. ``version`` changes
    whenever an answer has come."""

    def __init__(self, providers: Mapping[str, Provider], reporter: Reporter, clock: Clock) -> None:
        self._providers = providers
        self._reporter = reporter
        self._clock = clock
        self._entries: dict[Place, _Entry] = {}
        self._changed = threading.Condition()
        self._todo: SimpleQueue[tuple[Place, _Entry]] = SimpleQueue()
        self._working = 0
        self.version = 0

    def places(self, offers: Iterable[Offer]) -> list[Place]:
        """Where these offers are, once each, in their order; only what can be surveyed."""
        found = dict.fromkeys((one.cloud, one.region) for one in offers)
        regional = {cloud: self._regional(cloud) for cloud in {place[0] for place in found}}
        return [place for place in found if regional[place[0]]]

    def ask(
        self,
        wanted: Mapping[Place, Sequence[Offer]],
        seconds: float,
        stop: Stop = never,
        best: Place | None = None,
    ) -> None:
        """Have surveys of these offers, by place. Returns when all are there or failed, or after
        ``seconds``; what comes later is there for the next ladder. A region that did not answer is
        told by a notice. ``best``: the place whose answer is enough after :data:`SOON`."""
        with self._changed:
            entries = {place: self._entry(place, offers) for place, offers in wanted.items()}
        now = self._clock.mono()
        late = self._wait(entries, now + min(SOON, seconds), stop)
        if late and (best is None or best in late):
            late = self._wait(entries, now + seconds, stop)
        if late and (best is None or best in late) and not stop():
            self._tell([place for place in late if not entries[place].told], entries, seconds)

    def known(self) -> dict[Place, Survey]:
        """The surveys that are there and fresh."""
        with self._changed:
            return {
                place: entry.survey
                for place, entry in self._entries.items()
                if entry.survey is not None and self._fresh(entry)
            }

    def get(self, offer: Offer) -> Survey | None:
        """What was told of the offer's region, if that is fresh."""
        with self._changed:
            entry = self._entries.get((offer.cloud, offer.region))
            return entry.survey if entry is not None and self._fresh(entry) else None

    def pending(self, offer: Offer) -> bool:
        """Whether a survey with this offer is still under way."""
        with self._changed:
            entry = self._entries.get((offer.cloud, offer.region))
            return entry is not None and self._fresh(entry) and not entry.done

    def failed(self) -> dict[Place, ProviderError]:
        """Where no question could be asked, and why; fresh ones."""
        with self._changed:
            return {
                place: entry.error
                for place, entry in self._entries.items()
                if entry.error is not None and self._fresh(entry)
            }

    def asked(self, offer: Offer) -> bool:
        """Whether this offer was in a survey lately, answered or not."""
        with self._changed:
            entry = self._entries.get((offer.cloud, offer.region))
            if entry is None or not self._fresh(entry):
                return False
            return (offer.type, offer.market) in entry.offers

    # -- inside -------------------------------------------------------------------------------

    def _regional(self, cloud: str) -> bool:
        return self._providers[cloud].traits.regional

    def _fresh(self, entry: _Entry) -> bool:
        return self._clock.mono() - entry.begun < FRESH

    def _entry(self, place: Place, offers: Sequence[Offer]) -> _Entry:
        """The place's entry that holds these offers, begun when there is none; under the lock."""
        wanted = {(one.type, one.market): one for one in offers}
        entry = self._entries.get(place)
        if entry is not None and self._fresh(entry):
            if wanted.keys() <= entry.offers.keys():
                return entry
            wanted |= entry.offers  # the new survey replaces the old one
        entry = self._entries[place] = _Entry(self._clock.mono(), wanted)
        self._todo.put((place, entry))
        if self._working < MOST:
            self._working += 1
            threading.Thread(target=self._work, name="byoc-survey", daemon=True).start()
        return entry

    def _work(self) -> None:
        """A thread: asks until nothing is left to ask. A daemon, so that a region that never
        answers does not keep the program from ending."""
        while True:
            try:
                place, entry = self._todo.get_nowait()
            except Empty:
                with self._changed:
                    if not self._todo.empty():
                        continue  # put after the look above
                    self._working -= 1
                    return
            self._ask_one(place, entry)

    def _ask_one(self, place: Place, entry: _Entry) -> None:
        cloud, region = place
        offers = sorted(entry.offers.values(), key=Offer.key)
        found = attempt(partial(self._providers[cloud].survey, region, offers))
        survey = found if isinstance(found, Survey) else None
        error = found if isinstance(found, ProviderError) else None
        if isinstance(found, BaseException) and error is None:
            # An adapter's mistake must neither end this thread, which others wait for, nor keep
            # the user from the other clouds.
            _LOG.error("the survey of %s/%s failed", cloud, region, exc_info=found)
            error = ProviderError(f"{type(found).__name__}: {found}", provider=cloud)
        with self._changed:
            entry.survey, entry.error, entry.done = survey, error, True
            self.version += 1
            self._changed.notify_all()

    def _tell(self, late: Sequence[Place], entries: Mapping[Place, _Entry], seconds: float) -> None:
        """Say once of each place that it is not waited for."""
        for place in late:
            entries[place].told = True
        if late:
            names = ", ".join("/".join(place) for place in late)
            self._reporter.notice(
                f"{names} did not answer within {seconds:g} s: what is there is tried as it is"
            )

    def _wait(self, entries: Mapping[Place, _Entry], deadline: float, stop: Stop) -> list[Place]:
        with self._changed:
            while True:
                late = [place for place, entry in entries.items() if not entry.done]
                left = deadline - self._clock.mono()
                if not late or left <= 0 or stop():
                    return late
                self._changed.wait(min(left, SLICE))
