"""The folder of local machines: what lies where, who lives, and what is left of the dead.

::

    local/<id>/          one machine; see :class:`Room`
    local/ended/<id>.json  why a machine ended; kept for :data:`KEEP_TOMBSTONES`
    local/trash/         folders on their way out
    local/cache/         outlives machines
    local/launch.lock    held while a machine is put up or a dead one cleared
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...clock import Clock
from ...errors import TransientError
from .machine import files, guardian, processes

KEEP_TOMBSTONES = 7 * 24 * 3600.0
"""A week: long enough for whoever asks what became of a machine."""
KEEP_DRAFTS = 60.0
"""A draft or trash folder older than this was left by a crash; making one takes milliseconds."""
LOCK_TIMEOUT = 10.0
"""Longest wait for another client's launch; one takes about 5 ms."""
LOCK_POLL = 0.002
ID = re.compile(r"^local-[0-9a-z]{10}$")
END_COMMAND = "byoc-end"
"""Command inside a machine that ends it. A name of our own: were PATH lost, the host's own
``shutdown`` must not be what runs."""


def instance_id(token: str) -> str:
    """The id of the machine of a token: the same on every call, in every process."""
    import hashlib  # deferred: it loads OpenSSL, 3 ms that only a launch needs

    digest = int.from_bytes(hashlib.sha256(token.encode()).digest()[:8], "big")
    letters = "0123456789abcdefghjkmnpqrstvwxyz"
    return "local-" + "".join(letters[(digest >> (5 * i)) & 31] for i in range(10))


class Room:
    """One machine's folder. Nothing here raises when the machine vanishes meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    def machine(self) -> dict[str, Any] | None:
        """The machine's record; None when missing or torn."""
        return files.read_json(str(self.path / "machine.json"))

    def lives(self) -> bool:
        """Is there a guardian, or a launch in progress? Both hold the lock exclusively."""
        try:
            handle = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def ending(self) -> str:
        """Why the machine is ending; empty while it is not."""
        return files.read_small(str(self.path / guardian.ENDING_FILE), 200)

    def guardian_pid(self) -> int:
        """Process id of the guardian, 0 when unknown."""
        text = files.read_small(str(self.path / guardian.PID_FILE), 20).strip()
        return int(text) if text.isdigit() else 0

    def ask(self, word: str) -> bool:
        """Says a word to the guardian; False when nobody listens."""
        try:
            handle = os.open(self.path / "control", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            os.write(handle, word.encode() + b"\n")
        except OSError:
            return False
        finally:
            os.close(handle)
        return True


class Folder:
    """All local machines of one ``BYOC_HOME``. ``root``: its ``local`` folder."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self.cache = root / "cache"
        self._clock = clock

    def make(self) -> None:
        """Creates what is missing, for the owner only."""
        for path in (self.cache, self.root / "ended", self.root / "trash"):
            files.make_private(str(path))

    def room(self, instance_id: str) -> Room:
        """The folder of one machine, which need not exist. ``instance_id`` has been checked."""
        return Room(self.root / instance_id)

    def rooms(self) -> Iterator[Room]:
        """Every machine's folder, dead ones included."""
        try:
            names = sorted(os.listdir(self.root))
        except FileNotFoundError:
            return
        for name in names:
            if ID.match(name):
                yield Room(self.root / name)

    def tombstone_path(self, instance_id: str) -> Path:
        """Where the guardian writes why the machine ended."""
        return self.root / "ended" / f"{instance_id}.json"

    def tombstone(self, instance_id: str) -> dict[str, Any] | None:
        """What is known of a machine that ended."""
        return files.read_json(str(self.tombstone_path(instance_id)))

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Alone, among all clients, in putting up and clearing machines."""
        handle = os.open(self.root / "launch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(handle)
            yield
        finally:
            os.close(handle)

    def _acquire(self, handle: int) -> None:
        deadline = self._clock.mono() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self._clock.mono() > deadline:
                    raise TransientError(
                        f"another byoc has held {self.root / 'launch.lock'} for {LOCK_TIMEOUT:g} s",
                        provider="local",
                        scope="account",
                    ) from None
            self._clock.sleep(LOCK_POLL)

    def bury(self, room: Room, reason: str) -> None:
        """Clears a machine whose guardian is gone: its processes, then its folder.

        Only inside :meth:`launching`. Leaves a tombstone unless there is one already.
        """
        processes.kill_all(lambda: processes.marked(room.id, str(room.path)))
        if not self.tombstone_path(room.id).exists():
            grave: Mapping[str, Any] = room.machine() or {"id": room.id}
            tail = files.read_tail(str(room.path / "log"), 2000)
            ended = {**grave, "reason": reason, "ended": self._clock.wall(), "log": tail}
            word = json.dumps(ended, sort_keys=True).encode()
            files.leave_word(str(self.tombstone_path(room.id)), word, str(room.path / "home"))
        trash = self.root / "trash" / f"{room.id}.{os.getpid()}"
        if files.rename_away(str(room.path), str(trash)):
            files.remove_tree(str(trash))

    def sweep(self) -> None:
        """Removes what crashes and time left behind. Only inside :meth:`launching`."""
        now = self._clock.wall()
        for path in (self.root / "trash").iterdir():
            if _age(path, now) > KEEP_DRAFTS:
                files.remove_tree(str(path))
        for path in (self.root / "ended").iterdir():
            if _age(path, now) > KEEP_TOMBSTONES:
                path.unlink(missing_ok=True)


def _age(path: Path, now: float) -> float:
    try:
        return now - path.lstat().st_ctime
    except FileNotFoundError:
        return 0.0
