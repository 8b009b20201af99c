"""The processes below a process, and their end. Linux only; elsewhere there is nobody to be found.

A container adopts whatever is orphaned below it, as process 1 of a Docker container does, so all
that its code ever started stays below it. When it ends, its zygote becomes the parent of what is
left, and ends it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import Callable, Iterable, Iterator, List, Set

SCORE = 500
"""Of 1000: what the kernel adds to a container when it looks for a process to end because memory
ran out, so that it takes a container, and not the agent or the SSH server."""
LONGEST_HUNT = 1.0
"""Seconds to end what a container left: far beyond need, unless the kernel holds a process."""
STABLE_ROUNDS = 20
"""Rounds of stopping before killing, until one finds nothing more."""
MARK = "BYOC_TASK_ID"
"""The variable by which what a program started is known when the program is gone."""
MACHINE = b"BYOC_INSTANCE="
"""How an instance of the local provider marks its first process."""
_PAUSE = 0.002
_PR_SET_CHILD_SUBREAPER = 36
_LINUX = sys.platform == "linux"
_KNOWN = _LINUX and os.path.exists("/proc/%d/task/%d/children" % (os.getpid(), os.getpid()))
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Make this process the parent of what is orphaned below it."""
    if _LINUX:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def first_to_go(pid: int) -> None:
    """Let the kernel end a process, and what it will start, before others when memory runs out."""
    if not _LINUX:
        return
    try:
        with open("/proc/%d/oom_score_adj" % pid, "r+b", buffering=0) as file:
            if int(file.read()) < SCORE:
                file.write(b"%d" % SCORE)
    except (OSError, ValueError):
        pass  # a system that hides it decides by size alone


def children(pid: int) -> Iterator[int]:
    """Process ids of the children of all threads of a process; zombies too."""
    if not _KNOWN:
        yield from _children_by_parent(pid)
        return
    try:
        threads = os.listdir("/proc/%d/task" % pid)
    except OSError:
        return  # it has ended
    for thread in threads:
        try:
            with open("/proc/%d/task/%s/children" % (pid, thread), "rb", buffering=0) as file:
                words = file.readall().split()
        except OSError:
            continue  # that thread has ended
        yield from map(int, words)


def _children_by_parent(pid: int) -> List[int]:
    """For kernels that do not list children."""
    return [each for each in _all() if parent(each) == pid]


def _all() -> List[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()] if _LINUX else []


def parent(pid: int) -> int:
    """Its parent's process id; 0 when it has ended."""
    try:
        with open("/proc/%d/stat" % pid, "rb", buffering=0) as file:
            return int(file.readall().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def descendants(roots: Iterable[int], most: int = sys.maxsize) -> Set[int]:
    """Everything below ``roots``, without them; the search stops beyond ``most``."""
    found: Set[int] = set()
    queue = list(roots)
    while queue and len(found) <= most:
        for pid in children(queue.pop()):
            if pid not in found:
                found.add(pid)
                queue.append(pid)
    return found


def marked(names: Set[str]) -> Set[int]:
    """Processes that were started with one of ``names`` as their :data:`MARK`."""
    marks = {("%s=%s" % (MARK, name)).encode() for name in names}
    found = set()
    for pid in _all():
        try:
            with open("/proc/%d/environ" % pid, "rb", buffering=0) as file:
                if not marks.isdisjoint(file.readall().split(b"\0")):
                    found.add(pid)
        except OSError:
            continue  # it has ended, or is another user's
    return found


def send(pids: Iterable[int], number: int) -> Set[int]:
    """Signal each; returns those that it reached."""
    reached = set()
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended, or has become another user's
        reached.add(pid)
    return reached


def kill(roots: Callable[[], Iterable[int]], alone: bool = False) -> Set[int]:
    """Kill ``roots`` and all below; returns those that could be. Each is stopped before its
    children are listed, so that none is missed. ``alone``: a thousand of them may be there."""
    found: Set[int] = set()
    with _before_others() if alone else contextlib.nullcontext():
        for _ in range(STABLE_ROUNDS):  # more than one only where a parent ended meanwhile
            if not _stop(roots(), found):
                break
        return send(found, signal.SIGKILL)


def _stop(roots: Iterable[int], found: Set[int]) -> bool:
    """Stop ``roots`` and all below that are not in ``found`` yet; whether there were any."""
    queue = [pid for pid in roots if pid not in found]
    some = bool(queue)
    found.update(queue)
    while queue:
        pid = queue.pop()
        send([pid], signal.SIGSTOP)
        for each in children(pid):
            if each not in found:
                found.add(each)
                queue.append(each)
                some = True
    return some


@contextlib.contextmanager
def _before_others() -> Iterator[None]:
    """Get the processor although a thousand others want it."""
    if _in_sandbox():
        os.kill(-1, signal.SIGSTOP)  # all of the sandbox but its first process and this one
        try:
            yield
        finally:
            os.kill(-1, signal.SIGCONT)
        return
    usual, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(OSError):  # who may not do that competes with them
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, usual, parameter)


def _in_sandbox() -> bool:
    """All processes that we can see are our machine's: it is a sandbox of the local provider."""
    try:
        with open("/proc/1/comm", "rb", buffering=0) as name:
            if name.readall() != b"bwrap\n":
                return False
        with open("/proc/1/environ", "rb", buffering=0) as environ:
            return any(word.startswith(MACHINE) for word in environ.readall().split(b"\0"))
    except OSError:
        return False


def kill_all(roots: Callable[[], Iterable[int]], reap: Callable[[], object] = lambda: None) -> None:
    """Kill what ``roots`` gives, and all below, until it gives nothing that can be killed.
    ``reap`` collects ended children, which would be given again otherwise."""
    if not _LINUX:
        return
    deadline = time.monotonic() + LONGEST_HUNT
    while kill(roots) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        reap()
