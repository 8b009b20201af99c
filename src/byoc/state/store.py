"""The SQLite file under the journal: opening, checking, moving a damaged one aside, transactions.

WAL lets readers go on beside one writer, and ``busy_timeout`` lets two clients take turns.
``synchronous`` is NORMAL (a commit survives the death of the process, not always of the power),
and FULL for the commits that ask for it: an intent must be on disk before a cloud is asked.
The whole file is checked when it is opened, unless it is as its last user left it (the seal).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..errors import StateError
from ..limits import BUSY_TIMEOUT
from .schema import APPLICATION_ID, MIGRATIONS, TABLES

_DAMAGE = ("malformed", "not a database", "file is encrypted", "corrupt")
_Value = str | int | float | None


class DamagedError(Exception):
    """The file is not a sound journal; the caller moves it aside. Never leaves this room."""


class Statement(Protocol):
    """Runs one statement inside the open transaction."""

    def __call__(self, sql: str, values: Sequence[_Value] = ()) -> sqlite3.Cursor: ...


class Store:
    """One connection to the journal's file. Safe to use from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._sound = True

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open and check an existing file.

        Raises :class:`DamagedError` when it is torn or not ours, :class:`StateError` when it cannot
        be used for another reason.
        """
        if path.stat().st_size == 0:
            raise DamagedError("it is empty")
        store = cls(path, _connect(path))
        try:
            with _translated(path):
                store._check()
        except BaseException:
            store._connection.close()
            raise
        return store

    @classmethod
    def create(cls, path: Path) -> Store:
        """Make a new file with the newest tables; ``path`` must not exist."""
        with _translated(path):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        store = cls(path, _connect(path))
        try:
            with _translated(path):
                store._run("PRAGMA journal_mode=WAL")
                with store.transaction(durable=True) as run:
                    run(f"PRAGMA application_id={APPLICATION_ID}")
                    store._migrate(0)
        except BaseException:
            store._connection.close()
            raise
        return store

    def close(self) -> None:
        """Close the connection; the last one to close folds the WAL into the file.

        Leaves the seal: the next opening need not check a file that has not changed since.
        """
        with self._lock:
            self._connection.close()
            if self._sound:
                with contextlib.suppress(OSError):  # without a seal the next opening checks
                    _set_seal(self.path)
            self._sound = False

    # -- reading and writing ------------------------------------------------------------------

    def rows(self, sql: str, values: Sequence[_Value] = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises :class:`StateError`."""
        with self._lock, self._guarded():
            return self._connection.execute(sql, values).fetchall()

    def write(self, sql: str, values: Sequence[_Value] = (), *, durable: bool = False) -> int:
        """One statement in a transaction of its own; the number of rows it changed."""
        with self.transaction(durable=durable) as run:
            return run(sql, values).rowcount

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Statement]:
        """Statements that are committed together, or not at all.

        ``durable``: the commit waits for the disk itself. Raises :class:`StateError`.
        """
        with self._lock, self._guarded():
            self._run(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._run("BEGIN IMMEDIATE")
            try:
                yield self._run
                self._run("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._run("ROLLBACK")
                raise

    def _run(self, sql: str, values: Sequence[_Value] = ()) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Damage found while in use: break the seal and say what to do."""
        try:
            with _translated(self.path):
                yield
        except DamagedError as error:
            self._sound = False
            _seal(self.path).unlink(missing_ok=True)
            raise StateError(
                f"the journal {self.path} is damaged: {error}",
                hints=("run the command again: byoc sets the file aside and rebuilds it",),
            ) from error

    # -- opening ------------------------------------------------------------------------------

    def _check(self) -> None:
        if not _sealed(self.path):  # 5 ms per MiB, which a healthy start should not pay
            verdict = self._run("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise DamagedError(str(verdict).splitlines()[0])
        if self._run("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise DamagedError("it is another program's database")
        version = self._version()
        if version > len(MIGRATIONS):
            raise StateError(
                f"the journal {self.path} was written by a newer byoc (schema {version})",
                hints=("update byoc, or set BYOC_HOME to another folder",),
            )
        if version < len(MIGRATIONS):
            with self.transaction(durable=True):
                self._migrate(self._version())
        names = {row[0] for row in self._run("SELECT name FROM sqlite_master WHERE type='table'")}
        if not names >= TABLES:
            raise DamagedError(f"tables are missing: {', '.join(sorted(TABLES - names))}")

    def _version(self) -> int:
        return int(self._run("PRAGMA user_version").fetchone()[0])

    def _migrate(self, version: int) -> None:
        for number, steps in enumerate(MIGRATIONS[version:], version + 1):
            for step in steps:
                self._run(step)
            self._run(f"PRAGMA user_version={number}")


def _seal(path: Path) -> Path:
    """The file that remembers the journal as its last user left it: inode, size and time."""
    return path.with_name(path.name + ".seal")


def _state_of(path: Path) -> str:
    now = path.stat()
    return f"{now.st_ino} {now.st_size} {now.st_mtime_ns}"


def _set_seal(path: Path) -> None:
    fd = os.open(_seal(path), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(_state_of(path))


def _sealed(path: Path) -> bool:
    """Whether nothing has touched the file since one of us closed it in good order."""
    try:
        return _seal(path).read_text("ascii") == _state_of(path)
    except (OSError, UnicodeDecodeError):
        return False


def set_aside(path: Path) -> Path:
    """Rename a damaged file, with its WAL, to the first free ``journal.corrupt-<n>``."""
    number = 1
    while (target := path.with_name(f"{path.stem}.corrupt-{number}")).exists():
        number += 1
    with _translated(path):
        path.rename(target)
        for suffix in ("-wal", "-shm"):
            side = path.with_name(path.name + suffix)
            if side.exists():
                side.rename(target.with_name(target.name + suffix))
        _seal(path).unlink(missing_ok=True)
    return target


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level=None: transactions are ours alone. The lock in Store makes the connection
    # safe to share, so SQLite's own check of the thread is off.
    with _translated(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if any(word in text for word in _DAMAGE):
            raise DamagedError(text) from error
        raise _unusable(path, text) from error
    except OSError as error:
        text = error.strerror or str(error)
        raise _unusable(path, text) from error


def _unusable(path: Path, text: str) -> StateError:
    return StateError(f"the journal {path} cannot be used: {text}", hints=_hints(text))


def _hints(text: str) -> tuple[str, ...]:
    low = text.lower()
    if "full" in low or "no space" in low or "quota" in low:
        return ("free some disk space, or set BYOC_HOME to a folder on another disk",)
    if "readonly" in low or "read-only" in low or "permission" in low or "unable to open" in low:
        return ("make the folder writable, or set BYOC_HOME to one that is",)
    if "locked" in low:
        return ("another byoc process holds it; wait for it, or end it",)
    return ("check the disk, or set BYOC_HOME to another folder on a local disk",)
