"""Generators: values arrive while the function still runs.

byoc run examples/streaming.py
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import byoc

app = byoc.App("streaming")


@app.function()
def tokens(text: str) -> Iterator[str]:
    for word in text.split():
        yield word.upper()


@app.function()
async def ticks(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0.01)
        yield i


@app.function()
def endless() -> Iterator[int]:
    try:
        yield from itertools.count()
    finally:
        print("endless() was closed", flush=True)


@app.function()
def total(n: int) -> int:
    """A function that calls another one, which streams to it."""
    return sum(ticks.remote_gen(n))


async def both(n: int) -> list[tuple[int, ...]]:
    """Two streams at once, on one event loop."""

    async def collect() -> tuple[int, ...]:
        return tuple([tick async for tick in ticks.remote_gen.aio(n)])

    return await asyncio.gather(collect(), collect())


@app.local_entrypoint()
def main(n: int = 4) -> None:
    print("words:", *tokens.remote_gen("one by one"))
    for value in endless.remote_gen():
        if value == n:
            break
    print("broke off at:", value)
    print("from a function:", total.remote(n))
    print("two at once:", asyncio.run(both(n)))
