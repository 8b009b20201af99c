"""Meeting an instance: who is on the other side, and every way in which nobody proper is."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from byoc.errors import ConnectionLostError, HostKeyError, InstanceError, ProtocolError
from byoc.providers.base import HostKey
from byoc.transport import keys
from byoc.transport.keys import Identity
from byoc.transport.ssh import Connection, Result, connect
from tests.helpers import ROOT, until
from tests.relay import Relay
from tests.transport.conftest import Serve
from tests.transport.sshd import USER, Sshd, free_port

StartSshd = Callable[..., Sshd]
VERSION = b"SSH-2.0-OpenSSH_9.6\r\n"
ANY_KEY = keys.new_host_key().public


def attempt(
    address: tuple[str, int], identity: Identity, timeout: float = 5.0, line: str = ANY_KEY
) -> Connection:
    return connect(*address, USER, identity, line, timeout)


def test_a_command_runs(connection: Connection) -> None:
    """Status, output and errors of a command come back apart."""
    result = connection.run("cat; echo oops >&2; exit 3", b"in")
    assert result == Result(3, b"in", "oops\n")
    assert connection.alive


def test_what_is_agreed_is_strong(connection: Connection) -> None:
    """The connection uses AES-256-GCM and the strict key exchange that fends off Terrapin."""
    transport = connection._transport
    assert transport.local_cipher == transport.remote_cipher == "aes256-gcm@openssh.com"
    assert transport.host_key_type == "ssh-ed25519"
    assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def messages(sent: bytes) -> list[int]:
    """The types of the unencrypted SSH messages behind the version line; -1 for a torn one."""
    _, _, rest = sent.partition(b"\r\n")
    found = []
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        found.append(rest[5] if len(rest) >= 4 + length else -1)
        rest = rest[4 + length :]
    return found


def test_another_host_key_is_refused_with_nothing_sent(sshd: Sshd, identity: Identity) -> None:
    """The client sends its half of the key exchange, and not one byte after it saw the key."""
    with contextlib.closing(Relay((sshd.address, sshd.port), record=True)) as relay:
        with pytest.raises(HostKeyError, match="not the one the instance was given"):
            attempt(relay.address, identity)
        assert messages(bytes(relay.sent)) == [20, 30]  # KEXINIT, ECDH_INIT


def test_an_address_that_another_machine_took_over_is_refused(
    start_sshd: StartSshd, identity: Identity
) -> None:
    """The same address and port with a new host key is a different machine."""
    first = start_sshd()
    first.connect(identity).close()
    first.stop()
    start_sshd(port=first.port)
    with pytest.raises(HostKeyError):
        first.connect(identity)


def test_a_machine_without_an_ed25519_key_is_refused(
    start_sshd: StartSshd, identity: Identity
) -> None:
    """We give every instance an ed25519 key, so one without it is not ours."""
    ecdsa = io.StringIO()
    paramiko.ECDSAKey.generate().write_private_key(ecdsa)
    server = start_sshd(host_key=HostKey(ecdsa.getvalue(), ANY_KEY))
    with pytest.raises(HostKeyError, match="no ed25519"):
        server.connect(identity)


def test_an_unusable_pin_connects_to_nothing(identity: Identity) -> None:
    """Without a proper host key to compare with, no connection is made."""
    with pytest.raises(HostKeyError, match="pinned host key"):
        attempt(("127.0.0.1", 9), identity, line="ssh-ed25519 AAAA")


def test_an_unknown_client_key_is_refused(
    start_sshd: StartSshd, identity: Identity, tmp_path: Path
) -> None:
    """The error names the user and says what to do."""
    other = keys.ensure_identity(tmp_path)
    server = start_sshd()
    with pytest.raises(InstanceError, match="does not accept") as raised:
        server.connect(other)
    assert type(raised.value) is InstanceError
    assert raised.value.hints
    server.connect(identity).close()


def test_nothing_listening_is_a_lost_connection(identity: Identity) -> None:
    """A refused connection may be tried again: the instance may still be booting."""
    with pytest.raises(ConnectionLostError, match="cannot connect") as raised:
        attempt(("127.0.0.1", free_port()), identity)
    assert raised.value.retryable


def test_a_server_that_hangs_up_is_a_lost_connection(serve: Serve, identity: Identity) -> None:
    """A connection that ends before the version exchange may be tried again."""
    with pytest.raises(ConnectionLostError):
        attempt(serve(socket.socket.close), identity)


def test_a_busy_server_is_a_lost_connection(serve: Serve, identity: Identity) -> None:
    """What sshd says to one client too many is a reason to try again, not another protocol."""

    def refuse(sock: socket.socket) -> None:
        sock.sendall(b"Exceeded MaxStartups\r\n")
        sock.shutdown(socket.SHUT_WR)

    with pytest.raises(ConnectionLostError, match="busy"):
        attempt(serve(refuse), identity)


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH_9.6", VERSION, VERSION + bytes(3)])
def test_a_silent_server_is_given_up_in_time(serve: Serve, identity: Identity, said: bytes) -> None:
    """However far a server came before it fell silent, the timeout holds."""
    address = serve(lambda sock: sock.sendall(said))
    with pytest.raises(ConnectionLostError, match="in time"):
        attempt(address, identity, timeout=0.2)
    until(no_ssh_threads, 5)


GARBAGE = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "an endless line": b"x" * 100_000,
    "endless lines": b"hello\r\n" * 1000,
    "binary": bytes(range(256)) * 64,
    "an old version": b"SSH-1.5-old\r\n",
    "a control character": b"SSH-2.0-\x1b[31m\r\n",
    "a huge packet": VERSION + b"\x7f\xff\xff\xff" + bytes(64),
    "a packet of length zero": VERSION + bytes(64),
    "a packet of noise": VERSION + struct.pack(">IB", 28, 4) + bytes(range(200, 227)) * 9,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_does_not_speak_ssh_is_a_protocol_error(
    serve: Serve, identity: Identity, data: bytes
) -> None:
    """Garbage is refused as such, at once, and nothing of the connection stays behind."""

    def talk(sock: socket.socket) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass

    with pytest.raises(ProtocolError):
        attempt(serve(talk), identity)
    until(no_ssh_threads, 5)


def test_a_server_without_curve25519_is_still_reached(
    start_sshd: StartSshd, identity: Identity
) -> None:
    """A server in FIPS mode refuses the guessed exchange; a second connection does without it."""
    server = start_sshd(extra="KexAlgorithms ecdh-sha2-nistp256\n")
    with contextlib.closing(server.connect(identity)) as connection:
        assert connection.run("echo hi").out == b"hi\n"


def test_a_server_without_a_common_exchange_is_a_protocol_error(
    start_sshd: StartSshd, identity: Identity
) -> None:
    """Both ways tried, the error says what is missing."""
    server = start_sshd(extra="KexAlgorithms diffie-hellman-group14-sha256\n")
    with pytest.raises(ProtocolError, match="no key exchange"):
        server.connect(identity)


def test_a_ready_socket_can_be_used(sshd: Sshd, identity: Identity) -> None:
    """A caller may bring the connected socket; it ends with the connection."""
    sock = socket.create_connection((sshd.address, sshd.port))
    line = sshd.host_key.public
    connection = connect("there", 22, USER, identity, line, sock=sock)
    assert connection.run("echo hi").out == b"hi\n"
    connection.close()
    assert sock.fileno() == -1


class Library(paramiko.ServerInterface):
    """A server that is not OpenSSH: answers ``exec`` with the command itself, refuses ``no``."""

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if command == b"no":
            return False

        def answer() -> None:
            channel.sendall(command)
            channel.send_exit_status(0)
            channel.close()

        threading.Thread(target=answer, daemon=True).start()
        return True


def test_a_server_that_is_not_openssh_is_reached(serve: Serve, identity: Identity) -> None:
    """Against another SSH server nothing is sent ahead of its answers; a refusal is told."""
    host_key = keys.new_host_key()

    def handle(sock: socket.socket) -> None:
        transport = paramiko.Transport(sock)
        transport.add_server_key(paramiko.Ed25519Key(file_obj=io.StringIO(host_key.private)))
        transport.start_server(server=Library())
        transport.join()

    with contextlib.closing(attempt(serve(handle), identity, line=host_key.public)) as connection:
        assert connection.run("hello") == Result(0, b"hello", "")
        with pytest.raises(InstanceError, match="refused to run"):
            connection.run("no")
        assert connection.run("again").out == b"again"


def no_ssh_threads() -> bool:
    return not [t for t in threading.enumerate() if isinstance(t, paramiko.Transport)]


def descriptors() -> int:
    folder = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")
    return len(os.listdir(folder))


def test_connections_leave_nothing_behind(sshd: Sshd, identity: Identity, relay: Relay) -> None:
    """After fifty connections, good and bad, threads and descriptors are what they were."""
    sshd.connect(identity).close()  # what is loaded once stays
    threads, open_files = threading.active_count(), descriptors()
    for n in range(50):
        if n % 5 == 4:
            with pytest.raises(HostKeyError):
                attempt((sshd.address, sshd.port), identity)
            continue
        connection = sshd.connect(identity)
        stream = connection.exec("cat", b"x")
        assert stream.read(1) == b"x"
        if n % 2:
            stream.close()
        connection.close()
        connection.close()
        assert not connection.alive
    until(lambda: threading.active_count() <= threads, 5)
    until(lambda: descriptors() <= open_files, 5)


def test_the_transports_threads_do_not_hold_up_the_end(sshd: Sshd, identity: Identity) -> None:
    """A program that forgets its connection, or meets a silent server, ends at once."""
    code = (
        "import socket, sys, threading, pathlib\n"
        "from byoc.transport import keys, ssh\n"
        "from byoc.errors import ConnectionLostError\n"
        "home, port, user, line = sys.argv[1:]\n"
        "identity = keys.ensure_identity(pathlib.Path(home))\n"
        "c = ssh.connect('127.0.0.1', int(port), user, identity, line)\n"
        "s = c.exec('cat')\n"
        "silent = socket.create_server(('127.0.0.1', 0))\n"
        "try: ssh.connect(*silent.getsockname(), user, identity, line, 0.1)\n"
        "except ConnectionLostError: pass\n"
        "print([t.name for t in threading.enumerate() if not t.daemon])\n"
    )
    home = str(identity.path.parent.parent)
    words = [sys.executable, "-c", code, home, str(sshd.port), USER, sshd.host_key.public]
    out = subprocess.run(
        words, capture_output=True, text=True, check=True, cwd=ROOT / "src", timeout=20
    )
    assert (out.stdout, out.stderr) == ("['MainThread']\n", "")


def test_paramikos_log_does_not_reach_the_user(
    serve: Serve, identity: Identity, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither stderr nor the program's own logging sees what paramiko says about a failure."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep()
    logging.getLogger().addHandler(handler)
    try:
        with pytest.raises(ProtocolError):
            attempt(serve(lambda sock: sock.sendall(GARBAGE["a huge packet"])), identity)
        until(no_ssh_threads, 5)
    finally:
        logging.getLogger().removeHandler(handler)
    assert (records, *capfd.readouterr()) == ([], "", "")


def test_the_first_answer_takes_five_round_trips(sshd: Sshd, identity: Identity) -> None:
    """From nothing to the answer of a program sent on stdin: four round trips and TCP's own."""
    one_way = 0.1
    program = b"#" + b"x" * 100_000 + b"\necho hello\n"

    def seconds(delay: float) -> float:
        with contextlib.closing(Relay((sshd.address, sshd.port), delay=delay)) as relay:
            start = time.monotonic()
            with contextlib.closing(sshd.connect(identity, port=relay.address[1])) as connection:
                stream = connection.exec("exec sh -s", program)
                assert stream.read(100) == b"hello\n"
                return time.monotonic() - start

    near = min(seconds(0) for _ in range(3))  # what the programs themselves need
    far = min(seconds(one_way) for _ in range(3))
    assert (far - near) / (2 * one_way) < 4.7
