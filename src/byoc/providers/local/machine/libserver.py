"""A machine's init and SSH server in one, for hosts without ``sshd``: paramiko's server side.

What it serves: one user by public key; commands with pipes, exit status and exit signal; shells on
a terminal; connections to loopback ports and to Unix sockets. No passwords, no environment from the
client, no agent or X11 forwarding, no SFTP.
"""

from __future__ import annotations

import base64
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    MSG_CHANNEL_REQUEST,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
)
from paramiko.message import Message

from . import processes, sessions

LOGIN_GRACE = 30.0
"""Seconds for a login, as in the sshd configuration."""
ACCEPT_POLL = 1.0
"""How often a connection's thread looks whether the login takes too long; channels wake it."""
MAX_CONNECTIONS = 64
"""Connections served at once; each costs two threads."""
_CONNECT_TIMEOUT = 2.0  # to this host's own sockets, while the connection's other traffic waits
_ACCEPT_PAUSE = 1.0  # between two looks whether there is room for another connection
_STREAM_LOCAL = "direct-streamlocal@openssh.com"


def main(args: list[str]) -> int:
    """``args``: folders of libraries (used before), folder of keys, user, socket, watch pipe."""
    _, keys, user = args[:3]
    listen, watch = int(args[3]), int(args[4])
    for handle in (listen, watch):
        os.set_inheritable(handle, False)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # A refused client is one line of ours in the machine's log, not a traceback.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    processes.adopt_orphans()
    identity = Identity(keys, user)
    listener = socket.socket(fileno=listen)
    listener.setblocking(False)
    _serve(listener, watch, identity)
    processes.kill_all(lambda: processes.descendants(os.getpid()))
    os._exit(1)  # not waiting for threads that serve connections


def _serve(listener: socket.socket, watch: int, identity: Identity) -> None:
    children = sessions.Children()
    while True:
        sources = [watch, children.wake]
        if threading.active_count() < 4 * MAX_CONNECTIONS:
            sources.append(listener.fileno())
        ready = select.select(sources, [], [], _ACCEPT_PAUSE)[0]
        if watch in ready:
            return
        if children.wake in ready:
            children.collect()
        if listener.fileno() in ready:
            try:
                connection, _ = listener.accept()
            except OSError as error:  # the peer left already, or no descriptor is free now
                sys.stderr.write(f"accept: {error}\n")
                continue
            connection.setblocking(True)
            server = Connection(connection, identity, children)
            threading.Thread(target=server.run, daemon=True).start()


class Identity:
    """The machine's host key, and who may log in. ``keys``: folder of both."""

    def __init__(self, keys: str, user: str) -> None:
        self.user = user
        self.host_key = paramiko.Ed25519Key(filename=os.path.join(keys, "host_key"))
        self._allowed: set[bytes] = set()
        with open(os.path.join(keys, "authorized_keys"), encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if len(fields) >= 2:
                    self._allowed.add(base64.b64decode(fields[1]))

    def allows(self, user: str, key: bytes) -> bool:
        """May this user log in with this public key?"""
        return user == self.user and key in self._allowed


class MachineTransport(paramiko.Transport):
    """Adds what paramiko's server side lacks.

    The path of a stream-local channel is handed on, and a command starts after the client was told
    that it will: a fast one would otherwise have ended before.
    """

    _channel_handler_table: dict[int, Callable[[paramiko.Channel, Message], None]]

    def __init__(self, connection: socket.socket, gate: Gate) -> None:
        super().__init__(connection)
        self._gate = gate
        self._channel_handler_table = {
            **self._channel_handler_table,
            MSG_CHANNEL_REQUEST: self._on_request,
        }

    def _on_request(self, channel: paramiko.Channel, message: Message) -> None:
        channel._handle_request(message)  # type: ignore[attr-defined]
        self._gate.answered(channel)

    def _parse_channel_open(self, message: Message) -> None:
        start = message.packet.tell()
        if message.get_text() == _STREAM_LOCAL:
            for _ in range(3):  # channel, window, packet size
                message.get_int()
            self._gate.stream_local_path = message.get_text()
        message.packet.seek(start)
        super()._parse_channel_open(message)  # type: ignore[misc]


class Gate(paramiko.ServerInterface):
    """What a client may do; called from the transport's thread, so nothing here waits long."""

    def __init__(self, identity: Identity, children: sessions.Children) -> None:
        self._identity = identity
        self._children = children
        self._sessions: dict[int, sessions.Session] = {}
        self._forwards: dict[int, socket.socket] = {}
        self.stream_local_path = ""

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        allowed = self._identity.allows(username, key.asbytes())
        return AUTH_SUCCESSFUL if allowed else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind == "session":
            return OPEN_SUCCEEDED
        if kind == _STREAM_LOCAL:
            return self._forward(chanid, socket.AF_UNIX, self.stream_local_path)
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        host, port = destination
        if host == "::1":
            return self._forward(chanid, socket.AF_INET6, (host, port))
        if host == "localhost" or _is_loopback(host):
            return self._forward(chanid, socket.AF_INET, (host, port))
        return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def _forward(self, chanid: int, family: int, target: str | tuple[str, int]) -> int:
        """Connects at once: both kinds stay on this host, so the answer is immediate."""
        peer = socket.socket(family, socket.SOCK_STREAM)
        peer.settimeout(_CONNECT_TIMEOUT)
        try:
            peer.connect(target)
        except OSError:
            peer.close()
            return OPEN_FAILED_CONNECT_FAILED
        peer.settimeout(None)
        self._forwards[chanid] = peer
        return OPEN_SUCCEEDED

    def opened(self, channel: paramiko.Channel) -> None:
        """Starts the traffic of a forwarded channel; a session waits for its command."""
        peer = self._forwards.pop(channel.get_id(), None)
        if peer is not None:
            sessions.join(channel, peer)

    def check_channel_pty_request(
        self,
        channel: paramiko.Channel,
        term: bytes,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
        modes: bytes,
    ) -> bool:
        session = self._session(channel)
        session.term = term.decode("ascii", "replace") or "dumb"
        session.resize(width, height)
        return True

    def check_channel_window_change_request(
        self, channel: paramiko.Channel, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        self._session(channel).resize(width, height)
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return self._session(channel).prepare(os.fsdecode(command))

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self._session(channel).prepare(None)

    def answered(self, channel: paramiko.Channel) -> None:
        """A request of that channel was answered."""
        session = self._sessions.get(channel.get_id())
        if session is not None:
            session.start()

    def _session(self, channel: paramiko.Channel) -> sessions.Session:
        number = channel.get_id()
        if number not in self._sessions:
            self._sessions[number] = sessions.Session(
                channel, self._children, lambda: self._forget(number)
            )
        return self._sessions[number]

    def _forget(self, number: int) -> None:
        self._sessions.pop(number, None)

    def close(self) -> None:
        """Lets go of everything when the connection has ended."""
        for peer in list(self._forwards.values()):
            peer.close()
        for session in list(self._sessions.values()):
            session.hang_up()


def _is_loopback(host: str) -> bool:
    try:
        return socket.inet_pton(socket.AF_INET, host)[0] == 127
    except OSError:
        return False


class Connection:
    """One client's connection."""

    def __init__(
        self, connection: socket.socket, identity: Identity, children: sessions.Children
    ) -> None:
        self._gate = Gate(identity, children)
        self._socket = connection
        self._identity = identity

    def run(self) -> None:
        """Serves until the client leaves, or does not log in."""
        transport = MachineTransport(self._socket, self._gate)
        try:
            transport.add_server_key(self._identity.host_key)
            transport.start_server(server=self._gate)
            self._accept(transport)
        except (paramiko.SSHException, EOFError, OSError) as error:
            sys.stderr.write(f"connection: {error}\n")
        finally:
            transport.close()
            self._gate.close()

    def _accept(self, transport: paramiko.Transport) -> None:
        deadline = time.monotonic() + LOGIN_GRACE
        while transport.is_active():
            channel = transport.accept(ACCEPT_POLL)
            if channel is not None:
                self._gate.opened(channel)
            elif not transport.is_authenticated() and time.monotonic() > deadline:
                return
