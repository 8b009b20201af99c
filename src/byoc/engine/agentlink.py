"""The client's end of one agent: a session that outlives its connections.

Threads: a reader, which also makes lost connections anew; a heart that renews the lease; a watch
that notices silence, apart from the heart, which may be stuck in a write. Whoever has something to
send writes it, if nobody else is writing.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from .. import limits
from ..clock import Clock
from ..errors import (
    AgentError,
    ConnectionLostError,
    HostKeyError,
    InstanceError,
    ProtocolError,
    ProviderError,
)
from ..providers.base import Instance
from ..runtime_agent.bundle import Bundle
from ..transport.ssh import Connection
from ..transport.stream import ByteStream
from ..wire import VERSION, link, messages
from . import threads

CONTROL, LOGS = 0, 1
LEAST_TRY = 1.0
"""Seconds that an attempt to reconnect gets even when less of the lease is left."""
Handler = Callable[[int, link.Buffer], None]
"""Called on the reader's thread with (link.DATA or link.END, bytes)."""


class Machine(Protocol):
    """What the link needs of a held instance."""

    def connect(self, timeout: float | None = None) -> Connection:
        """A new authenticated connection, within ``timeout`` seconds.

        Raises an InstanceError; HostKeyError means never to try again.
        """

    def look(self) -> Instance:
        """The instance as its provider sees it. Raises ProviderError."""


class AgentLink:
    """One session with one agent."""

    def __init__(
        self,
        machine: Machine,
        bundle: Bundle,
        *,
        session: str,
        python: str,
        end_command: tuple[str, ...],
        lease: float,
        clock: Clock,
        on_lost: Callable[[InstanceError], None],
    ) -> None:
        self._machine = machine
        self._bundle = bundle
        self._session = session
        self._python = python
        self._end_command = end_command
        self._lease = lease
        self._clock = clock
        self._on_lost = on_lost
        self._link = link.Link()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._more = False
        self._connection: Connection | None = None
        self._stream: ByteStream | None = None
        self._control = messages.Assembler()
        self._handlers: dict[int, Handler] = {CONTROL: self._on_control}
        self._replies: dict[int, Future[dict[str, Any]]] = {}
        self._next_request = 1
        self._closed = threading.Event()
        self._heard = clock.mono()  # any byte: tells silence
        self._good = self._heard  # a frame of the agent's: what the lease is counted from
        self._rest = b""  # what came behind the hello
        self._dispatching = False
        self._lost: InstanceError | None = None
        self.hello: dict[str, Any] = {}

    # --- life -----------------------------------------------------------------------------

    def open(self) -> None:
        """First contact: ship the agent, start the session. Raises an InstanceError."""
        try:
            self._connect(True, math.inf)
        except ConnectionLostError as cause:
            lost = self._reconnect(cause, first=True)
            if lost is not None:
                raise lost from cause
        threads.start("byoc-reader", self._read)
        threads.start("byoc-heart", self._heart)
        threads.start("byoc-watch", self._watch)

    def close(self) -> None:
        """Drop the connection; the agent keeps what it was last told."""
        with self._lock:
            self._closed.set()
            stream, connection = self._stream, self._connection
        self._refuse(ConnectionLostError(_CLOSED))
        self._fail_replies()
        if stream is not None:
            stream.close()
        if connection is not None:
            connection.close()

    def listen(self, stream: int, handler: Handler) -> None:
        """Give a stream's bytes to ``handler`` from now on."""
        self._handlers[stream] = handler

    def forget(self, stream: int) -> None:
        """Both ends are done with a stream."""
        self._handlers.pop(stream, None)
        with self._lock:
            self._link.forget(stream)

    # --- sending --------------------------------------------------------------------------

    def send(self, stream: int, head: Mapping[str, Any], *buffers: link.Buffer) -> None:
        """Queue a message and write what can be written. Raises when the instance is lost."""
        with self._lock:
            if self._lost is not None:
                raise self._lost
            self._link.send(stream, *messages.encode(dict(head), buffers))
        self._write()

    def send_raw(self, stream: int, data: link.Buffer) -> None:
        """Queue bytes (a command's stdin)."""
        with self._lock:
            self._link.send(stream, data)
        self._write()

    def end(self, stream: int) -> None:
        """Say that a stream gets nothing more."""
        with self._lock:
            self._link.end(stream, b"")
        self._write()

    def queued(self, stream: int) -> int:
        """Bytes of a stream that were not sent yet."""
        with self._lock:
            return self._link.queued(stream)

    def request(self, head: Mapping[str, Any], *buffers: link.Buffer) -> Future[dict[str, Any]]:
        """Send a request on the control stream; the future gives the agent's reply."""
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            if self._lost is not None:
                future.set_exception(self._lost)
                return future
            number = self._next_request
            self._next_request += 1
            self._replies[number] = future
            self._link.send(CONTROL, *messages.encode({**head, "req": number}, buffers))
        self._write()
        return future

    def _write(self) -> None:
        """Write until nothing is due. One thread writes; another's call makes it look again."""
        self._more = True
        while self._more and self._writing.acquire(blocking=False):
            try:
                self._more = False
                self._write_due()
            finally:
                self._writing.release()

    def _write_due(self) -> None:
        while True:
            with self._lock:  # together: frames of a resumed link must not go to the old stream
                stream = self._stream
                parts = self._link.outgoing() if stream is not None else []
            if stream is None or not parts:
                return  # or between connections; resumed later
            size = sum(len(p) if not isinstance(p, memoryview) else p.nbytes for p in parts)
            try:
                if size <= limits.CHUNK // 4:
                    stream.write(b"".join(parts))
                else:
                    for part in parts:
                        stream.write(part)
            except InstanceError:
                stream.close()  # the reader finds out and reconnects; the frames are kept
                return

    # --- receiving ------------------------------------------------------------------------

    def _read(self) -> None:
        """The reader. Whatever ends it, nobody waits for it any longer."""
        lost: InstanceError = AgentError("what the instance sent could not be handled")
        try:
            lost = self._read_loop()
        finally:
            if not self._closed.is_set():
                self._refuse(lost)
                try:
                    self._on_lost(lost)
                finally:
                    self._fail_replies()  # by now all know that there is no use in asking again

    def _read_loop(self) -> InstanceError:
        """Read, and reconnect when a connection breaks; returns why there is none any more."""
        while not self._closed.is_set():
            stream = self._stream
            assert stream is not None
            try:
                data, self._rest = self._rest or stream.read(limits.CHUNK), b""
                if data:
                    self._heard = self._clock.mono()
                    self._dispatch(data)
                    continue
                words = f"the agent's channel ended {stream.stderr()[-500:]}"
                cause: InstanceError = ConnectionLostError(words.rstrip())
            except link.FrameError as error:  # of a message, which no new connection mends
                return AgentError(f"the instance sent {error}")
            except InstanceError as error:
                cause = error
            lost = self._reconnect(cause)
            if lost is not None:
                return lost
        return ConnectionLostError(_CLOSED)

    def _dispatch(self, data: bytes) -> None:
        self._dispatching = True
        try:
            with self._lock:
                try:
                    events = self._link.received(data)
                except link.FrameError as error:
                    raise ProtocolError(f"the instance sent {error}") from error
            self._good = self._heard
            for event in events:
                handler = self._handlers.get(event.stream)
                if handler is not None:
                    handler(event.kind, event.payload)
                with self._lock:
                    self._link.consumed(event.stream, len(event.payload))
        finally:
            self._dispatching = False
        self._write()

    def _on_control(self, kind: int, payload: link.Buffer) -> None:
        for message in self._control.feed(payload):
            head = message.head
            if head.get("t") == "reply":
                with self._lock:
                    future = self._replies.pop(head["req"], None)
                if future is not None:
                    future.set_result(head)

    # --- connections ----------------------------------------------------------------------

    def _connect(self, first: bool, left: float) -> None:
        """One attempt, of ``left`` seconds at most: connect, ship the agent, greet; sets the
        stream. Raises InstanceError."""
        timeout = None if left > limits.CONNECT_TIMEOUT else max(LEAST_TRY, left)
        connection = self._machine.connect(timeout)
        try:
            stream, answer, rest = self._greet(connection, first, max(LEAST_TRY, left))
            if not first and answer.get("fresh"):
                raise AgentError("the agent was restarted and lost what it ran", hints=_LOST_HINTS)
            with self._lock:
                if self._closed.is_set():
                    raise ConnectionLostError(_CLOSED)
                self._link.resume(answer["received"])
                self._link.ping()  # its answer proves that frames come through
                self.hello, self._rest = answer, rest
                self._heard = self._clock.mono()  # before the watch sees the stream
                self._connection, self._stream = connection, stream
        except link.FrameError as error:
            connection.close()
            raise AgentError(f"the session cannot be resumed: {error}") from error
        except BaseException:
            connection.close()
            raise
        self._write()

    def _greet(
        self, connection: Connection, first: bool, left: float
    ) -> tuple[ByteStream, dict[str, Any], bytes]:
        """Start or find the agent; its stream, its hello, and what came behind that."""
        with self._lock:
            received = self._link.received_seq
        hello = {
            "v": VERSION,
            "session": self._session,
            "received": received,
            "takeover": first,
            "end": list(self._end_command),
            "ttl": self._lease,
        }
        greeting = json.dumps(hello).encode() + b"\n"
        command = self._bundle.command(self._python)
        stream = connection.exec(command, self._bundle.stdin + greeting)
        answer, rest = self._read_hello(stream, min(limits.HELLO_TIMEOUT, left))
        return stream, answer, rest

    def _read_hello(self, stream: ByteStream, timeout: float) -> tuple[dict[str, Any], bytes]:
        """The agent's first line, and what came behind it."""
        guard = threading.Timer(timeout, stream.close)
        guard.daemon = True
        guard.start()
        try:
            data = b""
            while b"\n" not in data:
                part = stream.read(65536)
                if not part:
                    said = stream.stderr().strip() or "no output"
                    raise AgentError(
                        f"the runtime agent did not start: {said}",
                        hints=(f"the instance needs {self._python} 3.8 or newer",),
                    )
                data += part
                if len(data) > limits.MAX_FRAME:
                    raise ProtocolError("the instance answered with something that is not an agent")
        finally:
            guard.cancel()
        line, _, rest = data.partition(b"\n")
        return _hello_of(line), rest

    def _reconnect(self, cause: InstanceError, first: bool = False) -> InstanceError | None:
        """Make the connection anew, within a lease of the last good frame; or why it cannot be."""
        with self._lock:
            old, self._stream = self._connection, None
        if old is not None:
            old.close()
        deadline = self._good + self._lease
        pause = limits.RECONNECT_PAUSE
        while not self._closed.wait(pause):
            left = deadline - self._clock.mono()
            if left <= 0:
                return ConnectionLostError(
                    f"the instance did not answer for {self._lease:g} s: {cause.message}",
                    hints=_LOST_HINTS,
                )
            try:
                self._connect(first, left)
                return None
            except (HostKeyError, AgentError) as error:
                return error
            except InstanceError as error:
                cause = error
            ended = self._ended()
            if ended:
                return ConnectionLostError(f"the instance ended: {ended}", hints=_LOST_HINTS)
            pause = min(pause * 2, limits.RECONNECT_PAUSE_MAX)
        return ConnectionLostError(_CLOSED)

    def _ended(self) -> str:
        """Why the instance has ended or is ending, in its provider's words; empty if it lives."""
        try:
            seen = self._machine.look()
        except ProviderError:
            return ""  # not known: the lease decides
        return (seen.detail or seen.state) if seen.state in ("ending", "gone") else ""

    def _refuse(self, error: InstanceError) -> None:
        """From now on whoever asks for anything is told ``error``; the first one counts."""
        with self._lock:
            self._lost = self._lost or error

    def _fail_replies(self) -> None:
        """Tell whoever waits for an answer."""
        with self._lock:
            replies, self._replies = self._replies, {}
        for future in replies.values():
            future.set_exception(self._lost)

    def _heart(self) -> None:
        """Renew the lease and keep the connection warm."""
        beat = min(limits.KEEPALIVE_EVERY, self._lease / 4)
        renew = min(limits.LEASE_RENEW_EVERY, self._lease / 4)
        renewed = self._clock.mono()
        while not self._closed.wait(beat) and self._lost is None:
            if self._stream is None:
                continue
            now = self._clock.mono()
            with self._lock:
                if now - renewed >= renew:
                    renewed = now
                    self._link.send(CONTROL, *messages.encode({"t": "lease", "ttl": self._lease}))
                self._link.ping()
            self._write()

    def _watch(self) -> None:
        """Notice silence, well within the lease, and end the connection for it."""
        limit = min(limits.SILENCE_LIMIT, self._lease / 2)
        while not self._closed.wait(limit / 4) and self._lost is None:
            stream = self._stream
            silent = self._clock.mono() - self._heard
            if stream is not None and silent > limit and not self._dispatching:
                stream.close()


def _hello_of(line: bytes) -> dict[str, Any]:
    """The agent's hello. Raises AgentError when it refuses, ProtocolError when it is not one."""
    shown = line[:200].decode("utf-8", "replace")
    nonsense = ProtocolError(f"the instance answered {shown!r}, which is not an agent")
    try:
        answer = json.loads(line)
    except ValueError:
        raise nonsense from None
    if not isinstance(answer, dict):
        raise nonsense
    if answer.get("error"):
        raise AgentError(f"the agent refused: {answer.get('detail', answer['error'])}")
    if answer.get("v") != VERSION:
        raise AgentError(f"the agent speaks protocol {answer.get('v')}, this is {VERSION}")
    if not (isinstance(answer.get("received"), int) and isinstance(answer.get("home"), str)):
        raise nonsense
    return answer


_CLOSED = "the session was closed"
_LOST_HINTS = ("the calls that ran there are tried again on another instance where that is safe",)
