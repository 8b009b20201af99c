"""Functions that call other functions of their app, and functions that are interrupted."""

from __future__ import annotations

import asyncio
import threading
import time

import byoc

app = byoc.App("calling")
kept = {}


@app.function()
def other(x, y=0):
    raise AssertionError("never run here")


@app.function()
def yields(n):
    yield from range(n)


@app.function()
def one(x):
    return other.remote(x, y=1)


@app.function()
async def one_later(x):
    return await other.remote.aio(x, y=1)


@app.function()
def in_a_thread(x):
    found = []
    thread = threading.Thread(target=lambda: found.append(other.remote(x)))
    thread.start()
    thread.join()
    return found


@app.function()
def many(n):
    return list(other.map(range(n))), list(other.starmap([(1, 2)], order_outputs=False))


@app.function()
def items(n):
    total = 0
    for value in yields.remote_gen(n):
        total += value
    return total


@app.function()
def starts(x):
    kept["call"] = other.spawn(x)
    return kept["call"].object_id


@app.function()
def finds(ident):
    return byoc.FunctionCall.from_id(ident).get()


@app.function()
def drops(x):
    call = other.spawn(x)
    call.cancel()
    return "dropped"


@app.function()
def guarded(x):
    try:
        return other.remote(x)
    except LookupError as error:
        return "caught", repr(error)


def background():
    """Calls from a thread that outlives the input, while the container waits for another."""

    def work():
        time.sleep(0.05)
        kept["answer"] = other.remote(5)

    threading.Thread(target=work, daemon=True).start()
    return "started"


def answer():
    deadline = time.monotonic() + 10
    while "answer" not in kept and time.monotonic() < deadline:
        time.sleep(0.001)
    return kept["answer"]


# --- interrupted ------------------------------------------------------------------------------


def waits(what):
    """Says that it waits, and how it ended."""
    try:
        print("waits", flush=True)
        if what == "sleep":
            time.sleep(1000)
        elif what == "spin":
            while True:
                pass
        elif what == "call":
            other.remote(1)
        elif what == "thread":
            event = threading.Event()
            while not event.wait(0.5):
                pass
    except BaseException as error:
        print("ended by", type(error).__name__, flush=True)
        raise
    return what


async def waits_later(what):
    try:
        print("waits", flush=True)
        if what == "call":
            await other.remote.aio(1)
        await asyncio.sleep(1000)
    except BaseException as error:
        print("ended by", type(error).__name__, flush=True)
        raise


def yields_for_ever():
    try:
        n = 0
        while True:
            yield n
            n += 1
    finally:
        print("closed at", n, flush=True)


async def yields_for_ever_later():
    try:
        n = 0
        while True:
            yield n
            n += 1
    finally:
        print("closed at", n, flush=True)


def swallows():
    try:
        print("waits", flush=True)
        time.sleep(1000)
    except BaseException as error:  # noqa: BLE001 - it is what this is for
        return type(error).__name__
