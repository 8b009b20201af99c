"""Climbing a ladder: one rung after the other until an instance is ours and answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from ..errors import (
    BadHostError,
    BadRequestError,
    BootError,
    CancelledError,
    Error,
    HostKeyError,
    InstanceError,
    PlacementError,
    ProviderError,
    TokenError,
    TransientError,
)
from ..placement.cost import billed, dollars, span
from ..placement.match import gpu_rank
from ..placement.memory import Memory
from ..placement.told import draws_of
from ..resources import Offer, Rung
from ..state import Attempt, Refusal
from .hedge import Lap, Race, width
from .held import Held
from .recall import PASSING
from .rent import Failed, rent, told
from .route import Route
from .workshop import Wish, Workshop

MAX_RUNGS = 64
"""Most rungs that one acquire tries: two minutes of refusals at two seconds each, after which a
person would rather be told."""
TURN = 8
"""Refusals after which a cloud, for one GPU choice and market, lets the others have their turn: its
further zones are likely to be short too, and the other market or the next cloud is only a little
dearer. More than any region has zones, so that each zone of the best region is asked first. Fewer
where so many kinds of offers fit that not each would have its turn within :data:`MAX_RUNGS`."""
DEAD = 4
"""What a machine that was had and never answered weighs in such turns: it took minutes, and when an
image or a network is broken the next one of that cloud will not answer either."""
SILENT = 3
"""Machines that were had and never answered, or were not sound, before a climb leaves their cloud:
each has cost minutes and its smallest bill, and three in different places are no accident."""
WRONG = 3
"""Requests that a cloud finds wrong before a climb takes it for our mistake with that cloud, and
leaves it."""
DEAF = 2
"""Regions of a cloud that answered nothing at all before a climb leaves the cloud for a while: each
has cost up to a minute of timeouts, and most likely none can be reached from here."""
AS_THEY_ARE = (BadHostError, BadRequestError, BootError, TransientError)
"""What is raised itself when all that went wrong is of its kind."""
AHEAD = 64
"""Rungs looked at for regions that have not been surveyed yet."""


def note_denied(shop: Workshop, route: Route, wish: Wish) -> None:
    """Clouds that could not even be surveyed are part of the story that `byoc why` tells."""
    for offer, error in route.denied:
        attempt = shop.attempt(wish, offer, reason=f"the best of {offer.cloud}")
        step = f"{offer.cloud} is left out for the rest of this run"
        shop.journal.close_attempt(told(attempt, error, 0.0)._replace(step=step))
        shop.reporter.notice(f"{offer.cloud} is left out: {error.message}")


_Kind = tuple[str, int, str]
"""Cloud, GPU choice, market."""


class _Group(NamedTuple):
    """The rungs of one kind, by their place in the ladder."""

    key: _Kind
    numbers: list[int]


Take = Callable[[Workshop, Offer, Wish, int, bool], Held]
"""How a rung is taken: as :func:`.rent.rent`."""


class Climb:
    """One acquire's way up its ladder. ``take``: how a rung is taken."""

    def __init__(self, shop: Workshop, route: Route, wish: Wish, take: Take = rent) -> None:
        self._shop = shop
        self._take = take
        self._route = route
        self._wish = wish
        self._recall = route.router.recall
        self._failures: list[tuple[Offer, Error]] = [*route.denied]
        self._tried: set[str] = set()
        self._weights: dict[_Kind, int] = {}
        self._wrong: dict[str, int] = {}
        self._silent: dict[str, int] = {}
        self._deaf: dict[str, int] = {}
        self._groups: list[_Group] = []
        self._named: list[int] = []
        self._memory, self._version = Memory(), -1
        self._sort()

    def up(self) -> Held:
        """Try the rungs until one works. Raises what stopped it, or why none did.

        One after the other; several at once for a run's first instance where ``hedge`` says so.
        """
        most = self._hedged()
        if most > 1:
            names = self._route.router.names(self._wish.resources)
            history = partial(self._route.router.history, names)
            return Race(self._shop, self._wish, most, self, self._recall, history).run()
        while (rung := self.next()) is not None:
            held = self._take_rung(rung)
            if held is not None:
                return held
            offer, failure = self._failures[-1]
            self._shop.reporter.stage("boot", "failed", f"{offer.key()}: {failure.message}")
        raise self.exhausted()

    def _hedged(self) -> int:
        """How many rungs to ask at once. Only for the instance that a run waits for: those that
        join it later are many, and the work goes on without them."""
        wish, wanted = self._wish, self._shop.settings.hedge
        if wanted < 2 or wish.node or wish.nodes > 1 or self._take is not rent:
            return 1
        return width(self._route.ladder.rungs, wanted, self._shop.providers)

    # -- which one is next --------------------------------------------------------------------

    def next(self) -> Rung | None:
        """The next rung, its region surveyed; None when there is none or enough were tried."""
        if self._wish.stop():
            raise CancelledError("cancelled before an instance was had")
        if len(self._tried) >= MAX_RUNGS:
            return None
        while True:
            number = self._choose()
            if number is None:
                return None
            ahead = self._route.ladder.rungs[number : number + AHEAD]
            if self._route.explore([rung.offer for rung in ahead]):
                self._sort()
            elif not self._allowed(ahead[0].offer):
                self._tried.add(ahead[0].offer.key())
            else:
                return ahead[0]

    def _allowed(self, offer: Offer) -> bool:
        """Whether what is not known of an offer can do no harm: the cloud might choose an excluded
        zone, or the price be above the ceiling."""
        rules = self._route.rules
        return not rules.unpriced(offer) and (bool(offer.zone) or not rules.zone_matters(offer))

    def _sort(self) -> None:
        """The ladder's rungs by kind."""
        groups: dict[_Kind, _Group] = {}
        for number, rung in enumerate(self._route.ladder.rungs):
            key = self._kind(rung.offer)
            groups.setdefault(key, _Group(key, [])).numbers.append(number)
        for group in groups.values():
            group.numbers.reverse()  # the next one is the last: dropping it costs nothing
        self._groups, self._named = list(groups.values()), []
        self._turn = max(1, min(TURN, MAX_RUNGS // max(1, len(groups))))

    def _kind(self, offer: Offer) -> _Kind:
        """What takes turns. An approved plan is of one kind: its order is not ours to change."""
        if self._wish.only:
            return ("", 0, "")
        return (offer.cloud, gpu_rank(self._wish.resources, offer) or 0, offer.market)

    def _choose(self) -> int | None:
        """The number of the next rung: of the groups that had the fewest turns, the best one's."""
        self._recollect()
        while self._named:
            if not self._shut(self._named[-1]):
                return self._named[-1]
            self._named.pop()
        best: tuple[int, int] | None = None
        for group in self._groups:
            while group.numbers and self._shut(group.numbers[-1]):
                group.numbers.pop()
            if group.numbers:
                turns = self._weights.get(group.key, 0) // self._turn
                best = min(best or (turns, group.numbers[-1]), (turns, group.numbers[-1]))
        return None if best is None else best[1]

    def claim(self, rung: Rung) -> None:
        """This rung is not to come up again."""
        self._tried.add(rung.offer.key())

    def shut(self, rung: Rung) -> bool:
        """A refusal that is known by now covers it."""
        self._recollect()
        return self._covering(rung.offer) is not None

    def _shut(self, number: int) -> bool:
        offer = self._route.ladder.rungs[number].offer
        return offer.key() in self._tried or self._covering(offer) is not None

    def _covering(self, offer: Offer) -> Refusal | None:
        return self._memory.find(offer, draws_of(self._route.router.survey_of(offer), offer))

    def _recollect(self) -> None:
        """Other acquires of this run refuse and remember beside this one."""
        version = self._recall.version
        if version != self._version:
            now = self._shop.clock.wall()
            self._memory, self._version = Memory(self._route.memory(), now), version

    # -- trying one ---------------------------------------------------------------------------

    def _take_rung(self, rung: Rung) -> Held | None:
        """The instance, or None when this rung gave none and another may."""
        for _ in range(2):  # a token that is taken: once more, with the next one
            lap = self.begin(rung, rung.reason)
            self._shop.reporter.stage("boot", "start", rung.offer.key())
            try:
                held = self._take(self._shop, rung.offer, self._wish, lap.attempt.seq, lap.alone)
            except Failed as failed:
                if not isinstance(self.failed(lap, failed), TokenError):
                    return None
            except BaseException as error:  # Ctrl-C and our own mistakes: note it, never keep it
                self.broke(lap, error)
                raise
            else:
                self.took(lap, held)
                return held
        return None

    def begin(self, rung: Rung, reason: str) -> Lap:
        """A try of a rung begins: it is on disk, and no other try of this climb will be of it."""
        self.claim(rung)
        alone = self._choose() is None
        attempt = self._shop.attempt(self._wish, rung.offer, reason=reason)
        clock = self._shop.clock
        return Lap(rung, attempt, clock.mono(), clock.wall(), alone)

    def took(self, lap: Lap, held: Held) -> None:
        """It gave an instance, which ends when that cannot be written down."""
        offer, seconds = lap.rung.offer, self._shop.clock.mono() - lap.begun
        done = lap.attempt._replace(
            outcome="ok", instance_id=held.instance.id, seconds=seconds, message=held.health
        )
        with held.or_lost():
            self._shop.journal.close_attempt(done)
            survey = self._route.router.survey_of(offer)
            self._recall.worked(self._wish.run, offer, lap.asked, survey)

    def failed(self, lap: Lap, failed: Failed) -> Error:
        """It gave none; returns why. Raises that when no other rung can do better."""
        self._note(lap.attempt, failed, lap.rung.offer, self._shop.clock.mono() - lap.begun)
        if not _goes_on(failed.error):
            raise failed.error from failed.error.__cause__
        return failed.error

    def broke(self, lap: Lap, error: BaseException) -> None:
        """It was broken off by what is no error of byoc's, or not of a try's."""
        text = str(error) or type(error).__name__
        seconds = self._shop.clock.mono() - lap.begun
        self._shop.journal.close_attempt(
            lap.attempt._replace(outcome="failed", message=text, seconds=seconds)
        )

    def _note(self, attempt: Attempt, failed: Failed, offer: Offer, seconds: float) -> None:
        """Remember what failed, and write down what it was and what is done about it."""
        error = failed.error
        self._failures.append((offer, error))
        key = self._kind(offer)
        weight = DEAD if isinstance(error, BootError) else 1
        self._weights[key] = self._weights.get(key, 0) + weight
        kept, spent = None, ""
        if isinstance(error, BootError):
            kept = self._leave(self._silent, SILENT, error, offer)
        elif isinstance(error, BadHostError):
            kept = self._avoid(error, offer, failed.instance)
            cost = billed(offer, seconds)
            spent = "" if cost is None else f"ended after about {dollars(cost)}; "
        elif isinstance(error, ProviderError):
            kept = self._remember(error, offer)
            self._prefer(offer, error.zones)
        done = told(attempt, error, seconds, sure=failed.sure)._replace(
            instance_id=failed.instance,
            remembered=kept.until if kept and kept.until < float("inf") else 0.0,
            step=spent + _step(kept, self._shop.clock.wall()) if _goes_on(error) else "",
        )
        self._shop.journal.close_attempt(done)

    def _avoid(self, error: BadHostError, offer: Offer, instance: str) -> Refusal | None:
        """Keep off where a broken machine was; off its cloud when our image is what is broken."""
        if error.image:
            return self._recall.bar(self._wish.run, error, offer)
        left = self._leave(self._silent, SILENT, error, offer)
        row = self._shop.journal.instance(offer.cloud, instance)
        kept = self._recall.quarantine(error, row.offer if row else offer)  # the row has its zone
        return left or kept

    def _remember(self, error: ProviderError, offer: Offer) -> Refusal | None:
        if isinstance(error, BadRequestError) and offer.zone:
            self._leave(self._wrong, WRONG, error, offer)
        if isinstance(error, TransientError) and error.scope == "region":
            left = self._leave(self._deaf, DEAF, error, offer, PASSING)
            if left is not None:
                return left
        survey = self._route.router.survey_of(offer)
        return self._recall.add(self._wish.run, error, offer, survey)

    def _leave(
        self,
        counts: dict[str, int],
        most: int,
        error: Error,
        offer: Offer,
        seconds: float = math.inf,
    ) -> Refusal | None:
        """Count what should not happen with a cloud; the most of it shuts the cloud to the run for
        so many seconds."""
        counts[offer.cloud] = counts.get(offer.cloud, 0) + 1
        if counts[offer.cloud] < most:
            return None
        return self._recall.bar(self._wish.run, error, offer, seconds)

    def _prefer(self, offer: Offer, zones: tuple[str, ...]) -> None:
        """Have the zones that the cloud named tried before anything else."""
        if not zones or self._wish.only:
            return
        here = (offer.cloud, offer.region, offer.type, offer.market)
        found = {
            one.zone: number
            for number, (one, _) in enumerate(self._route.ladder.rungs)
            if (one.cloud, one.region, one.type, one.market) == here
        }
        self._named = [found[zone] for zone in reversed(zones) if zone in found]

    # -- when none worked ---------------------------------------------------------------------

    def exhausted(self) -> Error:
        """One failure as itself; several as a story. A request of ours that was wrong everywhere
        as itself too, machines none of which answered and clouds that do not: there is nothing
        else to tell."""
        failures, wish = self._failures, self._wish
        if not failures and self._route.over is not None:
            return self._route.over
        if not failures:  # what was there when the ladder was made is shut by another climb
            return PlacementError(
                f"every offer that can hold {wish.resources.describe()} was refused to this run",
                hints=(f"see `byoc why {wish.run}` for each answer",),
            )
        if len({type(error) for _, error in failures}) == 1:
            first = failures[0][1]
            if len(failures) == 1 or isinstance(first, AS_THEY_ARE):
                return first
        many, hints = f"{len(failures)}", list[str]()
        if len(self._tried) >= MAX_RUNGS < len(self._route.ladder.rungs):
            many = f"first {len(failures)} of {len(self._route.ladder.rungs)}"
            hints.append("run it again for the others: what was refused is left out for a while")
        also = f"see `byoc why {wish.run}` for each answer, or allow more clouds or regions"
        return PlacementError(
            f"none of the {many} offers that could hold {wish.resources.describe()} "
            f"worked: {_grouped(failures)}",
            hints=(*hints, also),
        )


def _goes_on(error: Error) -> bool:
    """Whether another offer may do better: not when the user gave up, the journal cannot be
    written, or somebody else's machine answered in our instance's place."""
    return isinstance(error, (ProviderError, InstanceError)) and not isinstance(error, HostKeyError)


def _grouped(failures: Sequence[tuple[Offer, Error]]) -> str:
    """``a/offer and 7 more: no capacity; another: over quota``: by what each cloud's answer was,
    the first ones first."""
    groups: dict[tuple[str, str, str], list[tuple[Offer, Error]]] = {}
    for offer, error in failures:
        # a code's messages differ in little but the names of zones
        code = error.vendor_code if isinstance(error, ProviderError) else ""
        groups.setdefault((offer.cloud, error.code, code or error.message), []).append(
            (offer, error)
        )
    shown = []
    for members in groups.values():
        offer, error = members[0]
        more = f" and {len(members) - 1} more" if len(members) > 1 else ""
        shown.append(f"{offer.key()}{more}: {error.message}")
    return "; ".join(shown)


def _step(kept: Refusal | None, now: float) -> str:
    """What is done about a failure, for people."""
    if kept is None:
        return "gone on to the next offer"
    what = {
        "offer": f"{kept.cloud}/{kept.region}/{kept.zone}/{kept.type}/{kept.market}",
        "type@zone": f"{kept.type} in {kept.cloud}/{kept.region}/{kept.zone}",
        "zone": f"{kept.cloud}/{kept.region}/{kept.zone}",
        "bucket": f"what draws on {kept.bucket or kept.type} in "
        + f"{kept.cloud}/{kept.region}".rstrip("/"),  # no region: it counts for all
        "type": f"{kept.type} at {kept.cloud}",
        "spot": f"spot at {kept.cloud}",
        "region": f"{kept.cloud}/{kept.region}",
    }.get(kept.scope, kept.cloud)
    if kept.until == float("inf"):
        return f"{what} is left out for the rest of this run"
    return f"{what} is left out for {span(kept.until - now)}"
