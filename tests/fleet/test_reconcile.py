"""The sweep's decisions, as a pure function."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from byoc.fleet.reconcile import (
    LIST_GRACE,
    Ask,
    CloseIntent,
    EndAgain,
    Put,
    View,
    reconcile,
    row_of,
)
from byoc.providers.base import RUN_TAG, TOKEN_TAG, Instance
from byoc.state import InstanceRow, Intent
from tests.fleet.world import offer

NOW = 10_000.0
OFFER = offer()


def instance(number: int = 1, state: str = "running", **more: object) -> Instance:
    tags = {TOKEN_TAG: f"t{number}", RUN_TAG: "run-1"}
    made = Instance("sim", f"i{number}", state, OFFER, tags, "192.0.2.1", 22, "user", "", 5.0)
    return made._replace(**more)  # type: ignore[arg-type]


def intent(number: int = 1, created: float = NOW, state: str = "open", known: str = "") -> Intent:
    made = Intent(f"t{number}", "sim", OFFER, {}, "key", "run-1", created, created + 300, state)
    return made._replace(instance_id=known)


def row(number: int = 1, state: str = "running", **more: object) -> InstanceRow:
    made = row_of(instance(number), intent(number))
    return made._replace(state=state, **more)  # type: ignore[arg-type]


def test_orphan_of_an_open_intent_is_adopted_with_its_pinned_key() -> None:
    """The row gets the host key that was pinned before the launch."""
    changes = reconcile(View([intent()], []), {"sim": [instance()]}, set(), NOW)
    assert [type(change) for change in changes] == [CloseIntent, Put]
    put = changes[1]
    assert isinstance(put, Put)
    assert (put.row.host_key, put.row.run, put.row.price) == ("key", "run-1", OFFER.price)
    assert put.row.reached == 0


def test_young_open_intent_is_left_alone() -> None:
    """Absent from a list is not gone."""
    assert reconcile(View([intent(created=NOW - 1)], []), {"sim": []}, set(), NOW) == []


def test_old_open_intent_is_closed() -> None:
    """After the grace no instance can appear any more."""
    old = intent(created=NOW - LIST_GRACE - 1)
    (change,) = reconcile(View([old], []), {"sim": []}, set(), NOW)
    assert isinstance(change, CloseIntent)
    assert change.detail == "no instance appeared"


def test_launched_intent_without_its_instance_is_closed() -> None:
    """The instance row is followed by itself; the intent has done its work."""
    launched = intent(state="launched", known="i1")
    changes = reconcile(View([launched], [row()]), {"sim": []}, set(), NOW)
    assert [type(change) for change in changes] == [CloseIntent, Ask]


def test_unlisted_row_is_asked_for() -> None:
    """A list that lacks a live row proves nothing: the provider is asked by id."""
    (change,) = reconcile(View([], [row()]), {"sim": []}, set(), NOW)
    assert isinstance(change, Ask)


def test_ended_but_listed_is_ended_again() -> None:
    """A terminate that was ignored is repeated, unless the provider is at it."""
    view = View([], [row(state="ending")])
    (change,) = reconcile(view, {"sim": [instance()]}, set(), NOW)
    assert isinstance(change, EndAgain)
    assert reconcile(view, {"sim": [instance(state="ending")]}, set(), NOW) == []


def test_idle_stays_idle() -> None:
    """The provider's `running` does not make an idle instance look used."""
    view = View([], [row(state="idle", idle_until=99.0)])
    assert reconcile(view, {"sim": [instance()]}, set(), NOW) == []


def test_pinned_key_is_never_replaced() -> None:
    """What a provider tells later does not override the key we pinned."""
    told = instance(host_key="another")
    assert row_of(told, row=row()).host_key == "key"
    assert row_of(told, intent()).host_key == "key"
    assert row_of(told).host_key == "another"


def test_provider_that_was_not_asked_changes_nothing() -> None:
    """Without a list no conclusion is drawn about that provider."""
    view = View([intent(created=0.0)], [row(2), row(3, "ending")])
    assert reconcile(view, {}, set(), NOW) == []


numbers = st.integers(0, 5)
states = st.sampled_from(["pending", "running", "idle", "ending", "lost"])
ROWS = st.dictionaries(numbers, states).map(lambda d: [row(n, s) for n, s in d.items()])
SEEN = st.sampled_from(["pending", "running", "ending"])
LISTED = st.dictionaries(numbers, SEEN).map(lambda d: [instance(n, s) for n, s in d.items()])
INTENTS = st.dictionaries(numbers, st.floats(0, NOW)).map(
    lambda d: [intent(n, created) for n, created in d.items()]
)
HELD = st.sets(numbers).map(lambda s: {f"t{n}" for n in s})


@given(ROWS, LISTED, INTENTS, HELD)
def test_invariants(
    rows: list[InstanceRow], listed: list[Instance], intents: list[Intent], held: set[str]
) -> None:
    """What others hold is never touched; only what we ended is ended; every listed instance that
    nobody holds is known afterwards; and a second sweep finds nothing more to write."""
    view = View(intents, rows)
    changes = reconcile(view, {"sim": listed}, held, NOW)
    for change in changes:
        token = change.token if isinstance(change, CloseIntent) else change.row.token
        assert token not in held
        if isinstance(change, EndAgain):
            assert change.row.state == "ending"
    known = {one.id for one in rows} | {c.row.id for c in changes if isinstance(c, Put)}
    assert {one.id for one in listed if one.tags[TOKEN_TAG] not in held} <= known
    after = {one.id: one for one in rows} | {c.row.id: c.row for c in changes if isinstance(c, Put)}
    closed = {change.token for change in changes if isinstance(change, CloseIntent)}
    left = [one for one in intents if one.token not in closed]
    again = reconcile(View(left, list(after.values())), {"sim": listed}, held, NOW)
    assert not [change for change in again if isinstance(change, (Put, CloseIntent))]
