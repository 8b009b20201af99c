"""Containers as the agent sees them: a process, its socket and output pipes, its clock.

Bytes between a container's socket and its stream are forwarded unread. The agent knows of inputs
only what the container's board says: which one runs, since when.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import subprocess
import time
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Sequence

from .. import limits
from . import worker, zygote


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
        self.kill_at: Optional[float] = None
        self.process: Optional["subprocess.Popen[bytes]"] = None

    def running(self) -> "tuple[int, float]":
        """(input, since) from the board; input 0 when idle."""
        if self.board is None:
            return 0, 0.0
        ident, since = worker.BOARD.unpack_from(self.board, 0)
        return (ident, since) if since else (0, 0.0)

    def deadline(self) -> Optional[float]:
        """When what runs now will have run too long, or the kill grace ends."""
        if self.status is not None:
            return None
        times = [self.kill_at] if self.kill_at is not None else []
        ident, since = self.running()
        limit = self.startup_timeout if ident == worker.STARTING else self.timeout
        if ident and limit and not self.killed_for:
            times.append(since + limit)
        return min(times) if times else None

    def kill(self, reason: str, number: int = signal.SIGKILL) -> None:
        """Signal the container's whole process group."""
        if self.status is not None:
            return
        if not self.killed_for:
            self.killed_for = reason
        if not self.pid:
            return  # not forked yet: killed when its pid is known
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass  # it ended by itself; its exit is on the way
        except PermissionError:
            os.kill(self.pid, number)

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
        word["input"] = self.running()[0]
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


class Zygote:
    """The agent's end of one zygote."""

    def __init__(self, python: str, bundle: str, env: Dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        code = (
            "import sys; sys.path.insert(0, %r); "
            "from byoc.runtime_agent.zygote import main; main(%d)" % (bundle, theirs.fileno())
        )
        self.control = ours
        self.process = subprocess.Popen(
            [python, "-u", "-c", code],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env=env,
            cwd="/",
        )
        theirs.close()
        self.containers: Dict[int, Container] = {}
        self._partial = b""

    def fork(self, container: Container) -> None:
        """Ask for a container; its pid follows by :meth:`news`."""
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        board = _new_board()
        container.board = mmap.mmap(board, worker.BOARD.size)
        worker.BOARD.pack_into(container.board, 0, worker.STARTING, time.monotonic())
        fds = [theirs.fileno(), out_write, err_write, board]
        zygote.request(self.control, {"c": container.stream}, fds)
        theirs.close()
        for handed in (out_write, err_write, board):
            os.close(handed)
        fd = ours.detach()
        container.input = container.output = fd
        container.logs = {out_read: 1, err_read: 2}
        for handle in (fd, out_read, err_read):
            os.set_blocking(handle, False)
        self.containers[container.stream] = container

    def news(self) -> "Optional[List[Container]]":
        """Read what the zygote says; the containers that ended. None: the zygote is gone."""
        try:
            data = self.control.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        *lines, self._partial = (self._partial + data).split(b"\n")
        ended = []
        for line in lines:
            word = json.loads(line.decode())
            if "c" in word:
                self._started(word["c"], word["pid"])
            elif "pid" in word:
                ended += [c for c in self.containers.values() if c.pid == word["pid"]]
                for container in ended:
                    if container.status is None:
                        container.status = word["status"]
        return ended

    def _started(self, stream: int, pid: int) -> None:
        container = self.containers.get(stream)
        if container is not None:
            container.pid = pid
            if container.killed_for:
                container.kill(container.killed_for)

    def lost(self) -> List[Container]:
        """The zygote died, and its containers with it."""
        self.process.wait()
        victims = [c for c in self.containers.values() if c.status is None]
        for container in victims:
            container.kill("lost")
            container.status = signal.SIGKILL
        return victims

    def close(self) -> None:
        """End the zygote and whatever it still holds."""
        for container in self.containers.values():
            container.kill("stopped")
        self.process.kill()
        self.process.wait()
        self.control.close()


def _new_board() -> int:
    """A nameless file of one board, shared by mapping it."""
    path = "board.%d" % os.getpid()
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    os.ftruncate(fd, worker.BOARD.size)
    return fd


def command(stream: int, name: str, argv: Sequence[str], cwd: str, env: Dict[str, str]) -> Container:
    """Start a program as a container of its own. Raises OSError when it cannot be started."""
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=env,
        start_new_session=True,
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
