"""A damaged, missing or unusable journal: never silently empty, never in the way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.errors import StateError
from byoc.state import Journal, Run
from byoc.state import schema as schema_module
from byoc.state import store as store_module
from tests.state.client import OFFER, intent
from tests.state.conftest import Client, Opener

FILE = Path("state") / "journal.db"


@pytest.fixture
def filled(home: Path, open_journal: Opener) -> str:
    """A closed journal with some rows; its owner id."""
    journal = open_journal()
    for number in range(200):
        journal.put_run(Run(f"run-{number:04d}", "run", ("x" * 200,)))
    journal.close()
    return journal.owner


def set_aside(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "state").iterdir() if "corrupt" in p.name)


@pytest.mark.parametrize("keep", [0, 1, 99, 4096, 5000, 20_000])
def test_torn_file_is_set_aside(home: Path, open_journal: Opener, filled: str, keep: int) -> None:
    """Cut off at any length: a new journal with the same owner, the old file kept, a note."""
    whole = (home / FILE).read_bytes()
    (home / FILE).write_bytes(whole[:keep])
    journal = open_journal()
    assert journal.owner == filled
    assert "damaged" in journal.recovered
    assert str(home / "state" / "journal.corrupt-1") in journal.recovered
    assert set_aside(home) == ["journal.corrupt-1"]
    assert (home / "state" / "journal.corrupt-1").read_bytes()[:keep] == whole[:keep]
    assert journal.runs() == []
    assert open_journal().recovered == ""


@pytest.mark.parametrize("at", [0, 20, 100, 4096 + 8, 5 * 4096 + 3])
def test_overwritten_bytes_are_noticed(
    home: Path, open_journal: Opener, filled: str, at: int
) -> None:
    """Garbage in the header or in a page is found when the journal is opened."""
    with open(home / FILE, "r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 64)
    journal = open_journal()
    assert "damaged" in journal.recovered
    assert journal.owner == filled


def test_each_damaged_file_is_kept(home: Path, open_journal: Opener, filled: str) -> None:
    """A second damage does not replace what was kept of the first."""
    for _ in range(2):
        (home / FILE).write_bytes(b"not a database at all" * 100)
        open_journal().close()
    assert set_aside(home) == ["journal.corrupt-1", "journal.corrupt-2"]


def test_foreign_database_is_set_aside(home: Path, open_journal: Opener, filled: str) -> None:
    """A sound SQLite file of another program is not ours to write into."""
    (home / FILE).unlink()
    other = sqlite3.connect(home / FILE)
    other.execute("CREATE TABLE songs (name)")
    other.commit()
    other.close()
    assert "another program's" in open_journal().recovered


def test_missing_table_is_damage(home: Path, open_journal: Opener, filled: str) -> None:
    """A journal that lacks a table is set aside instead of failing later."""
    raw = sqlite3.connect(home / FILE)
    raw.execute("DROP TABLE stages")
    raw.commit()
    raw.close()
    assert "tables are missing: stages" in open_journal().recovered


def test_deleted_journal_is_reported(home: Path, open_journal: Opener, filled: str) -> None:
    """A missing file is made anew under the same owner, and that is said."""
    (home / FILE).unlink()
    journal = open_journal()
    assert journal.owner == filled
    assert "missing" in journal.recovered
    assert open_journal().recovered == ""


def test_first_use_reports_nothing(open_journal: Opener) -> None:
    """A fresh installation is no recovery."""
    assert open_journal().recovered == ""


def test_lost_owner_file_is_restored_from_the_journal(
    home: Path, open_journal: Opener, filled: str
) -> None:
    """The journal remembers the owner too, so instances stay ours when the file is deleted."""
    (home / "owner").unlink()
    assert open_journal().owner == filled
    assert (home / "owner").read_text().strip() == filled


def test_two_processes_recover_once(home: Path, filled: str, client: Client) -> None:
    """When several processes find the damage, one sets it aside and all work with the new file."""
    (home / FILE).write_bytes(b"garbage" * 1000)
    crowd = [client("owner", str(home)) for _ in range(4)]
    said = [one.communicate(timeout=50) for one in crowd]
    assert {out.split()[0] for out, _ in said} == {filled}, said
    assert set_aside(home) == ["journal.corrupt-1"]


def test_damage_found_in_use_is_told_and_repaired_next_time(
    home: Path, open_journal: Opener, filled: str
) -> None:
    """Bytes that rot under an unchanged file time are not seen when it is opened: the damage shows
    in use, is an error that says what to do, and the next opening sets the file aside."""
    before = (home / FILE).stat()
    with open(home / FILE, "r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (before.st_size - 8192))
    os.utime(home / FILE, ns=(before.st_atime_ns, before.st_mtime_ns))
    journal = open_journal()
    assert journal.recovered == ""
    with pytest.raises(StateError, match="is damaged") as caught:
        journal.runs()
    assert "run the command again" in caught.value.hints[0]
    journal.close()
    assert "damaged" in open_journal().recovered


def test_sound_file_is_not_checked_again(
    home: Path, open_journal: Opener, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a close in good order the next opening does not read the whole file; after a process
    that died without one, it does."""
    seen: list[str] = []
    really = store_module._connect

    def traced(path: Path) -> sqlite3.Connection:
        connection = really(path)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(store_module, "_connect", traced)
    journal = open_journal()
    assert not [text for text in seen if "quick_check" in text]
    journal.put_run(Run("run-more", "run"))
    journal._store._connection.close()  # the last close folds the WAL in, but nobody seals
    open_journal()
    assert [text for text in seen if "quick_check" in text]


def test_full_disk_is_an_error_not_an_empty_journal(open_journal: Opener) -> None:
    """When SQLite cannot grow the file the write fails with a hint, and what was there stays."""
    journal = open_journal()
    journal.open_intent(intent())
    journal._store._connection.execute("PRAGMA max_page_count=1")
    big = Run("run-big", "run", ("x" * 1_000_000,))
    with pytest.raises(StateError, match="full") as caught:
        journal.put_run(big)
    assert "free some disk space" in caught.value.hints[0]
    assert [one.token for one in journal.intents()] == ["t1"]


def test_read_only_file_is_an_error(open_journal: Opener) -> None:
    """A journal that cannot be written says so with a hint."""
    journal = open_journal()
    journal._store._connection.execute("PRAGMA query_only=1")
    with pytest.raises(StateError, match="readonly") as caught:
        journal.open_intent(intent())
    assert "writable" in caught.value.hints[0]


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """The test as a user who may not write everywhere, also when it was started by root."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def use(home: Path) -> None:
    """What the shortest command does with a journal."""
    with contextlib.closing(Journal.open(home, SYSTEM)) as journal:
        journal.put_run(Run("run-a", "run"))


@pytest.mark.parametrize("known", [False, True])
def test_unwritable_folder_is_an_error(ordinary_user: None, known: bool) -> None:
    """A data folder without write permission is an error with a hint, at first use and later."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        if known:
            Journal.open(home, SYSTEM).close()
        home.mkdir(exist_ok=True)
        for path in (home / "state", home):
            if path.exists():
                path.chmod(0o500)
        with pytest.raises(StateError) as caught:
            use(home)
        assert "BYOC_HOME" in caught.value.hints[0]
        for path in (home, home / "state"):
            if path.exists():
                path.chmod(0o700)


def test_home_that_is_a_file_is_an_error(home: Path) -> None:
    """A data folder that cannot be made is an error with a hint."""
    home.write_text("")
    with pytest.raises(StateError, match="cannot be made") as caught:
        Journal.open(home, SYSTEM)
    assert "BYOC_HOME" in caught.value.hints[0]


def test_locked_journal_is_an_error_after_the_wait(
    home: Path, open_journal: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that another process keeps locked ends in an error that names the cause."""
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT", 0.05)
    journal = open_journal()
    other = sqlite3.connect(home / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="locked") as caught:
        journal.open_intent(intent())
    assert "another byoc process" in caught.value.hints[0]
    other.close()


def test_newer_journal_is_refused(home: Path, open_journal: Opener, filled: str) -> None:
    """A journal of a newer byoc is neither read wrongly nor set aside."""
    raw = sqlite3.connect(home / FILE)
    raw.execute("PRAGMA user_version=999")
    raw.close()
    with pytest.raises(StateError, match="newer byoc"):
        open_journal()
    assert set_aside(home) == []


def test_older_journal_is_migrated(
    home: Path, open_journal: Opener, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening an older journal runs the steps it lacks, once, and keeps its rows."""
    steps = (*schema_module.MIGRATIONS, ("ALTER TABLE meta ADD COLUMN note TEXT",))
    monkeypatch.setattr(store_module, "MIGRATIONS", steps)
    journal = open_journal()
    assert journal.recovered == ""
    assert len(journal.runs(limit=500)) == 200
    open_journal().close()
    raw = sqlite3.connect(home / FILE)
    assert raw.execute("PRAGMA user_version").fetchone() == (len(steps),)
    assert "note" in [row[1] for row in raw.execute("PRAGMA table_info(meta)")]
    raw.close()


def test_rows_of_the_second_schema_get_what_they_lack(
    home: Path, open_journal: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intents and instances from before version 3 have no node and were never missing."""
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "MIGRATIONS", schema_module.MIGRATIONS[:2])
        open_journal().close()
    raw = sqlite3.connect(home / FILE)
    old = dict(intent()._asdict(), offer=json.dumps(OFFER._asdict()), tags="{}")
    names = [name for name in old if name not in ("node", "missing", "missed")]
    marks = ", ".join("?" * len(names))
    raw.execute(
        f"INSERT INTO intents ({', '.join(names)}) VALUES ({marks})", [old[name] for name in names]
    )
    raw.execute(
        "INSERT INTO instances VALUES ('sim', 'i-1', ?, 't1', 'key', '192.0.2.1', 22, 'user', 1.5,"
        " 'r', 'running', 5, 6, 0, 0, '')",
        (json.dumps(OFFER._asdict()),),
    )
    raw.commit()
    raw.close()
    journal = open_journal()
    (kept,), (row,) = journal.launches(["t1"]), journal.launched(["t1"])
    assert (kept.node, kept.missing, kept.missed) == (0, 0, 0.0)
    assert (row.node, row.orphaned, row.missing, row.missed) == (0, 0.0, 0, 0.0)
    assert (row.state, row.reached) == ("running", 6.0)


def test_failed_migration_changes_nothing(
    home: Path, open_journal: Opener, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that fails is rolled back as a whole: the older journal is still sound."""
    steps = (*schema_module.MIGRATIONS, ("CREATE TABLE extra (a)", "CREATE TABLE runs (a)"))
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "MIGRATIONS", steps)
        with pytest.raises(StateError):
            open_journal()
    journal = open_journal()
    assert journal.recovered == ""
    assert len(journal.runs(limit=500)) == 200


def test_copied_home_keeps_working(home: Path, filled: str, tmp_path: Path) -> None:
    """A data folder may be moved or restored from a copy."""
    shutil.copytree(home, tmp_path / "copy")
    journal = Journal.open(tmp_path / "copy", SYSTEM)
    assert (journal.owner, journal.recovered) == (filled, "")
    journal.close()
