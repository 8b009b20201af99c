"""The client's end of one agent: a session that outlives its connections.

Threads: a reader per link, which also makes lost connections anew, and a heart that renews the
lease and notices silence. Whoever has something to send writes it, if nobody else is writing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol

from .. import limits
from ..clock import Clock
from ..errors import AgentError, ConnectionLostError, HostKeyError, InstanceError, ProtocolError
from ..runtime_agent.bundle import Bundle
from ..transport.ssh import Connection
from ..transport.stream import ByteStream
from ..wire import VERSION, link, messages

CONTROL, LOGS = 0, 1
Handler = Callable[[int, link.Buffer], None]
"""Called on the reader's thread with (link.DATA or link.END, bytes)."""


class Connector(Protocol):
    """Makes a new authenticated connection to the instance."""

    def __call__(self) -> Connection:
        """Raises an InstanceError; HostKeyError means never to try again."""


class AgentLink:
    """One session with one agent."""

    def __init__(
        self,
        connector: Connector,
        bundle: Bundle,
        *,
        session: str,
        python: str,
        end_command: tuple[str, ...],
        lease: float,
        clock: Clock,
        on_lost: Callable[[InstanceError], None],
    ) -> None:
        self._connector = connector
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
        self._heard = clock.mono()
        self._dispatching = False
        self._lost: InstanceError | None = None
        self.hello: dict[str, Any] = {}

    # --- life -----------------------------------------------------------------------------

    def open(self) -> None:
        """First contact: ship the agent, start the session. Raises an InstanceError."""
        self._connect(first=True)
        threading.Thread(target=self._read_loop, name="byoc-reader", daemon=True).start()
        threading.Thread(target=self._heart, name="byoc-heart", daemon=True).start()

    def close(self) -> None:
        """Drop the connection; the agent keeps what it was last told."""
        self._closed.set()
        self._fail_replies(ConnectionLostError("the session was closed"))
        stream, connection = self._stream, self._connection
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
        if self._lost is not None:
            raise self._lost
        with self._lock:
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
            number = self._next_request
            self._next_request += 1
            self._replies[number] = future
        try:
            self.send(CONTROL, {**head, "req": number}, *buffers)
        except InstanceError as error:
            self._replies.pop(number, None)
            future.set_exception(error)
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
            stream = self._stream
            if stream is None:
                return  # between connections; resumed later
            with self._lock:
                parts = self._link.outgoing()
            if not parts:
                return
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

    def _read_loop(self) -> None:
        while not self._closed.is_set():
            stream = self._stream
            assert stream is not None
            try:
                data = stream.read(limits.CHUNK)
                if data:
                    self._heard = self._clock.mono()
                    self._dispatch(data)
                    continue
                cause: InstanceError = ConnectionLostError(
                    "the agent's channel ended", hints=(stream.stderr()[-500:],)
                )
            except InstanceError as error:
                cause = error
            except link.FrameError as error:
                cause = ProtocolError(f"the instance sent {error}")
            if self._closed.is_set() or not self._again(cause):
                return

    def _dispatch(self, data: bytes) -> None:
        self._dispatching = True
        try:
            with self._lock:
                events = self._link.received(data)
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
                future = self._replies.pop(head["req"], None)
                if future is not None:
                    future.set_result(head)

    # --- connections ----------------------------------------------------------------------

    def _connect(self, first: bool) -> None:
        """One attempt: connect, ship the agent, greet. Sets the stream. Raises InstanceError."""
        connection = self._connector()
        try:
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
            answer, rest = self._read_hello(stream)
        except BaseException:
            connection.close()
            raise
        if not first and answer.get("fresh"):
            connection.close()
            raise AgentError("the agent was restarted and lost what it ran", hints=_LOST_HINTS)
        with self._lock:
            self._link.resume(int(answer["received"]))
        self.hello = answer
        self._connection, self._stream = connection, stream
        self._heard = self._clock.mono()
        if rest:
            self._dispatch(rest)
        self._write()

    def _read_hello(self, stream: ByteStream) -> tuple[dict[str, Any], bytes]:
        """The agent's first line, and what came behind it."""
        guard = threading.Timer(limits.HELLO_TIMEOUT, stream.close)
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
        try:
            answer = json.loads(line)
        except ValueError:
            shown = line[:200].decode("utf-8", "replace")
            raise ProtocolError(f"the instance answered {shown!r}, which is not an agent") from None
        if answer.get("error"):
            raise AgentError(f"the agent refused: {answer.get('detail', answer['error'])}")
        if answer.get("v") != VERSION:
            raise AgentError(f"the agent speaks protocol {answer.get('v')}, this is {VERSION}")
        return answer, rest

    def _again(self, cause: InstanceError) -> bool:
        """Make the connection anew within the lease; False when the instance is lost."""
        old, self._stream = self._connection, None
        if old is not None:
            old.close()
        deadline = self._heard + self._lease
        pause = limits.RECONNECT_PAUSE
        while not self._closed.wait(pause):
            try:
                self._connect(first=False)
                return True
            except (HostKeyError, AgentError) as error:
                return self._give_up(error)
            except InstanceError as error:
                cause = error
            if self._clock.mono() > deadline:
                lost = ConnectionLostError(
                    f"the instance did not answer for {self._lease:g} s: {cause.message}",
                    hints=_LOST_HINTS,
                )
                return self._give_up(lost)
            pause = min(pause * 2, limits.RECONNECT_PAUSE_MAX)
        return False

    def _give_up(self, error: InstanceError) -> bool:
        self._lost = error
        self._fail_replies(error)
        self._on_lost(error)
        return False

    def _fail_replies(self, error: InstanceError) -> None:
        replies, self._replies = self._replies, {}
        for future in replies.values():
            future.set_exception(error)

    def _heart(self) -> None:
        """Renew the lease, keep the connection warm, notice silence."""
        beat = min(limits.KEEPALIVE_EVERY, self._lease / 4)
        renew = min(limits.LEASE_RENEW_EVERY, self._lease / 4)
        renewed = self._clock.mono()
        while not self._closed.wait(beat):
            now = self._clock.mono()
            stream = self._stream
            if self._lost is not None:
                return
            if stream is None:
                continue
            if now - self._heard > limits.SILENCE_LIMIT and not self._dispatching:
                stream.close()
                continue
            with self._lock:
                if now - renewed >= renew:
                    renewed = now
                    self._link.send(CONTROL, *messages.encode({"t": "lease", "ttl": self._lease}))
                self._link.ping()
            self._write()


_LOST_HINTS = ("the calls that ran there are tried again on another instance where that is safe",)
