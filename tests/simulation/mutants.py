"""The seeded bugs by name: field bugs of other systems, and the ways in which this one could rot.

``expects``: the checkers of which one has to notice it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from byoc.fleet import events
from byoc.fleet.events import (
    BOOTING,
    DRAINING,
    ENDING,
    GONE,
    HELD,
    IDLE,
    INTENDED,
    NOTHING,
    REFUSED,
    UNSURE,
    Event,
    Ledger,
    Life,
    Listed,
    Step,
)
from byoc.fleet.policy import Policy
from byoc.fleet.reap import EXPIRED, ORPHAN, Case, Verdict, judge

from .bugs import POLICY, Bugs
from .world import World

if TYPE_CHECKING:
    from .shell import Client

MUTANTS: dict[str, type[Bugs]] = {}
SWEPT = ("sweep", "deadman", "ttl", "reaper")
"""All nets: what remains is what a client does for itself while it lives."""
QUIET: tuple[tuple[str, Any], ...] = tuple(
    dict.fromkeys(
        (
            *("crash", "crash_loop", "write_failure", "ledger_lost", "sleep", "cut", "offline"),
            *("api_down", "denied", "storm", "spot", "agent_crash", "agent_hang"),
        ),
        0.0,
    ).items()
)
"""No faults that only a net can do something about."""


def mutant(kind: type[Bugs]) -> type[Bugs]:
    """Register a bug under its name."""
    assert kind.name not in MUTANTS, kind.name
    MUTANTS[kind.name] = kind
    return kind


def _close(life: Life, state: str, now: float, why: str = "") -> Step:
    closed = life._replace(
        state=state, ended=now, idle_until=0.0, watch="", lost=False, orphaned=0.0, why=why
    )
    return Step((closed,))


def _without(done: Step, *kinds: type) -> Step:
    return done._replace(commands=tuple(c for c in done.commands if not isinstance(c, kinds)))


# --- the launch -----------------------------------------------------------------------------


@mutant
class RandomToken(Bugs):
    name = "random-token"
    why = "a fresh idempotency token for each call (the SDKs' default)"

    def sent_token(self, token: str, world: World) -> str:
        return f"{world.rng.getrandbits(64):016x}{token[16:]}"


@mutant
class TokenPerRun(Bugs):
    name = "token-per-run"
    why = "a token derived from the job, not from the attempt (harbor #2346)"

    def token(self, token: str, run: str) -> str:
        return f"{run:x<32}"


@mutant
class LaunchThenWrite(Bugs):
    name = "launch-then-write"
    why = "the intent is written when the launch has answered (Packer, dstack, Terraform)"
    off = ("deadman", "ttl", "reaper")

    def writes(self, life: Life) -> bool:
        return life.state != INTENDED


@mutant
class LaunchThenWriteSwept(LaunchThenWrite):
    name = "launch-then-write-no-cap"
    why = "the same, with all nets on: what the ledger does not know is not counted"
    off = ()

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, events.Wanted):
            ledger = {t: life for t, life in ledger.items() if life.state != INTENDED}
        return super().step(ledger, event, now, policy)


@mutant
class UnknownIsFailure(Bugs):
    name = "unknown-is-failure"
    why = "a launch whose answer was lost counts as failed; no sweep behind it"
    off = SWEPT
    force = QUIET

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, events.LaunchFailed) and event.kind == "transient":
            life = ledger.get(event.token)
            if life is not None and life.state == INTENDED:
                done = _close(life, REFUSED, now)
                return done._replace(commands=(events.Refuse(event.token, "refused"),))
        return super().step(ledger, event, now, policy)


@mutant
class LateAnswerDropped(Bugs):
    name = "late-answer-dropped"
    why = "the answer to a launch that was given up is thrown away; no sweep behind it"
    off = SWEPT
    force = (*QUIET, ("lose_reply", 0.4), ("list_lag", 90.0), ("clients", 1))

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        unsure = isinstance(event, (events.Launched, events.Found)) and (
            (life := ledger.get(event.token)) is not None and life.state == UNSURE
        )
        return NOTHING if unsure else super().step(ledger, event, now, policy)


@mutant
class RetryFull(Bugs):
    name = "retry-full"
    why = "no capacity is a server error, and retried (botocore's standard mode, OCI's strategy)"

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, events.LaunchFailed) and event.kind == "refused":
            event = event._replace(kind="transient")
        return super().step(ledger, event, now, policy)


@mutant
class NoMemory(Bugs):
    name = "no-memory"
    why = "what was refused a moment ago is asked for again"
    remembers = False


@mutant
class NoPause(Bugs):
    name = "no-pause"
    why = 'a cloud that says "too often" is asked again at once'
    policy = POLICY._replace(throttle_tries=400, throttle_tries_alone=400, throttle_pause=0.0)


@mutant
class HotPoll(Bugs):
    name = "hot-poll"
    why = "a booting instance is looked at without a pause"
    policy = POLICY._replace(boot_poll=0.0, boot_poll_max=0.0)


@mutant
class NoCap(Bugs):
    name = "no-cap"
    why = "nothing limits how many live at a time"
    policy = POLICY._replace(max_instances=10**6)


@mutant
class NoLaunchLimit(Bugs):
    name = "no-launch-limit"
    why = "nothing limits how many are launched for one run, one after the other"
    policy = POLICY._replace(max_launches=10**6, max_hourly=10**6)


@mutant
class NoDeadline(Bugs):
    name = "no-deadline"
    why = "an instance that never boots is waited for without an end"
    off = ("deadman",)

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, (events.Wanted, events.Adopted)):
            event = event._replace(deadline=now + 10**6)
        return super().step(ledger, event, now, policy)


@mutant
class Hasty(Bugs):
    name = "hasty"
    why = "a new client takes over the deadline of the one that died"

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, events.Adopted) and event.token in ledger:
            event = event._replace(deadline=ledger[event.token].created + 60.0)
        return super().step(ledger, event, now, policy)


# --- the end --------------------------------------------------------------------------------


@mutant
class TrustTerminate(Bugs):
    name = "trust-terminate"
    why = "an accepted terminate counts as gone; no sweep behind it (skypilot #4443, dstack #1551)"
    off = SWEPT
    force = QUIET

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, events.EndAccepted) and event.token in ledger:
            return _close(ledger[event.token], GONE, now, "ended")
        return super().step(ledger, event, now, policy)


@mutant
class EndFailedForgotten(Bugs):
    name = "end-failed-forgotten"
    why = "an end that failed counts as done; no sweep behind it"
    off = SWEPT
    force = QUIET

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, events.EndFailed) and event.token in ledger:
            return _close(ledger[event.token], GONE, now, "ended")
        return super().step(ledger, event, now, policy)


@mutant
class AskedOnce(Bugs):
    name = "asked-once"
    why = "a sweep does not ask again for an end that was asked for before; no dead-man"
    off = ("deadman", "ttl", "reaper")

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        done = super().step(ledger, event, now, policy)
        if not isinstance(event, (Listed, events.Closing)):
            return done
        known = {t for t, life in ledger.items() if life.state == ENDING}
        kept = [
            one
            for one in done.commands
            if not (isinstance(one, (events.End, events.Look)) and one.token in known)
        ]
        return done._replace(commands=tuple(kept))


@mutant
class NoOrphanSweep(Bugs):
    name = "no-orphan-sweep"
    why = "a sweep ends no orphans; no dead-man (dstack #3453, terraform #694, packer #8346)"
    off = ("deadman", "ttl", "reaper")

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, Listed):
            event = event._replace(ends=False)
        return super().step(ledger, event, now, policy)


@mutant
class NoNets(Bugs):
    name = "no-sweep-no-deadman"
    why = "both nets removed"
    removes = True
    off = SWEPT


@mutant
class NoDeadman(Bugs):
    name = "no-deadman"
    why = "an instance never ends itself (dstack #1047)"
    removes = True
    off = ("deadman", "reaper")


@mutant
class StoppedIsGone(Bugs):
    name = "stopped-is-gone"
    why = "a machine that has shut itself down counts as ended where it is still paid for"

    def listed(self, client: Client, event: Listed, early: Any) -> Listed:
        return event._replace(stays=False)


@mutant
class IdleForEver(Bugs):
    name = "idle-for-ever"
    why = "a warm instance stays when its time is over; no dead-man"
    off = ("deadman", "ttl", "reaper")
    policy = POLICY._replace(warm_grace=10.0**6)


# --- lists ----------------------------------------------------------------------------------


@mutant
class OneListIsGone(Bugs):
    name = "one-list-is-gone"
    why = "what one list lacks is gone (skypilot #4431)"

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        done = super().step(ledger, event, now, policy)
        if not isinstance(event, Listed):
            return done
        there = {seen.token for seen in event.seen}
        gone = [
            _close(life, GONE, now, "no list shows it").changes[0]
            for life in ledger.values()
            if life.provider == event.provider
            and life.state in (BOOTING, HELD, IDLE, DRAINING)
            and life.token not in there
        ]
        lost = {life.token for life in gone}
        rest = tuple(one for one in done.changes if one.token not in lost)
        return done._replace(changes=(*rest, *gone))


@mutant
class OneListNoIntent(Bugs):
    name = "one-list-closes-intents"
    why = "an intent that one list does not show is closed; no dead-man"
    off = ("deadman", "ttl", "reaper")
    policy = POLICY._replace(lists=1, list_grace=0.0)

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, Listed):  # and what was closed is not looked at again
            seen = tuple(
                one
                for one in event.seen
                if one.token not in ledger or ledger[one.token].state != GONE
            )
            event = event._replace(seen=seen)
        return super().step(ledger, event, now, policy)


@mutant
class LocksFirst(Bugs):
    name = "locks-before-the-list"
    why = "who holds what is read before the list is asked for (karpenter-aws's GC comment)"
    policy = POLICY._replace(orphan_grace=0.0)

    def early_view(self, client: Client) -> Any:
        return dict.fromkeys(client.laptop.locks)

    def listed(self, client: Client, event: Listed, early: Any) -> Listed:
        return event._replace(held=early)


@mutant
class LocksIgnored(Bugs):
    name = "locks-ignored"
    why = "a sweep takes what other clients hold for its own"

    def listed(self, client: Client, event: Listed, early: Any) -> Listed:
        mine = [t for t, one in client.laptop.locks.items() if one is client]
        return event._replace(held=dict.fromkeys(mine))


@mutant
class OrphansAtOnce(Bugs):
    name = "warm-ones-are-orphans"
    why = "a sweep ends warm instances before their time"
    policy = POLICY._replace(warm_grace=-100.0)


@mutant
class ForgedTrusted(Bugs):
    name = "forged-tags-trusted"
    why = "a tag is proof enough"

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, Listed):
            trusted = tuple(one._replace(origin=one.token) for one in event.seen)
            event = event._replace(seen=trusted)
        return super().step(ledger, event, now, policy)


@mutant
class AnyOwner(Bugs):
    name = "any-owner"
    why = "a sweep looks at everybody's instances"
    sweeps_owner = "*"


@mutant
class OrphanAdopted(Bugs):
    name = "foreign-adopted"
    why = "what was launched by hand with a copied tag is adopted on every cloud without a record"

    def listed(self, client: Client, event: Listed, early: Any) -> Listed:
        bare = tuple(one._replace(origin="") for one in event.seen)
        return event._replace(origins=False, seen=bare)


# --- work -----------------------------------------------------------------------------------


@mutant
class NoCompareAndSet(Bugs):
    name = "late-results-accepted"
    why = "a result is taken from whoever brings one"
    accepts_late = True


@mutant
class LostInputs(Bugs):
    name = "lost-inputs"
    why = "what a lost instance ran is not queued again"
    gives_back = False


@mutant
class NoticeIgnored(Bugs):
    name = "notice-ignored"
    why = "no replacement is asked for when a preemption is announced"

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        done = super().step(ledger, event, now, policy)
        return _without(done, events.Replace) if isinstance(event, events.Noticed) else done


@mutant
class LostStaysHeld(Bugs):
    name = "lost-stays-held"
    why = "an instance that stopped answering is only forgotten; no dead-man"
    off = ("deadman", "ttl", "reaper")

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, events.Lost) and event.token in ledger:
            return _close(ledger[event.token], GONE, now, event.why)
        if isinstance(event, Listed):
            seen = tuple(
                one
                for one in event.seen
                if one.token not in ledger or ledger[one.token].state != GONE
            )
            event = event._replace(seen=seen)
        return super().step(ledger, event, now, policy)


@mutant
class Undeclared(Bugs):
    name = "undeclared-edge"
    why = "a late answer opens a closed life again"

    def step(self, ledger: Ledger, event: Event, now: float, policy: Policy) -> Step:
        if isinstance(event, events.Launched) and event.token in ledger:
            life = ledger[event.token]
            if life.state in (UNSURE, GONE, REFUSED):
                return Step((life._replace(state=HELD, id=event.id, ended=0.0, reached=now),))
        return super().step(ledger, event, now, policy)


# --- the reaper -----------------------------------------------------------------------------


@mutant
class ReaperTrustsTags(Bugs):
    name = "reaper-one-proof"
    why = "the reaper ends what no lease covers, whether it answers or not; tags are not renewed"
    marks = False

    def judge(self, case: Case, now: float) -> Verdict:
        verdict = judge(case, now)
        return Verdict(EXPIRED, "over") if verdict.word == "ask" else verdict


@mutant
class ReaperNoLocks(Bugs):
    name = "reaper-no-locks"
    why = "the reaper takes all of its own data folder's instances for orphans"

    def judge(self, case: Case, now: float) -> Verdict:
        return judge(case._replace(known=case.known._replace(held=False)), now)


@mutant
class ReaperForged(Bugs):
    name = "reaper-forged"
    why = "the reaper takes copied tags for its own"

    def judge(self, case: Case, now: float) -> Verdict:
        token = case.thing.tags.get("byoc-token", "")
        verdict = judge(case._replace(thing=case.thing._replace(origin=token)), now)
        return verdict if verdict.word != "ask" else Verdict(EXPIRED, "over")


@mutant
class ReaperWarm(Bugs):
    name = "reaper-warm"
    why = "the reaper does not know warm instances"

    def judge(self, case: Case, now: float) -> Verdict:
        verdict = judge(case, now)
        return Verdict(ORPHAN, "idle") if verdict.word == "warm" else verdict
