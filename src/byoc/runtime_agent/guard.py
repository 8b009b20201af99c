"""The agent's watch over what containers use: memory, where it is limited, and processes.

Nothing is looked at while there is no container, and little while all are idle: a look reads one
line of the kernel's (1 us), and the processes of a container only if many were made or its memory
is limited (5 us for each process). Linux only: elsewhere limits are not enforced, which is noted.
"""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import time
from typing import Collection, Dict, Optional, Protocol, Set

from . import family
from .host import note

PROCESSES = 1000
"""Processes of one container beyond which it is taken for a fork bomb. A machine of 100 cores runs
a few hundred in earnest."""
MADE = 200
"""New process ids on the machine after which the processes of containers are counted."""
BUSY_LOOK, CALM_LOOK, IDLE_LOOK = 0.1, 0.5, 5.0
"""Seconds between two looks: while something runs and processes are made, while something runs, and
while all containers wait."""
LIMITED_LOOK = 1.0
"""The longest for a container whose memory is limited."""
SHORTEST_LOOK = 0.02
FEW = 5
"""Processes made between two looks that are nothing special."""
FASTEST_GROWTH = 4 << 30
"""Bytes per second at which a process fills fresh memory at most (2 GB/s were measured): a
container that is far below its limit is looked at less often."""
DEAR = 50
"""An exact look at memory (4 ms per GB) may take this part of the time."""
MEMORY, FORKS, OUT_OF_MEMORY = "memory", "processes", "oom"
"""Reasons for which a container was ended."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LINUX = sys.platform == "linux"
_OOM_KILLS = re.compile(rb"^oom_kill (\d+)", re.MULTILINE)
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)


class Watched(Protocol):
    """What the guard needs of a container. ``pid``: 0 before it began. ``status``: None while it
    lives. ``memory``: its limit in bytes, 0 without one."""

    name: str
    pid: int
    status: Optional[int]
    memory: int
    detail: str
    killed_for: str

    def busy(self) -> bool:
        """Whether something runs in it now."""

    def kill(self, reason: str) -> None:
        """End its process group at once."""


class Guard:
    """``idle``: nothing ran when it looked last, so that it looks rarely; :meth:`stir` then says
    that something begins."""

    def __init__(self) -> None:
        self.idle = True
        self._next = 0.0
        self._pause = BUSY_LOOK
        self._last_pid = 0
        self._made = 0
        self._below: Dict[int, Set[int]] = {}  # by container, its other processes when last seen
        self._oom_kills = _oom_kills()
        self._oom_seen = time.monotonic()
        self._noted = False

    def stir(self) -> float:
        """Something begins to run; when to look next."""
        self.idle = False
        self._next = min(self._next, time.monotonic() + BUSY_LOOK)
        return self._next

    def look(self, containers: Collection[Watched], now: float) -> float:
        """Look at the containers if it is time to, and end those that use too much. Returns when to
        look next: never, where there is nothing to look at."""
        if not _LINUX:
            self._say_why_not(containers)
        if not _LINUX or not containers:
            self.idle = True
            self._next = 0.0
            return math.inf
        if now >= self._next:
            self._next = now + self._look(containers, now)
        return self._next

    def _look(self, containers: Collection[Watched], now: float) -> float:
        """Look now; seconds until the next time."""
        living = [c for c in containers if c.pid and c.status is None and not c.killed_for]
        self.idle = not any(c.busy() for c in living)
        made = self._made_since()
        self._pause = BUSY_LOOK if made > FEW else min(CALM_LOOK, 2 * self._pause)
        pause = IDLE_LOOK if self.idle else self._pause
        if self._made > MADE:
            self._made = 0
            for container in living:
                self._count(container)
        for container in living:
            if container.memory and not container.killed_for:
                pause = min(pause, self._weigh(container, made > 0))
        if now - self._oom_seen > IDLE_LOOK:
            self._oom_kills, self._oom_seen = _oom_kills(), now
        return pause

    def ended(self, container: Watched) -> None:
        """A container has ended: find out whether the kernel did it because memory ran out."""
        self._below.pop(id(container), None)
        if container.status != signal.SIGKILL or container.killed_for:
            return
        if _oom_kills() > self._oom_kills:
            self._oom_kills += 1
            container.killed_for = OUT_OF_MEMORY

    def _say_why_not(self, containers: Collection[Watched]) -> None:
        if not self._noted and any(c.memory for c in containers):
            self._noted = True
            note("memory limits of containers are not enforced on %s" % sys.platform)

    # --- processes ------------------------------------------------------------------------

    def _made_since(self) -> int:
        """About how many processes and threads were made since the last look; counts them."""
        try:
            with open("/proc/loadavg", "rb", buffering=0) as file:
                last = int(file.readall().split()[4])
        except (OSError, IndexError, ValueError):
            last = self._last_pid - 1  # not known: look
        made = last - self._last_pid
        self._last_pid = last
        if made < 0:  # the numbers began anew
            made = MADE + 1
        self._made += made
        return made

    def _count(self, container: Watched) -> None:
        below = family.descendants([container.pid], PROCESSES)
        if len(below) < PROCESSES:
            return
        note("container %s made more than %d processes" % (container.name, PROCESSES))
        family.kill(lambda: [container.pid], alone=True)
        container.detail = str(PROCESSES)
        container.kill(FORKS)

    # --- memory ---------------------------------------------------------------------------

    def _weigh(self, container: Watched, fresh: bool) -> float:
        """End a container that is above its limit; else seconds until it should be weighed again.

        Pages that processes share count once: they are told apart only above the limit, because
        that takes long.
        """
        if fresh or id(container) not in self._below:
            self._below[id(container)] = family.descendants([container.pid], PROCESSES)
        pids = [container.pid, *self._below[id(container)]]
        used = sum(map(_resident, pids))
        pause = 0.0
        if used > container.memory:
            begun = time.monotonic()
            used = sum(map(_proportional, pids))
            pause = (time.monotonic() - begun) * DEAR
        if used > container.memory:
            mib = used >> 20
            note("container %s used %d MiB, its limit is lower" % (container.name, mib))
            container.detail = str(mib)
            container.kill(MEMORY)
        room = container.memory - used
        soon = LIMITED_LOOK if self.idle else min(LIMITED_LOOK, room / FASTEST_GROWTH)
        return max(SHORTEST_LOOK, pause, soon)


def _resident(pid: int) -> int:
    """Bytes of memory that a process has, shared ones included; 0 when it has ended."""
    try:
        with open("/proc/%d/statm" % pid, "rb", buffering=0) as file:
            return int(file.readall().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    """The same with its share of what is shared, where the kernel tells."""
    try:
        with open("/proc/%d/smaps_rollup" % pid, "rb", buffering=0) as file:
            found = _PSS.search(file.readall())
    except OSError:  # it has ended, is another user's, or the kernel is older than 4.14
        return _resident(pid)
    return int(found.group(1)) * 1024 if found else 0


def _oom_kills() -> int:
    """How many processes the kernel has ended so far because memory ran out."""
    try:
        with open("/proc/vmstat", "rb", buffering=0) as file:
            found = _OOM_KILLS.search(file.readall())
    except OSError:
        return 0
    return int(found.group(1)) if found else 0
