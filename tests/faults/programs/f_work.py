"""Functions that report each execution to the gate of a test and may wait there."""

import socket
import subprocess
import time
from collections.abc import Iterator

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


def heavy(port: int, name: str) -> str:
    """Declared by a test, with an image whose files take a while to sync."""
    report(port, name)
    return f"{name} heavy"
