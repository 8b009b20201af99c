"""The container's end of bulk transfers: what it takes, what it gives, what it refuses."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from byoc.runtime_agent import bulk as served
from byoc.wire import bulk, messages
from byoc.wire.link import FrameError
from tests.conftest import new_home
from tests.helpers import until

SIZE = 2 * bulk.PIECE + 12345
DATA = os.urandom(SIZE)
TOKEN = bytes(range(16))
OPEN: list[socket.socket] = []
"""Channels of the test that runs; closed with it."""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder whose path leaves room for that of a socket."""
    folder = new_home()
    monkeypatch.setenv("HOME", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def transfers(home: Path) -> Iterator[served.Bulk]:
    """A container's transfers, whose socket is in a home of its own."""
    made = served.Bulk()
    assert made.open()
    yield made
    while OPEN:
        OPEN.pop().close()
    until(lambda: not made._channels)
    made.close()


class Channel:
    """A client's channel to the container."""

    def __init__(self, transfers: served.Bulk) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        OPEN.append(self.sock)
        self.sock.connect(transfers._path)

    def ask(self, kind: int, token: bytes, offset: int = 0, length: int = 0) -> None:
        self.sock.sendall(bulk.REQUEST.pack(bulk.MAGIC, kind, token, offset, length))

    def put(self, offset: int, data: bytes, token: bytes = TOKEN) -> None:
        self.ask(bulk.PUT, token, offset, len(data))
        self.sock.sendall(data)

    def read(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            part = self.sock.recv(size - len(out))
            if not part:
                break
            out += part
        return out

    @property
    def refused(self) -> bool:
        """The container has closed the channel."""
        try:
            return self.read(1) == b""
        except ConnectionResetError:  # with something of ours unread
            return True


def pieces(data: bytes) -> list[tuple[int, bytes]]:
    return [(at, data[at : at + bulk.PIECE]) for at in range(0, len(data), bulk.PIECE)]


def collecting(transfers: served.Bulk, size: int = SIZE) -> Future[messages.Message]:
    """What a thread that reads such a message gets."""
    head = {"t": "in", "x": [[1, TOKEN.hex(), size]]}
    found: Future[messages.Message] = Future()
    message = messages.Message(head, [b"small", b""])
    threading.Thread(
        target=lambda: found.set_result(transfers.collect(message)), daemon=True
    ).start()
    return found


def test_a_buffer_arrives_in_any_order_over_any_channels(transfers: served.Bulk) -> None:
    """Pieces of one buffer come over several channels, also before its message is read."""
    early = Channel(transfers)
    first, *others = reversed(pieces(DATA))
    early.put(*first)
    found = collecting(transfers)
    assert early.read(1) == bulk.YES
    for at, data in others:
        channel = Channel(transfers)
        channel.put(at, data)
        assert channel.read(1) == bulk.YES
    message = found.result(10)
    assert message.buffers == [b"small", DATA]
    assert isinstance(message.buffers[1], bytearray)


def test_a_piece_that_comes_again_changes_nothing(transfers: served.Bulk) -> None:
    """What was handed over is its new owner's: a piece sent twice is taken and thrown away."""
    channel = Channel(transfers)
    found = collecting(transfers)
    for at, data in pieces(DATA):
        channel.put(at, data)
    buffer = found.result(10).buffers[1]
    assert isinstance(buffer, bytearray)
    buffer[:4] = b"mine"
    channel.put(0, DATA[: bulk.PIECE])
    assert channel.read(4) == bulk.YES * 4
    assert buffer[:4] == b"mine"
    channel.ask(bulk.DONE, TOKEN)
    channel.ask(bulk.DONE, TOKEN)
    assert channel.read(2) == bulk.YES * 2


def test_a_piece_is_taken_over_from_a_channel_that_hangs(transfers: served.Bulk) -> None:
    """A connection that was cut silently does not hold its piece: the newer channel's counts, and
    the older one writes nothing any more."""
    found = collecting(transfers, bulk.PIECE)
    old = Channel(transfers)
    old.ask(bulk.PUT, TOKEN, 0, bulk.PIECE)
    old.sock.sendall(b"x" * 1000)
    until(lambda: TOKEN in transfers._incoming and transfers._incoming[TOKEN].writers)
    new = Channel(transfers)
    new.put(0, DATA[: bulk.PIECE])
    assert new.read(1) == bulk.YES
    assert found.result(10).buffers[1] == DATA[: bulk.PIECE]
    assert old.refused


def test_results_are_fetched_and_let_go(transfers: served.Bulk) -> None:
    """Large buffers are announced, given as often as asked for, and forgotten at the word."""
    inline, named = transfers.offer([b"small", DATA, b"x" * bulk.LARGE])
    assert inline == [b"small", b"", b""]
    assert [(place, size) for place, _, size in named] == [(1, SIZE), (2, bulk.LARGE)]
    token = bytes.fromhex(named[0][1])
    channel = Channel(transfers)
    for _ in range(2):
        channel.ask(bulk.GET, token, 5, SIZE - 5)
        assert channel.read(1 + SIZE - 5) == bulk.YES + DATA[5:]
    settled = threading.Thread(target=transfers.settle, args=(bulk.LARGE,), daemon=True)
    settled.start()
    channel.ask(bulk.DONE, token)
    assert channel.read(1) == bulk.YES
    settled.join(10)
    assert not settled.is_alive()
    channel.ask(bulk.GET, token, 0, 1)
    assert channel.read(2) == bulk.NO  # and closed


@pytest.mark.parametrize(
    "garbage",
    [
        os.urandom(200),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n",
        bulk.REQUEST.pack(bulk.MAGIC, 77, TOKEN, 0, 1),
        bulk.REQUEST.pack(b"nope", bulk.PUT, TOKEN, 0, 1),
        bulk.REQUEST.pack(bulk.MAGIC, bulk.PUT, TOKEN, 1, bulk.PIECE),
        bulk.REQUEST.pack(bulk.MAGIC, bulk.PUT, TOKEN, 0, 2**64 - 1),
        bulk.REQUEST.pack(bulk.MAGIC, bulk.PUT, TOKEN, 2**64 - 1, 1),
        bulk.REQUEST.pack(bulk.MAGIC, bulk.PUT, TOKEN, 8 * bulk.PIECE, bulk.PIECE),
    ],
)
def test_garbage_is_refused(transfers: served.Bulk, garbage: bytes) -> None:
    """A channel that brings anything else is closed, and the others go on."""
    found = collecting(transfers)
    until(lambda: TOKEN in transfers._incoming)
    bad = Channel(transfers)
    bad.sock.sendall(garbage)
    assert bad.refused
    good = Channel(transfers)
    for at, data in pieces(DATA):
        good.put(at, data)
    assert found.result(10).buffers[1] == DATA


def test_results_need_their_token(transfers: served.Bulk) -> None:
    """Nobody gets a result without having been told its name."""
    transfers.offer([DATA])
    channel = Channel(transfers)
    channel.ask(bulk.GET, TOKEN, 0, 10)
    assert channel.read(20) == bulk.NO


def test_only_the_user_may_connect(transfers: served.Bulk, home: Path) -> None:
    """The socket is in a folder that only its user can enter, and goes with the container."""
    where = home / ".byoc" / "bulk"
    assert stat.S_IMODE(where.stat().st_mode) == 0o700
    transfers.close()
    assert list(where.iterdir()) == []


def test_a_folder_of_others_is_not_used(home: Path) -> None:
    """With a folder that others may enter everything goes in the messages."""
    (home / ".byoc" / "bulk").mkdir(parents=True, mode=0o755)
    made = served.Bulk()
    assert made.open() == ""
    assert made.offer([DATA]) == ([DATA], [])


def test_a_long_home_has_its_sockets_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Unix socket's path is short, whatever the home folder's is."""
    home = tmp_path / ("long" * 30)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    made = served.Bulk()
    path = made.open()
    assert path.startswith("/tmp/byoc-")
    made.close()
    os.rmdir(os.path.dirname(path))


@pytest.mark.parametrize(
    "named",
    [5, [[0]], [["a", "b", "c"]], [[2, TOKEN.hex(), 5]], [[0, "ab", 5]], [[0, TOKEN.hex(), -1]]],
)
def test_impossible_names_are_refused(named: object) -> None:
    """A message that names what cannot be is no message."""
    with pytest.raises(FrameError):
        bulk.named({"x": named}, 1, 1000)
    with pytest.raises(FrameError):
        bulk.named({"x": [[0, TOKEN.hex(), 1001]]}, 1, 1000)


def test_a_cut_connection_takes_up_no_place(transfers: served.Bulk) -> None:
    """Pieces that wait for a message of the future wait as long as their channel, and no longer."""
    collecting(transfers)
    for _ in range(3):
        for _ in range(served.MOST_CHANNELS // 2):
            channel = Channel(transfers)
            channel.put(0, b"x" * 1000, bytes(16))
            until(lambda: transfers._channels)
        until(lambda: transfers._channels == served.MOST_CHANNELS // 2)
        while OPEN:
            OPEN.pop().close()
        until(lambda: not transfers._channels)


def test_a_channel_without_a_thread_is_refused(
    transfers: served.Bulk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where user code leaves no thread the client is told, instead of waiting; later ones work."""
    found = collecting(transfers, 10)
    until(lambda: transfers._incoming)

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", none_left)
        assert Channel(transfers).refused
    assert transfers._channels == 0
    channel = Channel(transfers)
    channel.put(0, b"0123456789")
    assert found.result(10).buffers[1] == b"0123456789"
