"""Knocking at doors: who greets, who is silent, who is not there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.errors import ConnectionLostError
from byoc.fleet.dial import SshDialer
from byoc.fleet.ports import Stop, Target, never


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on loopback that greets nobody by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def target_of(listener: socket.socket) -> Target:
    address, port = listener.getsockname()
    return Target(address, port, "user", "ssh-ed25519 AAAA")


def turns(*steps: Stop) -> Stop:
    """A stop that takes one of the steps each time it is asked, which a waiting knock does in
    between: so the server's side acts while the knock waits."""
    left = list(steps)

    def step() -> bool:
        return left.pop(0)() if left else False

    return step


@pytest.fixture
def dialer(tmp_path: Path) -> SshDialer:
    return SshDialer(tmp_path)


def test_greeting_is_left_to_be_read(listener: socket.socket, dialer: SshDialer) -> None:
    """A knock that is answered gives a socket on which the greeting is still unread."""
    peers: list[socket.socket] = []

    def greet() -> bool:
        peer, _ = listener.accept()
        peer.sendall(b"SSH-2.0-test\r\n")
        peers.append(peer)
        return False

    door = dialer.knock(target_of(listener), 5, turns(never, greet))
    assert door is not None
    assert door.recv(100) == b"SSH-2.0-test\r\n"
    assert door.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    door.close()
    for peer in peers:
        peer.close()


def test_nobody_there(dialer: SshDialer) -> None:
    """A closed port is no greeting, at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = target_of(server)
    begun = SYSTEM.mono()
    assert dialer.knock(target, 5, never) is None
    assert SYSTEM.mono() - begun < 4


def test_silent_server_is_given_up(listener: socket.socket, dialer: SshDialer) -> None:
    """A server that accepts and says nothing costs the timeout and no more."""
    begun = SYSTEM.mono()
    assert dialer.knock(target_of(listener), 0.2, never) is None
    assert 0.15 < SYSTEM.mono() - begun < 10


def test_server_that_hangs_up_is_no_greeting(listener: socket.socket, dialer: SshDialer) -> None:
    """A connection closed before the greeting counts as nobody there yet."""

    def hang_up() -> bool:
        listener.accept()[0].close()
        return False

    assert dialer.knock(target_of(listener), 5, turns(never, hang_up)) is None


def test_knock_stops_when_told(listener: socket.socket, dialer: SshDialer) -> None:
    """Ctrl-C does not wait for the timeout."""
    begun = SYSTEM.mono()
    assert dialer.knock(target_of(listener), 30, lambda: SYSTEM.mono() - begun > 0.1) is None
    assert SYSTEM.mono() - begun < 5


def test_keys_are_made_once_and_host_keys_each_time(dialer: SshDialer, tmp_path: Path) -> None:
    """The identity lies in the data folder and stays; every host key is a new one."""
    assert dialer.authorized_key() == SshDialer(tmp_path).authorized_key()
    first, second = dialer.new_host_key(), dialer.new_host_key()
    assert first.public != second.public
    assert first.public.startswith("ssh-ed25519 ")


def test_refused_connection_is_lost_not_broken(dialer: SshDialer) -> None:
    """Connecting to nobody is an error that a booting machine may still heal."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address, port = server.getsockname()
    line = dialer.new_host_key().public
    with pytest.raises(ConnectionLostError):
        dialer.connect(Target(address, port, "user", line), 5)
