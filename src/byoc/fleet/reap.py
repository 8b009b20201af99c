"""Whether a thing in a cloud may be ended, by who knows only its tags: the judge.

Pure: no request, no clock. :mod:`byoc.fleet.audit` gathers what is judged, and
:mod:`byoc.fleet.reaper` acts on it. Nothing is ended on one proof alone:

- of this data folder's own: its client's lock is free, *and* its journal or locks know the launch
  and say that it is not warm;
- of anybody's: the lease in its tags is over by more than clocks differ, *and* nothing answers
  there, or its whole lifetime is over;
- of what belongs to no instance: it carries our tags, *and* its instance is no more.

What our tags were put on by hand (the cloud's own record of the launch says so) is foreign.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import limits
from ..providers.base import OWNER_TAG, RUN_TAG, TOKEN_TAG, Instance
from .leases import lease_of
from .ledger import seen_of
from .listing import forged
from .runids import SHARED

SKEW = 300.0
"""Seconds by which two computers' clocks may differ; most differ by less than one."""
SILENCE = 2 * limits.TAG_LEASE
"""Seconds that a lease must be over where nothing is heard at all: a firewall may keep us out. A
client that lives has then failed six times to renew, and has said so."""
LEFT_GRACE = 180.0
"""Seconds for which a disk or firewall without an instance may belong to a launch that lists do not
show yet."""

FOREIGN = "foreign"
"""Not ours: without our tags, or with tags that were put on by hand."""
LIVE = "live"
"""A client of this data folder holds it, or its lease runs."""
WARM = "warm"
"""Given back, and warm for a while."""
ANSWERS = "answers"
"""Its lease is over, and it answers: its client may only have failed to renew it."""
SILENT = "silent"
"""Its lease is over and nothing is heard there, which may be a firewall's doing."""
ENDING = "ending"
"""Somebody has asked for its end already."""
KEPT = "kept"
"""It costs nothing and opens no door, and the next launch uses it again."""
USED = "used"
"""It belongs to instances that there are."""
ORPHAN = "orphan"
"""This data folder's own; its client is dead."""
EXPIRED = "expired"
"""Its lease is over and it does not answer, or its whole lifetime is over."""
NAMED = "named"
"""It belongs to the run whose end was asked for."""
LEFTOVER = "leftover"
"""What an instance has left behind: a disk, an address, a firewall."""
ASK = "ask"
"""No verdict: it has to be asked whether it answers."""

TO_END = (ORPHAN, EXPIRED, NAMED, LEFTOVER)
"""The verdicts on which something is ended."""
FREE = ("network", "key")
"""Kinds that cost nothing and let nobody in."""

YES, NO, NOTHING_HEARD = "yes", "no", "nothing"
"""Whether an instance answers: it greeted; it refused or has no address; nothing came back."""


class Known(NamedTuple):
    """What a data folder knows of a launch. ``here``: it was made from this folder. ``held``: a
    process of this computer holds its lock. ``idle_until``: of a warm one. ``run``: the latest run
    that held it."""

    here: bool = False
    held: bool = False
    idle_until: float = 0.0
    run: str = ""


NOT_HERE = Known()


class Case(NamedTuple):
    """All that is known of one thing.

    ``stays``: its provider's machines are still paid for after they have shut themselves down.
    ``origins``: its provider tells where every instance of ours came from. ``answer``: whether it
    answers, empty when that was not asked. ``mine``: its owner is the data folder that asks, whose
    own launches are known to it. ``needed``: of another kind, an instance that there is
    (or is about to be) may use it.
    """

    thing: Instance
    known: Known = NOT_HERE
    stays: bool = False
    origins: bool = True
    answer: str = ""
    mine: bool = False
    needed: bool = False


class Verdict(NamedTuple):
    """``word``: one of the above; ``why``: for people."""

    word: str
    why: str

    @property
    def ends(self) -> bool:
        """Whether it is to be ended."""
        return self.word in TO_END


def of_run(run: str, name: str) -> bool:
    """Whether a run is the named one, or one of those that begin with ``name-``: in CI all of a
    job's. What runs of other jobs begin with, too, is no name."""
    begin = name.rstrip("-")
    return bool(begin) and (run == name or (begin not in SHARED and run.startswith(f"{begin}-")))


def run_of(case: Case) -> str:
    """The run that a thing belongs to, by this folder's journal first: a warm instance's tag may
    name the run before."""
    return case.known.run or case.thing.tags.get(RUN_TAG, "")


def judge(case: Case, now: float, named: str = "") -> Verdict:
    """What becomes of a thing. ``now``: seconds since the epoch. ``named``: the run to be ended,
    without waiting for leases.

    Gives :data:`ASK` where it has to be known first whether it answers.
    """
    thing = case.thing
    if not thing.tags.get(OWNER_TAG):
        return Verdict(FOREIGN, "it has no tag of byoc's")
    if thing.kind != "instance":
        return _left(case, now, named)
    token = thing.tags.get(TOKEN_TAG, "")
    if not token or forged(seen_of(thing), token, origins=case.origins):
        return Verdict(FOREIGN, "its tags were put on by hand: byoc did not launch it")
    if thing.state == "gone" or (thing.state == "ending" and not (case.stays and thing.detail)):
        return Verdict(ENDING, thing.detail or "its end was asked for")
    if of_run(run_of(case), named):
        return Verdict(NAMED, f"it belongs to {run_of(case)}")
    if case.known.held:
        return Verdict(LIVE, "a client of this data folder holds it")
    if case.known.here:
        if case.known.idle_until > now:
            return Verdict(WARM, f"warm for {case.known.idle_until - now:.0f} s more")
        return Verdict(ORPHAN, "its client is no more")
    return _by_tags(case, now)


def _by_tags(case: Case, now: float) -> Verdict:
    """Of an instance of another data folder, only tags and machine can be asked."""
    thing = case.thing
    lease = lease_of(thing.tags)
    expires = max(lease.expires, thing.started + limits.TAG_LEASE if thing.started else 0.0)
    if lease.until and now > lease.until + SKEW:
        return Verdict(EXPIRED, f"its lifetime is over since {now - lease.until:.0f} s")
    if now <= expires + SKEW:
        left = expires - now
        word = f"runs for {left:.0f} s more" if left > 0 else f"was over {-left:.0f} s ago"
        return Verdict(LIVE, f"its lease {word}")
    over = f"its lease is over since {now - expires:.0f} s"
    if case.answer == YES:
        return Verdict(ANSWERS, f"{over}, and it answers")
    if case.answer == NO:
        return Verdict(EXPIRED, f"{over}, and it does not answer")
    if case.answer == NOTHING_HEARD:
        if now > expires + SILENCE:
            return Verdict(EXPIRED, f"{over}, and nothing is heard from it")
        return Verdict(SILENT, f"{over}, but a firewall may keep us from hearing it")
    return Verdict(ASK, over)


def _left(case: Case, now: float, named: str) -> Verdict:
    thing, age = case.thing, now - case.thing.started
    token = thing.tags.get(TOKEN_TAG, "")
    if thing.state in ("gone", "ending"):
        return Verdict(ENDING, thing.detail or "its end was asked for")
    if thing.kind in FREE:
        return Verdict(KEPT, "it costs nothing, and the next launch uses it again")
    if thing.origin and forged(seen_of(thing), token, origins=False):
        return Verdict(FOREIGN, "its tags were put on by hand")
    if thing.kind in ("disk", "image") and not token:
        return Verdict(FOREIGN, "no launch of byoc's is named in its tags")
    if case.known.held or case.needed:
        return Verdict(USED, "instances that there are may need it")
    if of_run(run_of(case), named):
        return Verdict(NAMED, f"it belongs to {run_of(case)}")
    if not case.mine and thing.started and age < LEFT_GRACE:
        return Verdict(USED, f"made {age:.0f} s ago: its instance may not be shown yet")
    return Verdict(LEFTOVER, "its instance is no more")
