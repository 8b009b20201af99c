"""``ssh -L`` with AES-GCM: bytes from one process to another, nothing made of them.

``python ssh_forward.py [--delay MS]``. The far process reads into one buffer that it uses again and
again, and sends from one: less than what any engine has to do.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import driver
from proxy import Proxy

from byoc.transport import keys
from tests.helpers import until
from tests.transport.sshd import USER, Sshd

CIPHERS = "aes256-gcm@openssh.com,aes128-gcm@openssh.com"
"""Those that byoc prefers, in its order."""
PIECE = 1024 * 1024
HEAD = struct.Struct("<cQ")
DONE = struct.Struct("<d")


def answer(listener: socket.socket) -> None:
    """The far end: ``U`` and a size takes bytes, ``D`` and a size gives some."""
    buffer = memoryview(bytearray(PIECE))
    while True:
        sock, _ = listener.accept()
        with sock:
            while head := sock.recv(HEAD.size, socket.MSG_WAITALL):
                what, size = HEAD.unpack(head)
                if what == b"U":
                    receive(sock, size, buffer)
                    sock.sendall(DONE.pack(time.monotonic()))
                else:
                    send(sock, size, buffer)


def receive(sock: socket.socket, size: int, buffer: memoryview) -> None:
    """Take ``size`` bytes, keep none."""
    while size:
        got = sock.recv_into(buffer[: min(size, PIECE)])
        assert got, "the other end has gone"
        size -= got


def send(sock: socket.socket, size: int, buffer: memoryview) -> None:
    """Give ``size`` bytes."""
    while size:
        part = buffer[: min(size, PIECE)]
        sock.sendall(part)
        size -= len(part)


class Forward:
    """Only bytes there and back; see :class:`driver.Engine`."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    def start(self) -> None:
        self.stack = contextlib.ExitStack()
        folder = Path(os.environ["HOME"]) / f"forward-{os.getpid()}"
        folder.mkdir()
        identity = keys.ensure_identity(folder)
        sshd = Sshd(folder / "sshd", keys.new_host_key(), identity.public)
        self.stack.callback(sshd.stop)
        port = sshd.port
        if self.delay:
            proxy = self.stack.enter_context(
                contextlib.closing(Proxy((sshd.address, sshd.port), self.delay))
            )
            port = proxy.address[1]
        known = folder / "known_hosts"
        known.write_text(f"[{sshd.address}]:{port} {sshd.host_key.public}\n")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "far"))
        listener.listen()
        far = multiprocessing.get_context("fork").Process(target=answer, args=(listener,))
        far.start()
        self.stack.callback(far.kill)
        near = folder / "near"
        words = ["ssh", "-F", "none", "-N", "-c", CIPHERS, "-p", str(port)]
        pairs = {
            "IdentityFile": identity.path,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": known,
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
        }
        words += [f"-o{key}={value}" for key, value in pairs.items()]
        words += ["-L", f"{near}:{folder / 'far'}", f"{USER}@{sshd.address}"]
        client = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        self.stack.callback(client.wait)
        self.stack.callback(client.terminate)
        until(near.exists, 20, "ssh to forward")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(near))
        self.buffer = memoryview(bytearray(PIECE))

    def stop(self) -> None:
        self.stack.close()


def argument(engine: Forward, size: int) -> dict[str, Any]:
    """Seconds of ``size`` bytes there, until the far end has them; it is on the same host and says
    when that was. Its answer may wait 40 ms for an acknowledgement, which is no matter of bytes."""
    begun = time.monotonic()
    engine.sock.sendall(HEAD.pack(b"U", size))
    send(engine.sock, size, engine.buffer)
    (ended,) = DONE.unpack(engine.sock.recv(DONE.size, socket.MSG_WAITALL))
    return {"seconds": ended - begun}


def result(engine: Forward, size: int) -> dict[str, Any]:
    """Seconds of ``size`` bytes back."""
    begun = time.perf_counter()
    engine.sock.sendall(HEAD.pack(b"D", size))
    receive(engine.sock, size, engine.buffer)
    return {"seconds": time.perf_counter() - begun}


if __name__ == "__main__":
    milliseconds = float(sys.argv[2]) if sys.argv[1:2] == ["--delay"] else 0.0
    made: Any = Forward(milliseconds / 1e3)
    driver.main(made, argument=argument, result=result)
