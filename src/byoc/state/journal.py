"""The journal: what this installation intends, holds and has done. Nothing else opens its file."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..clock import IDS, Clock, Ids
from ..errors import NotFoundError, StateError
from ..limits import BUSY_TIMEOUT
from .codec import Record, decode, encode, insertion, marks, names
from .records import INSTANCE_LIVE, INTENT_OPEN, Attempt, InstanceRow, Intent, Refusal, Run, Stage
from .refusals import KEPT, again
from .store import DamagedError, Store, set_aside

FOLDER = "state"
FILE = "journal.db"
OWNER_FILE = "owner"
MANY = 500
"""Values in one statement; SQLite's limit was 999 for long."""
_LOCK_POLL = 0.01
"""Seconds between two tries for the lock that only the making of a journal needs."""


class Journal:
    """Typed access to the journal. Safe to use from threads; several processes may open it.

    ``owner``: the id of this installation, which tags every instance it rents. ``recovered``: a
    sentence for the user when the file was damaged or missing and a new one was made, else empty;
    the fleet then rebuilds the instances from the providers' lists.
    """

    def __init__(self, store: Store, owner: str, recovered: str = "") -> None:
        self._store = store
        self.owner = owner
        self.recovered = recovered
        self.news = 0
        """Changes whenever this process has remembered a refusal."""

    @classmethod
    def open(cls, home: Path, clock: Clock, ids: Ids = IDS) -> Journal:
        """Open the journal of a data folder, making it and its owner id at first use.

        A damaged file is set aside as ``journal.corrupt-<n>``. Raises
        :class:`~byoc.errors.StateError` when the folder cannot be used.
        """
        path = home / FOLDER / FILE
        owner = _read_owner(home)
        if owner and path.exists():
            try:
                return cls(Store.open(path), owner)
            except DamagedError:
                pass  # looked at again below, under the lock
        _private_folder(home)
        _private_folder(path.parent)
        with _making(path.parent, clock):
            return cls._make(home, path, ids)

    @classmethod
    def _make(cls, home: Path, path: Path, ids: Ids) -> Journal:
        """Open, or make, whatever is missing; the caller holds the lock."""
        known, note, store = _read_owner(home), "", None
        if path.exists():
            try:
                store = Store.open(path)
            except DamagedError as error:
                aside = set_aside(path)
                note = f"the journal was damaged ({error}); it is kept as {aside} and made anew"
        elif known:
            note = "the journal was missing and has been made anew"
        fresh = store is None
        store = store or Store.create(path)
        try:
            owner = known or _meta(store, "owner") or ids.new("own")
            if not known:
                _write_owner(home, owner)
            if fresh or not _meta(store, "owner"):
                store.write("INSERT OR REPLACE INTO meta VALUES ('owner', ?)", (owner,))
            if note:
                store.write("INSERT OR REPLACE INTO meta VALUES ('rebuild', '1')")
        except BaseException:
            store.close()
            raise
        return cls(store, owner, note)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    # -- intents and instances together -------------------------------------------------------

    def change(
        self,
        work: Callable[[], tuple[Sequence[Intent], Sequence[InstanceRow]]],
        *,
        durable: bool = False,
    ) -> None:
        """Write what ``work`` gives, all of it or nothing; no other client writes between what it
        reads and what is written. ``durable``: return when the disk has it. ``work`` may be slow
        for nobody's sake: other clients wait meanwhile."""
        with self._store.transaction(durable=durable) as execute:
            intents, rows = work()
            for intent in intents:
                execute(*insertion("intents", intent))
            for row in rows:
                execute(*insertion("instances", row))

    def launches(self, tokens: Sequence[str] = (), run: str = "") -> list[Intent]:
        """The intents of these tokens, and of that run."""
        found = self._of_tokens(Intent, "intents", tokens)
        return found + (self._select(Intent, "intents WHERE run=?", (run,)) if run else [])

    def launched(self, tokens: Sequence[str]) -> list[InstanceRow]:
        """The instances of these tokens, whatever their state."""
        return self._of_tokens(InstanceRow, "instances", tokens)

    def _of_tokens(self, kind: type[Record], table: str, tokens: Sequence[str]) -> list[Record]:
        found: list[Record] = []
        for begin in range(0, len(tokens), MANY):
            some = tokens[begin : begin + MANY]
            found += self._select(kind, f"{table} WHERE token IN ({marks(some)})", some)
        return found

    # -- intents ------------------------------------------------------------------------------

    def open_intent(self, intent: Intent) -> None:
        """Put an intent on disk; returns when the disk has it."""
        self._put("intents", intent, durable=True)

    def update_intent(
        self, token: str, state: str, *, instance_id: str | None = None, detail: str = ""
    ) -> None:
        """Set an intent's state; ``instance_id`` None keeps the one it has."""
        self._store.write(
            "UPDATE intents SET state=?, instance_id=coalesce(?, instance_id), detail=? "
            "WHERE token=?",
            (state, instance_id, detail, token),
        )

    def intent(self, token: str) -> Intent | None:
        """The intent of a token."""
        return next(iter(self._select(Intent, "intents WHERE token=?", (token,))), None)

    def intents(self, states: Sequence[str] = INTENT_OPEN) -> list[Intent]:
        """Intents in these states, oldest first."""
        where = f"intents WHERE state IN ({marks(states)}) ORDER BY created"
        return self._select(Intent, where, states)

    # -- instances ----------------------------------------------------------------------------

    def put_instance(self, row: InstanceRow) -> None:
        """Insert or replace an instance."""
        self._put("instances", row)

    def update_instance(
        self, provider: str, instance_id: str, **changes: str | float | None
    ) -> bool:
        """Set fields of :class:`InstanceRow` by name; False when there is no such instance."""
        unknown = set(changes) - set(names(InstanceRow))
        if unknown:
            raise ValueError(f"an instance has no {sorted(unknown)}")
        assignments = ", ".join(f"{name}=?" for name in changes)
        changed = self._store.write(
            f"UPDATE instances SET {assignments} WHERE provider=? AND id=?",  # noqa: S608 names checked
            (*map(encode, changes.values()), provider, instance_id),
        )
        return changed == 1

    def instance(self, provider: str, instance_id: str) -> InstanceRow | None:
        """One instance."""
        where = "instances WHERE provider=? AND id=?"
        return next(iter(self._select(InstanceRow, where, (provider, instance_id))), None)

    def instances(self, states: Sequence[str] = INSTANCE_LIVE) -> list[InstanceRow]:
        """Instances in these states, oldest first."""
        where = f"instances WHERE state IN ({marks(states)}) ORDER BY started, id"
        return self._select(InstanceRow, where, states)

    def recent_instances(self, since: float) -> list[InstanceRow]:
        """Those that may still cost money, and those that ended after ``since``."""
        where = f"instances WHERE state IN ({marks(INSTANCE_LIVE)}) OR (state='gone' AND ended>?)"
        return self._select(InstanceRow, where, (*INSTANCE_LIVE, since))

    # -- attempts -----------------------------------------------------------------------------

    def open_attempt(self, run: str, provider: str, offer: str, at: float) -> int:
        """Note that a rung is being tried; returns its number within the run, from 1."""
        with self._store.transaction() as execute:
            row = execute("SELECT coalesce(max(seq), 0) FROM attempts WHERE run=?", (run,))
            seq = int(row.fetchone()[0]) + 1
            sql, values = insertion("attempts", Attempt(run, seq, provider, offer, at))
            execute(sql, values)
        return seq

    def close_attempt(self, attempt: Attempt) -> None:
        """Replace an attempt with how it went."""
        self._put("attempts", attempt)

    def attempts(self, run: str) -> list[Attempt]:
        """All attempts of a run, in order."""
        return self._select(Attempt, "attempts WHERE run=? ORDER BY seq", (run,))

    def past_attempts(self, since: float, limit: int) -> list[Attempt]:
        """The latest attempts of all runs at new instances that have come to an end."""
        where = "attempts WHERE at>? AND outcome IN ('ok', 'refused', 'failed', 'unknown') "
        return self._select(Attempt, where + "ORDER BY at DESC LIMIT ?", (since, limit))

    # -- what clouds refused ------------------------------------------------------------------

    def remember(self, refusal: Refusal) -> Refusal:
        """Keep a refusal; returns it as kept: one that repeats is kept for longer."""
        with self._store.transaction() as execute:
            execute("DELETE FROM refusals WHERE until<?", (refusal.at - KEPT,))
            rows = execute("SELECT * FROM refusals WHERE key=?", (refusal.key,)).fetchall()
            kept = again(decode(Refusal, rows[0]) if rows else None, refusal)
            execute(*insertion("refusals", kept))
        self.news += 1  # more than one thread may: no more than that it changes is asked of it
        return kept

    def refusals(self, now: float) -> list[Refusal]:
        """Those that hold after ``now``, the latest first; of 0, all that are kept."""
        return self._select(Refusal, "refusals WHERE until>? ORDER BY at DESC, key", (now,))

    def forget(self, keys: Sequence[str]) -> int:
        """Drop refusals that were disproved; how many there were."""
        if not keys:
            return 0
        return self._store.write(f"DELETE FROM refusals WHERE key IN ({marks(keys)})", tuple(keys))  # noqa: S608 marks only

    # -- runs ---------------------------------------------------------------------------------

    def put_run(self, run: Run) -> None:
        """Insert or replace a run."""
        self._put("runs", run)

    def end_run(
        self,
        run_id: str,
        status: str,
        *,
        ended: float,
        exit_code: int | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> bool:
        """Set how a run ended, unless it has ended before; False when it had."""
        changed = self._store.write(
            "UPDATE runs SET status=?, ended=?, exit_code=?, error=? "
            "WHERE id=? AND status='running'",
            (status, ended, exit_code, encode(error), run_id),
        )
        return changed == 1

    def add_run_instance(self, run_id: str, instance: str) -> None:
        """Note that a run held an instance (``provider/id``)."""
        with self._store.transaction() as execute:
            row = execute("SELECT instances FROM runs WHERE id=?", (run_id,)).fetchone()
            if row is None:
                return
            held = json.loads(row[0])
            if instance not in held:
                values = (json.dumps([*held, instance]), run_id)
                execute("UPDATE runs SET instances=? WHERE id=?", values)

    def run(self, run_id: str) -> Run:
        """A run by its id or an unambiguous beginning of it. Raises NotFoundError."""
        found = self._select(Run, "runs WHERE id=?", (run_id,))
        if not found and run_id:
            end = run_id[:-1] + chr(ord(run_id[-1]) + 1)
            found = self._select(Run, "runs WHERE id>=? AND id<? LIMIT 2", (run_id, end))
        if len(found) == 1:
            return found[0]
        what = "is the beginning of several runs" if found else "is no run of this installation"
        raise NotFoundError(f"{run_id!r} {what}", hints=("see `byoc ps --all` for the runs",))

    def runs(self, *, limit: int = 100, status: str | None = None) -> list[Run]:
        """The latest runs, newest first; only those of one status when given."""
        where = "runs WHERE status=? " if status else "runs "
        values: tuple[str | int, ...] = (status, limit) if status else (limit,)
        return self._select(Run, where + "ORDER BY started DESC, id DESC LIMIT ?", values)

    # -- stages -------------------------------------------------------------------------------

    def add_stage(self, run: str, name: str, seconds: float, detail: str = "") -> None:
        """Note how long a stage of a run took."""
        with self._store.transaction() as execute:
            row = execute("SELECT coalesce(max(seq), 0) FROM stages WHERE run=?", (run,))
            stage = Stage(run, int(row.fetchone()[0]) + 1, name, seconds, detail)
            execute(*insertion("stages", stage))

    def stages(self, run: str) -> list[Stage]:
        """The stages of a run, in order."""
        return self._select(Stage, "stages WHERE run=? ORDER BY seq", (run,))

    # -- after a loss -------------------------------------------------------------------------

    def unlisted(self, provider: str) -> bool:
        """Whether this journal replaces a lost one and the provider has not been asked yet for all
        that is ours: what it lacks may exist."""
        return bool(_meta(self._store, "rebuild")) and not _meta(self._store, f"listed {provider}")

    def set_listed(self, provider: str) -> None:
        """The provider was asked for all that is ours, everywhere."""
        self._store.write("INSERT OR REPLACE INTO meta VALUES (?, '1')", (f"listed {provider}",))

    # -- plumbing -----------------------------------------------------------------------------

    def _put(self, table: str, record: Record, *, durable: bool = False) -> None:
        sql, values = insertion(table, record)
        self._store.write(sql, values, durable=durable)

    def _select(self, kind: type[Record], rest: str, values: Sequence[str | float]) -> list[Record]:
        query = f"SELECT {', '.join(names(kind))} FROM {rest}"  # noqa: S608 constants of this room
        rows = self._store.rows(query, values)
        return [decode(kind, row) for row in rows]


# --- files beside the journal -----------------------------------------------------------------


def _private_folder(path: Path) -> None:
    """Make a folder that only its user can enter; one that exists is left as it is."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"the data folder {path} cannot be made: {error.strerror}",
            hints=("make it writable, or set BYOC_HOME to a folder that is",),
        ) from error


@contextmanager
def _making(folder: Path, clock: Clock) -> Iterator[None]:
    """Only one process at a time makes or replaces a journal."""
    try:
        fd = os.open(folder / "journal.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise StateError(
            f"the data folder {folder} cannot be used: {error.strerror}",
            hints=("make it writable, or set BYOC_HOME to a folder that is",),
        ) from error
    try:
        _wait_for(fd, folder, clock)
        yield
    finally:
        os.close(fd)


def _wait_for(fd: int, folder: Path, clock: Clock) -> None:
    deadline = clock.mono() + BUSY_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if clock.mono() > deadline:
                raise StateError(
                    f"another process has been making the journal in {folder} for too long",
                    hints=("end that byoc process, then try again",),
                ) from None
            clock.sleep(_LOCK_POLL)


def _read_owner(home: Path) -> str:
    """The owner id, or an empty text when there is none yet."""
    try:
        return (home / OWNER_FILE).read_text("ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(
            f"the owner id {home / OWNER_FILE} cannot be read: {error}",
            hints=("restore that file or make it readable: it names the instances that are yours",),
        ) from error


def _write_owner(home: Path, owner: str) -> None:
    """Write the owner id so that it is there whole or not at all."""
    path = home / OWNER_FILE
    draft = path.with_name(f".{OWNER_FILE}.{os.getpid()}")
    try:
        with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(owner + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StateError(
            f"the owner id {path} cannot be written: {error.strerror}",
            hints=("make the folder writable, or set BYOC_HOME to one that is",),
        ) from error


def _meta(store: Store, key: str) -> str:
    rows = store.rows("SELECT value FROM meta WHERE key=?", (key,))
    return str(rows[0][0]) if rows else ""
