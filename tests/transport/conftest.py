"""An sshd, a client's key, and servers that misbehave."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.transport import keys
from byoc.transport.keys import Identity
from byoc.transport.ssh import Connection
from tests.relay import Relay
from tests.transport import sshd as daemon
from tests.transport.sshd import Sshd

Serve = Callable[[Callable[[socket.socket], None]], tuple[str, int]]


@pytest.fixture(scope="session")
def identity() -> Iterator[Identity]:
    """The client's key."""
    with tempfile.TemporaryDirectory(prefix="byoc-") as folder:
        yield keys.ensure_identity(Path(folder))


@pytest.fixture(scope="session")
def start_sshd(identity: Identity) -> Iterator[Callable[..., Sshd]]:
    """Start another sshd that accepts the client's key; they all end with the tests."""
    if daemon.program() is None:
        pytest.skip("no sshd is installed on this host")
    with tempfile.TemporaryDirectory(prefix="byoc-") as top, contextlib.ExitStack() as stack:

        def start(**options: Any) -> Sshd:
            folder = Path(tempfile.mkdtemp(dir=top))
            options.setdefault("host_key", keys.new_host_key())
            server = Sshd(folder, authorized=options.pop("authorized", identity.public), **options)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="session")
def sshd(start_sshd: Callable[..., Sshd]) -> Sshd:
    """An ordinary sshd."""
    return start_sshd()


@pytest.fixture
def connection(sshd: Sshd, identity: Identity) -> Iterator[Connection]:
    """A connection to :func:`sshd`."""
    with contextlib.closing(sshd.connect(identity)) as opened:
        yield opened


@pytest.fixture
def relay(sshd: Sshd) -> Iterator[Relay]:
    """A relay in front of :func:`sshd`."""
    with contextlib.closing(Relay((sshd.address, sshd.port))) as running:
        yield running


@pytest.fixture
def relayed(sshd: Sshd, relay: Relay, identity: Identity) -> Iterator[Connection]:
    """A connection through :func:`relay`."""
    with contextlib.closing(sshd.connect(identity, port=relay.address[1])) as opened:
        yield opened


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a TCP server whose connections a function of the test handles, in threads."""
    with contextlib.ExitStack() as stack:

        def start(handle: Callable[[socket.socket], None]) -> tuple[str, int]:
            listener = socket.create_server(("127.0.0.1", 0))
            open_now: list[socket.socket] = []

            def one(sock: socket.socket) -> None:
                with contextlib.suppress(OSError):
                    handle(sock)

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        sock, _ = listener.accept()
                        open_now.append(sock)
                        threading.Thread(target=one, args=(sock,), daemon=True).start()

            def stop() -> None:
                listener.shutdown(socket.SHUT_RDWR)
                listener.close()
                for sock in open_now:
                    sock.close()

            threading.Thread(target=accept, daemon=True).start()
            stack.callback(stop)
            address: tuple[str, int] = listener.getsockname()
            return address

        yield start
