"""A reliable set of byte streams over one connection that may be cut and made again.

A :class:`Link` turns bytes of numbered streams into frames and back. Every frame that matters has a
sequence number and is kept until the peer acknowledged it; after a cut both sides say how far they
got (:attr:`Link.received_seq`) and :meth:`Link.resume` sends the rest again, in order, once. Each
stream has a window: a sender may be at most ``window`` bytes ahead of what the receiver consumed,
so a slow reader of one stream neither blocks the others nor fills memory.

No I/O, no threads, no clock: callers feed bytes in and take bytes out, under a lock of their own.

Frame: ``magic u16, kind u8, zero u8, stream u32, length u32, seq u64, ack u64`` little-endian,
then ``length`` bytes. ``seq`` is 0 for frames that need no delivery (acknowledgement, ping).
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Tuple, Union

from .. import limits

Buffer = Union[bytes, bytearray, memoryview]

HEADER = struct.Struct("<HBBIIQQ")
MAGIC = 0xB10C
DATA, END, WINDOW, ACK, PING = 1, 2, 3, 4, 5
_COUNT = struct.Struct("<Q")


class FrameError(Exception):
    """The peer sent something that is not a frame of ours."""


class Event(NamedTuple):
    """Something arrived: ``kind`` DATA (more bytes of a stream) or END (its last word)."""

    kind: int
    stream: int
    payload: Buffer


class _Sender:
    """Outgoing side of one stream."""

    __slots__ = ("ended", "granted", "parts", "queued", "ready", "sent")

    def __init__(self) -> None:
        self.parts: Deque[memoryview] = deque()
        self.queued = 0
        self.ready = False  # stands in the line of streams that have their turn
        self.sent = 0
        self.granted = limits.STREAM_WINDOW
        self.ended: Optional[bytes] = None


class _Receiver:
    """Incoming side of one stream: bytes that came, were consumed, and the peer was told of."""

    __slots__ = ("arrived", "consumed", "told")

    def __init__(self) -> None:
        self.arrived = 0
        self.consumed = 0
        self.told = 0


class Link:
    """One end of the protocol. Stream 0 goes first, the others take turns."""

    def __init__(self) -> None:
        self._senders: Dict[int, _Sender] = {}
        self._ready: Deque[int] = deque()  # streams with something to send and window left
        self._receivers: Dict[int, _Receiver] = {}
        self._grants: Deque[Tuple[int, int]] = deque()
        self._again: Deque[Tuple[int, bytes, Optional[memoryview]]] = deque()
        self._unacked: Deque[Tuple[int, int, bytes, Optional[memoryview]]] = deque()
        self._unacked_bytes = 0
        self._next_seq = 1
        self.received_seq = 0
        self._since_ack = 0
        self._ping = False
        self._parts: List[Buffer] = []
        self._have = 0
        self._need = HEADER.size
        self._broken: Optional[FrameError] = None

    # --- outgoing -------------------------------------------------------------------------

    def send(self, stream: int, *parts: Buffer) -> None:
        """Queue bytes on a stream. The buffers are kept, not copied, until acknowledged."""
        sender = self._sender(stream)
        for part in parts:
            view = memoryview(part)
            if view.nbytes:
                sender.parts.append(view.cast("B") if view.format != "B" else view)
                sender.queued += view.nbytes
        self._mark(stream, sender)

    def end(self, stream: int, last_word: bytes) -> None:
        """Queue the end of a stream; ``last_word`` arrives after all its bytes."""
        sender = self._sender(stream)
        sender.ended = last_word
        self._mark(stream, sender)

    def ping(self) -> None:
        """Send something even when there is nothing to say; it carries an acknowledgement."""
        self._ping = True

    def queued(self, stream: int) -> int:
        """Bytes of a stream that wait to be sent; what back-pressure looks at."""
        sender = self._senders.get(stream)
        return sender.queued if sender else 0

    def forget(self, stream: int) -> None:
        """Drop what is queued and remembered of a stream that both ends are done with."""
        self._senders.pop(stream, None)
        self._receivers.pop(stream, None)

    def outgoing(self, limit: int = limits.CHUNK) -> List[Buffer]:
        """The next buffers to write, about ``limit`` bytes; empty when nothing may be sent."""
        out: List[Buffer] = []
        size = 0
        while size < limit:
            frame = self._next_frame()
            if frame is None:
                break
            _, header, payload = frame
            out.append(header[:-8] + _COUNT.pack(self.received_seq))
            size += len(header)
            if payload is not None:
                out.append(payload)
                size += payload.nbytes
        if out:
            self._since_ack = 0
            self._ping = False
        elif self._ping or self._since_ack >= limits.ACK_EVERY:
            kind = PING if self._ping else ACK
            out.append(HEADER.pack(MAGIC, kind, 0, 0, 0, 0, self.received_seq))
            self._since_ack = 0
            self._ping = False
        return out

    def _next_frame(self) -> Optional[Tuple[int, bytes, Optional[memoryview]]]:
        if self._again:
            return self._again.popleft()
        if self._grants:
            stream, consumed = self._grants.popleft()
            return self._number(WINDOW, stream, memoryview(_COUNT.pack(consumed)))
        if self._unacked_bytes >= limits.UNACKED_LIMIT:
            return None
        while self._ready:
            stream = self._ready[0]
            sender = self._senders.get(stream)
            if sender is None:
                self._ready.popleft()
                continue
            chunk = self._take(sender)
            if chunk is not None:
                if stream and len(self._ready) > 1:
                    self._ready.rotate(-1)
                return self._number(DATA, stream, chunk)
            self._ready.popleft()
            sender.ready = False
            if sender.ended is not None and not sender.parts:
                del self._senders[stream]  # nothing may follow
                return self._number(END, stream, memoryview(sender.ended))
        return None

    @staticmethod
    def _take(sender: _Sender) -> Optional[memoryview]:
        """The next chunk of a stream that its window allows; joins small parts into one frame."""
        room = min(sender.granted - sender.sent, limits.CHUNK)
        if not sender.parts or room <= 0:
            return None
        first = sender.parts[0]
        if first.nbytes >= room:
            chunk = first[:room]
            if first.nbytes == room:
                sender.parts.popleft()
            else:
                sender.parts[0] = first[room:]
        else:
            taken = [sender.parts.popleft()]
            size = first.nbytes
            while sender.parts and size + sender.parts[0].nbytes <= room:
                part = sender.parts.popleft()
                taken.append(part)
                size += part.nbytes
            chunk = first if len(taken) == 1 else memoryview(b"".join(taken))
        sender.sent += chunk.nbytes
        sender.queued -= chunk.nbytes
        return chunk

    def _number(
        self, kind: int, stream: int, payload: memoryview
    ) -> Tuple[int, bytes, Optional[memoryview]]:
        seq = self._next_seq
        self._next_seq += 1
        header = HEADER.pack(MAGIC, kind, 0, stream, payload.nbytes, seq, 0)
        body = payload if payload.nbytes else None
        self._unacked.append((seq, payload.nbytes, header, body))
        self._unacked_bytes += HEADER.size + payload.nbytes
        return seq, header, body

    def _sender(self, stream: int) -> _Sender:
        sender = self._senders.get(stream)
        if sender is None:
            sender = self._senders[stream] = _Sender()
        return sender

    def _mark(self, stream: int, sender: _Sender) -> None:
        if sender.ready or not (sender.parts or sender.ended is not None):
            return
        sender.ready = True
        if stream == 0:
            self._ready.appendleft(0)
        else:
            self._ready.append(stream)

    # --- incoming -------------------------------------------------------------------------

    def received(self, data: Buffer) -> List[Event]:
        """Take bytes from the connection; returns what became complete.

        Raises FrameError for bytes that are not the next frames of our peer. What came whole before
        such bytes is returned first, since the peer may count on it; then the next call raises.
        """
        if self._broken is not None:
            raise self._broken
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return []
        buffer = memoryview(data if len(self._parts) == 1 else b"".join(self._parts))
        events: List[Event] = []
        position = 0
        end = buffer.nbytes
        self._need = HEADER.size
        try:
            while end - position >= HEADER.size:
                header = HEADER.unpack_from(buffer, position)
                length = header[4]
                if header[0] != MAGIC or header[2] or length > limits.MAX_FRAME:
                    shown = bytes(buffer[position : position + 16]).hex()
                    raise FrameError("bytes that are not a frame: %s" % shown)
                stop = position + HEADER.size + length
                if stop > end:
                    self._need = HEADER.size + length
                    break
                self._frame(header, buffer[position + HEADER.size : stop], events)
                position = stop
        except FrameError as error:
            self._broken = error
            if not events:
                raise
            return events
        rest = buffer[position:]
        self._parts = [rest] if rest.nbytes else []
        self._have = rest.nbytes
        return events

    def _frame(
        self,
        header: Tuple[int, int, int, int, int, int, int],
        payload: memoryview,
        events: List[Event],
    ) -> None:
        _, kind, _, stream, length, seq, ack = header
        if ack >= self._next_seq:
            raise FrameError("frame %d was acknowledged but never sent" % ack)
        self._acknowledged(ack)
        if kind == PING:
            self._since_ack = limits.ACK_EVERY  # answered with an acknowledgement
            return
        if kind == ACK:
            return
        if kind not in (DATA, END, WINDOW):
            raise FrameError("unknown kind of frame: %d" % kind)
        if 0 < seq <= self.received_seq:
            return  # sent again after a cut although it had arrived
        if seq != self.received_seq + 1:
            raise FrameError("frame %d came where %d was due" % (seq, self.received_seq + 1))
        if kind == WINDOW:
            self._granted(stream, payload)
        else:
            if kind == DATA:
                self._arrived(stream, length)
            events.append(Event(kind, stream, payload))
        self.received_seq = seq
        self._since_ack += HEADER.size + length

    def _acknowledged(self, ack: int) -> None:
        unacked = self._unacked
        while unacked and unacked[0][0] <= ack:
            self._unacked_bytes -= HEADER.size + unacked.popleft()[1]

    def _arrived(self, stream: int, size: int) -> None:
        receiver = self._receiver(stream)
        if receiver.arrived + size - receiver.consumed > limits.STREAM_WINDOW:
            raise FrameError("stream %d got more bytes than its window" % stream)
        receiver.arrived += size

    def _granted(self, stream: int, payload: memoryview) -> None:
        if payload.nbytes != _COUNT.size:
            raise FrameError("a window of %d bytes" % payload.nbytes)
        sender = self._senders.get(stream)
        if sender is not None:
            # What was never sent cannot have been consumed: that is about an earlier use of the
            # number, which both ends have forgotten.
            consumed = min(_COUNT.unpack(payload)[0], sender.sent)
            sender.granted = max(sender.granted, consumed + limits.STREAM_WINDOW)
            self._mark(stream, sender)

    def consumed(self, stream: int, size: int) -> None:
        """Say that ``size`` received bytes of a stream were used: the peer may send more."""
        receiver = self._receivers.get(stream)
        if receiver is None:
            return  # it brought nothing, or both ends are done with it
        receiver.consumed += size
        if receiver.consumed - receiver.told >= limits.STREAM_WINDOW // 4:
            receiver.told = receiver.consumed
            self._grants.append((stream, receiver.consumed))

    def _receiver(self, stream: int) -> _Receiver:
        receiver = self._receivers.get(stream)
        if receiver is None:
            receiver = self._receivers[stream] = _Receiver()
        return receiver

    # --- after a cut ----------------------------------------------------------------------

    def resume(self, peer_received: int) -> None:
        """A new connection is there and the peer has frames up to ``peer_received``.

        Raises FrameError, and changes nothing, when that cannot be.
        """
        if peer_received >= self._next_seq:
            raise FrameError("the peer claims frame %d, which was never sent" % peer_received)
        if peer_received + 1 < (self._unacked[0][0] if self._unacked else self._next_seq):
            raise FrameError("the peer lost frames that it had acknowledged")
        self._acknowledged(peer_received)
        self._again = deque((seq, header, body) for seq, _, header, body in self._unacked)
        self._parts = []
        self._have = 0
        self._need = HEADER.size
        self._broken = None

    @property
    def sent_seq(self) -> int:
        """The number of the last frame that was handed out to be sent."""
        return self._next_seq - 1

    @property
    def acked_seq(self) -> int:
        """The number up to which the peer has all frames."""
        return self._unacked[0][0] - 1 if self._unacked else self._next_seq - 1

    @property
    def unacked(self) -> int:
        """Bytes sent and not yet acknowledged, those of the frames' headers included."""
        return self._unacked_bytes
