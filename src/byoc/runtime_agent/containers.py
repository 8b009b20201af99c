"""Containers as the agent sees them: a process, its socket and output pipes, its clock.

Bytes between a container's socket and its stream are forwarded unread. The agent knows of inputs
only what the container's board says: which one runs, since when.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import time
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Sequence, Tuple

from .. import limits
from . import board, family, handoff
from .board import LEAVING, STARTING, Board

LONGEST_LOOK = 30.0
"""Seconds after which the agent looks at all clocks again, whatever they said."""
LAST_STEPS = 1.0
"""Seconds that a zygote may take from the end of its conversation to its own."""
START_FAILED = 127
"""Exit code of what could not be started, as shells have it."""


class Container:
    """One running container. ``kind``: ``function`` (forked by a zygote) or ``command``."""

    def __init__(self, stream: int, name: str, kind: str) -> None:
        self.stream = stream
        self.name = name
        self.kind = kind
        self.pid = 0
        self.input: Optional[int] = None  # descriptor we write what the client sends to
        self.output: Optional[int] = None  # descriptor we read the container's messages from
        self.logs: Dict[int, int] = {}  # descriptor -> 1 or 2
        self.to_child: Deque[memoryview] = deque()
        self.input_closed = False  # the client ended its side
        self.board: Optional[Board] = None
        self.timeout = 0.0
        self.startup_timeout = 0.0
        self.status: Optional[int] = None  # wait status once it is gone
        self.memory = 0
        """Bytes above which it is ended; 0 is no limit."""
        self.killed_for = ""
        self.blamed: List[int] = []
        """The inputs whose time ran out."""
        self.look_at = 0.0
        """Before this second of CLOCK_MONOTONIC nothing of it can be due."""
        self.detail = ""
        """Why it never began, in words."""
        self.swept = False
        self.drained = 0
        """Bytes of output that were read after its end."""
        self.kill_at: Optional[float] = None
        self.process: Optional[subprocess.Popen[bytes]] = None

    def running(self) -> List[Tuple[int, float]]:
        """(input, since) of what runs in it, from the board."""
        return self.board.running() if self.board is not None else []

    def busy(self) -> bool:
        """Whether something runs in it now, as far as is known."""
        return self.board is None or bool(self.running())

    def look(self, now: float) -> bool:
        """Kill it when its time is up, and say so; or else find out when to look again.

        What begins after this look cannot be due before its whole limit has passed, so nothing is
        noticed late, however seldom this looks.
        """
        if self.status is not None:
            self.look_at = math.inf
        if now < self.look_at:
            return False
        grace = math.inf if self.kill_at is None else self.kill_at
        late: List[int] = []
        due = math.inf
        if not self.killed_for and self.board is not None:
            late, due = self._late(now)
        if late or grace <= now:
            self.blamed = late
            self.kill_at = None
            self.kill("timeout")
            self.look_at = math.inf
            return True
        self.look_at = min(grace, due)
        return False

    def _late(self, now: float) -> Tuple[List[int], float]:
        """The inputs that have run too long; and when the next thing can have."""
        late = []
        special = {STARTING: self.startup_timeout, LEAVING: limits.EXIT_GRACE}
        due = now + min(limit or math.inf for limit in (self.timeout, *special.values()))
        for ident, since in self.running():
            limit = special.get(ident, self.timeout)
            if not limit:
                continue
            if since + limit <= now:
                late.append(ident)
            else:
                due = min(due, since + limit)
        return late, due

    def kill(self, reason: str, number: int = signal.SIGKILL) -> None:
        """Signal the container's whole process group. One that has not begun has ended with this;
        its zygote sees to it that nothing of it stays."""
        if self.status is not None:
            return
        if not self.killed_for:
            self.killed_for = reason
        if not self.pid:
            self.status = int(signal.SIGKILL)
            return
        signal_group(self.pid, number)

    def end_within(self, grace: float, reason: str) -> None:
        """SIGTERM now, and SIGKILL after ``grace`` seconds."""
        self.kill(reason, signal.SIGTERM)
        self.kill_at = time.monotonic() + grace
        self.look_at = 0.0

    def interrupt(self, idents: Sequence[int]) -> None:
        """Ask it, by the board and a signal, to cancel the first of these that it runs."""
        if self.board is None or self.status is not None:
            return
        for ident, _ in self.running():
            if ident in idents:
                self.board.cancel(ident)
                try:
                    os.kill(self.pid, signal.SIGUSR1)
                except ProcessLookupError:
                    pass  # it ended by itself; its exit is on the way
                return

    def fail(self, detail: str) -> None:
        """It cannot begin, for the reason given."""
        if self.status is None:
            self.status = START_FAILED << 8
            self.killed_for = "start"
            self.detail = detail

    def sweep(self) -> None:
        """Kill what it left running in its process group, once it has ended."""
        self.swept = True
        if self.pid:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # nothing is left
        if self.kind == "command":  # of the others, their zygote ends what is left
            family.kill_all(lambda: family.marked({self.name}))

    def last_word(self) -> Dict[str, Any]:
        """How it ended, for the client."""
        status = self.status if self.status is not None else signal.SIGKILL
        word: Dict[str, Any] = {"reason": "exit", "code": None, "signal": None}
        if os.WIFSIGNALED(status):
            word.update(reason="signal", signal=os.WTERMSIG(status))
        else:
            word["code"] = os.WEXITSTATUS(status)
        if self.killed_for:
            word["reason"] = self.killed_for
        if self.detail:
            word["detail"] = self.detail
        idents = self.blamed or [ident for ident, _ in self.running()]
        word["inputs"] = [ident for ident in idents if ident not in (STARTING, LEAVING)]
        return word

    def close(self) -> None:
        """Close every descriptor."""
        for fd in {self.input, self.output, *self.logs} - {None}:
            assert fd is not None
            os.close(fd)
        self.input = self.output = None
        self.logs = {}
        if self.board is not None:
            self.board.close()
            self.board = None


def signal_group(pid: int, number: int) -> None:
    """Signal the process group of a container, or the container alone before it made its own."""
    try:
        os.killpg(pid, number)
        return
    except ProcessLookupError:
        pass  # it has just been forked, or has ended
    except PermissionError:
        pass  # macOS says so of a group in which everything has ended
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself; its exit is on the way


class Zygote:
    """The agent's end of one zygote."""

    def __init__(self, python: str, bundle: str, env: Dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        code = (
            "import sys; sys.path.insert(0, %r); "
            "from byoc.container.zygote import main; main(%d)" % (bundle, theirs.fileno())
        )
        self.control = ours
        self.python = python
        try:
            self.process = subprocess.Popen(
                [python, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=env,
                cwd="/",
                preexec_fn=handoff.die_with_parent,  # noqa: PLW1509 - see command()
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._next = 1
        self._unborn: Dict[int, Container] = {}  # by the number of the request
        self._living: Dict[int, Container] = {}  # by pid
        self._partial = b""
        self._served = False  # it has begun to work
        ours.setblocking(False)  # a zygote that user code stopped must not stop the agent

    def rouse(self) -> None:
        """Have it go on if user code has stopped it; a running one does not notice."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)

    def fork(self, container: Container) -> None:
        """Ask for a container; its pid follows by :meth:`news`. Raises OSError."""
        with contextlib.ExitStack() as handed, contextlib.ExitStack() as failed:
            failed.callback(container.close)
            ours, theirs = socket.socketpair()
            handed.callback(theirs.close)
            container.input = container.output = ours.detach()
            fds = [theirs.fileno()]
            for number in (1, 2):
                read, write = os.pipe()
                container.logs[read] = number
                fds.append(write)
                handed.callback(os.close, write)
            shared = board.new()
            fds.append(shared)
            handed.callback(os.close, shared)
            container.board = Board(shared)
            container.board.mark(STARTING, time.monotonic())
            for handle in (container.input, *container.logs):
                os.set_blocking(handle, False)
            try:
                handoff.request(self.control, {"n": self._next}, fds)
            except BlockingIOError as error:
                raise OSError("what starts containers here takes no more requests") from error
            failed.pop_all()
        self._unborn[self._next] = container
        self._next += 1

    def news(self) -> bool:
        """Take in what the zygote says of its containers; False when it is gone."""
        try:
            data = self.control.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            data = b""
        if not data:
            return False
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            word = json.loads(line.decode())
            self._served = True
            if "error" in word:
                self._unborn.pop(word["n"]).fail(word["error"])
            elif "n" in word:
                self._began(self._unborn.pop(word["n"]), word["pid"])
            elif "status" in word:
                container = self._living.pop(word["pid"], None)
                if container is not None and container.status is None:
                    container.status = word["status"]
        return True

    def _began(self, container: Container, pid: int) -> None:
        if container.status is not None:  # it was killed before it began
            signal_group(pid, signal.SIGKILL)
            return
        container.pid = pid
        self._living[pid] = container

    def lost(self) -> None:
        """The zygote died, and its containers with it."""
        try:
            code = self.process.wait(LAST_STEPS)
        except subprocess.TimeoutExpired:  # what only closed its end must not hold us up
            self.process.kill()
            code = self.process.wait()
        for container in self._unborn.values():
            if self._served:  # it could start containers: these are lost, as others are
                container.kill("lost")
            else:
                container.fail("%s ended with code %d" % (self.python, code))
        for container in self._living.values():
            container.kill("lost")
            if container.status is None:
                container.status = int(signal.SIGKILL)
        names = {container.name for container in self._living.values()}
        family.kill_all(lambda: family.marked(names))


def command(
    stream: int, name: str, argv: Sequence[str], cwd: str, env: Dict[str, str]
) -> Container:
    """Start a program as a container of its own. Raises OSError when it cannot be started."""
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=env,
        start_new_session=True,
        # One system call, for which it needs no lock that another thread could hold.
        preexec_fn=handoff.die_with_parent,  # noqa: PLW1509
        bufsize=0,
    )
    assert process.stdin and process.stdout and process.stderr
    family.first_to_go(process.pid)
    container = Container(stream, name, "command")
    container.pid = process.pid
    container.process = process
    container.input = os.dup(process.stdin.fileno())
    container.logs = {os.dup(process.stdout.fileno()): 1, os.dup(process.stderr.fileno()): 2}
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()
    for fd in (container.input, *container.logs):
        os.set_blocking(fd, False)
    return container


def read_some(fd: int) -> Optional[bytes]:
    """Bytes that are there now; b"" at the end, None when there is nothing yet."""
    try:
        return os.read(fd, limits.CHUNK)
    except BlockingIOError:
        return None
    except OSError:  # the other end was reset: same as its end
        return b""
