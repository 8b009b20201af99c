"""Functions of every kind, each with an answer that can be checked."""

import asyncio
import time
from collections.abc import Iterator

import byoc

app = byoc.App("storm")


@app.function(max_containers=3)
def square(n: int) -> int:
    time.sleep(0.002 * (n % 5))
    return n * n


@app.function(max_containers=2, retries=3)
def persistent(n: int) -> int:
    time.sleep(0.01)
    return n + 1


@app.function(max_containers=2)
def outer(n: int) -> int:
    return square.remote(n) + sum(square.map(range(n % 4)))


@app.function(max_containers=2)
def counts(n: int) -> Iterator[int]:
    for i in range(n):
        time.sleep(0.001)
        yield i


@app.function(max_containers=1)
@byoc.concurrent(max_inputs=8)
async def together(n: int) -> int:
    await asyncio.sleep(0.01)
    return -n


@app.function(max_containers=1)
@byoc.batched(max_batch_size=8, wait_ms=5)
def by_batch(numbers: list[int]) -> list[int]:
    time.sleep(0.005)
    return [n * 3 for n in numbers]


@app.function(max_containers=1)
def large(data: bytes) -> bytes:
    return data[::-1]
