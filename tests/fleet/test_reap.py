"""The judge: which thing may be ended, by what is known of it."""

from __future__ import annotations

from typing import Any

import pytest

from byoc.fleet import reap
from byoc.fleet.reap import Case, Known, judge
from byoc.limits import TAG_LEASE
from byoc.providers.base import (
    EXPIRES_TAG,
    OWNER_TAG,
    RUN_TAG,
    TOKEN_TAG,
    UNTIL_TAG,
    Instance,
)
from tests.fleet.world import offer

NOW = 1_000_000.0
TOKEN = "0123456789abcdef0123456789abcdef"
HERE = Known(here=True)
HELD = Known(here=True, held=True)


def thing(**changes: Any) -> Instance:
    """An instance whose lease runs for ten minutes more; ``tags`` are added, ``""`` removes."""
    tags = {
        OWNER_TAG: "own-x", TOKEN_TAG: TOKEN, RUN_TAG: "run-a",
        EXPIRES_TAG: str(int(NOW + 600)), UNTIL_TAG: str(int(NOW + 80_000)),
        **changes.pop("tags", {}),
    }  # fmt: skip
    told = {key: value for key, value in tags.items() if value}
    made = Instance("sim", "sim-1", "running", offer(), told, started=NOW - 5000, origin=TOKEN)
    return made._replace(**changes)


def over(seconds: float, **more: str) -> dict[str, Any]:
    """Its lease is over for so long."""
    return {"tags": {EXPIRES_TAG: str(int(NOW - seconds)), **more}}


LATE = reap.SKEW + 60.0
TABLE: list[tuple[str, Case, str]] = [
    ("a lease that runs", Case(thing()), reap.LIVE),
    ("one that was over a moment ago: clocks differ", Case(thing(**over(100))), reap.LIVE),
    ("one that is over has to be asked", Case(thing(**over(LATE))), reap.ASK),
    ("it answers", Case(thing(**over(LATE)), answer=reap.YES), reap.ANSWERS),
    ("it does not answer", Case(thing(**over(LATE)), answer=reap.NO), reap.EXPIRED),
    ("nothing is heard", Case(thing(**over(LATE)), answer=reap.NOTHING_HEARD), reap.SILENT),
    ("nor for two more leases",
     Case(thing(**over(reap.SILENCE + 60)), answer=reap.NOTHING_HEARD), reap.EXPIRED),
    ("its lifetime is over although it answers",
     Case(thing(**over(LATE, **{UNTIL_TAG: str(int(NOW - LATE))})), answer=reap.YES),
     reap.EXPIRED),
    ("no lease in its tags, just launched",
     Case(thing(tags={EXPIRES_TAG: "", UNTIL_TAG: ""}, started=NOW - 10)), reap.LIVE),
    ("no lease in its tags, old", Case(thing(tags={EXPIRES_TAG: "", UNTIL_TAG: ""})), reap.ASK),
    ("a lease that is no number",
     Case(thing(tags={EXPIRES_TAG: "soon", UNTIL_TAG: "nan"})), reap.ASK),
    ("a lease that never ends is none",
     Case(thing(tags={EXPIRES_TAG: "inf", UNTIL_TAG: "inf"})), reap.ASK),
    ("held by a client here", Case(thing(**over(LATE)), HELD), reap.LIVE),
    ("warm", Case(thing(), HERE._replace(idle_until=NOW + 5)), reap.WARM),
    ("was warm until now", Case(thing(), HERE._replace(idle_until=NOW)), reap.ORPHAN),
    ("nobody holds it here", Case(thing(), HERE), reap.ORPHAN),
    ("without a token", Case(thing(tags={TOKEN_TAG: ""}), HERE), reap.FOREIGN),
    ("without an owner", Case(thing(tags={OWNER_TAG: ""}), HERE), reap.FOREIGN),
    ("another's token", Case(thing(origin="f" * 32), HERE), reap.FOREIGN),
    ("no origin where each has one", Case(thing(origin=""), HERE), reap.FOREIGN),
    ("no origin where none has one", Case(thing(origin=""), HERE, origins=False), reap.ORPHAN),
    ("a part of the token, as a name has it", Case(thing(origin=TOKEN[:20]), HERE), reap.ORPHAN),
    ("a part that is too short to be one", Case(thing(origin=TOKEN[:8]), HERE), reap.FOREIGN),
    ("is ending", Case(thing(state="ending", detail="asked"), HERE), reap.ENDING),
    ("has stopped, which ends nothing there",
     Case(thing(state="ending", detail="off"), HERE, stays=True), reap.ORPHAN),
    ("a firewall", Case(thing(kind="firewall", origin="")), reap.LEFTOVER),
    ("a firewall in use", Case(thing(kind="firewall", origin=""), needed=True), reap.USED),
    ("a new firewall",
     Case(thing(kind="firewall", origin="", started=NOW - 10)), reap.USED),
    ("one's own new firewall",
     Case(thing(kind="firewall", origin="", started=NOW - 10), mine=True), reap.LEFTOVER),
    ("a disk", Case(thing(kind="disk", origin="")), reap.LEFTOVER),
    ("a disk of a launch under way", Case(thing(kind="disk", origin=""), HELD), reap.USED),
    ("a disk of no launch", Case(thing(kind="disk", tags={TOKEN_TAG: ""})), reap.FOREIGN),
    ("a disk with a forged token", Case(thing(kind="disk", origin="f" * 32)), reap.FOREIGN),
    ("a network", Case(thing(kind="network", origin="")), reap.KEPT),
]  # fmt: skip


@pytest.mark.parametrize(("case", "word"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_the_verdict(case: Case, word: str) -> None:
    """Each case has the verdict of the table, and only four verdicts end anything."""
    verdict = judge(case, NOW)
    assert (verdict.word, verdict.ends) == (word, word in reap.TO_END) and verdict.why


NAMES = [
    ("run-a", "run-a", True),
    ("gh-77-1-x", "gh-77", True),
    ("gh-77-1-x", "gh-77-", True),
    ("gh-778-1-x", "gh-77", False),
    ("gh-77-1-x", "gh-7", False),
    ("gh-77-1-x", "gh-", False),
    ("gh-77-1-x", "gh", False),
    ("run-a", "run", False),
    ("run-a", "-", False),
    ("run-a", "", False),
]


@pytest.mark.parametrize(("run", "name", "is_it"), NAMES)
def test_a_runs_name(run: str, name: str, is_it: bool) -> None:
    """A run is named by its name, or its beginning up to a dash; never by what runs of others
    begin with as well, which a script asks for whose variable is empty."""
    assert reap.of_run(run, name) is is_it


def test_a_named_run_needs_no_second_proof_but_must_be_ours() -> None:
    """Somebody's word ends what is held or has a lease; never what byoc did not launch."""
    for case in (
        Case(thing()),
        Case(thing(), HELD),
        Case(thing(), HERE._replace(idle_until=NOW + 9)),
    ):
        assert judge(case, NOW, "run-a").word == reap.NAMED
    assert judge(Case(thing(origin="f" * 32)), NOW, "run-a").word == reap.FOREIGN
    moved = Case(thing(), HELD._replace(run="run-b"))
    assert judge(moved, NOW, "run-a").word == reap.LIVE
    assert judge(moved, NOW, "run-b").word == reap.NAMED


def test_every_lease_that_a_client_renews_is_respected() -> None:
    """However wrong two clocks are within ten minutes, a renewed lease and an answer keep it."""
    for wrong in range(-600, 601, 60):
        for since in range(0, int(TAG_LEASE), 90):
            expires = NOW - since + TAG_LEASE
            case = Case(thing(tags={EXPIRES_TAG: str(int(expires))}), answer=reap.YES)
            assert not judge(case, NOW + wrong).ends
