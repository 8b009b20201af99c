"""One process per environment that forks containers.

It has Python started and byoc's own modules loaded, so a container costs a fork and not a Python
start: 1.3 ms against 6 to 48 (docs/performance.md). It loads nothing of the user's: a fork with
threads or a GPU context would be broken.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Any, Dict, List, Tuple

from . import worker
from .handoff import DESCRIPTORS, die_with_parent, receive

IDLE = 0.3
"""Seconds without a request after which the zygote loads what only some containers need."""


def _fork(control: socket.socket, wake: Tuple[int, int], fds: List[int]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        die_with_parent()
        if os.getppid() != parent:
            os._exit(code)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        os.close(wake[0])
        os.close(wake[1])
        link, out, err, board = fds
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        code = worker.main(socket.socket(fileno=link), board)
    except BaseException:  # noqa: BLE001 - printed; the process must not go on as a zygote
        traceback.print_exc()
    finally:
        worker.leave(code)
    return 0


def _begin(control: socket.socket, wake: Tuple[int, int], number: int, fds: List[int]) -> None:
    """Fork a container and tell the agent its pid, or why there is none."""
    word: Dict[str, Any] = {"n": number}
    try:
        if len(fds) != DESCRIPTORS:
            raise OSError("too many open files")
        word["pid"] = _fork(control, wake, fds)
    except OSError as error:  # no process or memory left: the other containers go on
        word["error"] = str(error)
    for held in fds:
        os.close(held)
    control.sendall(json.dumps(word).encode() + b"\n")


def _reap(control: socket.socket) -> None:
    """Tell the agent of every container that ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.sendall(json.dumps({"pid": pid, "status": status}).encode() + b"\n")


def main(fd: int) -> None:
    """Serve fork requests on ``fd`` until the agent is gone."""
    die_with_parent()
    control = socket.socket(fileno=fd)
    wake = os.pipe()
    os.set_blocking(wake[0], False)
    os.set_blocking(wake[1], False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake[1], warn_on_full_buffer=False)
    control.sendall(json.dumps({"ready": os.getpid(), "python": sys.version}).encode() + b"\n")
    idle = False
    while True:
        ready, _, _ = select.select([control.fileno(), wake[0]], [], [], None if idle else IDLE)
        if not ready:
            idle = True
            importlib.import_module("asyncio")  # nothing better to do: later containers save it
            continue
        if wake[0] in ready:
            try:
                os.read(wake[0], 4096)
            except BlockingIOError:
                pass
            _reap(control)
        if control.fileno() in ready:
            got = receive(control)
            if got is None:
                os._exit(0)
            _begin(control, wake, got[0]["n"], got[1])
