"""Functions that call functions."""

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import byoc
from byoc import exception

app = byoc.App("nested")


def stand(port: int, name: str) -> str:
    """Report at the gate and wait there."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"{name}\n".encode())
        line.recv(1)
    return name


@app.function()
def at_gate(port: int, name: str) -> str:
    return stand(port, name)


@app.function(timeout=20)
def fib(n: int) -> int:
    return n if n < 2 else fib.remote(n - 1) + fib.remote(n - 2)


@app.function(max_containers=1)
def double(x: int) -> int:
    return 2 * x


@app.function()
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.function()
def every_way(n: int) -> dict[str, Any]:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(double.remote(n)))
    thread.start()
    thread.join()
    return {
        "remote": double.remote(n),
        "map": list(double.map(range(n))),
        "starmap": list(double.starmap((i,) for i in range(n))),
        "gen": list(count.remote_gen(n * 50)),
        "spawn": double.spawn(n).get(),
        "thread": found[0],
    }


@app.function()
async def every_way_later(n: int) -> list[Any]:
    made = [2 * i async for i in count.remote_gen.aio(n)]
    return [await double.remote.aio(n), [x async for x in double.map.aio(range(n))], made]


@app.function()
def fails() -> None:
    raise LookupError("inside")


@app.function()
def dies() -> None:
    os._exit(9)


@app.function()
def catches() -> list[str]:
    caught = []
    for one in (fails, dies):
        try:
            one.remote()
        except (LookupError, exception.Error) as error:
            caught.append(f"{type(error).__name__}: {error}")
    return caught


@app.function()
def passes_on() -> None:
    fails.remote()


@app.function(timeout=2)
def waits_for(port: int, name: str) -> str:
    return at_gate.remote(port, name)


@app.function()
def spawns(port: int, name: str) -> str:
    return at_gate.spawn(port, name).object_id


@app.function()
def result_of(ident: str) -> Any:
    return byoc.FunctionCall.from_id(ident).get()


@app.function(timeout=3, max_containers=1)
def alone(n: int) -> int:
    return 0 if n == 0 else alone.remote(n - 1)


@app.function()
def big(n: int) -> int:
    return len(echo.remote(b"x" * n))


@app.function()
def echo(value: Any) -> Any:
    return value
