"""The life of an instance as a pure function: what each event leads to, and what always holds."""

from __future__ import annotations

import ast
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byoc.fleet import events, laws, life, listing
from byoc.fleet.events import (
    BOOTING,
    DRAINING,
    ENDING,
    GONE,
    HELD,
    IDLE,
    INTENDED,
    OPEN,
    REFUSED,
    UNSURE,
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
    Seen,
    Tell,
    Wanted,
)
from byoc.fleet.life import after, at_rest, leaps, step, validate
from byoc.fleet.policy import (
    ACCEPT_WAIT,
    ASK_AGAIN,
    END_WAIT,
    LAUNCH_TRIES,
    LIST_GRACE,
    LISTS,
    MAX_ENDS,
    ORPHAN_GRACE,
    THROTTLE_TRIES,
    THROTTLE_TRIES_ALONE,
    WARM_GRACE,
    Policy,
)
from byoc.limits import BOOT_POLL
from tests.helpers import ROOT

NOW = 1_000_000.0


class Story:
    """A ledger that is told one event after the other, and checked after each."""

    def __init__(self, *lives: Life, now: float = NOW, policy: Policy | None = None) -> None:
        self.ledger: Ledger = {one.token: one for one in lives}
        self.now = now
        self.policy = policy or Policy()

    def tell(self, event: Event, later: float = 0.0) -> tuple[Command, ...]:
        self.now += later
        done = step(self.ledger, event, self.now, self.policy)
        assert not leaps(self.ledger, done), event
        self.ledger = after(self.ledger, done)
        assert not validate(self.ledger), event
        return done.commands

    def state(self, token: str = "t") -> str:
        return self.ledger[token].state

    def lists(self, *seen: Seen, held: tuple[str, ...] = (), **more: bool) -> tuple[Command, ...]:
        return self.tell(Listed("sim", (), seen, self.now - 0.5, held, **more))


def wanted(token: str = "t", node: int = 0, *, alone: bool = False) -> Wanted:
    return Wanted(token, "sim", "r", "run-1", node, NOW + 300, alone)


def seen(state: str = "running", token: str = "t", **more: object) -> Seen:
    return Seen(token, f"i-{token}", state)._replace(**more)  # type: ignore[arg-type]


def made(state: str, token: str = "t", **more: object) -> Life:
    """A life of a client that is no more, launched an hour ago."""
    reached = NOW - 3500 if state in (HELD, DRAINING, IDLE) else 0.0
    one = Life(token, "sim", "r", state, f"i-{token}", "run-1", created=NOW - 3600, reached=reached)
    one = one._replace(deadline=NOW - 3300)
    if state == IDLE:
        one = one._replace(idle_until=NOW + 60)
    if state in (GONE, REFUSED):
        one = one._replace(ended=NOW - 10)
    return one._replace(**more)  # type: ignore[arg-type]


def booting(*, alone: bool = False) -> Story:
    story = Story()
    story.tell(wanted(alone=alone))
    story.tell(Launched("t", "i-t"))
    return story


def held() -> Story:
    story = booting()
    story.tell(Reached("t"), 20)
    return story


# -- launching ------------------------------------------------------------------------------------


def test_whole_life_without_trouble() -> None:
    """Wanted, launched, reached, released, adopted, ended, seen gone."""
    story = Story()
    assert story.tell(wanted()) == (Launch("t", NOW),)
    assert story.state() == INTENDED
    assert story.tell(Launched("t", "i-t")) == (Look("t", "i-t", NOW + BOOT_POLL),)
    (again,) = story.tell(Looked("t", seen("pending")))
    assert isinstance(again, Look)
    assert again.at > NOW
    assert story.tell(Reached("t"), 30) == ()
    assert story.state() == HELD
    assert story.tell(Released("t", NOW + 100), 20) == ()
    assert story.state() == IDLE
    assert story.tell(Adopted("t", "run-2", 1, 0.0)) == ()
    assert (story.state(), story.ledger["t"].run) == (HELD, "run-2")
    assert story.tell(Ended("t")) == (End("t", "i-t", story.now),)
    assert story.tell(EndAccepted("t")) == (Look("t", "i-t", story.now),)
    assert story.state() == ENDING
    assert story.tell(Looked("t", seen("gone", told=True)), 5) == ()
    assert story.state() == GONE


def test_lost_answers_are_asked_again_then_looked_for() -> None:
    """The same token again, with doubling pauses; after the last try a look by tag."""
    story = Story()
    story.tell(wanted())
    pauses = []
    for _ in range(LAUNCH_TRIES - 1):
        (command,) = story.tell(LaunchFailed("t", "transient"))
        assert isinstance(command, Launch)
        pauses.append(command.at - story.now)
    assert pauses == pytest.approx([0.2, 0.4])
    assert story.tell(LaunchFailed("t", "transient")) == (Find("t", NOW),)
    assert story.tell(Found("t", None)) == (Refuse("t", "unsure"),)
    assert story.state() == UNSURE


def test_instance_of_a_lost_answer_is_used() -> None:
    """What the tag shows is the instance that was wanted."""
    story = Story()
    story.tell(wanted())
    story.tell(LaunchFailed("t", "transient", hurry=True))
    assert story.tell(Found("t", seen("pending"))) == (Look("t", "i-t", NOW + BOOT_POLL),)
    assert story.state() == BOOTING


def test_refusal_after_a_lost_answer_is_not_believed() -> None:
    """An earlier try may have made it all the same."""
    story = Story()
    story.tell(wanted())
    story.tell(LaunchFailed("t", "transient"))
    assert story.tell(LaunchFailed("t", "refused")) == (Find("t", NOW),)


@pytest.mark.parametrize(
    ("alone", "tries"), [(False, THROTTLE_TRIES), (True, THROTTLE_TRIES_ALONE)]
)
def test_throttles_are_waited_for_by_chance(alone: bool, tries: int) -> None:
    """Pauses double and are drawn by the share given; there are more of them without another
    offer."""
    story = Story()
    story.tell(wanted(alone=alone))
    pauses = []
    for _ in range(tries - 1):
        (command,) = story.tell(LaunchFailed("t", "throttle", 0.5))
        assert isinstance(command, Launch)
        pauses.append(command.at - story.now)
    assert pauses[:3] == pytest.approx([0.5, 1.0, 2.0])
    assert max(pauses) <= 15
    assert story.tell(LaunchFailed("t", "throttle", 0.5)) == (Find("t", NOW),)


@pytest.mark.parametrize("kind", ["refused", "region"])
def test_definite_refusal_closes(kind: str) -> None:
    """Nothing can have come of it: the intent needs no following."""
    story = Story()
    story.tell(wanted())
    assert story.tell(LaunchFailed("t", kind)) == (Refuse("t", "refused"),)
    assert story.state() == REFUSED


def test_late_answer_of_a_launch_that_was_given_up_is_ended() -> None:
    """An instance that comes after all is not wanted any more."""
    story = Story()
    story.tell(wanted())
    story.tell(GaveUp("t", "cancelled"))
    assert story.tell(Launched("t", "i-t")) == (End("t", "i-t", NOW),)
    assert story.state() == ENDING


def test_cap_refuses_before_a_launch() -> None:
    """No more instances than the cap may be open, whatever their state."""
    story = Story(*(made(state, f"t{n}") for n, state in enumerate([HELD, IDLE, ENDING])))
    story.policy = Policy(max_instances=3)
    assert story.tell(wanted()) == (Refuse("t", "cap"),)
    assert "t" not in story.ledger
    story.policy = Policy(max_instances=4)
    assert story.tell(wanted()) == (Launch("t", NOW),)


def test_launches_of_a_node_are_limited() -> None:
    """One that dies again and again is not launched for ever; refusals do not count."""
    dead = [made(GONE, f"t{n}", node=3) for n in range(5)]
    story = Story(*dead, made(REFUSED, "t9", id="", node=3), policy=Policy(max_launches=6))
    assert story.tell(wanted("a", 3)) == (Launch("a", NOW),)
    assert story.tell(wanted("b", 3)) == (Refuse("b", "launches"),)
    assert story.tell(wanted("b", 4)) == (Launch("b", NOW),)


def test_launches_of_a_run_are_limited_by_the_hour() -> None:
    """The same for all nodes of a run together, counted within the last hour."""
    young = [made(GONE, f"t{n}", node=n, created=NOW - 60) for n in range(2)]
    story = Story(*young, made(GONE, "old", node=8), policy=Policy(max_hourly=3))
    assert story.tell(wanted("a", 9)) == (Launch("a", NOW),)
    assert story.tell(wanted("b", 10)) == (Refuse("b", "launches"),)


# -- booting --------------------------------------------------------------------------------------


def test_death_while_booting_is_told() -> None:
    """One whose cloud says why it ended is gone; one that ends is ended for good."""
    story = booting()
    assert story.tell(Looked("t", seen("gone", told=True))) == (Refuse("t", "ended"),)
    assert story.state() == GONE
    story = booting()
    refuse, end = story.tell(Looked("t", seen("ending")))
    assert (refuse, type(end)) == (Refuse("t", "ended"), End)


def test_read_that_lags_behind_the_launch_is_no_end() -> None:
    """An unexplained absence is borne for a minute after the launch."""
    story = booting()
    (command,) = story.tell(Looked("t", seen("gone")), 59)
    assert isinstance(command, Look)
    assert story.state() == BOOTING
    assert Refuse("t", "ended") in story.tell(Looked("t", seen("gone")), 2)
    assert story.state() == ENDING


@pytest.mark.parametrize("event", [Looked("t", seen("pending")), LookFailed("t")])
def test_patience_ends(event: Event) -> None:
    """What is not reached by its deadline is ended."""
    story = booting()
    refuse, end = story.tell(event, 301)
    assert (refuse, type(end)) == (Refuse("t", "late"), End)


def test_notice_drains_and_asks_for_another() -> None:
    """At the notice, not at the death; the drained one does not become warm."""
    story = held()
    assert story.tell(Noticed("t", 120)) == (Replace("run-1", 0, "t"),)
    assert story.state() == DRAINING
    assert story.tell(Noticed("t", 30)) == ()
    (command,) = story.tell(Released("t", story.now + 60))
    assert isinstance(command, End)


# -- ending ---------------------------------------------------------------------------------------


def test_overheard_end_is_asked_again_with_doubling_patience() -> None:
    """Accepted is not gone: one that goes on is asked to end after 3, 6, 12 seconds more."""
    story = held()
    commands = list(story.tell(Ended("t")))
    begun, asked = story.now, []
    while commands:
        (command,) = commands
        assert isinstance(command, (End, Look))
        story.now = max(story.now, command.at)
        if isinstance(command, End):
            asked.append(story.now - begun)
            commands = list(story.tell(EndAccepted("t")))
        else:
            commands = list(story.tell(Looked("t", seen("running"))))
    assert len(asked) == 5
    for number, (first, second) in enumerate(itertools.pairwise(asked)):
        assert ASK_AGAIN * 2**number <= second - first <= ASK_AGAIN * 2**number + 2
    assert END_WAIT < story.now - begun < END_WAIT + 3
    assert story.state() == ENDING


def test_end_that_is_not_accepted_is_asked_again_for_a_while() -> None:
    """Only where asking again may help."""
    story = held()
    commands = story.tell(Ended("t"))
    begun = story.now
    while commands:
        (command,) = commands
        assert isinstance(command, End)
        story.now = max(story.now, command.at)
        commands = story.tell(EndFailed("t", again=True))
    assert ACCEPT_WAIT - 2 <= story.now - begun <= ACCEPT_WAIT
    assert story.state() == ENDING
    story.tell(Ended("t"))
    assert story.tell(EndFailed("t", again=False)) == ()


def test_unknown_after_its_end_is_gone_only_when_it_was_there() -> None:
    """A cloud that does not know an instance yet does not know it either."""
    story = booting()
    story.tell(GaveUp("t", "cancelled"))
    story.tell(EndAccepted("t"))
    story.tell(Looked("t", seen("gone")))
    assert story.state() == ENDING
    story = held()
    story.tell(Ended("t"))
    story.tell(EndAccepted("t"))
    story.tell(Looked("t", seen("gone")))
    assert story.state() == GONE


def test_lost_one_is_asked_to_end_once_and_seen_to_it_at_the_close() -> None:
    """Its client goes on at once; before it exits it sees that the end has begun."""
    story = held()
    assert isinstance(story.tell(Lost("t", "silence"))[0], End)
    assert story.ledger["t"].lost
    story.tell(EndAccepted("t"))
    assert not story.ledger["t"].lost
    assert story.tell(Looked("t", seen("running"))) == ()
    story.tell(Closing("t"), 30)
    (command,) = story.tell(Looked("t", seen("running")))
    assert isinstance(command, End)
    story.tell(EndAccepted("t"))
    assert story.tell(Looked("t", seen("ending"))) == ()


def test_closing_looks_for_what_is_not_sure() -> None:
    """An instance that came of a lost answer does not outlive its client."""
    story = Story()
    story.tell(wanted())
    story.tell(LaunchFailed("t", "transient", hurry=True))
    story.tell(Found("t", None))
    assert story.tell(Closing("t")) == (Find("t", NOW),)
    assert story.tell(Found("t", seen("pending"))) == (End("t", "i-t", NOW),)


# -- lists ----------------------------------------------------------------------------------------


def test_orphan_of_an_open_intent_is_adopted() -> None:
    """Its client died between the launch and its answer: the instance is known again."""
    story = Story(made(INTENDED, id=""))
    assert story.lists(seen()) == ()
    assert (story.state(), story.ledger["t"].id) == (BOOTING, "i-t")
    looks = (Look("t", "i-t", NOW + BOOT_POLL),)
    assert story.tell(Adopted("t", "run-2", 0, NOW + 300)) == looks


def test_what_others_hold_is_left_alone() -> None:
    """Neither a row is changed nor anything ended that a live client holds."""
    lives = [made(state, state, id="" if state == INTENDED else f"i-{state}") for state in OPEN[:1]]
    lives += [made(state, state) for state in (BOOTING, HELD, DRAINING, IDLE, ENDING)]
    story = Story(*lives)
    before = dict(story.ledger)
    story.now += 30
    shown = [seen(token=one.token) for one in lives if one.id]
    assert story.lists(*shown, held=tuple(before)) == ()
    assert story.lists(held=tuple(before)) == (
        Tell("shrunk", "sim", ("i-booting", "i-held", "i-draining", "i-idle")),
    )
    assert story.ledger == before


def test_absent_is_gone_after_three_answers_over_three_minutes() -> None:
    """Neither one of them is enough."""
    story = Story(made(HELD))
    assert story.lists() == (Look("t", "i-t", NOW),)
    story.tell(Looked("t", seen("gone")))
    story.lists()
    story.tell(Looked("t", seen("gone")), LIST_GRACE - 1)
    assert story.state() == HELD
    story.tell(Looked("t", seen("gone")), 1)
    assert story.state() == GONE
    story = Story(made(HELD))
    story.lists()
    story.tell(Looked("t", seen("gone")), LIST_GRACE)
    assert (story.state(), story.ledger["t"].missing) == (HELD, LISTS - 1)
    story.lists(seen())
    assert story.ledger["t"].missing == 0


def test_intent_without_an_instance_is_closed_likewise() -> None:
    """After three lists over three minutes nothing can appear any more."""
    story = Story(made(INTENDED, id=""))
    for later in (0, 1, LIST_GRACE - 2):
        story.now += later
        story.lists()
        assert story.state() == UNSURE
    story.now += 1
    story.lists()
    assert (story.state(), story.ledger["t"].why) == (GONE, "no instance appeared")


def test_intent_that_is_younger_than_the_list_is_not_missing() -> None:
    """The list was asked for before it."""
    story = Story(made(INTENDED, id="", created=NOW))
    story.lists()
    assert story.state() == INTENDED


def test_shrunken_list_is_not_believed() -> None:
    """A list that lacks most of what was there counts as no answer; each one is asked for."""
    story = Story(*(made(HELD, f"t{n}") for n in range(4)))
    shown = [seen(token="t0")]
    commands = story.lists(*shown)
    assert [type(one) for one in commands] == [Look, Look, Look, Tell]
    assert commands[-1] == Tell("shrunk", "sim", ("i-t1", "i-t2", "i-t3"))
    assert not any(one.missing for one in story.ledger.values())
    story = Story(*(made(HELD, f"t{n}") for n in range(4)))
    assert not [one for one in story.lists(*shown, seen(token="t1")) if isinstance(one, Tell)]


def test_orphans_are_ended_after_a_lease() -> None:
    """First it may be taken over; then it is ended."""
    story = Story(made(HELD))
    assert story.lists(seen()) == ()
    story.now += ORPHAN_GRACE - 1
    assert story.lists(seen()) == ()
    story.now += 1
    assert story.lists(seen(), ends=False) == ()
    assert story.lists(seen()) == (End("t", "i-t", story.now),)
    assert story.state() == ENDING


def test_warm_one_is_no_orphan_until_its_time_is_over() -> None:
    """What its agent should have ended by then, the sweep ends."""
    story = Story(made(IDLE))
    story.now += 60 + WARM_GRACE
    assert story.lists(seen()) == ()
    story.now += 1
    assert story.lists(seen()) == (End("t", "i-t", story.now),)


def test_too_many_ends_at_once_are_told_instead() -> None:
    """A sweep that would end more than a few is rather mistaken."""
    old = [made(HELD, f"t{n}", orphaned=NOW - 1000) for n in range(MAX_ENDS + 1)]
    story = Story(*old)
    (command,) = story.lists(*(seen(token=one.token) for one in old))
    assert isinstance(command, Tell)
    assert (command.what, len(command.ids)) == ("many", MAX_ENDS + 1)
    assert all(one.state == HELD for one in story.ledger.values())


def test_ended_but_listed_is_ended_again() -> None:
    """Unless its cloud is at it."""
    story = Story(made(ENDING))
    assert story.lists(seen("ending")) == ()
    assert story.lists(seen()) == (End("t", "i-t", NOW),)


def test_closed_but_listed_is_ended() -> None:
    """What was told gone, or refused, and goes on."""
    for state in (GONE, REFUSED):
        story = Story(made(state, id="i-t" if state == GONE else ""))
        assert story.lists(seen()) == (End("t", "i-t", NOW),)
        assert story.state() == ENDING


def test_what_was_closed_after_the_list_was_asked_for_is_left() -> None:
    """The list is older than the news."""
    story = Story(made(GONE, ended=NOW - 0.1))
    assert story.lists(seen()) == ()


def test_machine_that_stopped_by_itself_is_ended_where_it_is_paid_for() -> None:
    """`stays` says that power-off does not end the bill."""
    stopped = seen("ending", told=True)
    story = Story(made(HELD))
    assert story.lists(stopped) == ()
    assert story.lists(stopped, stays=True) == (End("t", "i-t", NOW),)


def test_unknown_one_with_our_tags_is_adopted() -> None:
    """After a lost journal the list rebuilds it."""
    story = Story()
    story.lists(seen(run="run-7", region="r", started=5.0))
    one = story.ledger["t"]
    assert (one.state, one.run, one.region, one.created) == (BOOTING, "run-7", "r", 5.0)


def test_copy_beside_the_real_one_is_left_alone() -> None:
    """Where a cloud tells no origins, two instances may carry one token: the known one counts, else
    the one that was there first."""
    real, copy = seen(started=5.0), seen(id="copy", started=9.0)
    for order in ((real, copy), (copy, real)):
        story = Story()
        story.lists(*order)
        assert story.ledger["t"].id == "i-t"
        story = Story(made(ENDING))
        assert story.lists(*order) == (End("t", "i-t", NOW),)


def test_without_an_intent_nothing_proves_a_dead_client() -> None:
    """A copy of the data folder may be at work elsewhere: what only its tags told of is left to
    its lease."""
    story = Story()
    for _ in range(5):
        story.now += ORPHAN_GRACE
        assert story.lists(seen()) == ()
    assert story.state() == BOOTING


@pytest.mark.parametrize(
    ("origin", "origins", "foreign"),
    [
        ("", False, False),
        ("", True, True),
        ("another-token", True, True),
        ("another-token", False, True),
        ("0123456789abcdef0123456789abcdef", True, False),
        ("0123456789abcdef0123", True, False),  # a name with room for a part
        ("0123", True, True),
    ],
)
def test_forged_tags_are_foreign(origin: str, origins: bool, foreign: bool) -> None:
    """What the cloud's own record does not know as ours is neither adopted nor ended."""
    token = "0123456789abcdef0123456789abcdef"
    story = Story()
    commands = story.lists(seen(token=token, origin=origin), origins=origins)
    assert (token not in story.ledger) is foreign
    assert (commands == (Tell("forged", "sim", (f"i-{token}",)),)) is foreign
    story = Story(made(ENDING, token))
    commands = story.lists(seen(token=token, origin=origin), origins=origins)
    assert any(isinstance(one, End) for one in commands) is not foreign


# -- what always holds ----------------------------------------------------------------------------

TOKENS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
SHOWN = st.builds(
    lambda token, state, told, origin: Seen(token, f"i-{token}", state, told, origin),
    TOKENS,
    st.sampled_from(["pending", "running", "ending", "gone"]),
    st.booleans(),
    st.sampled_from(["", "", "", "forged"]),
)
LISTS_OF = st.builds(
    lambda shown, regions, held, flags: Listed(
        "sim",
        regions,
        tuple({one.token: one for one in shown if one.state != "gone"}.values()),
        0.0,
        tuple(sorted(held)),
        *flags,
    ),
    st.lists(SHOWN, max_size=6),
    st.sampled_from([(), ("r",), ("elsewhere",)]),
    st.sets(TOKENS),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
EVENTS = st.one_of(
    st.builds(Wanted, TOKENS, st.just("sim"), st.just("r"), st.just("run"), st.integers(0, 1),
              st.floats(NOW, NOW + 600), st.booleans()),
    st.builds(lambda token: Launched(token, f"i-{token}"), TOKENS),
    st.builds(LaunchFailed, TOKENS, st.sampled_from(["refused", "throttle", "token", "transient",
              "region"]), st.floats(0, 1), st.booleans()),
    st.builds(lambda one, there: Found(one.token, one if there else None), SHOWN, st.booleans()),
    st.builds(lambda one: Looked(one.token, one), SHOWN),
    st.builds(LookFailed, TOKENS),
    st.builds(Reached, TOKENS),
    st.builds(Adopted, TOKENS, st.just("run-2"), st.integers(0, 1), st.floats(NOW, NOW + 600)),
    st.builds(GaveUp, TOKENS, st.just("given up")),
    st.builds(Released, TOKENS, st.floats(NOW, NOW + 600)),
    st.builds(Ended, TOKENS),
    st.builds(Lost, TOKENS, st.just("silence")),
    st.builds(Noticed, TOKENS, st.sampled_from([0.0, 30.0, 120.0])),
    st.builds(EndAccepted, TOKENS),
    st.builds(EndFailed, TOKENS, st.booleans()),
    st.builds(Closing, TOKENS),
    LISTS_OF,
)  # fmt: skip
STORIES = st.lists(st.tuples(EVENTS, st.floats(0.01, 200), st.booleans()), max_size=40)


@settings(max_examples=300, deadline=None)
@given(STORIES, st.integers(1, 6))
def test_nothing_breaks_the_laws(story: list[tuple[Event, float, bool]], cap: int) -> None:
    """Over any events in any order, with deaths of the client in between: every ledger is lawful,
    every change is a declared edge, nobody who is held is touched by a list, no launch begins above
    the cap, and only what has an instance is ended."""
    told = Story(policy=Policy(max_instances=cap))
    for drawn, later, dies in story:
        event = drawn._replace(asked=told.now) if isinstance(drawn, Listed) else drawn
        before = told.ledger
        commands = told.tell(event, later)
        if isinstance(event, Listed):
            changed = {token for token, one in told.ledger.items() if before.get(token) != one}
            assert not changed & set(event.held)
            assert not {one.token for one in commands if isinstance(one, End)} & set(event.held)
        if any(isinstance(one, Launch) for one in commands) and isinstance(event, Wanted):
            assert sum(one.state in OPEN for one in told.ledger.values()) <= cap
        for one in commands:
            if isinstance(one, End):
                assert told.ledger[one.token].state == ENDING
                assert told.ledger[one.token].id == one.id
            assert getattr(one, "at", told.now) >= told.now
        if dies:
            told.ledger = {token: at_rest(one) for token, one in told.ledger.items()}


@settings(max_examples=100, deadline=None)
@given(STORIES)
def test_same_story_same_end(story: list[tuple[Event, float, bool]]) -> None:
    """The function has no memory and draws nothing: told again, it does the same."""
    first, second = Story(), Story()
    for event, later, _ in story:
        assert first.tell(event, later) == second.tell(event, later)
    assert first.ledger == second.ledger


def test_every_open_life_can_be_closed() -> None:
    """From each state that may cost money, declared edges lead to a closed one."""
    for state in OPEN:
        reached, news = {state}, {state}
        while news:
            news = {there for one in news for there in events.EDGES[one]} - reached
            reached |= news
        assert GONE in reached


@pytest.mark.parametrize("module", [life, listing, laws, events])
def test_reducer_is_pure(module: object) -> None:
    """It imports neither time nor chance nor anything that asks, and loops over no set."""
    path = ROOT / "src" / (str(getattr(module, "__name__")).replace(".", "/") + ".py")  # noqa: B009
    tree = ast.parse(path.read_text())
    imported = [
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    ]
    allowed = {"__future__", "collections.abc", "typing", "events", "policy", "listing", "laws"}
    assert set(imported) <= allowed
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call)
             and isinstance(node.func, ast.Name)}  # fmt: skip
    assert not calls & {"set", "frozenset", "hash", "id", "open", "print"}
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Set, ast.SetComp))]
