"""The memory of refusals: kept as told, for longer when they come again, dropped when disproved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from byoc.state import Attempt, Refusal
from byoc.state.refusals import KEPT, LONGEST, again
from tests.state.conftest import Opener

SHUT = Refusal(
    "aws/offer/r/a/t/spot", "aws", "offer", "r", "a", "t", "spot", "", 0.0, "capacity", "Code",
    "none left", "req-1", "wait", ("b", "c"), 1000.0, 1180.0,
)  # fmt: skip


def refused(at: float, seconds: float = 180.0, amount: float = 0.0) -> Refusal:
    return SHUT._replace(at=at, until=at + seconds, amount=amount)


def test_refusals_round_trip_and_end_by_themselves(open_journal: Opener) -> None:
    """A refusal comes back equal, for other connections too, until its time is over."""
    assert open_journal().remember(SHUT) == SHUT
    journal = open_journal()
    assert journal.refusals(1000.0) == [SHUT]
    assert journal.refusals(1179.9) == [SHUT]
    assert journal.refusals(1180.0) == []


def test_disproved_refusals_are_dropped(open_journal: Opener) -> None:
    """Forgetting by key says how many there were; others stay."""
    journal = open_journal()
    journal.remember(SHUT)
    journal.remember(SHUT._replace(key="other"))
    assert journal.forget([SHUT.key, "none"]) == 1
    assert journal.forget([]) == 0
    assert [one.key for one in journal.refusals(1000.0)] == ["other"]


def test_repetition_doubles_up_to_an_hour(open_journal: Opener) -> None:
    """Refused again each time it had ended: 180 s, 360 s, ... and never more than an hour."""
    journal, at, held = open_journal(), 1000.0, []
    for _ in range(7):
        kept = journal.remember(refused(at))
        held.append(kept.until - at)
        at = kept.until + 1
    assert held == [180, 360, 720, 1440, 2880, LONGEST, LONGEST]


def test_many_launches_at_once_are_one_refusal(open_journal: Opener) -> None:
    """Fifty nodes refused in the same second do not shut the offer for an hour."""
    journal = open_journal()
    for number in range(50):
        kept = journal.remember(refused(1000.0 + number / 50))
    assert kept.times == 1
    assert kept.until - kept.at == 180


def test_success_or_a_pause_begins_anew(open_journal: Opener) -> None:
    """After a success, or long after the last refusal, the first time counts again."""
    journal = open_journal()
    journal.remember(refused(1000.0))
    journal.remember(refused(1200.0))
    journal.forget([SHUT.key])
    assert journal.remember(refused(1700.0)).times == 1
    late = 1880.0 + KEPT
    assert journal.remember(refused(late)).until == late + 180


def test_long_times_of_a_table_stay(open_journal: Opener) -> None:
    """A day for a type that is not sold is not cut to an hour."""
    day = 86400.0
    kept = again(refused(0.0, day), refused(day + 1, day))
    assert kept.until - kept.at == day


def test_ended_refusals_leave_the_file(open_journal: Opener) -> None:
    """What nobody can meet again is deleted when the next one is written."""
    journal = open_journal()
    journal.remember(SHUT)
    journal.remember(refused(SHUT.until + KEPT + 1)._replace(key="other"))
    assert [row[0] for row in journal._store.rows("SELECT key FROM refusals")] == ["other"]


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(1, 90_000), st.floats(0, 100))))
def test_kept_time_is_bounded(steps: list[tuple[float, float, float]]) -> None:
    """However refusals follow each other, none holds for less than its own time, nor for longer
    than an hour or the longest time that was asked for."""
    kept, at, longest = None, 0.0, LONGEST
    for pause, seconds, amount in steps:
        at += pause
        longest = max(longest, seconds)
        kept = again(kept, refused(at, seconds, amount))
        assert seconds <= kept.until - at + 1e-6
        assert kept.until - at <= longest + 1e-6
        assert kept.amount <= amount


def test_past_attempts_are_those_that_ended(open_journal: Opener) -> None:
    """The latest first, neither open nor warm ones, none older than asked for, no more than asked
    for; with all that `byoc why` tells."""
    journal = open_journal()
    whole = Attempt(
        "r1", 1, "aws", "aws/r/a/t/spot", 5.0, "refused", "Code", "quota", "over", "req", "bucket",
        "raise it", "", 0.5, "L-1", 905.0, "cheapest", "went on", "tail",
    )  # fmt: skip
    for number, outcome in enumerate(("ok", "open", "warm", "failed", "unknown")):
        journal.close_attempt(Attempt("r2", number, "aws", "o", float(number), outcome))
    journal.close_attempt(whole)
    assert journal.attempts("r1") == [whole]
    found = journal.past_attempts(0.0, 10)
    assert [one.outcome for one in found] == ["refused", "unknown", "failed"]
    assert journal.past_attempts(-1.0, 2) == found[:2]


def test_replaced_journal_asks_for_everything_once(open_journal: Opener) -> None:
    """A fresh installation lacks nothing; a journal that was lost does, until each provider has
    been asked."""
    first = open_journal()
    assert not first.unlisted("aws")
    path = first._store.path
    first.close()
    for file in path.parent.iterdir():
        file.unlink()
    again = open_journal()
    assert again.recovered
    assert again.unlisted("aws")
    again.set_listed("aws")
    assert not again.unlisted("aws")
    assert again.unlisted("gcp")
