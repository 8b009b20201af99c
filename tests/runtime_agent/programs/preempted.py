"""Functions and classes with hooks for the machine's last moments."""

from __future__ import annotations

import asyncio
import threading
import time

import byoc

app = byoc.App("preempted")
told = threading.Event()
seen = []


def note(preemption):
    seen.append(preemption)
    thread = threading.current_thread().name
    print("hook of", preemption.instance_id, preemption.cloud, "in", thread)
    told.set()


@app.function(on_preempt=note)
def wait(seconds):
    """Ends when its hook has run, beside it."""
    return told.wait(seconds)


@app.function(on_preempt=note)
def busy(seconds):
    """In Python code all the time."""
    until = time.monotonic() + seconds
    while not seen and time.monotonic() < until:
        pass
    return len(seen)


@app.function(on_preempt=told.set)
def without_arguments(seconds):
    return told.wait(seconds)


async def later():
    await asyncio.sleep(0.01)
    told.set()


@app.function(on_preempt=later)
def with_async_hook(seconds):
    """The hook's loop is its own, since none runs here."""
    return told.wait(seconds)


def broken(preemption):
    try:
        raise ValueError("the disk is full")
    finally:
        told.set()


@app.function(on_preempt=broken)
def with_broken_hook(seconds):
    return told.wait(seconds)


def slow(preemption):
    print("slow hook begins", flush=True)
    time.sleep(preemption.seconds / 2)
    print("slow hook ends", flush=True)


@app.function(on_preempt=slow)
def idle():
    return "done"


def endless(preemption):
    print("endless hook begins", flush=True)
    threading.Event().wait()


@app.function(on_preempt=endless)
def with_endless_hook():
    return "done"


@app.function()
def without_hook(seconds):
    time.sleep(seconds)
    return "done"


@app.cls()
class Trainer:
    """State that a hook reads, on the loop that the state lives on."""

    @byoc.enter()
    async def load(self):
        self.loop = asyncio.get_running_loop()
        self.saved = asyncio.Event()
        self.step = 0

    @byoc.method()
    async def train(self, seconds):
        for self.step in range(1, 1_000_000):
            if self.step == 2:
                print("training", flush=True)
            try:
                await asyncio.wait_for(self.saved.wait(), 0.01)
            except asyncio.TimeoutError:
                seconds -= 0.01
                if seconds < 0:
                    return "never told"
            else:
                return "told"
        return "never"

    @byoc.on_preempt()
    async def save(self, preemption: byoc.Preemption):
        assert asyncio.get_running_loop() is self.loop
        print("saved at a step:", self.step > 0, "with time left:", preemption.left > 0)
        self.saved.set()

    @byoc.exit()
    def close(self):
        print("closed after the hook:", self.saved.is_set())


class Base:
    @byoc.on_preempt()
    def first(self):
        print("first")


@app.cls()
class Derived(Base):
    @byoc.method()
    def step(self):
        return 1

    @byoc.on_preempt()
    def second(self):
        print("second")
