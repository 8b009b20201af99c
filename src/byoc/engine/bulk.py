"""The client's end of bulk transfers: large buffers of a container's messages, beside them.

They go between the user's memory and SSH channels that end in the container itself, uncopied and in
pieces (:mod:`byoc.wire.bulk`), over as many channels as the round trip asks for. A connection that
breaks costs the pieces that were under way. What is sent is written by a thread that exists while
there is something to send; what is received is put in its place by the thread that reads the
connection.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from .. import limits
from ..clock import IDS
from ..errors import ConnectionLostError, InstanceError
from ..tasks import attempt
from ..transport.ssh import Connection
from ..transport.stream import ByteStream
from ..wire import bulk, link, memory, messages
from . import dispatch, threads

WINDOW = 2 * 1024 * 1024
"""Bytes that sshd lets a channel be ahead, whatever the client does."""
RATE = 1e9
"""Bytes per second that the channels together shall carry: about what one connection's AES-GCM does
on one core (docs/performance.md)."""
MOST_LANES = 16
"""Channels of one container in one direction (docs/performance.md: more bring nothing)."""
AHEAD = 3
"""Pieces asked for on one channel: the window, and one more so that it stays full."""
LOOK = 1.0
"""Seconds between two looks whether the container still exists."""
IDLE = 10.0
"""Seconds that channels are kept for the next transfer."""
TRIES = 5
"""Times in a row that a container may refuse or end its channels before it counts as broken."""

_NO_BYTES = memoryview(bytearray())

Deliver = Callable[[messages.Message], None]


class Line(Protocol):
    """What this needs of the link to the instance."""

    rtt: float

    @property
    def reaches_sockets(self) -> bool:
        """Whether its Unix sockets can be reached."""

    def connection(self, timeout: float) -> Connection:
        """The connection of now. Raises an InstanceError."""


class _Transfer:
    """One buffer under way."""

    def __init__(self, token: bytes, data: memoryview, arrived: Callable[[], None]) -> None:
        self.token = token
        self.data = data
        self.left = -(-data.nbytes // bulk.PIECE)
        self.arrived = arrived


class _Piece(NamedTuple):
    """Something to be asked for: bytes of a transfer, or, of none, that it be forgotten."""

    transfer: _Transfer
    kind: int
    offset: int = 0
    size: int = 0

    @property
    def request(self) -> bytes:
        return bulk.REQUEST.pack(bulk.MAGIC, self.kind, self.transfer.token, self.offset, self.size)

    @property
    def view(self) -> memoryview:
        return self.transfer.data[self.offset : self.offset + self.size]


class _Lane:
    """One channel. What comes is handled on the thread that reads the connection."""

    def __init__(self, stream: ByteStream, flow: _Flow) -> None:
        self.stream = stream
        self.due: deque[_Piece] = deque()  # asked for, not answered
        self.dead = False
        self._flow = flow
        self._lock = threading.Lock()  # what comes
        self._writing = threading.Lock()  # what leaves, which may wait for the socket
        self._out: deque[memoryview] = deque()
        self._into: memoryview | None = None  # where the answer goes whose first byte has come

    def open(self) -> None:
        """Begin to listen."""
        self.stream.listen(self._came, self._ended, self._flow.stir)

    def ask(self, piece: _Piece) -> None:
        """Put a request behind the others; by one thread at a time."""
        with self._lock:
            self.due.append(piece)
        self._out.append(memoryview(piece.request))
        if piece.kind == bulk.PUT:
            self._out.append(piece.view)

    def push(self, wait: bool) -> bool:
        """Write what there is room for; whether that was anything. Raises InstanceError."""
        any_sent = False
        with self._writing:
            while self._out and not self.dead:
                sent = self.stream.offer(self._out[0], wait)
                any_sent = any_sent or sent > 0
                if sent < self._out[0].nbytes:
                    self._out[0] = self._out[0][sent:]
                    break
                self._out.popleft()
        return any_sent

    def end(self) -> list[_Piece]:
        """Use it no more; what it had not brought."""
        with self._lock:
            self.dead = True  # from here on nothing is written into what it was to fill
            left, self.due = list(self.due), deque()
        with self._writing:
            self._out.clear()
        self.stream.close()
        return left

    def _came(self, data: memoryview) -> None:
        answered: list[_Piece] = []
        with self._lock:
            while data and not self.dead:
                if self._into is None:
                    if data[:1] != bulk.YES or not self.due:
                        self.dead = True
                        break
                    data = data[1:]
                    piece = self.due[0]
                    self._into = piece.view if piece.kind == bulk.GET else _NO_BYTES
                size = min(len(self._into), len(data))
                self._into[:size] = data[:size]
                self._into, data = self._into[size:], data[size:]
                if not self._into:
                    self._into = None
                    answered.append(self.due.popleft())
        for piece in answered:
            self._flow.answered(self, piece)
        if self.dead:
            self._flow.stir()

    def _ended(self) -> None:
        self.dead = True
        self._flow.stir()


class _Flow:
    """All transfers of one container in one direction."""

    def __init__(self, aside: Aside, kind: int) -> None:
        self._aside = aside
        self._kind = kind
        self._lock = threading.Lock()
        self._todo: deque[_Piece] = deque()
        self._lanes: list[_Lane] = []
        self._open = 0  # transfers that are not over
        self._running = False
        self._event = threading.Event()

    def add(self, transfers: Sequence[_Transfer]) -> None:
        """Begin to move these, behind those that are under way. Any thread; never waits."""
        with self._lock:
            for transfer in transfers:
                self._open += 1
                size = transfer.data.nbytes
                self._todo.extend(
                    _Piece(transfer, self._kind, at, min(bulk.PIECE, size - at))
                    for at in range(0, size, bulk.PIECE)
                )
            if not self._running:
                self._running = True
                threads.start("byoc-bulk", self._run)
        self.stir()

    def stir(self) -> None:
        """Something may go on. Any thread."""
        self._event.set()

    def answered(self, lane: _Lane, piece: _Piece) -> None:
        """A request was done. On the thread that reads the connection."""
        transfer = piece.transfer
        with self._lock:
            if piece.kind == bulk.DONE:
                self._open -= 1
            else:
                transfer.left -= 1
                if not transfer.left:
                    self._todo.appendleft(_Piece(transfer, bulk.DONE))
                    transfer.data = _NO_BYTES  # it is its owner's alone from now on
            over = piece.kind != bulk.DONE and not transfer.left
        if over:
            transfer.arrived()
        if self._kind == bulk.GET and self._assign(lane):
            try:
                lane.push(wait=False)
            except InstanceError:
                pass  # its end is told, too
        self.stir()

    def _assign(self, lane: _Lane) -> bool:
        """Give a lane as much to do as it takes."""
        given = False
        with self._lock:
            while self._todo and len(lane.due) < AHEAD and not lane.dead:
                lane.ask(self._todo.popleft())
                given = True
        return given

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        tries = 0
        try:
            while not self._aside.closed:
                before = self._left()
                if not before[1] and not self._rest():
                    return
                if not before[1]:
                    continue
                try:
                    self._extend()
                    self._drive()
                    tries = 0
                except ConnectionLostError:
                    tries = 0 if self._left() != before else tries + 1
                except InstanceError:
                    tries += 1
                if tries:
                    self._event.wait(LOOK)
                    self._event.clear()
                if tries > TRIES:
                    self._aside.broken()
                    return
        except InstanceError:
            pass  # the instance is lost, which those who wait for it are told
        finally:
            self._drop()

    def _left(self) -> tuple[int, int]:
        with self._lock:
            return len(self._todo), self._open

    def _rest(self) -> bool:
        """Nothing to do: wait a while for more; False when none has come."""
        self._event.clear()
        with self._lock:
            if self._open:
                return True
        if self._event.wait(IDLE):
            return True
        with self._lock:
            self._running = bool(self._open)
            return self._running

    def _extend(self) -> None:
        """Have as many lanes as the round trip and what is to be done ask for."""
        for lane in [lane for lane in self._lanes if lane.dead]:
            self._give_up(lane)
        connection = self._aside.line.connection(limits.LEASE)
        with self._lock:
            wanted = min(lanes_for(self._aside.line.rtt), max(1, len(self._todo)))
        missing = wanted - len(self._lanes)
        if missing > 0 and not self._aside.closed:
            streams = connection.open_streamlocals(self._aside.path, missing)
            lanes = [_Lane(stream, self) for stream in streams]
            self._lanes += lanes
            for lane in lanes:
                lane.open()

    def _drive(self) -> None:
        """Move what there is to move, until it is done. Raises InstanceError when a lane ends."""
        send = self._kind == bulk.PUT
        while self._open and not self._aside.closed:
            self._event.clear()
            moved = False
            for lane in self._lanes:
                if lane.dead:
                    raise ConnectionLostError("a channel to the container has ended")
                moved = self._assign(lane) or moved
                moved = lane.push(wait=send) or moved
            if not moved:
                self._event.wait(LOOK)
            if len(self._lanes) < lanes_for(self._aside.line.rtt):
                with self._lock:
                    more = len(self._todo) > AHEAD
                if more:
                    self._extend()

    def _give_up(self, lane: _Lane) -> None:
        self._lanes.remove(lane)
        left = lane.end()
        with self._lock:
            self._todo.extendleft(reversed(left))

    def _drop(self) -> None:
        """Let go of everything."""
        for lane in list(self._lanes):
            self._give_up(lane)
        if self._aside.closed:
            with self._lock:
                self._todo.clear()


class Aside:
    """The large buffers of one container's messages.

    ``broken``: called when its channels do not work although it runs: end it. ``unhandled``: called
    with what a message raised that was delivered later, when its large buffers were there.
    """

    def __init__(
        self,
        line: Line,
        broken: Callable[[], None],
        unhandled: Callable[[BaseException], None],
    ) -> None:
        self.line = line
        self.broken = broken
        self.unhandled = unhandled
        self.path = ""
        self.closed = False
        self._up = _Flow(self, bulk.PUT)
        self._down = _Flow(self, bulk.GET)
        self._turn = threading.RLock()
        self._held: dict[object, deque[_Held]] = {}

    def split(
        self, head: Mapping[str, Any], buffers: Sequence[link.Buffer]
    ) -> tuple[Mapping[str, Any], Sequence[link.Buffer]]:
        """A message as it is to be sent; its large buffers are under way with this. Never waits."""
        if not self.path or all(map(_small, buffers)) or not self.line.reaches_sockets:
            return head, buffers
        inline: list[link.Buffer] = []
        named: list[list[Any]] = []
        transfers: list[_Transfer] = []
        for place, buffer in enumerate(buffers):
            if _small(buffer):
                inline.append(buffer)
                continue
            view = memoryview(buffer).cast("B")
            token = IDS.secret(bulk.TOKEN)
            named.append([place, token.hex(), view.nbytes])
            transfers.append(_Transfer(token, view, _nothing))
            inline.append(b"")
        self._up.add(transfers)
        return {**head, "x": named}, inline

    def take(self, message: messages.Message, deliver: Deliver) -> None:
        """Give a message that came to ``deliver``, now or when its large buffers are there.

        What belongs together stays in order: the results of one input, and all that are no results.
        Raises FrameError for a message that cannot be.
        """
        head = message.head
        if head.get("t") == "ready":
            self.path = str(head.get("bulk") or "")
        if "x" not in head and not self._held:
            deliver(message)
            return
        with self._turn:
            for key, part in _parts(message):
                self._take_part(key, part, deliver)

    def close(self) -> None:
        """The container has ended: what was under way is not any more."""
        with self._turn:
            self.closed = True
            self._held.clear()
        self._up.stir()
        self._down.stir()

    def _take_part(self, key: object, message: messages.Message, deliver: Deliver) -> None:
        line = self._held.get(key)
        if "x" not in message.head:
            if line is None:
                deliver(message)
            else:
                line.append(_Held(message, 0, deliver))
            return
        named = bulk.named(message.head, len(message.buffers), limits.MAX_MESSAGE)
        buffers = list(message.buffers)
        held = _Held(messages.Message(message.head, buffers), len(named), deliver)
        self._held.setdefault(key, deque()).append(held)
        transfers = []
        for one in named:
            try:
                data = memory.allocate(one.size)
            except MemoryError as error:
                raise link.FrameError(f"a buffer of {one.size} bytes") from error
            buffers[one.place] = data
            view = memoryview(data)
            transfers.append(_Transfer(one.token, view, lambda: self._arrived(key, held)))
        self._down.add(transfers)

    def _arrived(self, key: object, held: _Held) -> None:
        with self._turn:
            held.missing -= 1
            line = self._held.get(key)
            while line and not line[0].missing:
                first = line.popleft()
                if not line:
                    del self._held[key]
                failed = attempt(partial(first.deliver, first.message))
                if isinstance(failed, BaseException):  # what brings this must not break by it
                    self.unhandled(failed)


class _Held:
    """A message some of whose buffers are under way, or that comes behind such a one."""

    def __init__(self, message: messages.Message, missing: int, deliver: Deliver) -> None:
        self.message = message
        self.missing = missing
        self.deliver = deliver


def _parts(message: messages.Message) -> list[tuple[object, messages.Message]]:
    """What a message consists of that can be given on apart, each with what it is in line with:
    every result by itself. Raises FrameError."""
    head = message.head
    if head.get("t") != "out":
        return [(None, message)]
    if not dispatch.sound(head.get("b"), message.buffers):
        raise link.FrameError("results that are none")
    aside = bulk.named(head, len(message.buffers), limits.MAX_MESSAGE) if "x" in head else ()
    large = {one.place: [one.token.hex(), one.size] for one in aside}
    parts: list[tuple[object, messages.Message]] = []
    at = 0
    for entry in head["b"]:
        count = entry[2]
        one: dict[str, Any] = {"t": "out", "b": [entry]}
        named = [[p - at, *large[p]] for p in range(at, at + count) if p in large]
        if named:
            one["x"] = named
        parts.append((entry[0], messages.Message(one, message.buffers[at : at + count])))
        at += count
    return parts


def lanes_for(rtt: float) -> int:
    """How many channels fill a line of that round trip (seconds)."""
    if not math.isfinite(rtt):
        return 1
    return max(1, min(MOST_LANES, math.ceil(rtt * RATE / WINDOW)))


def _small(buffer: link.Buffer) -> bool:
    return (buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)) < bulk.LARGE


def _nothing() -> None:
    """Nobody waits for an upload but its container."""
