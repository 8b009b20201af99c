"""Calls that are not waited for at once: spawn, and the .aio twins.

byoc run examples/async_calls.py
"""

import asyncio
import time

import byoc

app = byoc.App("async-calls")


@app.function()
def slow_square(x: int) -> int:
    time.sleep(0.2)
    return x * x


@app.function()
async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@app.function()
def collect(call_id: str) -> int:
    """Any function of the run can ask for a call by its id."""
    return byoc.FunctionCall.from_id(call_id).get(timeout=30)


@app.local_entrypoint()
async def main() -> None:
    call = await slow_square.spawn.aio(3)
    try:
        await call.get.aio(timeout=0)
    except TimeoutError:  # the builtin one
        print("spawned: not there yet")
    print("spawned:", await call.get.aio())
    print("by its id:", await collect.remote.aio(call.object_id))

    calls = [await slow_square.spawn.aio(x) for x in range(3)]
    print("gathered:", await byoc.FunctionCall.gather.aio(*calls))
    print("awaited:", await asyncio.gather(*[add.remote.aio(1, x) for x in range(3)]))
    print("mapped:", [x async for x in add.map.aio(range(3), [10, 10, 10])])

    long = await slow_square.spawn.aio(4)
    await long.cancel.aio()
    try:
        await long.get.aio()
    except byoc.exception.RemoteError as error:
        print("cancelled:", error)
