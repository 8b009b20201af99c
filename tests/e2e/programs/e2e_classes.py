"""Classes as users write them: state, hooks, parameters, calls between objects."""

import asyncio
import os
import threading

import byoc

app = byoc.App("classes")


class Base:
    @byoc.enter()
    def base_first(self):
        self.order = ["base"]

    @byoc.method()
    def where(self):
        return os.getpid()


@app.cls(max_containers=1, env={"FLAVOUR": "sweet"})
class Counter(Base):
    """Counts from ``start``."""

    start: int = byoc.parameter(default=0)
    unit: str = byoc.parameter(default="")
    blob: bytes = byoc.parameter(default=b"")

    @byoc.enter(snap=True)
    def early(self):
        self.early = True

    @byoc.enter()
    def come(self):
        self.order.append("counter")
        self.value = self.start

    @byoc.method()
    def add(self, n: int = 1):
        self.value += n
        return self.value

    @byoc.method()
    async def add_later(self, n):
        await asyncio.sleep(0)
        return self.add(n)

    @byoc.method()
    def steps(self, n):
        for _ in range(n):
            yield self.add()

    @byoc.method()
    async def steps_later(self, n):
        for _ in range(n):
            yield self.add()

    @byoc.method()
    def about(self):
        thread = threading.current_thread() is threading.main_thread()
        flavour = os.environ.get("FLAVOUR")
        return self.order, self.early, self.unit, self.blob, flavour, thread

    @byoc.method()
    def fails(self):
        raise KeyError(self.unit)

    @byoc.method()
    def through_another(self, n):
        """Another object of the same class, so other containers."""
        return Counter(start=100).add.remote(n), self.add.local(0), self.add(0)


@app.cls(max_containers=2)
class Self:
    @byoc.method()
    def outer(self, n):
        """Its own object's containers, another one of which answers."""
        return self.inner.remote(n), os.getpid()

    @byoc.method()
    def inner(self, n):
        return n, os.getpid()


@app.cls(max_containers=1)
@byoc.concurrent(max_inputs=4)
class Together:
    @byoc.enter()
    def come(self):
        self.barrier = threading.Barrier(4)

    @byoc.method()
    def meet(self, n):
        self.barrier.wait(30)
        return n, byoc.current_input_id()


@app.cls(max_containers=1)
class Batches:
    @byoc.batched(max_batch_size=4, wait_ms=300)
    async def squares(self, xs):
        return [(x * x, len(xs)) for x in xs]


@app.cls()
class NoStart:
    @byoc.enter()
    def come(self):
        raise OSError("no model here")

    @byoc.method()
    def never(self):
        return 1


@app.cls(scaledown_window=2)
class Ends:
    folder: str = byoc.parameter()

    @byoc.method()
    def touch(self):
        return os.getpid()

    @byoc.exit()
    async def leave(self):
        await asyncio.to_thread(self.note)

    def note(self):
        with open(os.path.join(self.folder, "left"), "w") as file:
            file.write(str(os.getpid()))


@app.function()
def uses(counter, n):
    """Takes an object as an argument."""
    return counter.add.remote(n)


@app.function()
def makes(start):
    """Gives an object back."""
    return Counter(start=start)


@app.function()
def maps(n):
    return list(Counter(start=1000).add.map([0] * n))
