"""Streams to and from remote processes: their ends, their limits, and what faults make of them."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from byoc.errors import ConnectionLostError, Error, InstanceError, ProtocolError
from byoc.transport.channel import ChannelStream
from byoc.transport.keys import Identity
from byoc.transport.ssh import Connection
from tests.helpers import until
from tests.relay import Relay
from tests.transport.sshd import Sshd

MIB = 1024 * 1024
FOREVER = 1 << 40


def background(function: Callable[[], object]) -> Future[object]:
    """Run ``function`` in a thread of its own."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except Error as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def read_all(stream: ChannelStream) -> bytes:
    out = bytearray()
    while data := stream.read(65536):
        out += data
    return bytes(out)


def push(stream: ChannelStream, count: list[int] | None = None) -> None:
    """Write for as long as it goes."""
    block = bytes(256 * 1024)
    for _ in range(FOREVER):
        stream.write(block)
        if count is not None:
            count[0] += len(block)


def test_bytes_go_and_come_back_unchanged(connection: Connection) -> None:
    """More than a window's worth of bytes passes both ways, as any kind of buffer."""
    data = random.Random(0).randbytes(5 * MIB)
    stream = connection.exec("cat", data[:100])
    got = background(lambda: read_all(stream))
    stream.write(memoryview(data)[100:MIB])
    stream.write(bytearray(data[MIB : 2 * MIB]))
    stream.write(memoryview(data[2 * MIB :]).cast("I"))
    stream.write(b"")
    stream.write_eof()
    assert got.result(30) == data
    assert stream.exit_status() == 0
    stream.close()


def test_readinto_gives_the_same_bytes(connection: Connection) -> None:
    """Reading into a buffer gives what read gives, and 0 at the end."""
    command = f"head -c {3 * MIB} /dev/zero | tr '\\0' 'x'"
    stream = connection.exec(command)
    into = memoryview(bytearray(100_000))
    digest, size = hashlib.sha256(), 0
    while got := stream.readinto(into):
        digest.update(into[:got])
        size += got
    assert (size, digest.digest()) == (3 * MIB, hashlib.sha256(b"x" * (3 * MIB)).digest())
    stream.close()


def test_a_read_returns_at_once_what_is_there(connection: Connection) -> None:
    """A read does not wait for more than the first bytes."""
    stream = connection.exec("cat")
    for word in (b"a", b"bc", b"def"):
        stream.write(word)
        assert stream.read(1000) == word
    stream.close()


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
def test_the_exit_status_is_told(connection: Connection, command: str, status: int) -> None:
    """It is None while the command runs, then its status, or 128 and the signal's number."""
    stream = connection.exec(f"read line; {command}")
    assert stream.exit_status() is None
    stream.write(b"go\n")
    assert stream.read(1) == b""
    assert stream.exit_status() == status
    stream.close()


def test_stderr_is_kept_apart_and_its_end_is_kept(connection: Connection) -> None:
    """Any amount of stderr passes without a reader; the last 64 KiB can be asked for."""
    command = f"head -c {8 * MIB} /dev/zero | tr '\\0' 'e' >&2; echo end >&2; echo out"
    stream = connection.exec(command)
    assert read_all(stream) == b"out\n"
    tail = stream.stderr()
    assert len(tail) == 64 * 1024
    assert tail.endswith("eee" + "end\n")
    stream.close()


def test_many_streams_share_a_connection(connection: Connection) -> None:
    """Streams do not mix, and one that is not read holds up no other."""
    stuck = connection.exec("cat /dev/zero")
    streams = [connection.exec("cat", b"%d" % n) for n in range(5)]
    for n, stream in enumerate(streams):
        assert stream.read(10) == b"%d" % n
    for stream in [*streams, stuck]:
        stream.close()
    assert connection.run("echo still here").out == b"still here\n"


def test_too_many_sessions_are_refused_by_name(connection: Connection) -> None:
    """sshd's MaxSessions, 10, shows as an error that names it, and the connection lives on."""
    streams = [connection.exec("cat") for _ in range(10)]
    with pytest.raises(InstanceError, match="refused to open a channel") as raised:
        connection.exec("cat")
    assert "MaxSessions" in raised.value.hints[0]
    for stream in streams:
        stream.close()
    until(lambda: session_opens(connection), 10)


def session_opens(connection: Connection) -> bool:
    try:
        return connection.run("true").exit == 0
    except InstanceError:
        return False


def test_a_unix_socket_on_the_instance_is_reached(connection: Connection, tmp_path: Path) -> None:
    """A stream-local channel carries bytes both ways; a missing socket is an error."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        path = str(tmp_path / "s")
        listener.bind(path)
        listener.listen()
        stream = connection.open_streamlocal(path)
        peer, _ = listener.accept()
        with contextlib.closing(peer):
            stream.write(b"ping")
            assert peer.recv(10) == b"ping"
            peer.sendall(b"pong")
            assert stream.read(10) == b"pong"
    assert stream.read(10) == b""
    stream.close()
    with pytest.raises(InstanceError, match="refused to open"):
        connection.open_streamlocal(str(tmp_path / "missing"))


def test_a_command_that_takes_too_long_is_given_up(connection: Connection) -> None:
    """``run`` keeps its timeout and leaves the connection usable."""
    with pytest.raises(InstanceError, match="did not end within"):
        connection.run("exec sleep 20", timeout=0.2)
    with pytest.raises(InstanceError, match="more than 16 MiB"):
        connection.run("cat /dev/zero")
    assert connection.run("true").exit == 0


def test_a_command_may_ignore_its_input(connection: Connection) -> None:
    """Input that nobody reads is no error, however much there is."""
    assert connection.run("echo done", bytes(8 * MIB)).out == b"done\n"


def test_commands_that_end_while_written_to_do_not_end_the_connection(
    connection: Connection,
) -> None:
    """No data or end of it is sent behind the close of a channel, for which sshd would hang up."""
    data = bytes(300_000)
    for n in range(60):
        command = f"head -c {n * 1000} >/dev/null"
        assert connection.run(command, data).exit == 0
        assert connection.alive


def test_a_large_input_and_output_cross(connection: Connection) -> None:
    """``run`` reads while it writes, so neither side waits for the other."""
    data = random.Random(1).randbytes(6 * MIB)
    assert connection.run("cat", data).out == data


def test_keys_are_renewed_under_load(sshd: Sshd, identity: Identity) -> None:
    """Key exchanges in mid-stream lose nothing while channels open and close beside it."""
    with contextlib.closing(sshd.connect(identity)) as connection:
        packetizer = connection._transport.packetizer
        first = connection._transport.H
        packetizer.REKEY_BYTES = 2 * MIB
        data = random.Random(2).randbytes(24 * MIB)
        stream = connection.exec("cat")
        got = background(lambda: read_all(stream))

        def send() -> None:
            stream.write(data)
            stream.write_eof()

        sent = background(send)
        while not sent.done():
            assert connection.run("echo beside").out == b"beside\n"
        sent.result(30)
        assert got.result(30) == data
        assert first != connection._transport.H


# --- the ends of a stream that are not the remote's own -------------------------------------------


def test_closing_wakes_a_reader(connection: Connection) -> None:
    """A reader of a stream that another thread closes gets an error, not silence."""
    stream = connection.exec("cat")
    reading = background(lambda: stream.read(1))
    stream.close()
    stream.close()
    with pytest.raises(ConnectionLostError, match="closed"):
        reading.result(5)
    assert connection.run("true").exit == 0


def test_closing_wakes_a_writer(connection: Connection) -> None:
    """So does a writer that waits for a remote that does not read."""
    stream = connection.exec("exec tail -f /dev/null")
    count = [0]
    writing = background(lambda: push(stream, count))
    until(lambda: count[0] >= MIB, 10)
    stream.close()
    with pytest.raises(ConnectionLostError):
        writing.result(5)
    assert connection.run("true").exit == 0


def test_closing_the_connection_wakes_everyone(connection: Connection) -> None:
    """Readers and writers of every stream get an error at once."""
    streams = [connection.exec("exec tail -f /dev/null") for _ in range(3)]
    waiting = [background(lambda s=s: s.read(1)) for s in streams]
    waiting += [background(lambda s=s: push(s)) for s in streams]
    connection.close()
    for each in waiting:
        with pytest.raises(ConnectionLostError):
            each.result(5)
    with pytest.raises(ConnectionLostError):
        connection.exec("true")


@pytest.fixture(params=["cut", "reset"])
def break_it(request: pytest.FixtureRequest, relay: Relay) -> Callable[[], None]:
    """End the connection in one way or the other."""
    return {"cut": relay.cut, "reset": relay.reset}[request.param]


def test_a_cut_while_reading_is_an_error(relayed: Connection, break_it: Callable[[], None]) -> None:
    """A connection that ends in mid-stream is never taken for the remote's own end."""
    stream = relayed.exec("cat /dev/zero")
    assert stream.read(1000)
    reading = background(lambda: read_all(stream))
    break_it()
    with pytest.raises(ConnectionLostError):
        reading.result(5)
    until(lambda: not relayed.alive, 5)


def test_a_cut_while_writing_is_an_error(relayed: Connection, break_it: Callable[[], None]) -> None:
    """A writer learns of the cut too, and so does every later use."""
    stream = relayed.exec("cat >/dev/null")
    count = [0]
    writing = background(lambda: push(stream, count))
    until(lambda: count[0] >= 4 * MIB, 10)
    break_it()
    with pytest.raises(ConnectionLostError):
        writing.result(5)
    for use in (lambda: stream.read(1), lambda: stream.write(b"x"), lambda: relayed.exec("true")):
        with pytest.raises(ConnectionLostError):
            use()
    stream.close()


def test_a_cut_while_idle_wakes_the_reader(relayed: Connection, relay: Relay) -> None:
    """A reader that waits for a quiet remote hears of the end at once."""
    stream = relayed.exec("cat")
    reading = background(lambda: stream.read(1))
    relay.cut()
    with pytest.raises(ConnectionLostError):
        reading.result(5)


def test_a_question_over_a_breaking_connection_is_answered(
    connection: Connection, tmp_path: Path
) -> None:
    """Asking whether a socket may be reached never fails: the agent's link asks in mid start."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "door"))
        listening.listen()
        asked = connection.ask_streamlocal(str(tmp_path / "door"))
        channel = asked._channel
        until(channel.answered.is_set, 5)
        connection._transport.sock.shutdown(socket.SHUT_WR)  # our thread has not noticed yet
        assert asked.granted


def test_a_frozen_network_heals(relayed: Connection, relay: Relay) -> None:
    """A silence that passes loses nothing."""
    stream = relayed.exec("cat", b"x")
    assert stream.read(1) == b"x"
    relay.freeze()
    stream.write(b"held back")
    with pytest.raises(TimeoutError):
        stream.read(100, timeout=0.2)
    relay.heal()
    assert stream.read(100) == b"held back"


def test_close_does_not_wait_for_a_frozen_network(relayed: Connection, relay: Relay) -> None:
    """Readers and writers are released at once even when the socket takes nothing more."""
    # their windows, 2 MiB each, are more than all buffers on the way take
    streams = [relayed.exec("cat", b"x") for _ in range(8)]
    for stream in streams:
        assert stream.read(1) == b"x"
    relay.freeze()
    count = [0]
    reading = background(lambda: streams[0].read(1))
    waiting = [background(lambda s=s: push(s, count)) for s in streams]
    looks: list[tuple[int, bool]] = []

    def stuck() -> bool:
        """The socket has taken nothing for a while."""
        looks.append((count[0], relayed._transport.packetizer.full))
        return looks[-10:] == [(count[0], True)] * 10

    until(stuck, 20)
    start = time.monotonic()
    streams[0].close()
    for each in (reading, *waiting):
        with pytest.raises(ConnectionLostError):
            each.result(5)
    assert time.monotonic() - start < 2


def test_garbage_after_authentication_is_a_protocol_error(
    relayed: Connection, relay: Relay
) -> None:
    """Bytes put into an encrypted connection end it; none of them reaches a reader."""
    stream = relayed.exec("cat")
    reading = background(lambda: stream.read(1))
    relay.inject(random.Random(3).randbytes(4096))
    with pytest.raises(ProtocolError):
        reading.result(5)


def test_a_huge_packet_after_authentication_is_a_protocol_error(
    relayed: Connection, relay: Relay
) -> None:
    """A length beyond what SSH allows is refused before anything is kept of the packet."""
    stream = relayed.exec("cat")
    reading = background(lambda: stream.read(1))
    relay.inject(b"\x7f\xff\xff\xf0" + bytes(28))
    with pytest.raises(ProtocolError, match="impossible length"):
        reading.result(5)


def resident() -> int:
    """Bytes of memory this process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_gigabyte_passes_in_little_memory(connection: Connection) -> None:
    """1 GiB each way, with a slow reader, keeps to a window's worth of memory."""
    stream = connection.exec("exec cat >/dev/null")
    block = bytes(MIB)
    stream.write(block)
    before = peak = resident()
    for _ in range(1024):
        stream.write(block)
        peak = max(peak, resident())
    stream.write_eof()
    assert stream.read(1) == b""
    stream.close()
    stream = connection.exec(f"exec head -c {1024 * MIB} /dev/zero")
    size = 0
    while data := stream.read(65536):
        size += len(data)
        if size % (64 * MIB) < len(data):
            peak = max(peak, resident())
    assert size == 1024 * MIB
    assert peak - before < 40 * MIB
    stream.close()


def test_an_unread_stream_holds_one_window(connection: Connection) -> None:
    """What a remote can make us keep is bounded by the channel's window."""
    stream = connection.exec("cat /dev/zero")
    inbox = stream._channel.in_buffer
    until(lambda: inbox._queue.qsize() * 32 * 1024 >= 2 * MIB - 64 * 1024, 10)
    held = 0
    while len(inbox):
        held += len(inbox.read(MIB, 1))
    assert held <= 2 * MIB
    stream.close()
