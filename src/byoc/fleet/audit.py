"""All that carries our tags, of any owner, in every region of every cloud there are credentials
for: what it costs, how old it is, whose it is, and whether it may be ended.

Needs credentials and tags; a data folder, which may be empty, only adds what it knows of its own.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..clock import SYSTEM, Clock
from ..errors import ProviderError
from ..providers.base import ANY, OWNER_TAG, TOKEN_TAG, Instance, Provider
from ..providers.presence import APART, is_set_up
from ..settings import Settings
from ..state import Journal
from ..tasks import side_by_side
from .ledger import seen_of
from .listing import forged
from .locks import FOLDER, alive, holder
from .reap import (
    ASK,
    NO,
    NOT_HERE,
    NOTHING_HEARD,
    YES,
    Case,
    Known,
    Verdict,
    judge,
    run_of,
)
from .registry import registry

CLOUDS_AT_ONCE = 8
REGIONS_AT_ONCE = 16
"""Regions asked side by side when each has to be asked by itself."""
KNOCKS_AT_ONCE = 16
KNOCK = 5.0
"""Seconds for a machine to greet: across an ocean it takes a third of one."""
HOURS = 24.0
_GREETING = b"SSH-"


class Item(NamedTuple):
    """One thing that was found. ``case``: all that its verdict comes from. ``mine``: of this data
    folder's own installation. ``price``: dollars an hour of an instance that is billed, None where
    it is not known; ``age``: seconds, 0 where the cloud tells no beginning."""

    case: Case
    verdict: Verdict
    owner: str
    run: str
    mine: bool
    price: float | None
    age: float

    @property
    def thing(self) -> Instance:
        """What was found."""
        return self.case.thing

    @property
    def per_day(self) -> float | None:
        """Dollars a day; None where the price is not known."""
        return None if self.price is None else self.price * HOURS

    @property
    def found(self) -> bool:
        """Whether it costs money or opens a door, so that somebody should know of it."""
        return self.thing.kind not in ("network", "key")


class Unasked(NamedTuple):
    """A cloud, or one region of it, that could not be asked. ``region``: empty for all of it."""

    cloud: str
    region: str
    error: ProviderError


class Audit(NamedTuple):
    """``clouds``: those that were asked; ``absent``: those without credentials, which were not."""

    items: tuple[Item, ...]
    unasked: tuple[Unasked, ...]
    clouds: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def per_day(self) -> float:
        """Dollars a day of all whose price is known."""
        return sum(item.per_day or 0.0 for item in self.items)


class Auditor:
    """Looks at everything. ``environ``: where credentials show; ``patience``: seconds in which a
    machine has to greet."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        providers: Mapping[str, Provider],
        environ: Mapping[str, str],
        clock: Clock,
        patience: float = KNOCK,
    ) -> None:
        self.home: Path = settings.home
        self._patience = patience
        self.journal = journal
        self.providers = providers
        self.clock = clock
        self._settings = settings
        self._environ = environ

    def clouds(self, names: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """Those to ask, and those without credentials. ``names``: these and no others."""
        if names:
            return list(names), []
        named = {key.partition(".")[0] for key in self._settings.options}
        named.update(self._settings.clouds)
        known = list(self.providers)
        asked = [one for one in known if one in named or is_set_up(one, self._environ)]
        return asked, [one for one in known if one not in asked]

    def look(self, names: Sequence[str] = (), *, mine: bool = False, named: str = "") -> Audit:
        """Everything there is, judged. ``names``: clouds, empty for all with credentials;
        ``mine``: only this installation's; ``named``: as in :func:`byoc.fleet.reap.judge`.

        What cannot be asked is in the answer; raises nothing of a cloud's.
        """
        asked, absent = self.clouds(names)
        owner = self.journal.owner if mine else ANY
        unasked: list[Unasked] = []
        listings = side_by_side(
            [partial(self._list, name, owner, unasked) for name in asked], CLOUDS_AT_ONCE
        )
        things = [one for listing in listings for one in listing]
        items = self._judged(self._cases(things), named)
        order = sorted(items, key=lambda item: (item.thing.started or 0.0, item.thing.id))
        return Audit(tuple(order), tuple(unasked), tuple(asked), tuple(absent))

    def again(self, item: Item, thing: Instance, named: str, *, locked: bool) -> Item:
        """A thing as it is now, judged anew: its machine is asked again as well. ``locked``: the
        caller has its lock, so that no client has it."""
        known = self._known([thing]).get(_token(thing), item.case.known)
        case = item.case._replace(thing=thing, answer="", known=known)
        if locked:
            case = case._replace(known=known._replace(held=False))
        return self._judged([case], named)[0]

    # -- asking -------------------------------------------------------------------------------

    def _list(self, name: str, owner: str, unasked: list[Unasked]) -> list[Instance]:
        """All of one cloud; region by region when not all of them can be asked together."""
        wanted = {OWNER_TAG: owner}
        try:
            return self.providers[name].list(wanted, (), True)
        except ProviderError as error:
            if name not in APART or error.scope == "cloud":
                unasked.append(Unasked(name, "", error))
                return []
        regions = sorted({offer.region for offer in self.providers[name].offers()})
        works = [partial(self._list_region, name, one, wanted, unasked) for one in regions]
        return [one for some in side_by_side(works, REGIONS_AT_ONCE) for one in some]

    def _list_region(
        self, name: str, region: str, wanted: Mapping[str, str], unasked: list[Unasked]
    ) -> list[Instance]:
        try:
            return self.providers[name].list(wanted, (region,), True)
        except ProviderError as error:
            unasked.append(Unasked(name, region, error))
            return []

    # -- judging ------------------------------------------------------------------------------

    def _cases(self, things: Sequence[Instance]) -> list[Case]:
        known = self._known(things)
        traits = {name: self.providers[name].traits for name in {one.provider for one in things}}
        origins = {name: found.origins for name, found in traits.items()}
        living = _Living(things, self._begun(), origins)
        return [
            Case(
                one,
                known.get(_token(one), NOT_HERE),
                traits[one.provider].self_end != "gone",
                traits[one.provider].origins,
                mine=one.tags.get(OWNER_TAG, "") == self.journal.owner,
                needed=one.kind != "instance" and living.need(one),
            )
            for one in things
        ]

    def _known(self, things: Iterable[Instance]) -> dict[str, Known]:
        """What this data folder knows of the launches that things name, by token."""
        tokens = list(dict.fromkeys(token for one in things if (token := _token(one))))
        rows = {row.token: row for row in self.journal.launched(tokens)}
        intents = {one.token: one for one in self.journal.launches(tokens)}
        found = {}
        for token in tokens:
            row, intent = rows.get(token), intents.get(token)
            locked = _is_name(token) and (self.home / FOLDER / token).exists()
            if row is None and intent is None and not locked:
                continue
            found[token] = Known(
                here=True,
                held=locked and holder(self.home, token) > 0,
                idle_until=row.idle_until if row is not None and row.state == "idle" else 0.0,
                run=row.run if row is not None else intent.run if intent is not None else "",
            )
        return found

    def _begun(self) -> list[tuple[str, str, str]]:
        """(cloud, region, owner) where a client of this folder may be about to have one; ``*`` for
        everywhere, while any run goes on."""
        owner = self.journal.owner
        if any(run.pid and alive(run.pid) for run in self.journal.runs(status="running")):
            return [("*", "*", owner)]
        return [
            (one.provider, one.offer.region, owner)
            for one in self.journal.intents()
            if holder(self.home, one.token)
        ]

    def _judged(self, cases: Sequence[Case], named: str) -> list[Item]:
        now = self.clock.wall()
        verdicts = [judge(case, now, named) for case in cases]
        asked = [n for n, verdict in enumerate(verdicts) if verdict.word == ASK]
        answers = side_by_side(
            [partial(knock, cases[n].thing, self._patience) for n in asked], KNOCKS_AT_ONCE
        )
        found = list(cases)
        for number, answer in zip(asked, answers, strict=True):
            found[number] = cases[number]._replace(answer=answer)
            verdicts[number] = judge(found[number], now, named)
        return [self._item(c, v, now) for c, v in zip(found, verdicts, strict=True)]

    def _item(self, case: Case, verdict: Verdict, now: float) -> Item:
        thing = case.thing
        owner = thing.tags.get(OWNER_TAG, "")
        billed = thing.kind == "instance" and thing.state in ("pending", "running")
        return Item(
            case,
            verdict,
            owner,
            run_of(case),
            case.mine,
            thing.offer.price if billed else None,
            max(now - thing.started, 0.0) if thing.started else 0.0,
        )


@contextmanager
def open_auditor(
    settings: Settings, environ: Mapping[str, str], clock: Clock = SYSTEM
) -> Iterator[Auditor]:
    """An auditor with a data folder, which is made when there is none; its journal is closed at the
    end. Raises StateError when the folder cannot be used, SettingsError for an unknown cloud."""
    providers = registry(settings, environ, clock)
    journal = Journal.open(settings.home, clock)
    try:
        yield Auditor(settings, journal, providers, environ, clock)
    finally:
        journal.close()


class _Living:
    """Where which owner has instances, and of which launches. ``origins``: which clouds tell every
    instance's origin."""

    def __init__(
        self,
        things: Iterable[Instance],
        begun: Iterable[tuple[str, str, str]],
        origins: Mapping[str, bool],
    ) -> None:
        there = [one for one in things if one.kind == "instance" and one.state != "gone"]
        self._tokens = {(one.provider, _token(one)) for one in there if _token(one)}
        self._places = set(begun)
        self._places.update(
            (one.provider, one.offer.region, one.tags.get(OWNER_TAG, ""))
            for one in there  # no firewall is kept for what was tagged by hand
            if not forged(seen_of(one), _token(one), origins=origins[one.provider])
        )

    def need(self, thing: Instance) -> bool:
        """Whether an instance that there is may use it: a firewall serves all of its region (or,
        where it has none, of the account), other things the instance of their launch."""
        owner, region = thing.tags.get(OWNER_TAG, ""), thing.offer.region
        token = _token(thing)
        if thing.kind != "firewall" and token:
            return any(
                cloud == thing.provider and (one == token or one.startswith(token))
                for cloud, one in self._tokens
            )
        return any(
            whose == owner and cloud in (thing.provider, "*") and (place in (region, "*"))
            for cloud, place, whose in self._places
        ) or (
            region == "global"
            and any((cloud, whose) == (thing.provider, owner) for cloud, _, whose in self._places)
        )


def knock(thing: Instance, timeout: float = KNOCK) -> str:
    """Whether an SSH server greets there: ``yes``, ``no`` (refused, or not even switched on), or
    ``nothing`` was heard, for which there may be other reasons."""
    if thing.state != "running":
        return NO
    if not thing.address:
        return NOTHING_HEARD if thing.inside else NO
    try:
        with socket.create_connection((thing.address, thing.port), timeout) as door:
            greeting = door.recv(len(_GREETING))
    except (ConnectionRefusedError, ConnectionResetError):
        return NO
    except OSError:
        return NOTHING_HEARD
    return YES if greeting == _GREETING else NO


def _token(thing: Instance) -> str:
    return thing.tags.get(TOKEN_TAG, "")


def _is_name(token: str) -> bool:
    """Whether a token, which anybody may have written, can be a lock's name."""
    return token.isalnum() and token.isascii()
