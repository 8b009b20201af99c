"""Somebody in the middle: what may be learnt, and what is tampered with, on the way to a machine.

The machine is the right one in all of these, and so is its key: it is the way that is not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable

import pytest

from byoc.errors import ConnectionLostError, HostKeyError, InstanceError, ProtocolError
from byoc.providers.base import HostKey
from byoc.transport import keys
from byoc.transport.keys import Identity
from byoc.transport.ssh import connect
from tests.transport.conftest import Serve
from tests.transport.sshd import USER, Sshd

KEXINIT, NEWKEYS, ECDH_INIT, ECDH_REPLY = 20, 21, 30, 31
IN_THE_CLEAR = {KEXINIT, ECDH_INIT}
"""All that anybody may learn: what we speak, and half a key exchange."""
REFUSED = (HostKeyError, ProtocolError, ConnectionLostError)

Turn = Callable[[int, bytes], bytes]
"""A message of the server's in the clear, by its kind: what the client gets instead."""
StartSshd = Callable[..., Sshd]


def packets(data: bytes) -> tuple[list[bytes], bytes]:
    """The messages of which ``data`` is made, in the clear, and what is left of it: all that
    follows the one behind which everything is encrypted."""
    found: list[bytes] = []
    while len(data) >= 5 and not (found and found[-1][0] == NEWKEYS):
        (size,) = struct.unpack(">I", data[:4])
        if len(data) < 4 + size:
            break
        found.append(data[5 : 4 + size - data[4]])
        data = data[4 + size :]
    return found, data


def packed(message: bytes) -> bytes:
    """A message as it goes over the wire in the clear."""
    padding = 8 - (5 + len(message)) % 8
    padding += 8 if padding < 4 else 0
    return struct.pack(">IB", 1 + len(message) + padding, padding) + message + bytes(padding)


class Middle:
    """Passes bytes on between a client and a server, and turns the server's clear messages."""

    def __init__(self, server: tuple[str, int], turn: Turn) -> None:
        self._server = server
        self._turn = turn
        self.sent = bytearray()
        self.met = 0

    def __call__(self, client: socket.socket) -> None:
        self.met += 1
        with socket.create_connection(self._server) as server:
            up = threading.Thread(target=self._up, args=(client, server), daemon=True)
            up.start()
            with contextlib.suppress(OSError):
                self._down(server, client)
            for end in (client, server):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            up.join(5)

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.sent += data
                server.sendall(data)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        data = b""
        while b"\n" not in data:
            data += server.recv(65536)
        version, _, data = data.partition(b"\n")
        client.sendall(version + b"\n")
        clear = True
        while True:
            found, data = packets(data) if clear else ([], data)
            for message in found:
                client.sendall(packed(self._turn(message[0], message)))
                clear = clear and message[0] != NEWKEYS
            if not clear and data:
                client.sendall(data)
                data = b""
            more = server.recv(65536)
            if not more:
                return
            data += more

    def learnt(self) -> set[int]:
        """The kinds of the client's messages; fails on a byte that is none in the clear."""
        _, _, rest = bytes(self.sent[self.sent.rindex(b"SSH-2.0-") :]).partition(b"\r\n")
        found, left = packets(rest)
        assert not left, "bytes that are no message in the clear"
        return {message[0] for message in found}


def lists_of(message: bytes) -> list[bytes]:
    """The ten name lists of a KEXINIT."""
    found, at = [], 17
    for _ in range(10):
        (size,) = struct.unpack(">I", message[at : at + 4])
        found.append(message[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def kexinit(message: bytes, changes: dict[int, bytes]) -> bytes:
    """A KEXINIT with other name lists."""
    lists = [changes.get(number, one) for number, one in enumerate(lists_of(message))]
    body = b"".join(struct.pack(">I", len(one)) + one for one in lists)
    return message[:17] + body + bytes(5)


def on(kind: int, change: Callable[[bytes], bytes]) -> Turn:
    """Turn the messages of one kind."""
    return lambda found, message: change(message) if found == kind else message


def without_strict(message: bytes) -> bytes:
    """Terrapin's first step: the server's word for the strict exchange is taken out."""
    exchanges = lists_of(message)[0].split(b",")
    kept = [one for one in exchanges if not one.startswith(b"kex-strict")]
    assert len(kept) < len(exchanges)
    return kexinit(message, {0: b",".join(kept)})


def weakest(message: bytes) -> bytes:
    """Of the ciphers that both know, the last is the only one left."""
    return kexinit(message, {2: b"aes256-ctr", 3: b"aes256-ctr"})


def flipped(message: bytes) -> bytes:
    """The last bit of the reply: of the signature over all of the exchange."""
    return message[:-1] + bytes((message[-1] ^ 1,))


def own_half(message: bytes) -> bytes:
    """The middle's own half of the exchange beside the machine's key and its signature: what there
    is to gain without the machine's private key."""
    (size,) = struct.unpack(">I", message[1:5])
    at = 5 + size
    return message[: at + 4] + os.urandom(32) + message[at + 36 :]


@pytest.fixture
def between(serve: Serve, sshd: Sshd) -> Callable[[Turn], tuple[Middle, int]]:
    """Somebody between the client and the right machine; the port to connect to."""

    def make(turn: Turn) -> tuple[Middle, int]:
        middle = Middle((sshd.address, sshd.port), turn)
        return middle, serve(middle)[1]

    return make


Between = Callable[[Turn], tuple[Middle, int]]


def test_who_only_passes_on_changes_nothing(
    between: Between, sshd: Sshd, identity: Identity
) -> None:
    """With nothing turned the machine is reached: what follows is refused for what it turns."""
    _, port = between(lambda kind, message: message)
    with contextlib.closing(sshd.connect(identity, port=port)) as connection:
        assert connection.run("echo through").out == b"through\n"


@pytest.mark.parametrize(
    "turn",
    [
        on(KEXINIT, without_strict),
        on(KEXINIT, weakest),
        on(ECDH_REPLY, flipped),
        on(ECDH_REPLY, own_half),
    ],
    ids=["strict-exchange-removed", "weaker-cipher", "signature", "own-half"],
)
def test_what_is_tampered_with_is_refused(
    between: Between, sshd: Sshd, identity: Identity, turn: Turn
) -> None:
    """A downgrade or a half of the exchange that is not the machine's breaks its signature: nothing
    but the exchange itself was sent, no user, no key, no byte of ours."""
    middle, port = between(turn)
    with pytest.raises(REFUSED):
        sshd.connect(identity, 10, port)
    assert middle.met == 1
    assert middle.learnt() <= IN_THE_CLEAR


@pytest.mark.parametrize(
    "weak",
    [
        "Ciphers 3des-cbc",
        "Ciphers aes256-cbc",
        "KexAlgorithms diffie-hellman-group1-sha1",
        "KexAlgorithms diffie-hellman-group14-sha1",
        "MACs hmac-md5\nCiphers aes256-ctr",
        "MACs hmac-sha1\nCiphers aes256-ctr",
    ],
)
def test_a_server_that_only_knows_what_is_weak_is_refused(
    serve: Serve, start_sshd: StartSshd, identity: Identity, weak: str
) -> None:
    """A server with the right host key that offers broken ciphers, exchanges or MACs only gets no
    further than its offer."""
    server = start_sshd(extra=weak + "\n")
    middle = Middle((server.address, server.port), lambda kind, message: message)
    port = serve(middle)[1]
    with pytest.raises(InstanceError) as caught:
        server.connect(identity, 10, port)
    assert isinstance(caught.value, REFUSED)
    assert middle.learnt() <= IN_THE_CLEAR


@pytest.mark.parametrize("version", [b"SSH-1.5-old\r\n", b"SSH-1.0-older\n"])
def test_an_older_protocol_is_refused(serve: Serve, identity: Identity, version: bytes) -> None:
    """Version 1 of the protocol, which is broken, is not spoken."""
    heard = bytearray()

    def handle(client: socket.socket) -> None:
        client.sendall(version)
        client.settimeout(5)
        while data := client.recv(65536):
            heard.extend(data)

    port = serve(handle)[1]
    with pytest.raises(ProtocolError):
        connect("127.0.0.1", port, USER, identity, keys.new_host_key().public, 5)
    assert USER.encode() + b"\0\0\0\x0essh-connection" not in heard


def test_the_right_machines_key_in_anothers_mouth(
    serve: Serve, sshd: Sshd, start_sshd: StartSshd, identity: Identity
) -> None:
    """Another server that shows our machine's public key, which is no secret, cannot sign by it."""
    other = start_sshd()
    pinned = keys.public_blob(sshd.host_key.public)

    def shown(message: bytes) -> bytes:
        (size,) = struct.unpack(">I", message[1:5])
        return message[:1] + struct.pack(">I", len(pinned)) + pinned + message[5 + size :]

    middle = Middle((other.address, other.port), on(ECDH_REPLY, shown))
    port = serve(middle)[1]
    with pytest.raises(REFUSED):
        sshd.connect(identity, 10, port)
    assert middle.learnt() <= IN_THE_CLEAR


def test_a_key_of_another_kind_is_refused(
    serve: Serve, start_sshd: StartSshd, identity: Identity
) -> None:
    """A machine that could also show an older kind of key is asked for the pinned kind only, so
    that nobody can have it show another one."""
    server = start_sshd()
    middle = Middle((server.address, server.port), lambda kind, message: message)
    port = serve(middle)[1]
    other = HostKey("", keys.new_host_key().public)
    with pytest.raises(HostKeyError):
        connect("127.0.0.1", port, USER, identity, other.public, 10)
    (ours, *_), _ = packets(bytes(middle.sent).partition(b"\r\n")[2])
    assert all(kind.startswith(b"ssh-ed25519") for kind in lists_of(ours)[1].split(b","))
    assert middle.learnt() <= IN_THE_CLEAR
