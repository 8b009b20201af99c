"""What clouds refused: the journal's memory, and what holds for one run only."""

from __future__ import annotations

import math
import threading

from ..clock import Clock
from ..errors import (
    BadHostError,
    CapacityError,
    Error,
    ProviderError,
    ThrottleError,
    TransientError,
)
from ..placement.memory import TAKEN, covers, lasts, refusal_of
from ..placement.told import draws_of
from ..providers.base import Instance, Survey
from ..resources import Offer
from ..state import Journal, Refusal

PASSING = 60.0
"""Seconds for which a run keeps off what went on throttling, since limits are counted by the
minute, and off a region that answered nothing."""

QUARANTINE = 1800.0
"""Seconds for which a type is not asked for in a zone that gave a broken machine of it. What was
just given back is what the next launch there is likely to get; clouds' own checks take a host out
of service within minutes to hours. Half an hour without one zone costs little where there are
others, and where there are none it is not long."""


TAKEN_FOR = 1800.0
"""Seconds for which an offer counts as dearer after an instance of it was taken back; what others
remember too. A zone that is short of a spot type mostly stays so for a while."""


def note_loss(journal: Journal, clock: Clock, instance: Instance) -> None:
    """Remember that a cloud took an instance away, where it says so: its zone is short."""
    if instance.failure is not None:
        note_taken(journal, clock, instance.offer, instance.failure)


def note_taken(
    journal: Journal, clock: Clock, offer: Offer, reason: ProviderError | None = None
) -> None:
    """Remember that an instance of this offer is taken back, or was: another zone comes first."""
    error = CapacityError(
        "a spot instance was taken back" if reason is None else reason.message,
        vendor_code=reason.vendor_code if reason is not None else TAKEN,
        request_id=reason.request_id if reason is not None else "",
        scope="offer",
        remember=TAKEN_FOR,
    )
    found = refusal_of(error, offer, (), clock.wall())
    if found is not None:
        journal.remember(found._replace(error=TAKEN))


class Recall:
    """The memory of refusals, shared by all climbs of a process. Safe from several threads.

    ``version`` changes whenever something was added or dropped.
    """

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[str, dict[str, Refusal]] = {}
        self.version = 0

    def of(self, run: str) -> list[Refusal]:
        """What a run has to keep off now."""
        with self._lock:
            own = list(self._runs.get(run, {}).values())
        return own + self._journal.refusals(self._clock.wall())

    def add(
        self, run: str, error: ProviderError, offer: Offer, survey: Survey | None = None
    ) -> Refusal | None:
        """Remember a refusal of ``offer``, in the journal or for this run alone; returns it as
        kept, None when it shuts nothing."""
        now = self._clock.wall()
        draws = draws_of(survey, offer)
        everywhere = {one.bucket for one in survey.quotas if not one.region} if survey else set()
        found = refusal_of(error, offer, draws, now, everywhere)
        if found is None and isinstance(error, ThrottleError):
            shut = ProviderError(error.message, scope="region", vendor_code=error.vendor_code)
            found = refusal_of(shut, offer, draws, now)
        if found is None:
            return None
        if isinstance(error, (ThrottleError, TransientError)) and not lasts(error):
            found = found._replace(error=error.code, until=now + PASSING)
        if lasts(error):
            found = self._journal.remember(found)
            with self._lock:
                self.version += 1
            return found
        with self._lock:
            known = self._runs.setdefault(run, {})
            if found.key not in known or known[found.key].until <= now:
                known[found.key] = found
                self.version += 1
            return known[found.key]

    def bar(
        self, run: str, error: Error, offer: Offer, seconds: float = math.inf
    ) -> Refusal | None:
        """Leave the offer's cloud out, for the rest of this run unless ``seconds`` are given;
        returns what is kept of it."""
        theirs = error if isinstance(error, ProviderError) else ProviderError()
        shut = ProviderError(
            error.message,
            scope="cloud",
            vendor_code=theirs.vendor_code,
            request_id=theirs.request_id,
            hints=error.hints,
        )
        now = self._clock.wall()
        found = refusal_of(shut, offer, (), now)
        if found is not None:
            found = found._replace(error=error.code, until=now + seconds)
            with self._lock:
                self._runs.setdefault(run, {})[found.key] = found
                self.version += 1
        return found

    def quarantine(self, error: BadHostError, offer: Offer) -> Refusal | None:
        """Keep off the offer's type in its zone for a while, in all runs: it gave a broken machine.
        Returns what is kept."""
        shut = ProviderError(
            error.message, scope="type@zone", remember=QUARANTINE, hints=error.hints
        )
        found = refusal_of(shut, offer, (), self._clock.wall())
        if found is not None:
            found = self._journal.remember(found._replace(error=error.code))
            with self._lock:
                self.version += 1
        return found

    def worked(self, run: str, offer: Offer, launched: float, survey: Survey | None = None) -> None:
        """An instance of this offer was had, asked for at ``launched``: whatever said before that
        there is none is wrong. What others were told since then stays: they may have asked for one
        more than there was."""
        draws = draws_of(survey, offer)
        with self._lock:
            own = list(self._runs.get(run, {}).values())
        # ended ones too: they would make the next refusal count as a repetition
        known = own + self._journal.refusals(0.0)
        wrong = {one.key for one in known if one.at < launched and covers(one, offer, draws)}
        if not wrong:
            return
        self._journal.forget(sorted(wrong))
        with self._lock:
            for key in wrong:
                self._runs.get(run, {}).pop(key, None)
            self.version += 1
