"""What client and container say on a bulk channel: requests for pieces of numbered transfers.

Large buffers travel beside a container's messages, on SSH channels that end at a Unix socket of the
container. A message names them in its head, ``"x": [[index of the buffer, transfer, size], ...]``,
and leaves them empty. The client asks, on any number of channels, any number of times:

* PUT: here are bytes ``offset`` to ``offset + length`` of a transfer; answered when they are kept.
* GET: give me those; answered by them.
* DONE: I have all of it; answered also for what is not known any more.

A request is :data:`REQUEST`, a PUT's bytes follow; an answer is one byte, a GET's bytes follow. The
16 random bytes that name a transfer are known to its two ends only.
"""

from __future__ import annotations

import struct
from typing import Any, Dict, List, NamedTuple

from .link import FrameError

REQUEST = struct.Struct("<4sB3x16sQQ")
"""Magic, kind, transfer, offset, length."""
MAGIC = b"byB1"
PUT, GET, DONE = 1, 2, 3
YES, NO = b"Y", b"N"
TOKEN = 16
"""Bytes of a transfer's name."""
LARGE = 1024 * 1024
"""Bytes from which a buffer travels beside the messages: below it a channel's round trip costs more
than it saves."""
PIECE = 1024 * 1024
"""Bytes of one request: half a channel's window, so that two of them fill it."""


class Aside(NamedTuple):
    """One buffer that travels beside its message, in whose ``place`` it belongs."""

    place: int
    token: bytes
    size: int


def named(head: Dict[str, Any], count: int, most: int) -> List[Aside]:
    """The buffers, of ``count`` in all, that a message's head says travel beside it, together of
    ``most`` bytes at most.

    Raises FrameError for what cannot be.
    """
    try:
        found = [Aside(int(i), bytes.fromhex(t), int(n)) for i, t, n in head["x"]]
    except (TypeError, ValueError, OverflowError) as error:
        raise FrameError("a message whose buffers have no names") from error
    for one in found:
        if not (0 <= one.place < count and len(one.token) == TOKEN and one.size >= 0):
            raise FrameError("a message with impossible buffers")
    if sum(one.size for one in found) > most:
        raise FrameError("a message of impossible size")
    return found
