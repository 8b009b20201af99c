"""Who uses an instance: one file lock per launch token, held from the intent to the release.

The kernel drops the lock when its process ends in whatever way, so a lock that can be taken means
that no client of this data folder is launching, using or ending that instance.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from ..errors import StateError
from ..providers.base import TOKEN_TAG, Instance

FOLDER = "locks"


def key_of(instance: Instance) -> str:
    """The name of the instance's lock: its launch token, which the launching client locked first.

    An instance without the tag (made by hand) is named by its id.
    """
    token = instance.tags.get(TOKEN_TAG, "")
    if token:
        return token
    import hashlib  # deferred: it loads OpenSSL, 3 ms that an instance of ours does not need

    return hashlib.sha256(f"{instance.provider}/{instance.id}".encode()).hexdigest()[:32]


class UseLock:
    """An exclusive lock that this process holds. Made by :meth:`take`."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd

    @classmethod
    def take(cls, home: Path, key: str) -> UseLock | None:
        """The lock, or None when someone else has it. Raises StateError for an unusable folder."""
        path = home / FOLDER / key
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
                if not _lock(fd):
                    os.close(fd)
                    return None
                if _same_file(path, fd):
                    break
                os.close(fd)  # its last holder has removed it: take the new one
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()} {os.uname().nodename}".encode(), 0)
        except OSError as error:
            raise StateError(
                f"the lock {path} cannot be used: {error.strerror}",
                hints=("make the folder writable, or set BYOC_HOME to a local one that is",),
            ) from error
        return cls(path, fd)

    def release(self, *, remove: bool = False) -> None:
        """Let others have it; ``remove`` when the instance is no more. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if remove:
                self._path.unlink(missing_ok=True)
            else:
                os.ftruncate(fd, 0)
        finally:
            os.close(fd)


def elsewhere(home: Path, key: str) -> str:
    """The name of the other computer whose process holds, or held, the lock; empty for this one."""
    computer = _written(home, key)[1]
    return "" if computer == os.uname().nodename else computer


def holder(home: Path, key: str) -> int:
    """The process that holds the lock, 0 when none does; it may change at any time.

    One of another computer (a shared or a copied data folder) counts as alive: nothing here can
    tell that it is not.
    """
    pid, computer = _written(home, key)
    there = computer not in ("", os.uname().nodename)
    return pid if pid and (there or alive(pid)) else 0


def _written(home: Path, key: str) -> tuple[int, str]:
    """Process and computer, as whoever took the lock last has written them; 0 when it let go."""
    try:
        pid, _, computer = (home / FOLDER / key).read_text("utf-8").partition(" ")
        return int(pid or 0), computer
    except (FileNotFoundError, ValueError):
        return 0, ""


def alive(pid: int) -> bool:
    """Whether a process with this number runs on this computer.

    One that has ended and that its parent has not asked about, as in a container without an init,
    does not run any more; only Linux tells.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # another system, or it has just gone
        return True
    return told.rpartition(b")")[2].split()[:1] != [b"Z"]


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(path: Path, fd: int) -> bool:
    try:
        there, here = path.stat(), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
