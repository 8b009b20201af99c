"""Small JSON messages with descriptors, over a socket that keeps them apart."""

from __future__ import annotations

import json
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LARGEST = 64 * 1024
"""Bytes of a message; plans, which are larger, travel as files."""
MOST_HANDLES = 4


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new connection."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(peer: socket.socket, message: dict[str, Any], handles: Sequence[int] = ()) -> None:
    """Send a message. Raises OSError when the peer is gone, or does not read."""
    socket.send_fds(peer, [json.dumps(message).encode()], list(handles))


def receive(peer: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors; None when the peer is gone.

    Raises BlockingIOError when there is none yet and the socket does not wait.
    """
    try:
        data, handles, _, _ = socket.recv_fds(peer, LARGEST, MOST_HANDLES)
    except ConnectionResetError:
        return None
    for handle in handles:
        os.set_inheritable(handle, False)
    return (json.loads(data), handles) if data else None
