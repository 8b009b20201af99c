"""What the journal keeps comes back as it was, for every process at once."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from byoc.errors import NotFoundError
from byoc.state import Attempt, InstanceRow, Intent, Journal, Run, Stage
from tests.state.client import OFFER, intent
from tests.state.conftest import Client, Opener

ROW = InstanceRow(
    "sim", "i-1", OFFER, "t1", "key", "192.0.2.1", 22, "user", 1.5, "r", "running", 5.0, 6.0
)


def test_intents_round_trip(open_journal: Opener) -> None:
    """An intent comes back equal, also from another connection, and follows its states."""
    open_journal().open_intent(intent())
    journal = open_journal()
    assert journal.intents() == [intent()]
    journal.update_intent("t1", "launched", instance_id="i-1")
    assert journal.intent("t1") == intent()._replace(state="launched", instance_id="i-1")
    journal.update_intent("t1", "closed", detail="reached")
    assert journal.intents() == []
    kept = journal.intent("t1")
    assert kept is not None
    assert (kept.instance_id, kept.detail) == ("i-1", "reached")
    assert journal.intent("other") is None


def test_change_is_written_whole_or_not_at_all(open_journal: Opener) -> None:
    """What a change gives is there for others when it returns; one that fails leaves nothing."""
    journal, other = open_journal(), open_journal()
    journal.change(lambda: ([intent()], [ROW]), durable=True)
    assert (other.intents(), other.instances()) == ([intent()], [ROW])

    def broken() -> tuple[list[Intent], list[InstanceRow]]:
        raise KeyError("mistake")

    with pytest.raises(KeyError):
        journal.change(broken)
    with pytest.raises(TypeError):
        journal.change(lambda: ([intent("t2"), intent("t3", detail=object())], []))
    assert other.intents() == [intent()]


def test_nobody_writes_between_what_a_change_reads_and_writes(open_journal: Opener) -> None:
    """Two clients that each add one to what they read never lose an addition."""
    first, second = open_journal(), open_journal()
    first.put_instance(ROW)

    def add(journal: Journal) -> None:
        def work() -> tuple[list[Intent], list[InstanceRow]]:
            (row,) = journal.launched(["t1"])
            return [], [row._replace(missing=row.missing + 1)]

        for _ in range(30):
            journal.change(work)

    threads = [threading.Thread(target=add, args=(one,)) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert first.launched(["t1"])[0].missing == 60


def test_launches_are_found_by_token_and_by_run(open_journal: Opener) -> None:
    """However many tokens are asked for at once, and each only once."""
    journal = open_journal()
    journal.change(lambda: ([intent(f"t{n}") for n in range(1200)], []))
    tokens = [f"t{n}" for n in range(0, 1200, 2)]
    assert {one.token for one in journal.launches(tokens)} == set(tokens)
    assert len(journal.launches(run="r")) == 1200
    assert journal.launches(run="other") == []
    assert journal.launched(["t1"]) == []


def test_instances_round_trip(open_journal: Opener) -> None:
    """A row comes back equal; single fields can be changed; the gone are not listed as live."""
    journal = open_journal()
    journal.put_instance(ROW)
    assert journal.instance("sim", "i-1") == ROW
    assert journal.update_instance("sim", "i-1", state="idle", idle_until=9.0)
    assert journal.instances() == [ROW._replace(state="idle", idle_until=9.0)]
    journal.update_instance("sim", "i-1", state="gone", ended=10.0)
    assert journal.instances() == []
    assert [row.id for row in journal.instances(("gone",))] == ["i-1"]
    assert not journal.update_instance("sim", "other", state="gone")


def test_unknown_field_is_a_mistake_of_ours(open_journal: Opener) -> None:
    """A misspelt field is caught before any statement is built from it."""
    with pytest.raises(ValueError, match="colour"):
        open_journal().update_instance("sim", "i-1", colour="red")


def test_attempts_are_numbered_within_their_run(open_journal: Opener) -> None:
    """Each run counts its own attempts from 1, and a closed one keeps the provider's words."""
    journal = open_journal()
    assert [journal.open_attempt("r1", "sim", "o", 1.0) for _ in range(2)] == [1, 2]
    assert journal.open_attempt("r2", "sim", "o", 1.0) == 1
    told = Attempt(
        "r1", 2, "sim", "o", 1.0, "refused", "Code", "capacity", "none", "req", "zone", "try b"
    )
    journal.close_attempt(told._replace(seconds=0.25))
    first, second = journal.attempts("r1")
    assert first == Attempt("r1", 1, "sim", "o", 1.0)
    assert second == told._replace(seconds=0.25)


def test_runs_round_trip(open_journal: Opener) -> None:
    """A run comes back equal with its command, instances, error and exit code."""
    journal = open_journal()
    run = Run("run-abc", "exec", ("python", "x y"), "/w", "name", 12, 1.0, log="/l", detached=True)
    journal.put_run(run)
    assert journal.run("run-abc") == run
    journal.add_run_instance("run-abc", "sim/i-1")
    journal.add_run_instance("run-abc", "sim/i-1")
    journal.add_run_instance("run-none", "sim/i-1")
    assert journal.end_run("run-abc", "failed", ended=2.0, exit_code=3, error={"code": "x"})
    assert journal.run("run-abc") == run._replace(
        status="failed", ended=2.0, exit_code=3, error={"code": "x"}, instances=("sim/i-1",)
    )


def test_run_ends_once(open_journal: Opener) -> None:
    """The first end of a run stands; a later one is told that it came too late."""
    journal = open_journal()
    journal.put_run(Run("run-abc", "run"))
    assert journal.end_run("run-abc", "ok", ended=2.0, exit_code=0)
    assert not journal.end_run("run-abc", "lost", ended=3.0)
    assert journal.run("run-abc").status == "ok"


def test_runs_are_found_by_the_beginning_of_their_id(open_journal: Opener) -> None:
    """An unambiguous beginning is enough; none and several are errors with a hint."""
    journal = open_journal()
    for name in ("run-aaa", "run-aab", "run-b%_"):
        journal.put_run(Run(name, "run"))
    assert journal.run("run-b").id == "run-b%_"
    with pytest.raises(NotFoundError, match="several runs"):
        journal.run("run-a")
    for absent in ("run-c", "", "%"):
        with pytest.raises(NotFoundError, match="is no run") as caught:
            journal.run(absent)
        assert caught.value.hints


def test_latest_runs_first(open_journal: Opener) -> None:
    """Runs are listed newest first, limited, and by status."""
    journal = open_journal()
    for number in range(5):
        journal.put_run(Run(f"run-{number}", "run", started=float(number)))
    journal.end_run("run-4", "ok", ended=9.0)
    assert [run.id for run in journal.runs(limit=2)] == ["run-4", "run-3"]
    assert [run.id for run in journal.runs(status="ok")] == ["run-4"]


def test_stages_keep_their_order(open_journal: Opener) -> None:
    """Stages come back in the order in which they were noted."""
    journal = open_journal()
    journal.add_stage("r", "place", 0.1)
    journal.add_stage("r", "boot", 2.0, "sim/i-1")
    assert journal.stages("r") == [
        Stage("r", 1, "place", 0.1),
        Stage("r", 2, "boot", 2.0, "sim/i-1"),
    ]


def test_files_are_private(home: Path, open_journal: Opener) -> None:
    """Folders 0700; the journal, its WAL and the owner id 0600."""
    open_journal().open_intent(intent())
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "state").stat().st_mode & 0o777 == 0o700
    files = [*(home / "state").iterdir(), home / "owner"]
    assert {"journal.db", "journal.db-wal"} <= {file.name for file in files}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_no_private_key_is_stored(home: Path, open_journal: Opener) -> None:
    """The journal has columns for public keys only."""
    open_journal().close()
    with sqlite3.connect(home / "state" / "journal.db") as raw:
        text = " ".join(row[0] or "" for row in raw.execute("SELECT sql FROM sqlite_master"))
    raw.close()
    assert "host_key" in text
    assert "private" not in text


def test_owner_stays_the_same(open_journal: Opener) -> None:
    """The installation's id is made once."""
    assert open_journal().owner == open_journal().owner
    assert open_journal().owner.startswith("own-")


def test_committed_intent_survives_a_killed_process(
    home: Path, open_journal: Opener, client: Client
) -> None:
    """What was committed before the process died is there for the next one."""
    dying = client("intent", str(home))
    _, errors = dying.communicate(timeout=30)
    assert dying.returncode == 9, errors
    journal = open_journal()
    assert journal.recovered == ""
    assert [one.token for one in journal.intents()] == ["t1"]


def test_processes_write_at_once(home: Path, open_journal: Opener, client: Client) -> None:
    """Four processes number the attempts of one run without a gap, a double or an error."""
    crowd = [client("attempts", str(home), "r", "50") for _ in range(4)]
    ended = [(one.communicate(timeout=50)[1], one.returncode) for one in crowd]
    assert [code for _, code in ended] == [0, 0, 0, 0], ended
    journal = open_journal()
    assert [one.seq for one in journal.attempts("r")] == list(range(1, 201))


def test_processes_open_first_at_once(home: Path, client: Client) -> None:
    """Whoever comes first makes the journal: all agree on the owner, and nobody reports damage."""
    crowd = [client("owner", str(home)) for _ in range(6)]
    said = [one.communicate(timeout=50) for one in crowd]
    assert len({out.strip() for out, _ in said}) == 1, said
    assert said[0][0].strip().startswith("own-")


def test_threads_share_one_journal(open_journal: Opener) -> None:
    """One journal serves several threads."""
    journal = open_journal()

    def work() -> None:
        for _ in range(25):
            journal.open_attempt("r", "sim", "o", 1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.attempts("r")) == 100


def test_readers_do_not_wait_for_a_writer(home: Path, open_journal: Opener) -> None:
    """A reader sees the last commit while another process is in the middle of a write."""
    journal = open_journal()
    journal.open_intent(intent())
    other = sqlite3.connect(home / "state" / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM intents")
    assert [one.token for one in journal.intents()] == ["t1"]
    other.execute("ROLLBACK")
    other.close()


def test_intents_are_on_disk_when_noted(open_journal: Opener) -> None:
    """The commit of an intent waits for the disk (synchronous FULL); others need not."""
    journal = open_journal()
    seen: list[str] = []
    journal._store._connection.set_trace_callback(seen.append)
    journal.open_intent(intent())
    journal.update_intent("t1", "launched")
    modes = [text for text in seen if "synchronous" in text]
    assert modes == ["PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"]


def test_price_is_copied_with_the_offer(open_journal: Opener) -> None:
    """An offer's price, also an unknown one, comes back as it was."""
    journal = open_journal()
    unknown = OFFER._replace(price=None)
    journal.put_instance(ROW._replace(offer=unknown, price=None))
    found = journal.instance("sim", "i-1")
    assert found is not None
    assert (found.offer, found.price) == (unknown, None)


def test_tags_are_data_not_statements(open_journal: Opener) -> None:
    """Quotes and other letters in what is stored come back as they were."""
    journal = open_journal()
    odd = Intent(
        "t'\"", "sim", OFFER, {"k": "'; DROP TABLE runs; --", "ü": "\n"}, "", "r", 1.0, 2.0
    )
    journal.open_intent(odd)
    assert journal.intents() == [odd]
    assert json.loads(json.dumps(dict(odd.tags))) == odd.tags
    assert open_journal().runs() == []
