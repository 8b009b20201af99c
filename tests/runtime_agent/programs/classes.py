"""Classes with hooks, and functions that run many inputs together."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import byoc

app = byoc.App("classes")


@app.cls()
class Model:
    """Everything asynchronous in it must share one loop."""

    size: int = byoc.parameter(default=3)

    @byoc.enter()
    async def second(self):
        self.log.append("async")
        self.loop = asyncio.get_running_loop()
        self.ticks = 0
        self.ticker = asyncio.ensure_future(self.tick())

    @byoc.enter(snap=True)
    def first(self):
        self.log = ["snap"]
        self.main = threading.current_thread() is threading.main_thread()

    async def tick(self):
        while True:
            await asyncio.sleep(0.001)
            self.ticks += 1

    @byoc.method()
    def report(self):
        return self.log, self.size, self.main

    @byoc.method()
    async def same_loop(self):
        return asyncio.get_running_loop() is self.loop

    @byoc.method()
    def ticked(self):
        return self.ticks

    @byoc.method()
    def runs_its_own_loop(self):
        return asyncio.run(asyncio.sleep(0, "mine"))

    @byoc.method()
    def count(self, n):
        yield from range(n)

    @byoc.exit()
    async def leave(self):
        assert asyncio.get_running_loop() is self.loop
        print("left after", self.log, flush=True)


@app.cls()
class Failing:
    @byoc.enter()
    def enter(self):
        raise LookupError("no model here")

    @byoc.exit()
    def exit(self):
        print("must not run", flush=True)

    @byoc.method()
    def call(self):
        return 1


@app.cls()
class Endless:
    @byoc.enter()
    def enter(self):
        while True:
            pass

    @byoc.method()
    def call(self):
        return 1


class Base:
    @byoc.exit()
    def first(self):
        print("exit first", flush=True)
        raise LookupError("the first hook failed")


@app.cls()
class Leaving(Base):
    @byoc.method()
    def call(self):
        return 1

    @byoc.method()
    def sleep(self):
        print("asleep", flush=True)
        time.sleep(1000)

    @byoc.exit()
    def slow(self):
        time.sleep(0.3)
        print("exit slow", flush=True)

    @byoc.exit()
    def third(self):
        print("exit third", flush=True)


@app.cls()
class Stubborn:
    @byoc.method()
    def call(self):
        return 1

    @byoc.exit()
    def leave(self):
        print("leaving", flush=True)
        time.sleep(1000)


# --- several at once --------------------------------------------------------------------------

barrier = threading.Barrier(4)
running = 0
most = 0


def ids():
    return byoc.current_input_id(), byoc.current_function_call_id()


def meet(seconds):
    """Returns only when four are here at once."""
    before = ids()
    barrier.wait(10)
    time.sleep(seconds)
    assert ids() == before
    return before, threading.current_thread() is threading.main_thread()


async def gather(seconds):
    """The same on a loop."""
    global running, most  # noqa: PLW0603 - it is what is tested
    running += 1
    most = max(most, running)
    while most < 4:  # noqa: ASYNC110 - any loop may be the one that waits
        await asyncio.sleep(0.001)
    before = ids()
    await asyncio.sleep(seconds)
    assert ids() == before
    assert await asyncio.get_running_loop().run_in_executor(None, lambda: None) is None
    running -= 1
    where = threading.current_thread() is threading.main_thread()
    return before, where, id(asyncio.get_running_loop())


def at_most(seconds):
    """How many ran at once at the worst moment so far."""
    global running, most  # noqa: PLW0603 - it is what is tested
    running += 1
    most = max(most, running)
    time.sleep(seconds)
    running -= 1
    return most


def nap(seconds):
    print("naps", flush=True)
    time.sleep(seconds)
    return seconds


async def doze(seconds):
    print("dozes", flush=True)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print("cancelled", ids()[0], flush=True)
        raise
    return seconds


def returns_later(value):
    async def work():
        await asyncio.sleep(0.01)
        return value, ids()[0]

    return work()


async def count_slowly(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


@app.cls()
class Mixed:
    @byoc.method()
    def meet(self):
        barrier.wait(10)
        return threading.current_thread() is threading.main_thread()

    @byoc.method()
    async def meet_later(self):
        await asyncio.get_running_loop().run_in_executor(None, barrier.wait)
        return threading.current_thread() is threading.main_thread()


def dies(how):
    time.sleep(0.05)
    os._exit(7)


# --- by the batch -----------------------------------------------------------------------------


def double(xs):
    """Says how many came together."""
    assert isinstance(xs, list)
    return [(2 * x, len(xs)) for x in xs]


async def double_later(xs):
    await asyncio.sleep(0.001)
    return [(2 * x, len(xs)) for x in xs]


def named(xs, ys=None, *, z=None):
    return [
        (x, y, zz, len(xs))
        for x, y, zz in zip(xs, ys or [None] * 99, z or [None] * 99, strict=False)
    ]


def too_few(xs):
    return xs[1:]


def no_list(xs):
    return tuple(xs)


def fails(xs):
    raise LookupError("all of %d" % len(xs))


def partly_locked(xs):
    return [threading.Lock() if x == 2 else x for x in xs]


def meet_by_batch(xs):
    barrier.wait(10)
    return [len(xs)] * len(xs)


def sleep_by_batch(xs):
    print("naps\n" * len(xs), end="", flush=True)
    time.sleep(max(xs))
    return xs


@app.cls()
class Batched:
    @byoc.batched(max_batch_size=4, wait_ms=50)
    def double(self, xs):
        return [(2 * x, len(xs)) for x in xs]
