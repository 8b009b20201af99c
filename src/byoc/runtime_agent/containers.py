"""Containers as the agent sees them: a process, its socket and output pipes, its clock.

Bytes between a container's socket and its stream are forwarded unread. The agent knows of inputs
only what the container's board says: which one runs, since when.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import time
from collections import deque
from typing import Any, Deque, Dict, Optional, Sequence, Tuple

from .. import limits
from . import handoff
from .board import BOARD, LEAVING, STARTING

LONGEST_LOOK, SHORTEST_LOOK = 1.0, 0.02
"""Seconds between two looks at the containers' clocks: the longest bounds how late a long time
limit is noticed, the shortest what a short one costs."""
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
        self.board: Optional[mmap.mmap] = None
        self.timeout = 0.0
        self.startup_timeout = 0.0
        self.status: Optional[int] = None  # wait status once it is gone
        self.killed_for = ""
        self.blamed = 0
        """The input whose time ran out."""
        self.detail = ""
        """Why it never began, in words."""
        self.swept = False
        self.drained = 0
        """Bytes of output that were read after its end."""
        self.kill_at: Optional[float] = None
        self.process: Optional[subprocess.Popen[bytes]] = None

    def running(self) -> Tuple[int, float]:
        """(input, since) from the board; input 0 when idle."""
        if self.board is None:
            return 0, 0.0
        ident, since = BOARD.unpack_from(self.board, 0)
        return (ident, since) if since else (0, 0.0)

    def deadline(self) -> Optional[float]:
        """When what runs now will have run too long, or the kill grace ends."""
        if self.status is not None:
            return None
        times = [self.kill_at] if self.kill_at is not None else []
        ident, since = self.running()
        limit = {
            STARTING: self.startup_timeout,
            LEAVING: limits.EXIT_GRACE,
        }.get(ident, self.timeout)
        if ident and limit and not self.killed_for:
            times.append(since + limit)
        return min(times) if times else None

    def precision(self) -> float:
        """Seconds that may pass between two looks at the board, which tells nobody of changes."""
        limits_set = [limit for limit in (self.timeout, self.startup_timeout) if limit]
        return max(min(limits_set) / 8, SHORTEST_LOOK) if limits_set else LONGEST_LOOK

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

    def last_word(self) -> Dict[str, Any]:
        """How it ended, for the client."""
        status = self.status if self.status is not None else signal.SIGKILL
        word: Dict[str, Any] = {"reason": "exit", "code": None, "signal": None, "input": 0}
        if os.WIFSIGNALED(status):
            word.update(reason="signal", signal=os.WTERMSIG(status))
        else:
            word["code"] = os.WEXITSTATUS(status)
        if self.killed_for:
            word["reason"] = self.killed_for
        if self.detail:
            word["detail"] = self.detail
        ident = self.blamed or self.running()[0]
        word["input"] = 0 if ident in (STARTING, LEAVING) else ident
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
            "from byoc.runtime_agent.zygote import main; main(%d)" % (bundle, theirs.fileno())
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
            board = _new_board()
            fds.append(board)
            handed.callback(os.close, board)
            container.board = mmap.mmap(board, BOARD.size)
            BOARD.pack_into(container.board, 0, STARTING, time.monotonic())
            for handle in (container.input, *container.logs):
                os.set_blocking(handle, False)
            handoff.request(self.control, {"n": self._next}, fds)
            failed.pop_all()
        self._unborn[self._next] = container
        self._next += 1

    def news(self) -> bool:
        """Take in what the zygote says of its containers; False when it is gone."""
        try:
            data = self.control.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return False
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            word = json.loads(line.decode())
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
        code = self.process.wait()
        for container in self._unborn.values():
            container.fail("%s ended with code %d" % (self.python, code))
        for container in self._living.values():
            container.kill("lost")
            if container.status is None:
                container.status = int(signal.SIGKILL)


def _new_board() -> int:
    """A nameless file of one board, shared by mapping it. Its bytes exist: a full disk must not
    show when the map is written to."""
    if hasattr(os, "memfd_create"):
        try:
            fd = os.memfd_create("board")
        except OSError:  # a kernel without it
            fd = _board_file()
    else:
        fd = _board_file()
    os.write(fd, bytes(BOARD.size))
    return fd


def _board_file() -> int:
    path = "board.%d" % os.getpid()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    return fd


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
