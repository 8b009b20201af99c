"""Functions that report each execution to the gate of a test and may wait there."""

import atexit
import contextlib
import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import byoc

app = byoc.App("work")


def report(port: int, name: str) -> None:
    """Say that we are here, and wait until we are let go."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"{name}\n".encode())
        line.recv(1)


@app.function()
def at_gate(port: int, name: str) -> str:
    report(port, name)
    return f"{name} done"


@app.function(max_containers=2)
def numbered(port: int, n: int) -> int:
    report(port, f"n{n}")
    return n * n


@app.function()
def ticks(port: int, n: int) -> Iterator[int]:
    for i in range(n):
        report(port, f"t{i}")
        yield i


@app.function()
def echo(port: int, data: bytes) -> bytes:
    report(port, "echo")
    return data


@app.function()
def ends_machine(port: int, name: str) -> str:
    report(port, name)
    if name == "first":
        subprocess.run(["byoc-end"], check=True)
        while True:
            time.sleep(1)
    return f"{name} done"


@app.function(max_containers=1)
def fills(mib: int) -> int:
    """Writes to its disk, and cleans up after itself."""
    path = Path("filled.bin")
    try:
        with path.open("wb") as file:
            for _ in range(mib):
                file.write(bytes(1 << 20))
        return path.stat().st_size
    finally:
        path.unlink(missing_ok=True)


@app.function(retries=byoc.Retries(max_retries=1, initial_delay=60.0))
def fails_once(port: int, name: str) -> None:
    report(port, name)
    raise LookupError(name)


@app.function(max_containers=1)
def calls_in_a_fork(port: int) -> str:
    """What happens to a call that a forked child makes."""
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            at_gate.remote(port, "never")
        except byoc.exception.ExecutionError as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as answer:
        return answer.read().decode()


def say(port: int, name: str) -> None:
    """Say that we are here, without waiting."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"{name}\n".encode())


@app.function()
def with_hook(port: int, name: str, hook: str) -> str:
    """Its container says goodbye, and may then wait at the gate."""

    def leave() -> None:
        (report if hook == "wait" else say)(port, f"bye {name}")

    atexit.register(leave)
    report(port, name)
    return f"{name} done"


@app.function(memory=(64, 250))
def weighs(port: int, n: int) -> int:
    """Input 7 wants more memory than it may have."""
    report(port, f"w{n}")
    data = bytearray((2048 if n == 7 else 1) << 20)
    for at in range(0, len(data), 4096):
        data[at] = 1
    return n * n


def heavy(port: int, name: str) -> str:
    """Declared by a test, with an image whose files take a while to sync."""
    report(port, name)
    return f"{name} heavy"


@app.function(max_containers=1, retries=0)
def babbles() -> None:
    """Writes into whatever sockets it has, as a broken extension might."""
    for handle in range(3, 64):
        with contextlib.suppress(OSError):
            if stat.S_ISSOCK(os.fstat(handle).st_mode):
                os.write(handle, bytes(1000))
    time.sleep(60)


@app.function(max_containers=1)
def talks(lines: int) -> int:
    for _ in range(lines):
        print("x" * 1023)
    return lines
