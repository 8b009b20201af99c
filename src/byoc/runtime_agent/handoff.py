"""Between the agent and its zygotes: requests that carry file descriptors, and dying together."""

from __future__ import annotations

import array
import ctypes
import json
import os
import signal
import socket
import struct
import sys
from typing import Any, Dict, List, Optional, Tuple

_SIZE = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1
DESCRIPTORS = 4
"""What a request brings: the container's socket, its stdout and stderr, its board."""


def die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when its parent dies, however it dies."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


_libc = ctypes.CDLL(None, use_errno=True)


def receive(control: socket.socket) -> Optional[Tuple[Dict[str, Any], List[int]]]:
    """One request and its file descriptors, or None when the agent is gone."""
    fds = array.array("i")
    room = socket.CMSG_SPACE(DESCRIPTORS * fds.itemsize)
    data, ancillary, _, _ = control.recvmsg(_SIZE.size, room)
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    for fd in fds:
        os.set_inheritable(fd, False)  # else programs that user code starts would hold them open
    if len(data) < _SIZE.size:
        return None
    size = _SIZE.unpack(data)[0]
    body = b""
    while len(body) < size:
        part = control.recv(size - len(body))
        if not part:
            return None
        body += part
    return json.loads(body.decode()), list(fds)


def request(control: socket.socket, head: Dict[str, Any], fds: List[int]) -> None:
    """The agent's side of :func:`receive`. In one piece, so that a full socket takes none of it:
    raises BlockingIOError then, where the socket does not wait."""
    body = json.dumps(head).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())]
    control.sendmsg([_SIZE.pack(len(body)), body], rights)
