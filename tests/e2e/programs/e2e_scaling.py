"""Functions whose containers come and go."""

import os
import socket
import time

import byoc

app = byoc.App("scaling")


def stand(port: int, name: str) -> str:
    """Report at the gate and wait there."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"{name}\n".encode())
        line.recv(1)
    return name


@app.cls(scaledown_window=2, max_containers=2)
class Counted:
    @byoc.exit()
    def leave(self) -> None:
        stand(self.port, f"left {os.getpid()}")

    @byoc.method()
    def pid(self, port: int) -> int:
        self.port = port
        stand(port, "in")
        return os.getpid()


@app.function(min_containers=1, scaledown_window=2)
def kept(port: int) -> int:
    return os.getpid()


@app.function()
def at_gate(port: int, name: str) -> str:
    return stand(port, name)


@app.function()
def quick(i: int) -> int:
    return i


@app.function()
@byoc.concurrent(max_inputs=8)
def together(port: int, i: int) -> int:
    stand(port, "together")
    return os.getpid()


@app.function()
@byoc.batched(max_batch_size=4, wait_ms=2000)
def batch(xs: list[int]) -> list[int]:
    return [len(xs)] * len(xs)


@app.function(single_use_containers=True)
def once(i: int) -> int:
    return os.getpid()


@app.function(cpu=2)
def greedy(port: int, name: str) -> str:
    return stand(port, name)


@app.function(cpu=2)
def other(i: int) -> int:
    return i


@app.function()
def sometimes(port: int, i: int, slow: int) -> int:
    if i == slow:
        stand(port, "slow")
    return i


@app.function()
def sleeps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.function()
def ahead(port: int, n: int):
    with socket.create_connection(("127.0.0.1", port)) as line:
        for i in range(n):
            line.sendall(b".")
            yield i
