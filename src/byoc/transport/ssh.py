"""One authenticated SSH connection to an instance."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..clock import SYSTEM, Clock
from ..errors import (
    ConnectionLostError,
    Error,
    HostKeyError,
    InstanceError,
    ProtocolError,
)
from ..limits import CONNECT_TIMEOUT, SILENCE_LIMIT
from .channel import ChannelStream, lost
from .keys import Identity, public_blob
from .session import PACKET, WINDOW, classes
from .stream import Buffer

IDLE_POLL = 30
"""Seconds of the socket's receive timeout, the only reason for an idle connection's thread to wake:
to see whether keys are to be renewed. paramiko's 0.1 s costs 25 times the CPU
(docs/performance.md)."""
RUN_OUTPUT = 16 * 1024 * 1024
"""Most output that :meth:`Connection.run` takes; it is for probes, not for data."""
RUN_READ = 64 * 1024
"""Bytes that :meth:`Connection.run` reads at once."""
JOIN_GRACE = 2.0
"""Seconds that a close waits for the connection's thread, which needs ~1 ms to end."""

_TCP = {
    "TCP_NODELAY": 1,  # small messages leave at once: 44 ms per exec (docs/performance.md)
    "TCP_QUICKACK": 1,  # and so do the server's, until the packetizer lets go of it
    "TCP_USER_TIMEOUT": int(SILENCE_LIMIT * 1000),  # a send into a dead network ends
    "TCP_NOTSENT_LOWAT": 256 * 1024,  # on a slow line what waits, waits where it can be overtaken
}


class Result(NamedTuple):
    """What a command left. ``exit``: its status, 128 + n after signal n, -1 if it was not told;
    ``out``: all of stdout; ``err``: the last 64 KiB of stderr."""

    exit: int
    out: bytes
    err: str


class Asked:
    """A question whether a channel may be opened. Made by :meth:`Connection.ask_streamlocal`."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._granted = False

    @property
    def granted(self) -> bool:
        """The instance has said yes; False also while it has not answered. Never waits."""
        channel = self._channel
        if channel is not None and channel.answered.is_set():
            self._granted = channel.active and not channel.refused
            self._channel = None
            channel.close()
        return self._granted


class Connection:
    """An authenticated connection; any thread may use it. Made by :func:`connect`."""

    def __init__(self, transport: Any, spare: Any = None) -> None:
        self._transport = transport
        self._spare = spare
        self._lock = threading.Lock()

    @property
    def alive(self) -> bool:
        """False once the connection has ended. A silent cut is not noticed here."""
        return bool(self._transport.active)

    def exec(self, command: str, stdin_first: Buffer = b"") -> ChannelStream:
        """Run ``command`` by the user's shell; its stdin begins with ``stdin_first``.

        Output takes one round trip, an answer to stdin two, since sshd gives no window before it
        has started the command; and one more for all but the first command of a connection. Waits
        for no more of ``stdin_first`` to be read than what exceeds the window (2 MiB). A refusal
        shows in the stream. Raises as ``ByteStream.write``, and InstanceError when the instance
        opens no more sessions.
        """
        channel = self._session()
        stream = ChannelStream(channel, self.close)
        with self._sending():
            channel.request_exec(command)
        stream.write(stdin_first)
        return stream

    def open_streamlocal(self, path: str) -> ChannelStream:
        """Connect to the Unix socket ``path`` on the instance; not counted by sshd's MaxSessions.

        Raises InstanceError when nothing listens there or sshd forbids it.
        """
        return self.open_streamlocals(path, 1)[0]

    def open_streamlocals(self, path: str, count: int) -> list[ChannelStream]:
        """As :meth:`open_streamlocal`, so many times in one round trip."""
        channels = [self._streamlocal(path) for _ in range(count)]
        streams = [ChannelStream(channel, self.close) for channel in channels]
        refusal: InstanceError | None = None
        for channel in channels:
            try:
                self._confirmed(channel)
            except InstanceError as error:
                refusal = refusal or error
        if refusal is not None:
            for stream in streams:
                stream.close()
            raise refusal
        return streams

    def _streamlocal(self, path: str) -> Any:
        # PROTOCOL 2.4: the path, then two reserved fields
        return self._open("direct-streamlocal@openssh.com", path, "", 0)

    def ask_streamlocal(self, path: str) -> Asked:
        """As :meth:`open_streamlocal`, without waiting, and closed again: only whether it would do.

        Raises as ``ByteStream.write``.
        """
        return Asked(self._streamlocal(path))

    def open_tcp(self, address: str, port: int) -> Any:
        """Ask for a TCP connection from the instance to ``address``; returns at once.

        The channel's ``answered`` is set once sshd has connected or refused (``refused``, which
        says why, and ``forbidden`` when it does so for everybody), or the connection has ended.
        """
        # RFC 4254 7.2: where to, and who asks, which sshd only logs
        return self._open("direct-tcpip", address, port, "127.0.0.1", 0)

    def answers(self, timeout: float) -> bool:
        """Whether the other end answers within ``timeout`` seconds. One caller at a time."""
        transport = self._transport
        done = transport.completion_event = threading.Event()
        message = classes().message()
        message.add_byte(b"\x50")  # SSH_MSG_GLOBAL_REQUEST
        message.add_string("keepalive@openssh.com")  # refused by all, which is an answer
        message.add_boolean(True)
        with self._sending():
            transport._send_user_message(message)
        return done.wait(timeout) and self.alive

    def run(
        self, command: str, input: Buffer = b"", timeout: float = 30.0, clock: Clock = SYSTEM
    ) -> Result:
        """Run ``command`` to its end with ``input`` as its whole stdin.

        Raises InstanceError when it does not end within ``timeout`` seconds or prints more than
        16 MiB, and ConnectionLostError when the connection breaks.
        """
        deadline = clock.mono() + timeout
        stream = self.exec(command)
        # beside the reading: a command may print before it has read all
        feeder = threading.Thread(target=_feed, args=(stream, input), name="byoc-feed", daemon=True)
        feeder.start()
        out = bytearray()
        try:
            while data := stream.read(RUN_READ, max(0.0, deadline - clock.mono())):
                out += data
                if len(out) > RUN_OUTPUT:
                    raise InstanceError(f"the command {command[:60]!r} printed more than 16 MiB")
            status = stream.exit_status()
            return Result(-1 if status is None else status, bytes(out), stream.stderr())
        except TimeoutError:
            raise InstanceError(
                f"the command {command[:60]!r} did not end within {timeout:g} s"
            ) from None
        finally:
            stream.close()
            feeder.join(JOIN_GRACE)

    def cut(self) -> None:
        """Break the connection: its streams end, as if the network had failed. Never waits."""
        with contextlib.suppress(OSError):
            self._transport.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection and all of its streams at once; idempotent."""
        _end(self._transport)

    def _session(self) -> Any:
        """A confirmed session channel: at first the one that ``connect`` already asked for."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None:
            # a server may refuse what was asked for before it had finished authenticating
            with contextlib.suppress(InstanceError):
                return self._confirmed(spare)
        return self._confirmed(self._open("session"))

    def _open(self, kind: str, *fields: str | int) -> Any:
        with self._sending():
            channel = self._transport.open(kind, *fields)
        if not self._transport.active:  # perhaps nobody saw the channel when all were ended
            raise lost(self._transport)
        return channel

    def _confirmed(self, channel: Any) -> Any:
        """Wait until the server has confirmed ``channel``."""
        if not channel.answered.wait(CONNECT_TIMEOUT):
            raise ConnectionLostError("the instance did not answer")
        if channel.refused:
            raise InstanceError(
                f"the instance refused to open a channel: {channel.refused}",
                hints=("look at MaxSessions and AllowStreamLocalForwarding in its sshd_config",),
            )
        if not self._transport.active:
            raise lost(self._transport)
        return channel

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        """Turn a send that fails into the reason why the connection broke."""
        try:
            yield
        except (OSError, EOFError) as error:
            raise lost(self._transport) from error


def connect(
    address: str,
    port: int,
    user: str,
    identity: Identity,
    host_key_line: str,
    timeout: float = CONNECT_TIMEOUT,
    *,
    sock: socket.socket | None = None,
    again: Callable[[], socket.socket] | None = None,
    clock: Clock = SYSTEM,
) -> Connection:
    """Connect, check the host key against ``host_key_line``, and only then authenticate.

    Three round trips, the TCP connect included. ``timeout``: seconds for all of it. ``sock``: a
    socket that is already connected there; it is closed with the connection, or when this fails.
    ``again``: makes such a socket, where a plain TCP connect is not the way.

    Raises ConnectionLostError when nothing answers, or not in time, or the connection breaks (while
    booting: try again); HostKeyError when another machine answers, which learns nothing about us;
    ProtocolError when what answers does not speak SSH; InstanceError when the instance does not
    accept the key.
    """
    try:
        pinned = public_blob(host_key_line)
    except ValueError as error:
        raise HostKeyError(f"the pinned host key is unusable: {error}") from error
    key = identity.key()  # loads paramiko: before the server's patience begins to count
    attempt = _Attempt(f"{address}:{port}", pinned, clock, clock.mono() + timeout)
    transport = attempt.proved(again or partial(attempt.dial, address, port), sock)
    return Connection(transport, attempt.authenticate(transport, user, key))


def connect_as(
    address: str,
    port: int,
    user: str,
    keys: Sequence[Any],
    host_key_line: str,
    timeout: float = CONNECT_TIMEOUT,
    *,
    clock: Clock = SYSTEM,
) -> Connection:
    """As :func:`connect`, to a host that is not ours: with any of several ``keys`` (paramiko's),
    each of which costs a round trip. Raises as it does."""
    try:
        pinned = public_blob(host_key_line)
    except ValueError as error:
        raise HostKeyError(f"the pinned host key is unusable: {error}") from error
    attempt = _Attempt(f"{address}:{port}", pinned, clock, clock.mono() + timeout)
    transport = attempt.proved(partial(attempt.dial, address, port))
    attempt.log_in(transport, user, keys)
    return Connection(transport)


def tune(sock: socket.socket) -> None:
    """Set what a connection of ours wants of TCP; nothing on other sockets. Idempotent."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for name, value in _TCP.items():
        if hasattr(socket, name):  # not every system has every option
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Attempt:
    """The steps of one :func:`connect`, all before ``deadline`` (of ``clock.mono``)."""

    def __init__(self, target: str, pinned: bytes, clock: Clock, deadline: float) -> None:
        self.target = target
        self._pinned = pinned
        self._clock = clock
        self._deadline = deadline

    def dial(self, address: str, port: int) -> socket.socket:
        """A TCP connection."""
        try:
            sock = socket.create_connection((address, port), timeout=max(0.001, self._left()))
        except OSError as error:
            raise ConnectionLostError(f"cannot connect to {self.target}: {error}") from error
        return sock

    def proved(self, dial: Callable[[], socket.socket], sock: socket.socket | None = None) -> Any:
        """A transport whose server has proved the pinned key, over ``sock`` or a new socket."""
        transport = self.handshake(sock or dial(), early=True)
        if transport is None:
            transport = self.handshake(dial(), early=False)
        if transport is None:
            raise ProtocolError(f"{self.target} offers no key exchange that byoc accepts")
        return transport

    def handshake(self, sock: socket.socket, early: bool) -> Any:
        """A transport whose server has proved the pinned key, or None: no common key exchange."""
        parts = classes()
        tune(sock)
        transport = parts.transport(
            sock,
            default_window_size=WINDOW,
            default_max_packet_size=PACKET,
            packetizer_class=parts.packetizer,
        )
        # the kernel's timeout: with Python's own, each read would be two system calls
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", IDLE_POLL, 0))
        transport.prepare(self._pinned, early)
        done = threading.Event()
        transport.start_client(event=done)
        try:
            self._await(done, transport, "the SSH handshake")
        except Error:
            _end(transport)
            if transport.refused_exchange:
                return None
            raise
        return transport

    def authenticate(self, transport: Any, user: str, key: Any) -> Any:
        """Prove who we are. Returns the session channel that was asked for meanwhile, if any."""
        parts = classes()
        done = threading.Event()
        handler = transport.auth_handler = parts.auth(transport)
        try:
            handler.auth_publickey(user, key, done)
            # OpenSSH takes messages strictly in order, so the channel may be asked for at once
            spare = transport.open("session") if "OpenSSH" in transport.remote_version else None
            self._await(done, transport, "the SSH authentication")
        except (OSError, EOFError) as error:
            _end(transport)
            raise lost(transport) from error
        except Error:
            _end(transport)
            raise
        if handler.is_authenticated():
            return spare
        _end(transport)
        raise InstanceError(
            f"{self.target} does not accept this client's key for the user {user!r}",
            hints=(
                "the instance was made by another installation, or its user is not this one",
                "end it with `byoc down` and run again",
            ),
        )

    def log_in(self, transport: Any, user: str, keys: Sequence[Any]) -> None:
        """Prove who we are by the first of ``keys`` that the server takes."""
        parts = classes()
        handler = transport.auth_handler = parts.auth(transport)
        try:
            for key in keys:
                done = threading.Event()
                handler.auth_publickey(user, key, done)
                self._await(done, transport, "the SSH authentication")
                if handler.is_authenticated():
                    return
        except (OSError, EOFError) as error:
            _end(transport)
            raise lost(transport) from error
        except BaseException:
            _end(transport)
            raise
        _end(transport)
        raise InstanceError(f"{self.target} accepts none of {len(keys)} keys for {user!r}")

    def _await(self, done: threading.Event, transport: Any, what: str) -> None:
        if not done.wait(self._left()):
            raise ConnectionLostError(f"{self.target} did not finish {what} in time")
        if not transport.active:
            raise lost(transport)

    def _left(self) -> float:
        return max(0.0, self._deadline - self._clock.mono())


def _feed(stream: ChannelStream, data: Buffer) -> None:
    # a command that ends without reading all of its input is not an error; a cut shows in read
    with contextlib.suppress(InstanceError):
        stream.write(data)
        stream.write_eof()


def _end(transport: Any) -> None:
    """End a connection at once and wait until its thread has gone."""
    # wakes whoever is inside recv or send, which closing the descriptor would not
    with contextlib.suppress(OSError):
        transport.sock.shutdown(socket.SHUT_RDWR)
    if threading.current_thread() is not transport:
        transport.join(JOIN_GRACE)  # it wakes all who wait for something on its way out
    transport.close()
