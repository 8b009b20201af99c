"""paramiko's Transport, Channel and AuthHandler with the waiting taken out.

What differs from paramiko, and why (docs/performance.md):

* The key exchange's first message leaves with our version line, not after the server's answers.
  We offer one method, so the server can choose no other, and the bytes and their order are those
  of any client: one round trip less.
* The authentication request follows the service request, and the first channel's opening follows
  both, in one flight: two round trips less.
* The host key is compared with the pinned one before our half of the exchange is confirmed, and at
  every later exchange too.
* A channel tells an end that the remote sent from a connection that broke.
* Nothing that is sent is waited for, by paramiko's thread or under a lock that it needs: what the
  socket does not take now waits in the packetizer, what a key exchange forbids waits here.

Everything here runs on paramiko's thread unless said otherwise. The classes are mixins because
paramiko (100 ms) must not be loaded by an import of byoc; :func:`classes` puts them together.
"""

from __future__ import annotations

import contextlib
import functools
import hmac
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import ConnectionLostError, HostKeyError, ProtocolError
from . import library
from .packetizer import packetizer_class
from .stream import Inbox, Tail

_Late: Any = object  # stands for a class of paramiko, which classes() loads

KEX = "curve25519-sha256@libssh.org"
"""The one key exchange we offer first: OpenSSH has it since 6.5 (2014)."""
KEX_OTHERS = ("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "diffie-hellman-group16-sha512")
"""Offered when a server has no curve25519, as in FIPS mode."""
CIPHERS = ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr")
"""In order; GCM carries 1.6 times what CTR does (docs/performance.md)."""
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
"""For CTR, which has none of its own. No SHA-1, no MD5."""
WINDOW = 2 * 1024 * 1024
"""Receive window of a channel. OpenSSH's default; larger ones make sshd quadratic."""
PACKET = 32 * 1024
"""Largest packet we ask for and send."""
HEADER_LINES = 20
"""Lines a server may send before its version; more is not SSH."""
BUSY = ("Exceeded MaxStartups", "Not allowed at this time")
"""What OpenSSH says instead of its version to one client too many; it means: try again."""
LOGGER = "byoc.ssh"
"""paramiko logs here and not under its own name, which the user's program may have configured."""

_ECDH_REPLY = 31  # SSH_MSG_KEX_ECDH_REPLY, RFC 5656
_PROHIBITED = 1  # SSH_OPEN_ADMINISTRATIVELY_PROHIBITED, RFC 4254 5.1
_ED25519 = "ssh-ed25519"


class SessionMixin(_Late):  # type: ignore[misc]
    """Over :class:`paramiko.Transport`. :meth:`prepare` comes right after the constructor."""

    parts: Parts

    def prepare(self, pinned: bytes, early: bool) -> None:
        """Set what is offered. ``pinned``: the host key's blob; ``early``: guess the exchange."""
        self._pinned = pinned
        self._early: Any = None
        self._guess = early
        self._held: list[Any] = []  # under clear_to_send_lock: waits for the end of an exchange
        self.packetizer.deliver = self._deliver
        self.packetizer.flushed = self._roomy
        self._preferred_keys = (_ED25519,)
        self._preferred_ciphers = CIPHERS
        self._preferred_macs = MACS
        self._preferred_kex: tuple[str, ...] = (KEX,) if early else (KEX, *KEX_OTHERS)
        self._kex_info: dict[str, Any] = {
            **self.parts.exchanges,
            KEX: lambda _: self._exchange(),
        }
        self.set_log_channel(LOGGER)

    @property
    def refused_exchange(self) -> bool:
        """The handshake failed because the server shares no key exchange with what we offered."""
        return isinstance(self.saved_exception, self.parts.incompatible) and not self.kex_engine

    def open(self, kind: str, *fields: str | int) -> Any:
        """Ask for a channel and return it at once; its ``answered`` is set later. Any thread.

        ``kind`` and ``fields``: as RFC 4254 section 5.1 and 7.2 have them.
        """
        with self.lock:
            number = self._next_channel()
            channel = self.parts.channel(number)
            self._channels.put(number, channel)
            self.channels_seen[number] = True
            channel._set_transport(self)
            channel._set_window(WINDOW, PACKET)
        message = self.parts.message()
        message.add_byte(b"\x5a")  # SSH_MSG_CHANNEL_OPEN
        message.add_string(kind)
        for field in (number, WINDOW, PACKET, *fields):
            if isinstance(field, int):
                message.add_int(field)
            else:
                message.add_string(field)
        self._send_user_message(message)
        return channel

    # --- version and key exchange --------------------------------------------------------------

    def _check_banner(self) -> None:
        """Read the server's version, after having sent all that does not depend on it."""
        if self._guess:
            self._send_kex_init()
            self._early = self.parts.exchange(self)
            self._early.start_kex()
        first = ""
        for _ in range(HEADER_LINES):
            try:
                line = self.packetizer.readline(0)
            except EOFError:
                if first.startswith(BUSY):
                    raise ConnectionLostError(f"the server is busy: {first[:80]!r}") from None
                if first:
                    raise ProtocolError(_not_ssh(first)) from None
                raise
            text = line.decode("utf-8", "replace")
            if text.startswith(("SSH-2.0-", "SSH-1.99-")) and text.isprintable():
                self.remote_version = text
                return
            if text.startswith("SSH-"):
                raise ProtocolError(f"the server speaks an older SSH: {text[:40]!r}")
            first = first or text
        raise ProtocolError(_not_ssh(first))

    def _send_kex_init(self) -> None:
        if self._early is None or self.initial_kex_done:
            super()._send_kex_init()

    def _exchange(self) -> Any:
        """The engine of this exchange: in the first one that which has already begun."""
        if self._early is None or self.initial_kex_done:
            return self.parts.exchange(self)
        return self._early

    def _parse_kex_init(self, message: Any) -> None:
        try:
            super()._parse_kex_init(message)
        except self.parts.incompatible as error:
            if self.kex_engine is None or self.host_key_type is not None:
                raise
            raise HostKeyError("the server has no ed25519 host key: not our instance") from error

    def _verify_key(self, host_key: bytes, signature: bytes) -> None:
        if not hmac.compare_digest(host_key, self._pinned):
            raise HostKeyError(
                "the server's host key is not the one the instance was given",
                hints=("another machine answers at this address: end the instance and run again",),
            )
        super()._verify_key(host_key, signature)

    # --- sending -------------------------------------------------------------------------------

    def _send_user_message(self, message: Any) -> None:
        """Any thread; never waits. During a key exchange messages are kept, in order."""
        with self.clear_to_send_lock:
            if not self.active:
                return
            if self._held or not self.clear_to_send.is_set():
                self._held.append(message)
                return
            self._send_message(message)
        self.packetizer.settle()

    def send_data(self, number: int, data: memoryview, most: int) -> bool:
        """Send channel data, ``most`` bytes to a packet, unless a key exchange is under way.
        Any thread; never waits."""
        with self.clear_to_send_lock:
            if self._held or not self.clear_to_send.is_set() or not self.active:
                return False
            self.packetizer.send_data(number, data, most)
        return True

    def _parse_newkeys(self, message: Any) -> None:
        super()._parse_newkeys(message)
        with self.clear_to_send_lock:
            held, self._held = self._held, []
            for each in held:
                self._send_message(each)
        self.packetizer.settle()
        self._roomy()

    def _roomy(self) -> None:
        """There may be room to send again: tell the channels. Any thread."""
        for channel in self._channels.values():
            channel.look_again()

    def _deliver(self, number: int, data: memoryview) -> bool:
        """Give data to its channel; False for paramiko to judge what it is."""
        if self._expected_packet:
            return False
        channel = self._channels.get(number)
        if channel is None:
            return False
        channel.feed(data)
        return True

    def _parse_disconnect(self, message: Any) -> None:
        message.get_int()
        reason = message.get_string().decode("utf-8", "replace")
        self.saved_exception = ConnectionLostError(f"the server ended the connection: {reason}")

    # --- channels ------------------------------------------------------------------------------

    def run(self) -> None:
        super().run()
        # once more, for a channel that was asked for after paramiko had looked
        for channel in self._channels.values():
            channel._unlink()

    def _parse_channel_open_success(self, message: Any) -> None:
        channel = self._channels.get(message.get_int())
        message.rewind()
        super()._parse_channel_open_success(message)
        if channel is not None:
            channel.answered.set()

    def _parse_channel_open_failure(self, message: Any) -> None:
        channel = self._channels.get(message.get_int())
        code, reason = message.get_int(), message.get_string()
        if channel is not None:
            channel.refused = reason.decode("utf-8", "replace") or f"reason {code}"
            channel.forbidden = code == _PROHIBITED
            self._channels.delete(channel.chanid)
            channel.answered.set()


class ExchangeMixin(_Late):  # type: ignore[misc]
    """Over paramiko's curve25519 exchange: may start before the server's proposal is known."""

    def start_kex(self) -> None:
        if self.key is None:
            super().start_kex()
        else:
            self.transport._expect_packet(_ECDH_REPLY)


class AuthMixin(_Late):  # type: ignore[misc]
    """Over :class:`paramiko.AuthHandler`: does not wait for the service to be accepted.

    A server takes messages in order, so it sees what it would have seen a round trip later.
    """

    message: type[Any]

    def _request_auth(self) -> None:
        super()._request_auth()
        accept = self.message()
        accept.add_string("ssh-userauth")
        accept.rewind()
        super()._parse_service_accept(accept)

    def _parse_service_accept(self, message: Any) -> None:
        """Already answered."""


class ChannelMixin(_Late):  # type: ignore[misc]
    """Over :class:`paramiko.Channel`: an :class:`Inbox`, and the ways in which it can end.

    paramiko decides under the channel's lock what to send and sends it afterwards, so that another
    thread's CLOSE can overtake, and sshd ends the whole connection for a message to a closed
    channel. Here all is sent under the lock, which is short because nothing that is sent waits.
    """

    message: type[Any]

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.in_buffer = Inbox()
        self.tail = Tail()
        self.answered = threading.Event()
        self.refused = ""
        self.forbidden = False
        self.request_refused = False
        self.remote_closed = False
        self.on_room: Callable[[], None] | None = None
        self.in_window_sofar = 0

    def __del__(self) -> None:
        """Nothing: paramiko would send from here, in whatever thread, under whatever lock."""

    def feed(self, data: memoryview) -> None:
        """Data that came. A channel that is listened to has taken it with this."""
        if self.in_buffer.feed(data):
            self.acknowledge(len(data))

    def _feed(self, message: Any) -> None:
        self.feed(memoryview(message.get_binary()))

    # --- sending: any thread, never waits ---

    def send_now(self, data: memoryview) -> int:
        """Send the beginning of ``data`` that there is room for: how much; -1 if it is closed.

        Raises EOFError when the connection is broken.
        """
        with self.lock:
            if self.closed or self.eof_sent:
                return -1
            size: int = min(len(data), self.out_window_size)
            most = self.out_max_packet_size - 64
            if not size or not self.transport.send_data(self.remote_chanid, data[:size], most):
                return 0
            self.out_window_size -= size
            return size

    def wait_for_room(self) -> None:
        """Wait until sending may go on, or the channel is closed. Not for paramiko's thread."""
        with self.lock:
            while not (self.closed or self.eof_sent or self._room()):
                self.out_buffer_cv.wait()

    def _room(self) -> bool:
        transport = self.transport
        clear = transport.clear_to_send.is_set() and not transport._held
        return self.out_window_size > 0 and clear

    def look_again(self) -> None:
        """There may be room again: wake who waits for it."""
        with self.lock:
            self.out_buffer_cv.notify_all()
        on_room = self.on_room
        if on_room is not None:
            on_room()

    def _window_adjust(self, message: Any) -> None:
        super()._window_adjust(message)
        on_room = self.on_room
        if on_room is not None:
            on_room()

    def send_eof(self) -> None:
        """Tell the server that no more data comes; once."""
        with self.lock:
            message = None if self.closed else self._send_eof()
            if message is not None:
                self.transport._send_user_message(message)

    def acknowledge(self, n: int) -> None:
        """Tell the server that ``n`` bytes were taken."""
        with self.lock:
            self.in_window_sofar += n
            if self.in_window_sofar <= self.in_window_threshold:
                return
            more, self.in_window_sofar = self.in_window_sofar, 0
            if not (self.closed or self.eof_received):
                message = self._message(b"\x5d")  # SSH_MSG_CHANNEL_WINDOW_ADJUST
                message.add_int(more)
                self.transport._send_user_message(message)

    def request_exec(self, command: str) -> None:
        """Ask for ``command`` without waiting for the answer."""
        message = self._message(b"\x62")  # SSH_MSG_CHANNEL_REQUEST
        message.add_string("exec")
        message.add_boolean(True)
        message.add_string(command)
        with self.lock:
            if not self.closed:
                self.transport._send_user_message(message)

    def close(self) -> None:
        """Close; nothing of this channel is sent behind it. A connection that breaks meanwhile has
        closed it as well."""
        with self.lock, contextlib.suppress(EOFError):
            if not self.active or self.closed:
                return
            for word in self._close_internal():
                if word is not None:
                    self.transport._send_user_message(word)

    def _message(self, kind: bytes) -> Any:
        message = self.message()
        message.add_byte(kind)
        message.add_int(self.remote_chanid)
        return message

    # --- what comes ---

    def _feed_extended(self, message: Any) -> None:
        message.get_int()  # the kind; only 1, stderr, exists
        data = message.get_binary()
        self.tail.feed(data)
        self.acknowledge(len(data))  # at once: stderr must never hold up stdout

    def _set_closed(self) -> None:
        super()._set_closed()
        self.answered.set()

    def _request_failed(self, message: Any) -> None:
        self.request_refused = True
        super()._request_failed(message)

    def _handle_close(self, message: Any) -> None:
        self.remote_closed = True
        with self.lock:
            for word in self._close_internal():
                if word is not None:
                    self.transport._send_user_message(word)
            self.transport._unlink_channel(self.chanid)

    def _handle_request(self, message: Any) -> None:
        start = message.packet.tell()
        if message.get_string() == b"exit-signal":
            message.get_boolean()
            name = message.get_string().decode("ascii", "replace")
            number = getattr(signal, f"SIG{name}", None)
            self.exit_status = 128 + (number if isinstance(number, int) else 0)
            self.status_event.set()
            return
        message.packet.seek(start)
        super()._handle_request(message)


class Parts(NamedTuple):
    """paramiko's classes with the mixins above, made by :func:`classes`."""

    transport: type[Any]
    channel: type[Any]
    auth: type[Any]
    exchange: type[Any]
    message: type[Any]
    packetizer: type[Any]
    incompatible: type[Exception]
    failure: type[Exception]
    exchanges: dict[str, Any]


@functools.cache
def classes() -> Parts:
    """The classes to speak SSH with. Loads paramiko: ~100 ms the first time in a process."""
    paramiko = library.load()
    from paramiko.auth_handler import AuthHandler  # here: paramiko is loaded late
    from paramiko.kex_curve25519 import KexCurve25519

    logger = logging.getLogger(LOGGER)
    logger.addHandler(logging.NullHandler())
    logger.propagate = False  # nothing of it may reach the user's stderr
    logger.setLevel(logging.CRITICAL)

    base: Any = paramiko.Transport  # typed too narrowly for what follows
    own = {"message": paramiko.Message}
    parts = Parts(
        transport=type("Session", (SessionMixin, base), {}),
        channel=type("SessionChannel", (ChannelMixin, paramiko.Channel), own),
        auth=type("SessionAuth", (AuthMixin, AuthHandler), own),
        exchange=type("SessionExchange", (ExchangeMixin, KexCurve25519), {}),
        message=paramiko.Message,
        packetizer=packetizer_class(),
        incompatible=paramiko.ssh_exception.IncompatiblePeer,
        failure=paramiko.SSHException,
        exchanges=base._kex_info,
    )
    session: Any = parts.transport
    session.parts = parts
    # paramiko's table holds functions of its own Channel
    session._channel_handler_table = {
        kind: getattr(parts.channel, function.__name__)
        for kind, function in base._channel_handler_table.items()
    }
    return parts


def _not_ssh(line: str) -> str:
    return f"the server does not speak SSH: it said {line[:80]!r}"
