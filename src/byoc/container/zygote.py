"""One process per environment that forks containers.

It has Python started and byoc's own modules loaded, so a container costs a fork and not a Python
start; and it keeps a few forked ahead, which wait for their descriptors, so mostly not even that
(docs/performance.md). It loads nothing of the user's: a fork with threads or a GPU context would be
broken.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Set

from ..runtime_agent import family
from ..runtime_agent.handoff import DESCRIPTORS, die_with_parent, receive, request
from . import rehearsal, worker

QUIET = 0.005
"""Seconds without a request after which a spare is forked, or something more loaded: whoever asks
for one container often asks for the next at once, and must not wait for either."""
MOST_SPARES = 4
"""Enough for the containers that one message of a client starts on a small machine; a spare takes
its own pages only, about 2 MiB."""
BURST = 1.0
"""Seconds in which requests count as one burst: as many spares are kept as it had."""
FORK_PAUSE = 1.0
"""Seconds until the next try when the system refused a fork, or a spare did not last."""
READY = b"+"
"""What a spare says when it has rehearsed and waits."""


class Zygote:
    """Serves fork requests on ``control`` until the agent is gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._wake = os.pipe()
        self._spares: Dict[int, socket.socket] = {}  # by pid
        self._containers: Set[int] = set()
        self._asked: Deque[float] = deque(maxlen=MOST_SPARES)
        self._to_load = list(worker.LIKELY)
        self._refused = 0.0  # until then no spare is forked

    def run(self) -> None:
        """Never returns."""
        for end in self._wake:
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        self._tell({"ready": os.getpid(), "python": sys.version})
        self._settle()
        watched = [self._control.fileno(), self._wake[0]]
        while True:
            ready, _, _ = select.select(watched, [], [], self._pause())
            if not ready:
                self._use_quiet()
            if self._wake[0] in ready:
                try:
                    os.read(self._wake[0], 4096)
                except BlockingIOError:
                    pass
                self._reap()
            if self._control.fileno() in ready:
                got = receive(self._control)
                if got is None:
                    os._exit(0)
                self._begin(got[0]["n"], got[1])

    def _tell(self, word: Dict[str, Any]) -> None:
        self._control.sendall(json.dumps(word).encode() + b"\n")

    # --- with time to spare ---------------------------------------------------------------

    def _wanted(self) -> int:
        """How many spares there should be: one, or as many as were asked for in a burst."""
        asked = self._asked
        return max(1, sum(when > asked[-1] - BURST for when in asked))

    def _pause(self) -> Optional[float]:
        """Seconds to wait for a request before something else is done; None: for ever."""
        if self._to_load:
            return QUIET
        if len(self._spares) < self._wanted():
            return max(QUIET, self._refused - time.monotonic())
        return None

    def _use_quiet(self) -> None:
        """One thing that makes later containers start sooner."""
        if len(self._spares) < self._wanted() and time.monotonic() >= self._refused:
            try:
                self._fork_spare()
            except OSError:  # no process or memory left: those that run go on
                self._refused = time.monotonic() + FORK_PAUSE
        elif self._to_load:
            name = self._to_load.pop(0)
            try:
                worker.preload(name)
            except ImportError:  # this Python was built without something
                traceback.print_exc()
            if not self._to_load:
                self._settle()
                for spare in self._spares.values():
                    spare.close()  # it has less than the next one will have, and ends by this
                self._spares.clear()

    @staticmethod
    def _settle() -> None:
        """What is loaded stays: the collector of a container need not touch, and so copy, it."""
        gc.collect()
        gc.freeze()

    # --- forking --------------------------------------------------------------------------

    def _begin(self, number: int, fds: List[int]) -> None:
        """Give a container's descriptors to a spare, or fork; tell the agent its pid, or why there
        is none."""
        word: Dict[str, Any] = {"n": number}
        self._asked.append(time.monotonic())
        try:
            if len(fds) != DESCRIPTORS:
                raise OSError("too many open files")
            word["pid"] = self._hand_over(fds) or self._fork(lambda: _contain(fds))
            self._containers.add(word["pid"])
        except OSError as error:  # no process or memory left: the other containers go on
            word["error"] = str(error)
        for held in fds:
            os.close(held)
        self._tell(word)

    def _hand_over(self, fds: List[int]) -> int:
        """The pid of the spare that took them; 0 when there is none."""
        for pid, spare in list(self._spares.items()):
            try:
                ready = spare.recv(len(READY), socket.MSG_DONTWAIT) == READY
                if ready:
                    request(spare, {}, fds)
            except BlockingIOError:
                continue  # it still rehearses
            except OSError:
                ready = False  # it has ended
            del self._spares[pid]
            spare.close()
            if ready:
                return pid
        return 0

    def _fork_spare(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            pid = self._fork(lambda: _wait_as_spare(ours, theirs))
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._spares[pid] = ours

    def _fork(self, live: Callable[[], int]) -> int:
        """The pid of a new process that runs ``live`` and ends with the code it returns."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            die_with_parent()
            if os.getppid() != parent:
                os._exit(code)
            self._cut_loose()
            code = live()
        except BaseException:  # noqa: BLE001 - printed; the process must not go on as a zygote
            traceback.print_exc()
        finally:
            worker.leave(code)
        return 0

    def _cut_loose(self) -> None:
        """Keep nothing of the zygote's but its memory."""
        os.setsid()
        family.adopt_orphans()
        family.first_to_go(os.getpid())
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._control.close()
        for end in self._wake:
            os.close(end)
        for spare in self._spares.values():
            spare.close()

    def _reap(self) -> None:
        """Tell the agent of every container that ended, and end what it left, which is ours now."""
        if self._collect():
            family.kill_all(self._strangers, self._collect)

    def _collect(self) -> bool:
        """Whether a container was among the children that have ended."""
        some = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return some
            if pid == 0:
                return some
            spare = self._spares.pop(pid, None)
            if spare is not None:
                spare.close()
                self._refused = time.monotonic() + FORK_PAUSE  # the next one may end as soon
            if pid in self._containers:
                self._containers.discard(pid)
                some = True
                self._tell({"pid": pid, "status": status})

    def _strangers(self) -> Set[int]:
        return set(family.children(os.getpid())) - self._containers - set(self._spares)


def _wait_as_spare(theirs: socket.socket, ours: socket.socket) -> int:
    """In a new process: become a container when there is one to become."""
    theirs.close()
    try:
        rehearsal.rehearse()
    except Exception:  # noqa: BLE001 - told in the agent's log; a full disk is no reason to have none
        traceback.print_exc()
    try:
        ours.sendall(READY)
        got = receive(ours)
    except OSError:
        got = None
    if got is None:
        os._exit(0)  # the zygote is gone, or has better ones
    ours.close()
    return _contain(got[1])


def _contain(fds: List[int]) -> int:
    """In a process of its own: be a container with these descriptors."""
    link, out, err, board = fds
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    return worker.main(socket.socket(fileno=link), board)


def main(fd: int) -> None:
    """Serve fork requests on ``fd`` until the agent is gone."""
    die_with_parent()
    family.adopt_orphans()
    # The agent ends containers, and then us. Blocked and not ignored: what comes for a container
    # before it heeds signals waits until it does.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    Zygote(socket.socket(fileno=fd)).run()
