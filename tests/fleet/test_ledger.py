"""The journal as a ledger: lives become rows and come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byoc.errors import CapacityError, StateError
from byoc.fleet.book import Book
from byoc.fleet.events import (
    BOOTING,
    DRAINING,
    ENDING,
    GONE,
    HELD,
    IDLE,
    INTENDED,
    MADE,
    REFUSED,
    UNSURE,
    Adopted,
    Ended,
    GaveUp,
    Launched,
    Life,
    Reached,
    Wanted,
)
from byoc.fleet.ledger import Rows, life_of, row_of, rows_of, seen_of
from byoc.fleet.life import at_rest, validate
from byoc.fleet.locks import UseLock
from byoc.providers.base import RUN_TAG, TOKEN_TAG, Instance, Traits
from byoc.state import InstanceRow, Intent, Journal
from tests.fleet.world import HandClock, offer

NOW = 1_000_000.0
OFFER = offer()
TIMES = st.floats(1, 2e9)


def instance(state: str = "running", token: str = "t", **more: object) -> Instance:
    tags = {TOKEN_TAG: token, RUN_TAG: "run-1"}
    made = Instance("sim", "i1", state, OFFER, tags, "192.0.2.1", 22, "user", "", 5.0)
    return made._replace(**more)  # type: ignore[arg-type]


def intent(state: str = "open", known: str = "", token: str = "t") -> Intent:
    made = Intent(token, "sim", OFFER, {}, "key", "run-1", NOW, NOW + 300, state)
    return made._replace(instance_id=known)


# -- the mapping ----------------------------------------------------------------------------------


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Any lawful life as a disk may have it."""
    state = draw(st.sampled_from([INTENDED, UNSURE, REFUSED, GONE, *MADE]))
    made = state in MADE or (state == GONE and draw(st.booleans()))
    missing = draw(st.integers(0, 5))
    life = Life(
        "t",
        "sim",
        OFFER.region,
        state,
        id="i1" if made else "",
        run="run-1",
        node=draw(st.integers(0, 9)),
        created=NOW,
        deadline=draw(TIMES),
        reached=draw(TIMES) if state in (HELD, DRAINING, IDLE) else 0.0,
        idle_until=draw(TIMES) if state == IDLE else 0.0,
        ended=NOW if state in (GONE, REFUSED) else 0.0,
        orphaned=draw(TIMES) if made and state != GONE else 0.0,
        missing=missing if made or state in (INTENDED, UNSURE) else 0,
        why="" if state == INTENDED else draw(st.sampled_from(["because", "so"])),
        lost=state == ENDING and draw(st.booleans()),
    )
    return life._replace(missed=draw(TIMES) if life.missing else 0.0)


@given(lives())
def test_life_comes_back_from_its_rows(life: Life) -> None:
    """Nothing that decides is lost on the way through the journal."""
    assert not validate({"t": life})
    known = Rows(intent(), row_of(instance()) if life.id else None)
    assert life_of("t", rows_of(life, known)) == life


@given(lives())
def test_rows_of_a_life_are_stable(life: Life) -> None:
    """What is read and written again changes nothing."""
    rows = rows_of(life, Rows(intent(), row_of(instance()) if life.id else None))
    assert rows_of(life_of("t", rows), rows) == rows


def test_rows_of_older_versions_are_understood() -> None:
    """Each state that a row or an intent has had."""
    row = row_of(instance())
    expected = {
        "pending": BOOTING,
        "running": BOOTING,
        "idle": BOOTING,  # never reached: not warm
        "ending": ENDING,
        "lost": ENDING,
        "gone": GONE,
    }
    for state, meant in expected.items():
        assert life_of("t", Rows(None, row._replace(state=state))).state == meant
    reached = row._replace(reached=5.0)
    assert life_of("t", Rows(None, reached)).state == HELD
    assert life_of("t", Rows(None, reached._replace(state="idle", idle_until=9.0))).state == IDLE
    for state, meant in {"launched": BOOTING, "failed": REFUSED, "closed": GONE}.items():
        life = life_of("t", Rows(intent(state, "i1")))
        assert life.state == meant
        assert not [text for text in validate({"t": life}) if "alone" not in text]


def test_pinned_key_is_never_replaced() -> None:
    """What a provider tells later does not override the key we pinned."""
    told = instance(host_key="another")
    pinned = row_of(instance(), intent())
    assert row_of(told, row=pinned).host_key == "key"
    assert row_of(told, intent()).host_key == "key"
    assert row_of(told).host_key == "another"


def test_reason_is_taken_from_the_cloud() -> None:
    """Why it ended, in the provider's words, after ours."""
    life = life_of("t", Rows(None, row_of(instance())))._replace(state=GONE, ended=NOW, why="lost")
    gone = instance("gone", detail="preempted")
    row = rows_of(life, Rows(None, row_of(instance())), gone).row
    assert row is not None
    assert (row.detail, row.offer, row.address) == ("lost; preempted", OFFER, "192.0.2.1")


def test_seen_is_told_when_there_is_a_reason() -> None:
    """A detail or a failure explains a state."""
    assert not seen_of(instance("gone")).told
    assert seen_of(instance("gone", detail="terminated")).told
    assert seen_of(instance("gone", failure=CapacityError("none"))).told


# -- the book -------------------------------------------------------------------------------------


class Desk:
    """A book, its journal and its folder."""

    def __init__(self, home: Path, clock: HandClock | None = None) -> None:
        self.home = home
        self.clock = clock or HandClock(NOW)
        self.journal = Journal.open(home, self.clock)
        self.book = Book(home, self.journal, self.clock)

    def want(self, token: str = "t") -> None:
        wanted = Wanted(token, "sim", OFFER.region, "run-1", 0, NOW + 300)
        assert self.book.tell(wanted, intent=intent(token=token))

    def row(self) -> InstanceRow:
        found = self.journal.instance("sim", "i1")
        assert found is not None
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_intent_is_on_disk_before_the_launch_is_handed_out(desk: Desk) -> None:
    """Another client of the folder sees it by then."""
    desk.want()
    other = Journal.open(desk.home, desk.clock)
    assert [one.token for one in other.intents()] == ["t"]


def test_rows_follow_the_events(desk: Desk) -> None:
    """Intent, launch, first contact and end, as the journal tells them."""
    desk.want()
    desk.book.tell(Launched("t", "i1"), instance("pending"))
    (launched,) = desk.journal.intents()
    assert (launched.state, launched.instance_id, desk.row().state) == ("launched", "i1", "pending")
    assert desk.row().host_key == "key"
    desk.book.tell(Reached("t"), instance())
    assert (desk.row().state, desk.row().reached) == ("running", NOW)
    assert not desk.journal.intents()
    desk.book.tell(Ended("t", "enough"))
    assert (desk.row().state, desk.row().detail) == ("ending", "enough")


def test_other_client_of_the_folder_is_heard(desk: Desk) -> None:
    """What one client has ended is not held any more by the other's memory."""
    desk.want()
    desk.book.tell(Launched("t", "i1"), instance("pending"))
    desk.book.tell(Reached("t"), instance())
    Desk(desk.home, desk.clock).book.tell(Ended("t", "ended by `byoc down`"))
    life = desk.book.life("t")
    assert life is not None
    assert life.state == ENDING
    assert desk.book.tell(Adopted("t", "run-2", 0, 0.0)) == ()
    assert desk.row().state == "ending"


def test_end_goes_on_from_memory_when_it_cannot_be_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is handed out; the failure is raised when all is done, and healed by the next
    write that works."""
    desk.want()

    def full(*values: object, **more: object) -> None:
        raise StateError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(desk.journal, "change", full)
        with pytest.raises(StateError):
            desk.book.tell(Launched("t", "i1"), instance("pending"))
        assert desk.book.tell(GaveUp("t", "disk full"))
        with pytest.raises(StateError):
            desk.book.check("t")
    desk.book.tell(Ended("t", "again"), instance())
    desk.book.check("t")
    assert desk.row().state == "ending"


def test_volatile_part_is_not_written(desk: Desk) -> None:
    """Another process finds the life at rest."""
    desk.want()
    desk.book.tell(Launched("t", "i1"), instance("pending"))
    mine, theirs = desk.book.life("t"), Desk(desk.home, desk.clock).book.life("t")
    assert mine is not None
    assert theirs is not None
    assert mine.watch
    assert theirs == at_rest(mine)


def test_list_takes_the_locks_of_what_it_changes(desk: Desk) -> None:
    """While orphans are adopted or ended nobody else can take them."""
    desk.want()
    held = UseLock.take(desk.home, "t")
    assert held is not None
    desk.clock.sleep(1)
    ruled = desk.book.lists("sim", (), [instance()], desk.book.now(), Traits(()))
    assert (ruled.locks, ruled.changes) == ({}, ())
    held.release()
    ruled = desk.book.lists("sim", (), [instance()], desk.book.now(), Traits(()))
    assert list(ruled.locks) == ["t"]
    assert UseLock.take(desk.home, "t") is None
    assert [one.state for one in ruled.changes] == [BOOTING]
    assert not desk.journal.intents()


def test_list_heals_what_a_dead_client_left(desk: Desk) -> None:
    """An address that has changed, an intent that nobody closed."""
    desk.want()
    desk.book.tell(Launched("t", "i1"), instance("pending"))
    desk.book.tell(Reached("t"), instance())
    desk.journal.open_intent(intent())
    moved = instance(address="192.0.2.9")
    desk.clock.sleep(1)
    for lock in desk.book.lists("sim", (), [moved], desk.book.now(), Traits(())).locks.values():
        lock.release()
    assert desk.row().address == "192.0.2.9"
    assert not desk.journal.intents()
