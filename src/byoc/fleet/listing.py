"""What a provider's list means for the lives of a ledger. Pure, a part of :mod:`byoc.fleet.life`.

The list was asked for before the ledger was read, so that what came to be in between is not taken
for missing. What a live client holds is its holder's. Nothing is taken for gone because a list
lacks it: it is asked for by id, and given up when :data:`~byoc.fleet.policy.LISTS` answers in a row
did not know it. What carries our tags but was not launched by us (its cloud's own record says so)
is foreign: never adopted, never ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from .events import (
    BOOTING,
    CLOSED,
    DRAINING,
    ENDING,
    GONE,
    HELD,
    IDLE,
    INTENDED,
    MADE,
    NOTHING,
    UNSURE,
    Command,
    End,
    Ledger,
    Life,
    Listed,
    Look,
    Seen,
    Step,
    Tell,
)
from .policy import Policy

NO_CLIENT = "its client is no more"
"""Why an orphan is ended."""
ORIGIN_LEAST = 16
"""Characters of a token that a cloud's own record keeps at least, where it has room for a part."""


def forged(seen: Seen, token: str, *, origins: bool) -> bool:
    """Whether the tag was put on by hand. ``origins``: the provider tells every instance's."""
    if not seen.origin:
        return origins
    part = len(seen.origin) >= ORIGIN_LEAST and token.startswith(seen.origin)
    return seen.origin != token and not part


def unknown_again(life: Life, now: float) -> Life:
    """One more answer did not know it."""
    return life._replace(missing=life.missing + 1, missed=life.missed or now)


def proved_gone(life: Life, now: float, policy: Policy) -> bool:
    """Whether enough answers, over long enough, did not know it."""
    return life.missing >= policy.lists and now - life.missed >= policy.list_grace


def listed(ledger: Ledger, event: Listed, now: float, policy: Policy) -> Step:
    """What a list changes: adopts, notes what is missing, and ends what nobody has a use for."""
    mine = [seen for seen in event.seen if _ours(seen, event)]
    changes: list[Life] = []
    kills: list[Life] = []
    commands: list[Command] = []
    for seen in _one_each(mine, ledger):
        life = ledger.get(seen.token)
        if seen.token in event.held or (life is not None and life.ended > event.asked):
            continue
        now_is, kill = _shown(life, seen, event, now, policy)
        decided = life is not None and life.state == ENDING
        if kill and decided:
            commands.append(End(now_is.token, now_is.id, now))
        if kill and not decided:
            kills.append(now_is)
        elif now_is != life:
            changes.append(now_is)
    ended = _kills(kills, event, now, policy)
    missing = _missing(ledger, event, mine, now, policy)
    foreign = tuple(seen.id for seen in event.seen if seen.token and not _ours(seen, event))
    if foreign:
        commands.append(Tell("forged", event.provider, foreign))
    return Step(
        (*changes, *ended.changes, *missing.changes),
        (*commands, *ended.commands, *missing.commands),
    )


def _one_each(mine: Sequence[Seen], ledger: Ledger) -> list[Seen]:
    """One instance for each token: where a copy of its tags stands beside it, the one that is known
    already, else that of which its cloud tells the token, else the older one."""
    found: dict[str, Seen] = {}
    for seen in mine:
        life, other = ledger.get(seen.token), found.get(seen.token)
        if other is None or _rank(seen, life) < _rank(other, life):
            found[seen.token] = seen
    return list(found.values())


def _rank(seen: Seen, life: Life | None) -> tuple[bool, bool, float, str]:
    known = life is not None and life.id == seen.id
    return (not known, not seen.origin, seen.started, seen.id)


def _kills(kills: Sequence[Life], event: Listed, now: float, policy: Policy) -> Step:
    """The ends that this list would lead to, unless they are too many to be right."""
    if len(kills) > policy.max_ends:
        return Step((), (Tell("many", event.provider, tuple(one.id for one in kills)),))
    if not event.ends:
        return NOTHING
    return Step(tuple(kills), tuple(End(one.token, one.id, now) for one in kills))


def _ours(seen: Seen, event: Listed) -> bool:
    return bool(seen.token) and not forged(seen, seen.token, origins=event.origins)


def _shown(
    life: Life | None, seen: Seen, event: Listed, now: float, policy: Policy
) -> tuple[Life, bool]:
    """A listed instance that nobody holds: its life now, and whether it is to be ended."""
    stopped = event.stays and seen.state == "ending" and seen.told
    if life is None:  # the journal was lost
        life = Life(
            seen.token, event.provider, seen.region, BOOTING, run=seen.run, created=seen.started
        )
        life = life._replace(id=seen.id, why="found by its tags", orphaned=now)
    elif life.state in (INTENDED, UNSURE):
        why = "adopted after its client ended"
        life = life._replace(state=BOOTING, id=seen.id, why=why, orphaned=now)
    elif life.state in CLOSED:
        if seen.state == "ending" and not stopped:
            return life, False
        why = f"it was closed ({life.why or 'ended'}) and goes on all the same"
        return _to_end(life._replace(id=seen.id), why), True
    if life.id != seen.id:  # a second one of the same token: not what this life is about
        return life, False
    life = life._replace(missing=0, missed=0.0)
    if life.state == ENDING:
        return life, stopped or seen.state in ("pending", "running")
    if seen.state == "ending":
        return _to_end(life, life.why), stopped
    return _unattended(life, now, policy)


def _unattended(life: Life, now: float, policy: Policy) -> tuple[Life, bool]:
    """One that runs and nobody holds: warm, or an orphan."""
    if life.state == IDLE and now <= life.idle_until + policy.warm_grace:
        return life._replace(orphaned=0.0), False
    if life.state == IDLE:
        return _to_end(life, NO_CLIENT), True
    since = life.orphaned or now
    # Without an intent of ours nothing here proves that its client is dead: a copy of this data
    # folder may be at work elsewhere. Its lease and `byoc reap` judge it.
    if life.deadline and now - since >= policy.orphan_grace:
        return _to_end(life, NO_CLIENT), True
    return life._replace(orphaned=since), False


def _to_end(life: Life, why: str) -> Life:
    return life._replace(state=ENDING, why=why, ended=0.0, idle_until=0.0, watch="")


# --- what a list lacks ----------------------------------------------------------------------


def _missing(
    ledger: Ledger, event: Listed, mine: Sequence[Seen], now: float, policy: Policy
) -> Step:
    there = {seen.id: True for seen in mine}
    tokens = {seen.token: True for seen in mine}
    here = [life for life in ledger.values() if _covered(life, event)]
    shrunk = _shrunk(here, there, event, policy)
    changes: list[Life] = []
    commands: list[Command] = []
    for life in here:
        if life.token in event.held or life.id in there or life.token in tokens:
            continue
        if life.state in (INTENDED, UNSURE):
            changes.append(_without(life, now, policy))
        elif life.state in MADE:
            if not shrunk:
                changes.append(unknown_again(life, now))
            commands.append(Look(life.token, life.id, now))
    if shrunk:
        commands.append(Tell("shrunk", event.provider, shrunk))
    return Step(tuple(changes), tuple(commands))


def _covered(life: Life, event: Listed) -> bool:
    """Whether the list would show it: in one of its regions, and intended before it was asked."""
    place = not event.regions or life.region in event.regions
    return life.provider == event.provider and place and life.created <= event.asked


def _without(life: Life, now: float, policy: Policy) -> Life:
    """An intent whose client is no more, and of which no instance is shown."""
    life = unknown_again(life, now)
    if proved_gone(life, now, policy):
        return life._replace(state=GONE, ended=now, why="no instance appeared")
    return life._replace(state=UNSURE, why=life.why or "its client ended while it was launched")


def _shrunk(
    here: Sequence[Life], there: dict[str, bool], event: Listed, policy: Policy
) -> tuple[str, ...]:
    """The instances that a list suddenly lacks, when they are too many to believe it."""
    expected = [
        life
        for life in here
        if life.state in (BOOTING, HELD, DRAINING, IDLE)
        and not life.missing
        and not (life.state == IDLE and life.idle_until < event.asked)
        and event.asked - life.created > policy.unseen_grace
    ]
    lacks = tuple(life.id for life in expected if life.id not in there)
    too_many = len(lacks) > policy.shrunk_part * len(expected)
    return lacks if len(expected) >= policy.shrunk_of and too_many else ()
