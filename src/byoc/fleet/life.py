"""How the life of an instance goes on: one pure function, ``step``.

Ledger and event in, changed lives and commands out; no request, no clock, no chance, and nothing
depends on the order of a set. The shell (:mod:`byoc.fleet.book` and who uses it) writes the changes
to the journal, then does the commands and tells what came of them as events. The simulation in
``tests/simulation`` drives the same function.

Rules: the intent is on disk before its cloud is asked. Unknown is not failed: a launch whose answer
was lost stays open until it is proved to have given nothing. Absent is not gone. Accepted is not
gone. What another live client holds is left alone. An event that does not fit the state of its life
(a late answer) changes nothing, or leads to an end; it never opens a life again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
    OPEN,
    REFUSED,
    UNSURE,
    UNTIL_ACCEPTED,
    UNTIL_BEGUN,
    UNTIL_GONE,
    UNTIL_REACHED,
    Adopted,
    Closing,
    Command,
    End,
    EndAccepted,
    Ended,
    EndFailed,
    Event,
    Find,
    Found,
    GaveUp,
    Launch,
    Launched,
    LaunchFailed,
    Ledger,
    Life,
    Listed,
    Look,
    Looked,
    LookFailed,
    Lost,
    Noticed,
    Reached,
    Refuse,
    Released,
    Replace,
    Step,
    Tell,
    Wanted,
)
from .laws import leaps, validate
from .listing import forged, listed, proved_gone, unknown_again
from .policy import USUAL, Policy

__all__ = ["after", "at_rest", "leaps", "recalled", "step", "validate"]

HOUR = 3600.0


def step(ledger: Ledger, event: Event, now: float, policy: Policy = USUAL) -> Step:
    """What an event changes, and what is to be done about it. ``now``: seconds since the epoch.

    Pure: the same arguments give the same answer. The ledger holds at least the lives that the
    event is about; for a Wanted all open ones, and all of its run.
    """
    if isinstance(event, Listed):
        return listed(ledger, event, now, policy)
    if isinstance(event, Wanted):
        return _wanted(ledger, event, now, policy)
    life = ledger.get(event.token)
    return NOTHING if life is None else _HANDLERS[type(event)](life, event, now, policy)


def after(ledger: Ledger, done: Step) -> dict[str, Life]:
    """The ledger with a step's changes."""
    return {**ledger, **{life.token: life for life in done.changes}}


_PASSING = (
    "alone",
    "lost_answers",
    "throttled",
    "looks",
    "shown",
    "begun",
    "asks",
    "asked",
    "watch",
    "watch_until",
)
_BLANK = Life("", "", "")


def at_rest(life: Life) -> Life:
    """A life as the disk has it: what a client that died takes with it is gone."""
    return life._replace(**{name: getattr(_BLANK, name) for name in _PASSING})


def recalled(disk: Life, memory: Life | None) -> Life:
    """A life as the disk has it, with what this process knows besides; the disk is right where
    another client has led it on."""
    if memory is None or memory.state != disk.state or memory.id != disk.id:
        return disk
    life = disk._replace(**{name: getattr(memory, name) for name in _PASSING})
    # who takes over a booting one sets it a new deadline, which has no row where no intent is left
    return life._replace(why=memory.why, deadline=max(memory.deadline, disk.deadline))


# --- launching ------------------------------------------------------------------------------


def _wanted(ledger: Ledger, event: Wanted, now: float, policy: Policy) -> Step:
    if event.token in ledger:
        return Step((), (Refuse(event.token, "taken"),))
    lives = ledger.values()
    if sum(life.state in OPEN for life in lives) >= policy.max_instances:
        return Step((), (Refuse(event.token, "cap"),))
    made = [life for life in lives if life.run == event.run and life.state != REFUSED]
    if sum(life.node == event.node for life in made) >= policy.max_launches:
        return Step((), (Refuse(event.token, "launches"),))
    if sum(life.created > now - HOUR for life in made) >= policy.max_hourly:
        return Step((), (Refuse(event.token, "launches"),))
    life = Life(
        event.token,
        event.provider,
        event.region,
        run=event.run,
        node=event.node,
        created=now,
        deadline=event.deadline,
        alone=event.alone,
    )
    return Step((life,), (Launch(event.token, now),))


def _launched(life: Life, event: Launched, now: float, policy: Policy) -> Step:
    if life.state == INTENDED:
        return _boot(life, event.id, now, policy)
    if life.state in (UNSURE, *CLOSED) and not life.id:  # the answer came after all
        return _end(life._replace(id=event.id), now, "its launch was given up", UNTIL_ACCEPTED, 0.0)
    return NOTHING


def _boot(life: Life, instance: str, now: float, policy: Policy) -> Step:
    """It exists: wait until it is reached, for as long as was meant from its intent on."""
    deadline = life.deadline if life.state == BOOTING else now + life.deadline - life.created
    made = life._replace(state=BOOTING, id=instance, deadline=deadline, begun=now, looks=0)
    made = made._replace(watch=UNTIL_REACHED, missing=0, missed=0.0, why="")
    return _look_again(made, now, policy)


def _launch_failed(life: Life, event: LaunchFailed, now: float, policy: Policy) -> Step:
    if life.state != INTENDED:
        return NOTHING
    kind, token = event.kind, life.token
    life = life._replace(why=event.why or life.why)
    if kind == "region":  # nothing was asked: nothing can have come of this try
        return _not_launched(life, unsure=life.lost_answers > 0, now=now)
    if kind == "throttle":
        life = life._replace(throttled=life.throttled + 1)
        most = policy.throttle_tries_alone if life.alone else policy.throttle_tries
        longest = min(
            policy.throttle_pause * 2.0 ** (life.throttled - 1), policy.throttle_pause_max
        )
        over, pause = life.throttled >= most, longest * event.share
    elif kind == "transient":
        life = life._replace(lost_answers=life.lost_answers + 1)
        over = life.lost_answers >= policy.launch_tries
        pause = policy.launch_pause * 2.0 ** (life.lost_answers - 1)
    elif kind == "token" or life.lost_answers:  # an earlier try may have made it all the same
        return Step((life,), (Find(token, now),))
    else:
        return _not_launched(life, unsure=False, now=now)
    return Step((life,), (Find(token, now) if over or event.hurry else Launch(token, now + pause),))


def _not_launched(life: Life, *, unsure: bool, now: float) -> Step:
    if unsure:
        why = life.why or "its launch was not answered"
        return Step((life._replace(state=UNSURE, why=why),), (Refuse(life.token, "unsure"),))
    closed = life._replace(state=REFUSED, ended=now)
    return Step((closed,), (Refuse(life.token, "refused"),))


def _found(life: Life, event: Found, now: float, policy: Policy) -> Step:
    seen = event.seen
    if seen is not None and forged(seen, life.token, origins=False):
        told = Tell("forged", life.provider, (seen.id,))
        done = _found(life, Found(event.token, None), now, policy)
        return done._replace(commands=(told, *done.commands))
    there = seen is not None and seen.state in ("pending", "running")
    if life.state == INTENDED:
        if seen is not None and there:
            return _boot(life, seen.id, now, policy)
        return _not_launched(life, unsure=bool(life.lost_answers or life.throttled), now=now)
    if life.state == UNSURE and seen is not None and seen.state != "gone":
        return _end(life._replace(id=seen.id), now, "its launch was given up", UNTIL_ACCEPTED, 0.0)
    return NOTHING


# --- booting, holding -----------------------------------------------------------------------


def _reached(life: Life, event: Reached, now: float, policy: Policy) -> Step:
    if life.state != BOOTING:
        return NOTHING
    held = life._replace(
        state=HELD, reached=now, watch="", looks=0, orphaned=0.0, missing=0, missed=0.0
    )
    return Step((held,))


def _adopted(life: Life, event: Adopted, now: float, policy: Policy) -> Step:
    if life.state not in (BOOTING, HELD, IDLE):
        return NOTHING
    mine = life._replace(
        run=event.run, node=event.node, orphaned=0.0, missing=0, missed=0.0, idle_until=0.0, why=""
    )
    if life.state == BOOTING:
        return _boot(mine._replace(deadline=event.deadline), life.id, now, policy)
    return Step((mine._replace(state=HELD),))


def _gave_up(life: Life, event: GaveUp, now: float, policy: Policy) -> Step:
    if life.state == INTENDED:
        return Step((life._replace(state=UNSURE, why=event.why),))
    if life.state == ENDING and life.asks:
        return Step((life._replace(why=event.why or life.why),))
    if life.state in MADE:
        return _end(life, now, event.why, UNTIL_ACCEPTED, 0.0)
    return NOTHING


def _released(life: Life, event: Released, now: float, policy: Policy) -> Step:
    if life.state == HELD and event.idle_until > now:
        return Step((life._replace(state=IDLE, idle_until=event.idle_until),))
    if life.state in (HELD, DRAINING):
        return _end(life, now, "", UNTIL_GONE, policy.end_wait)
    return NOTHING


def _noticed(life: Life, event: Noticed, now: float, policy: Policy) -> Step:
    if life.state != HELD:
        return NOTHING
    why = f"its cloud takes it away, told {event.seconds:.0f} s before"
    draining = life._replace(state=DRAINING, why=why)
    return Step((draining,), (Replace(life.run, life.node, life.token),))


# --- looking --------------------------------------------------------------------------------


def _looked(life: Life, event: Looked, now: float, policy: Policy) -> Step:
    seen = event.seen
    if life.state not in MADE or seen.id != life.id:
        return NOTHING
    if life.state == BOOTING and life.watch:
        return _looked_booting(life, event, now, policy)
    if seen.state == "gone":
        life = unknown_again(life, now)
        if seen.told or proved_gone(life, now, policy) or _over(life, now, policy):
            return Step((_gone(life, now),))
    else:
        life = life._replace(missing=0, missed=0.0, shown=True)
    if life.state == ENDING:
        return _looked_ending(life, seen.state, now, policy)
    if seen.state == "ending":  # it shuts itself down, or somebody ends it
        return Step((_ending(life, life.why or "it was ended by somebody else"),))
    return Step((life,))


def _over(life: Life, now: float, policy: Policy) -> bool:
    """Whether it was there and was asked to end, so that a cloud that knows it no more has ended
    it."""
    old = now - life.created > policy.unseen_grace
    return life.state == ENDING and life.asks > 0 and (life.reached > 0 or life.shown or old)


def _looked_booting(life: Life, event: Looked, now: float, policy: Policy) -> Step:
    seen, token = event.seen, life.token
    if seen.state == "gone" and seen.told:
        return Step((_gone(life, now),), (Refuse(token, "ended"),))
    lagging = seen.state == "gone" and now - life.begun <= policy.unseen_grace
    if seen.state == "ending" or (seen.state == "gone" and not lagging):
        return _refuse_and_end(life, now, "it ended while it was booting", "ended")
    if now > life.deadline:
        return _refuse_and_end(life, now, "it was not reachable in time", "late")
    shown = life.shown or seen.state != "gone"
    return _look_again(life._replace(shown=shown), now, policy)


def _refuse_and_end(life: Life, now: float, why: str, what: str) -> Step:
    done = _end(life, now, why, UNTIL_ACCEPTED, 0.0)
    return done._replace(commands=(Refuse(life.token, what), *done.commands))


def _look_failed(life: Life, event: LookFailed, now: float, policy: Policy) -> Step:
    if life.state == BOOTING and life.watch:
        if now > life.deadline:
            return _refuse_and_end(life, now, "it was not reachable in time", "late")
        return _look_again(life, now, policy)
    if life.state == ENDING and life.watch in (UNTIL_BEGUN, UNTIL_GONE):
        return _look_again(life, now, policy) if now <= life.watch_until else NOTHING
    return NOTHING


def _look_again(life: Life, now: float, policy: Policy) -> Step:
    pause = min(policy.boot_poll * 2.0 ** min(life.looks, 30), policy.boot_poll_max)
    return Step((life._replace(looks=life.looks + 1),), (Look(life.token, life.id, now + pause),))


# --- ending ---------------------------------------------------------------------------------


def _ending(life: Life, why: str) -> Life:
    return life._replace(
        state=ENDING, why=why or life.why, ended=0.0, idle_until=0.0, looks=0, watch=""
    )


def _gone(life: Life, now: float) -> Life:
    return life._replace(state=GONE, ended=now, idle_until=0.0, watch="", lost=False, orphaned=0.0)


def _end(life: Life, now: float, why: str, watch: str, seconds: float) -> Step:
    """Ask for its end now, and wait for so much of it."""
    life = _ending(life, why)._replace(
        begun=now, asks=0, asked=0.0, watch=watch, watch_until=now + seconds
    )
    return Step((life,), (End(life.token, life.id, now),))


def _ended(life: Life, event: Ended, now: float, policy: Policy) -> Step:
    if life.state not in MADE:
        return NOTHING
    return _end(life, now, event.why, UNTIL_GONE, policy.end_wait)


def _lost(life: Life, event: Lost, now: float, policy: Policy) -> Step:
    if life.state not in MADE:
        return NOTHING
    done = _end(life, now, event.why, UNTIL_ACCEPTED, 0.0)
    return done._replace(changes=tuple(one._replace(lost=True) for one in done.changes))


def _end_accepted(life: Life, event: EndAccepted, now: float, policy: Policy) -> Step:
    if life.state != ENDING:
        return NOTHING
    life = life._replace(asks=life.asks + 1, asked=now, lost=False)
    looks: tuple[Command, ...] = (Look(life.token, life.id, now),) if life.watch else ()
    return Step((life,), looks)


def _end_failed(life: Life, event: EndFailed, now: float, policy: Policy) -> Step:
    if life.state != ENDING or not life.watch or not event.again:
        return NOTHING
    if life.asks:  # it was accepted before
        return _look_again(life, now, policy) if now <= life.watch_until else NOTHING
    pause = min(policy.end_pause * 2.0 ** min(life.looks, 30), policy.end_pause_max)
    if now + pause > life.begun + policy.accept_wait:
        return NOTHING
    return Step((life._replace(looks=life.looks + 1),), (End(life.token, life.id, now + pause),))


def _looked_ending(life: Life, shown: str, now: float, policy: Policy) -> Step:
    """It is to end and has not: look or ask again, for as long as somebody waits."""
    waits = life.watch in (UNTIL_BEGUN, UNTIL_GONE) and now <= life.watch_until
    if not waits or (life.watch == UNTIL_BEGUN and shown == "ending"):
        return Step((life,))
    patience = policy.ask_again * 2.0 ** min(life.asks - 1, 30) if life.asks else 0.0
    if shown in ("pending", "running") and now >= life.asked + patience:
        return Step((life,), (End(life.token, life.id, now),))
    return _look_again(life, now, policy)


def _closing(life: Life, event: Closing, now: float, policy: Policy) -> Step:
    if life.state in (INTENDED, UNSURE):
        life = life._replace(state=UNSURE, why=life.why or "its client ended")
        return Step((life,), (Find(life.token, now),))
    if life.state == ENDING:
        until = now + policy.begin_wait
        life = life._replace(watch=UNTIL_BEGUN, watch_until=until, asked=0.0, looks=0)
        return Step((life,), (Look(life.token, life.id, now),))
    return NOTHING


_HANDLERS: Mapping[type, Callable[[Life, Any, float, Policy], Step]] = {
    Launched: _launched,
    LaunchFailed: _launch_failed,
    Found: _found,
    Looked: _looked,
    LookFailed: _look_failed,
    Reached: _reached,
    Adopted: _adopted,
    GaveUp: _gave_up,
    Released: _released,
    Noticed: _noticed,
    Ended: _ended,
    Lost: _lost,
    EndAccepted: _end_accepted,
    EndFailed: _end_failed,
    Closing: _closing,
}
