"""Messages on a stream: a JSON head and any number of raw buffers.

Layout: ``head length u32, buffer count u32``, the buffers' lengths as u64 each, the head, then the
buffers back to back. The head is data only; nothing is unpickled by reading a message.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .. import limits
from .link import Buffer, FrameError

_PROLOGUE = struct.Struct("<II")
MAX_BUFFERS = 1 << 20


class Message(NamedTuple):
    """A complete message."""

    head: Dict[str, Any]
    buffers: List[Buffer]


def encode(head: Dict[str, Any], buffers: Sequence[Buffer] = ()) -> List[Buffer]:
    """The pieces of a message, in order; the given buffers are passed through uncopied."""
    text = json.dumps(head, separators=(",", ":")).encode()
    sizes = [len(b) if not isinstance(b, memoryview) else b.nbytes for b in buffers]
    first = _PROLOGUE.pack(len(text), len(sizes)) + struct.pack("<%dQ" % len(sizes), *sizes) + text
    return [first, *buffers]


class _Bulk:
    """A message too large to collect first: its buffers grow as bytes arrive.

    Not allocated ahead: a size is only a claim until the bytes are there.
    """

    def __init__(self, head: Dict[str, Any], sizes: Sequence[int]) -> None:
        self.head = head
        self._sizes = sizes
        self.buffers: List[Buffer] = []
        self._current = bytearray()
        self._next()

    @property
    def full(self) -> bool:
        return len(self.buffers) == len(self._sizes)

    def fill(self, view: memoryview) -> memoryview:
        """Put bytes where they are due; returns what is left over."""
        due = self._sizes[len(self.buffers)]
        take = min(due - len(self._current), view.nbytes)
        self._current += view[:take]
        if len(self._current) == due:
            self.buffers.append(self._current)
            self._next()
        return view[take:]

    def _next(self) -> None:
        while not self.full and self._sizes[len(self.buffers)] == 0:
            self.buffers.append(b"")
        self._current = bytearray()


class Assembler:
    """Bytes of one stream in, messages out."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._need = _PROLOGUE.size
        self._bulk: Optional[_Bulk] = None

    def feed(self, data: Buffer) -> Iterator[Message]:
        """Take the next bytes; yields each message that they complete. Raises FrameError."""
        view = memoryview(data)
        while view.nbytes:
            if self._bulk is not None:
                view = self._bulk.fill(view)
                if self._bulk.full:
                    message = Message(self._bulk.head, self._bulk.buffers)
                    self._bulk = None
                    yield message
                continue
            if not self._pending:
                done, used = self._parse(view)
                if done is None and self._bulk is None:
                    self._pending += view
                    self._need = used
                    if view.nbytes < used:
                        return
                view = view[used if done or self._bulk else view.nbytes :]
            else:
                take = self._need - len(self._pending)
                self._pending += view[:take]
                view = view[take:]
                if len(self._pending) < self._need:
                    return
                done, used = self._parse(memoryview(bytes(self._pending)))
                if done or self._bulk:
                    self._pending = bytearray()
                else:
                    self._need = used
            if done:
                yield done

    def _parse(self, view: memoryview) -> Tuple[Optional[Message], int]:
        """A whole message and its size; or None and how many bytes the next decision needs.

        A large message whose preamble is complete starts :attr:`_bulk` and returns None and the
        preamble's size."""
        if view.nbytes < _PROLOGUE.size:
            return None, _PROLOGUE.size
        head_size, count = _PROLOGUE.unpack_from(view)
        if head_size > limits.MAX_HEAD or count > MAX_BUFFERS or head_size < 2:
            raise FrameError("a message of impossible size")
        position = _PROLOGUE.size + 8 * count
        preamble = position + head_size
        if view.nbytes < preamble:
            return None, preamble
        sizes = struct.unpack_from("<%dQ" % count, view, _PROLOGUE.size)
        total = sum(sizes)
        if total > limits.MAX_MESSAGE:
            raise FrameError("a message of %d bytes" % total)
        if total <= limits.MAX_FRAME and view.nbytes < preamble + total:
            return None, preamble + total
        head = _parse_head(view[position:preamble])
        if total > limits.MAX_FRAME:
            self._bulk = _Bulk(head, sizes)
            return None, preamble
        buffers: List[Buffer] = []
        position = preamble
        for size in sizes:
            buffers.append(view[position : position + size])
            position += size
        return Message(head, buffers), position

    @property
    def idle(self) -> bool:
        """Between two messages: nothing half-received."""
        return not self._pending and self._bulk is None


def _parse_head(view: memoryview) -> Dict[str, Any]:
    try:
        head = json.loads(bytes(view).decode())
    except (ValueError, RecursionError) as error:  # nested deeper than Python goes
        raise FrameError("a message whose head is not JSON") from error
    if not isinstance(head, dict):
        raise FrameError("a message whose head is not an object")
    return head
