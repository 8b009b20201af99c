"""The client's end of one agent: a session that outlives its connections.

It has no thread of its own. What the agent sends is handled on the thread that reads the
connection;
whoever has something to send writes what there is room for, and the rest follows when there is room
again, so no thread ever waits for the line. A thread is started for each lost connection that has
to be made anew. Leases and silence are the business of the process's heart (:mod:`.heart`).
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections import deque
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
from ..tasks import attempt
from ..transport.ssh import Asked, Connection
from ..transport.stream import ByteStream
from ..wire import VERSION, link, messages
from . import heart, threads

CONTROL, LOGS = 0, 1
LEAST_TRY = 1.0
"""Seconds that an attempt to reconnect gets even when less of the lease is left."""
JOIN = limits.CHUNK // 4
"""Bytes up to which frames are joined to be sent as one."""
Handler = Callable[[int, link.Buffer], None]
"""Called with (link.DATA or link.END, bytes), on the thread that reads the connection: it must not
wait for anything that this thread brings."""


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
        home: str = "",
    ) -> None:
        self._machine = machine
        self._bundle = bundle
        self._session = session
        self._python = python
        self._end_command = end_command
        self._lease = lease
        self._clock = clock
        self._on_lost = on_lost
        self._home = home  # below which the dead-man looks for the lease, if not the user's own
        self._link = link.Link()
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._more = False
        self._connection: Connection | None = None
        self._stream: ByteStream | None = None
        self._control = messages.Assembler()
        self._handlers: dict[int, Handler] = {CONTROL: self._on_control}
        self._later: set[int] = set()
        self._replies: dict[int, Future[dict[str, Any]]] = {}
        self._next_request = 1
        self._closed = threading.Event()
        self._heard = clock.mono()  # any byte: tells silence
        self._good = self._heard  # a frame of the agent's: what the lease is counted from
        self._renewed = self._pinged = self._heard
        self._left: deque[memoryview] = deque()  # taken from the link for this stream, not sent yet
        self._timed: tuple[int, float] | None = None  # a frame, and when it was sent
        self._dispatching = False
        self._lost: InstanceError | None = None
        self._connected = threading.Condition(self._lock)
        self._asked: Asked | None = None
        self.seen: Instance | None = None
        """What its provider said when the connection could not be made anew; None: not asked."""
        self.rtt = math.inf
        """Seconds of a round trip to the agent, the shortest seen on this connection."""
        self.hello: dict[str, Any] = {}
        self.on_notice: Callable[[Mapping[str, Any]], None] = _ignore
        """Called with what the agent says of a preemption, on the thread that reads."""

    # --- life -----------------------------------------------------------------------------

    def open(self) -> None:
        """First contact: ship the agent, start the session. Raises an InstanceError."""
        try:
            self._connect(True, math.inf)
        except ConnectionLostError as cause:
            lost = self._reconnect(cause, first=True)
            if lost is not None:
                raise lost from cause
        heart.add(self._beat, 0.0)

    def close(self) -> None:
        """Drop the connection; the agent keeps what it was last told."""
        with self._lock:
            self._closed.set()
            stream, connection = self._stream, self._connection
            self._connected.notify_all()
        self._refuse(ConnectionLostError(_CLOSED))
        self._fail_replies()
        if stream is not None:
            stream.close()
        if connection is not None:
            connection.close()

    def connection(self, timeout: float) -> Connection:
        """The connection of now, waited for ``timeout`` seconds; for streams beside the agent's.

        Raises an InstanceError when there is none, or will be none any more.
        """
        with self._lock:
            self._connected.wait_for(
                lambda: self._stream is not None or self._lost or self._closed.is_set(), timeout
            )
            if self._stream is not None and self._connection is not None:
                return self._connection
            raise self._lost or ConnectionLostError("the instance did not answer in time")

    @property
    def reaches_sockets(self) -> bool:
        """The instance lets us connect to its Unix sockets; False also while that is not known."""
        return self._asked is not None and self._asked.granted

    def listen(self, stream: int, handler: Handler, later: bool = False) -> None:
        """Give a stream's bytes to ``handler`` from now on. ``later``: they are not used with its
        return, but when :meth:`used` says so."""
        self._handlers[stream] = handler
        if later:
            self._later.add(stream)

    def used(self, stream: int, size: int) -> None:
        """So many bytes of a stream were used: its sender may go on."""
        with self._lock:
            self._link.consumed(stream, size)
        self._write()

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
        """Write what there is room for; more room calls :meth:`_write` again."""
        while True:
            with self._lock:  # together: frames of a resumed link must not go to the old stream
                stream, connection, left = self._stream, self._connection, self._left
                if stream is None or connection is None:
                    return  # between connections; resumed later
                if not left:
                    known = self._link.sent_seq
                    left.extend(_joined(self._link.outgoing()))
                    if self._timed is None and self._link.sent_seq > known:
                        self._timed = (self._link.sent_seq, self._clock.mono())
            if not left:
                return
            try:
                while left:
                    sent = stream.offer(left[0])
                    if sent < left[0].nbytes:
                        left[0] = left[0][sent:]
                        return
                    left.popleft()
            except InstanceError:
                connection.cut()  # its end tells; the frames are kept
                return

    # --- receiving ------------------------------------------------------------------------

    def _received(self, stream: ByteStream, data: link.Buffer) -> None:
        """Bytes came; on the thread that reads the connection."""
        if stream is not self._stream:
            return  # an older connection
        self._heard = self._clock.mono()
        failed = attempt(lambda: self._dispatch(data))
        if isinstance(failed, ProtocolError):
            self._broke(stream, failed)
        elif isinstance(failed, link.FrameError):  # of a message, which no new connection mends
            self._broke(stream, None, AgentError(f"the instance sent {failed}"))
        elif failed is not None:
            self._broke(stream, None, _unhandled(failed))

    def _dispatch(self, data: link.Buffer) -> None:
        self._dispatching = True
        try:
            with self._lock:
                try:
                    events = self._link.received(data)
                except link.FrameError as error:
                    raise ProtocolError(f"the instance sent {error}") from error
                self._good = self._heard
                self._measure()
            for event in events:
                handler = self._handlers.get(event.stream)
                if handler is not None:
                    self._hand(event, handler)
            with self._lock:
                for event in events:
                    if event.stream not in self._later:
                        self._link.consumed(event.stream, len(event.payload))
        finally:
            self._dispatching = False
        self._write()

    def _hand(self, event: link.Event, handler: Handler) -> None:
        """Give an event to its stream's handler. Garbage from a container ends that container: what
        else runs there goes on. Its end is the agent's word, after which nothing more would come.
        """
        try:
            handler(event.kind, event.payload)
        except link.FrameError:
            if event.stream <= LOGS or event.kind == link.END:
                raise
            self._shut_up(event.stream, handler)

    def unhandled(self, stream: int, error: BaseException) -> None:
        """What came beside a container's stream could not be handled: as if it had come on it."""
        handler, line = self._handlers.get(stream), self._stream
        if isinstance(error, link.FrameError):
            if handler is not None:
                self._shut_up(stream, handler)
        elif line is not None:
            self._broke(line, None, _unhandled(error))

    def _shut_up(self, stream: int, handler: Handler) -> None:
        """End a container that talks nonsense, and hear nothing but its end."""

        def only_the_end(kind: int, payload: link.Buffer) -> None:
            if kind == link.END:
                handler(kind, payload)

        self._handlers[stream] = only_the_end
        with contextlib.suppress(InstanceError):  # lost, and the container with it
            self.send(CONTROL, {"t": "kill", "c": stream, "reason": "garbage"})

    def _measure(self) -> None:
        """A frame was acknowledged: a round trip was at most that long."""
        if self._timed is not None and self._link.acked_seq >= self._timed[0]:
            self.rtt = min(self.rtt, self._heard - self._timed[1])
            self._timed = None

    def _broke(
        self, stream: ByteStream, cause: InstanceError | None, lost: InstanceError | None = None
    ) -> None:
        """A stream has ended: in a thread, find out why and connect anew, unless that is ``lost``.

        Called on the thread that reads the connection, for every end of every stream.
        """
        with self._lock:
            if stream is not self._stream or self._closed.is_set():
                return
            self._stream = None
        threads.start("byoc-reconnect", lambda: self._recover(stream, cause, lost))

    def _recover(
        self, stream: ByteStream, cause: InstanceError | None, lost: InstanceError | None
    ) -> None:
        """Connect anew. Whatever becomes of it, nobody waits for what will not come."""
        failure: InstanceError | None = AgentError("the connection could not be made anew")
        try:
            failure = lost or self._reconnect(cause or _why(stream))
        finally:
            if failure is not None and not self._closed.is_set():
                self._refuse(failure)
                try:
                    self._on_lost(failure)
                finally:
                    self._fail_replies()  # by now all know that there is no use in asking again

    def _on_control(self, kind: int, payload: link.Buffer) -> None:
        for message in self._control.feed(payload):
            head = message.head
            if head.get("t") == "reply":
                with self._lock:
                    future = self._replies.pop(head["req"], None)
                if future is not None:
                    future.set_result(head)
            elif head.get("t") == "notice":
                self.on_notice(head)

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
                self.hello = answer
                self._heard = self._clock.mono()  # before the watch sees the stream
                self._connection, self._stream = connection, stream
                self._left = deque()
                # of a new session, the ping's answer is the first that comes
                self._timed = (0, self._heard) if first else None
                self.rtt = math.inf
                self._connected.notify_all()
        except link.FrameError as error:
            connection.close()
            raise AgentError(f"the session cannot be resumed: {error}") from error
        except BaseException:
            connection.close()
            raise
        if answer.get("door"):
            with contextlib.suppress(InstanceError):  # broken: the stream's end says so
                self._asked = connection.ask_streamlocal(answer["door"])
        if rest:
            self._received(stream, rest)
        stream.listen(
            lambda data: self._received(stream, data),
            lambda: self._broke(stream, None),
            self._write,
        )
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
            "home": self._home,
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
            self.seen = seen = self._machine.look()
        except ProviderError:
            return ""  # not known: the lease decides
        return (seen.detail or seen.state) if seen.state in ("ending", "gone") else ""

    def _refuse(self, error: InstanceError) -> None:
        """From now on whoever asks for anything is told ``error``; the first one counts."""
        with self._lock:
            self._lost = self._lost or error
            self._connected.notify_all()

    def _fail_replies(self) -> None:
        """Tell whoever waits for an answer."""
        with self._lock:
            replies, self._replies = self._replies, {}
        for future in replies.values():
            future.set_exception(self._lost)

    def _beat(self) -> float | None:
        """Renew the lease, keep the connection warm, and notice silence well within the lease."""
        if self._closed.is_set() or self._lost is not None:
            return None
        limit = min(limits.SILENCE_LIMIT, self._lease / 2)
        every = min(limits.KEEPALIVE_EVERY, self._lease / 4, limit / 4)
        connection = self._connection
        if self._stream is None or connection is None:
            return every
        now = self._clock.mono()
        silent, asked = now - self._heard, self._pinged > self._heard
        # not without having asked: this host may have slept, not the line
        if silent > limit and asked and now - self._pinged > every / 2 and not self._dispatching:
            connection.cut()
            return every
        renew = now - self._renewed >= min(limits.LEASE_RENEW_EVERY, self._lease / 4)
        if not renew and silent < limit / 2:
            return every
        with self._lock:
            if renew:
                self._renewed = now
                self._link.send(CONTROL, *messages.encode({"t": "lease", "ttl": self._lease}))
            if silent >= limit / 2:
                self._pinged = now
                self._link.ping()
        self._write()
        return every


def _ignore(word: Mapping[str, Any]) -> None:
    """For links of which nobody wants to know."""


def _unhandled(error: BaseException) -> AgentError:
    """A failure of ours on the thread that reads: nothing of this session can be relied on."""
    lost = AgentError("what the instance sent could not be handled")
    lost.__cause__ = error
    return lost


def _joined(parts: list[link.Buffer]) -> list[memoryview]:
    """Frames to be written: small ones as one piece, which is one packet."""
    views = [memoryview(part) for part in parts]
    if len(views) > 1 and sum(view.nbytes for view in views) <= JOIN:
        return [memoryview(b"".join(views))]
    return views


def _why(stream: ByteStream) -> InstanceError:
    """Why a stream has ended."""
    try:
        return ConnectionLostError(f"the agent's channel ended {stream.ending()[-500:]}".rstrip())
    except InstanceError as error:
        return error


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
