"""A container's end of its stream: messages in, results out.

One thread reads: the main thread between two inputs, as long as that suffices (no other thread then
exists, and none stands between the socket and the user's code); a thread of its own from the moment
that something must be heard while user code runs. Results are collected for a moment and leave
together.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

from .. import limits
from ..runtime_agent import bulk
from ..wire import messages

if TYPE_CHECKING:
    import socket

    from ..runtime_agent.payload import Buffer

SLICE = 0.5
"""Seconds of one wait of the main thread. A signal that arrives between Python's last look and the
system's wait is seen only when that wait ends: without slices, with the next message."""
SMALL = 64 * 1024
"""Bytes of an ordinary read, and of parts that are joined to be written at once: beyond it copying
costs more than another system call, and memory comes from the system page by page."""
QUIET_ROUNDS = 5
"""Looks for results that wait, without any found, after which the flusher goes to sleep."""

Handler = Callable[[messages.Message], None]
Entry = Tuple[int, int, int, int]
"""(input, kind, number of buffers, microseconds) of a result."""


class Masked:
    """``with channel.masked:``: a signal's exception waits until the outermost block is left. For
    the main thread, which alone hears signals; others pass through."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._depth = 0
        self._waiting: Optional[BaseException] = None

    def __enter__(self) -> None:
        if threading.get_ident() == self._main:
            self._depth += 1

    def __exit__(self, *exception: object) -> None:
        if threading.get_ident() != self._main:
            return
        self._depth -= 1
        waiting = self._waiting
        if waiting is not None and not self._depth:
            self._waiting = None
            raise waiting

    def interrupt(self, error: BaseException) -> None:
        """From a signal handler: raise it here, or when the block is left."""
        if self._depth:
            self._waiting = error
        else:
            raise error

    def forget(self) -> None:
        """What waits to be raised is no longer wanted."""
        self._waiting = None


class Channel:
    """The socket to the agent."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.handlers: Dict[str, Handler] = {}
        """Messages of these kinds go to their handler, on the thread that reads."""
        self.on_end: List[Callable[[], None]] = []
        """Called on the thread that reads when no message can come any more."""
        self.wake: Callable[[], None] = _nothing
        """Called when :meth:`receive` has something to give, once a thread of its own reads."""
        self.masked = Masked()
        self.bulk = bulk.Bulk()
        self._incoming = messages.Assembler()
        self._waiting: Deque[messages.Message] = deque()
        self._size = SMALL
        self._turn = threading.Lock()
        self._main_reads = False
        self._wanted = False
        self._reader: Optional[threading.Thread] = None
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._sending = threading.Lock()
        self._results: Deque[Tuple[Entry, Sequence[Buffer]]] = deque()
        self._pending = 0  # bytes of results that wait, about
        self._awake = threading.Event()
        self._watched = False  # the flusher looks after results that wait
        self._flusher: Optional[threading.Thread] = None

    # --- reading --------------------------------------------------------------------------

    def receive(self) -> Optional[messages.Message]:
        """The next message that no handler takes, or None when the agent closed the container's
        input. For the main thread."""
        if self._reader is None:
            with self._turn:
                self._main_reads = self._reader is None
            if self._main_reads:
                return self._read_here()
        return self._taken()

    def _read_here(self) -> Optional[messages.Message]:
        try:
            return self._next()
        finally:
            with self._turn:
                self._main_reads = False
                if self._wanted and self._reader is None:
                    self._start_reader()

    def _taken(self) -> Optional[messages.Message]:
        while True:
            try:
                found = self._inbox.get(timeout=SLICE)
            except Empty:
                continue
            if isinstance(found, BaseException):
                raise found
            if found is None:
                self._inbox.put(None)  # for whoever asks again
            return found  # type: ignore[no-any-return]

    @property
    def more(self) -> bool:
        """Another message is already here."""
        return bool(self._waiting) if self._reader is None else not self._inbox.empty()

    def _next(self) -> Optional[messages.Message]:
        """The next message for nobody else, read on this thread."""
        while True:
            while self._waiting:
                message = self.bulk.collect(self._waiting.popleft())
                handler = self.handlers.get(message.head["t"])
                if handler is None:
                    return message
                handler(message)
                del message
            data = self.link.recv(self._size)
            if not data:
                self._ended()
                return None
            self._size = limits.CHUNK if len(data) == self._size else SMALL
            self._waiting.extend(self._incoming.feed(data))

    def read_always(self) -> None:
        """From now on, also while user code runs, messages are read as they come."""
        if self._reader is not None:
            return
        with self._turn:
            self._wanted = True
            if not self._main_reads and self._reader is None:
                self._start_reader()

    def _start_reader(self) -> None:
        self._reader = threading.Thread(target=self._read_all, name="byoc-reader", daemon=True)
        self._reader.start()

    def _read_all(self) -> None:
        message: Any = None
        try:
            while True:
                message = self._next()
                if message is None:
                    break
                self._inbox.put(message)
                message = None
                self.wake()
        except BaseException as error:  # noqa: BLE001 - raised where the main thread waits
            self._inbox.put(error)
            self._ended()
        else:
            self._inbox.put(None)
        self.wake()

    def _ended(self) -> None:
        for call in self.on_end:
            call()

    # --- writing --------------------------------------------------------------------------

    def send(self, head: Dict[str, Any], buffers: Sequence[Buffer] = ()) -> None:
        """Send one message now. From any thread."""
        with self.masked, self._sending:
            self._tell(head, buffers)

    def _tell(self, head: Dict[str, Any], buffers: Sequence[Buffer]) -> None:
        """Write a message; its large buffers are fetched beside it."""
        inline, aside = self.bulk.offer(buffers)
        if aside:
            head = dict(head, x=aside)
        self._write(messages.encode(head, inline))

    def _write(self, parts: Sequence[Buffer]) -> None:
        small: List[Buffer] = []
        size = 0
        for part in parts:
            length = memoryview(part).nbytes
            if length >= SMALL or size + length > SMALL:
                if small:
                    self.link.sendall(b"".join(small))
                    small, size = [], 0
                if length >= SMALL:
                    self.link.sendall(part)
                    continue
            small.append(part)
            size += length
        if small:
            self.link.sendall(small[0] if len(small) == 1 else b"".join(small))

    def result(self, entry: Entry, buffers: Sequence[Buffer], last: bool) -> None:
        """Add a result. ``last``: nothing that is here follows, so it leaves at once with those
        that wait; otherwise they leave together, soon."""
        self._results.append((entry, buffers))
        if last:
            self.flush()
            self.bulk.settle()
            return
        for buffer in buffers:
            self._pending += len(buffer)  # no more than a hint when several threads add to it
        if self._pending > limits.CHUNK:
            self.flush()
            self.bulk.settle()
        elif not self._watched:
            self._watch()

    def flush(self) -> None:
        """Send the collected results. From any thread."""
        if not self._results:
            return
        with self.masked, self._sending:
            waiting = self._results
            entries: List[Entry] = []
            buffers: List[Buffer] = []
            self._pending = 0
            for _ in range(len(waiting)):
                entry, parts = waiting.popleft()
                entries.append(entry)
                buffers.extend(parts)
            if entries:
                self._tell({"t": "out", "b": entries}, buffers)

    def _watch(self) -> None:
        """A slow input after a quick one must not hold the quick one's result back."""
        self._watched = True
        if self._flusher is None:
            flusher = threading.Thread(target=self._flush_often, name="byoc-flush", daemon=True)
            self._flusher = flusher
            flusher.start()
        self._awake.set()

    def _flush_often(self) -> None:
        """While results come, look every moment for some that an earlier look saw waiting."""
        while True:
            self._awake.wait()
            self._awake.clear()
            quiet = 0
            while quiet < QUIET_ROUNDS:
                time.sleep(limits.FLUSH_AFTER)
                quiet = 0 if self._results else quiet + 1
                try:
                    self.flush()
                except OSError:
                    return  # the agent is gone; the main thread sees it too
            self._watched = False
            if self._results:
                self._watched = True
                self._awake.set()


def _nothing() -> None:
    """Nobody waits."""
