"""Finding and ending every process of a machine.

On Linux a machine's guardian and init are child subreapers: whatever runs in the machine stays
their descendant, however often it forks, calls setsid or outlives its parent. Elsewhere, and when
guardian and init were both killed, processes are recognised by what they inherited: the marker in
their environment, or files of the machine that they hold open.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # not from typing, which takes 4 ms to import
    from collections.abc import Callable, Iterable

MARKER = "BYOC_INSTANCE"
"""Environment variable that every process of a machine inherits; its value is the instance's id."""
LOOK_EVERY = 0.005
"""Pause between two looks at processes that are ending; a look costs 1-3 ms."""
LOOK_AT_MOST = 0.1
"""Longest pause between two looks while processes use the grace they are given."""
KILL_ROUNDS = 400
"""Rounds of stop and kill before giving up: 2 s at :data:`LOOK_EVERY`, far beyond need."""
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform.startswith("linux")
_SOFT_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGCONT)
# SIGHUP because interactive shells ignore SIGTERM; SIGCONT so that a stopped process hears it.


def adopt_orphans() -> bool:
    """Makes this process the parent of all orphans below it. False where the system cannot."""
    if not _LINUX:
        return False
    import ctypes  # 1 ms that the client, which only looks at processes, need not wait for

    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def reap() -> dict[int, int]:
    """Collects every ended child: pid -> wait status."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def parents() -> dict[int, int]:
    """pid -> parent's pid of every process that lives; zombies are left out."""
    return _parents_from_proc() if _LINUX else _parents_from_ps()


def _parents_from_proc() -> dict[int, int]:
    found: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if fields[0] not in (b"Z", b"X"):
            found[int(name)] = int(fields[1])
    return found


def _ps(columns: str, *options: str) -> list[str]:
    import subprocess  # 8 ms that a machine on Linux need not wait for

    listing = subprocess.run(["/bin/ps", *options, "-o", columns], capture_output=True, check=False)
    return listing.stdout.decode("utf-8", "replace").splitlines()


def _parents_from_ps() -> dict[int, int]:
    found: dict[int, int] = {}
    for line in _ps("pid=,ppid=,stat=", "-ax"):
        fields = line.split()
        if len(fields) == 3 and not fields[2].startswith("Z"):
            found[int(fields[0])] = int(fields[1])
    return found


def descendants(root: int) -> set[int]:
    """Every living process below ``root``, without it."""
    return _below({root}, parents()) - {root}


def tree(root: int) -> set[int]:
    """A process, while it lives, and every living process below it."""
    alive = parents()
    return _below({root}, alive) & set(alive)


def marked(instance_id: str, folder: str) -> set[int]:
    """Living processes that show by what they inherited to belong to a machine, and all below them.

    Those below count because the marked ones may be killed first: what has dropped its marks could
    not be told from the host's own processes any more.
    """
    mark = f"{MARKER}={instance_id}"
    if _LINUX:
        found = {pid for pid in parents() if _belongs(pid, mark.encode(), folder)}
    else:
        lines = _ps("pid=,command=", "-axEww")
        found = {int(line.split(None, 1)[0]) for line in lines if mark in line.split()}
    own = {os.getpid(), os.getppid()}
    return _below(found - own, parents()) - own


def _below(roots: set[int], alive: dict[int, int]) -> set[int]:
    """``roots`` and every process below them. ``alive``: see :func:`parents`."""
    children: dict[int, list[int]] = {}
    for pid, parent in alive.items():
        children.setdefault(parent, []).append(pid)
    found = set(roots)
    queue = list(roots)
    while queue:
        for pid in children.get(queue.pop(), ()):
            if pid not in found:
                found.add(pid)
                queue.append(pid)
    return found


def _belongs(pid: int, mark: bytes, folder: str) -> bool:
    try:
        if os.stat(f"/proc/{pid}").st_uid not in (os.getuid(), 0):
            return False
        with open(f"/proc/{pid}/environ", "rb") as environ:
            if mark in environ.read().split(b"\0"):
                return True
    except OSError:  # it ended meanwhile, or it is another user's
        return False
    # sshd overwrites its environment with its title; that it logs to the machine's log shows it.
    try:
        return os.readlink(f"/proc/{pid}/fd/2") == os.path.join(folder, "log")
    except OSError:
        return False


def command_line(pid: int) -> str:
    """A process's arguments, joined by spaces; empty when there is no such process."""
    if not _LINUX:
        return " ".join(_ps("command=", "-wwp", str(pid)))
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as arguments:
            return arguments.read().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def send(pids: Iterable[int], *signals: signal.Signals) -> None:
    """Signals each process that still lives."""
    for pid in pids:
        for number in signals:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                break


def end_all(find: Callable[[], set[int]], grace: float, spare: set[int]) -> set[int]:
    """Ends what ``find`` finds: politely, and after ``grace`` seconds without mercy.

    ``spare``: processes that are not asked politely because the rest of the machine hangs on them.
    Returns what could not be ended; empty but for processes that hang in the kernel.
    """
    polite = time.monotonic() + grace
    pause = LOOK_EVERY
    asked: set[int] = set()
    while time.monotonic() < polite:
        left = find() - spare
        send(left - asked, *_SOFT_SIGNALS)
        asked |= left
        if not left:
            break
        time.sleep(pause)
        pause = min(2 * pause, LOOK_AT_MOST)
        reap()
    return kill_all(find)


def kill_all(find: Callable[[], set[int]]) -> set[int]:
    """Stops, then kills what ``find`` finds, until it finds nothing; returns what is left."""
    left = find()
    for _ in range(KILL_ROUNDS):
        if not left:
            break
        send(left, signal.SIGSTOP)  # so that none forks faster than we look
        send(left | find(), signal.SIGKILL)
        reap()
        left = find()
        if left:
            time.sleep(LOOK_EVERY)
            reap()
            left = find()
    return left
