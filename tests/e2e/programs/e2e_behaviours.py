"""One program that uses everything that a user who comes from Modal relies on."""

import asyncio
import contextvars
import os
import sys
import threading
import time

import byoc

image = byoc.Image.debian_slim().env({"FROM_IMAGE": "yes"})
app = byoc.App("behaviours", image=image, secrets=[byoc.Secret.from_dict({"LEVEL": "app"})])

IMPORTED_WITH = dict(os.environ)
WHERE = "local" if byoc.is_local() else "remote"

with image.imports():
    import colorsys  # there on both sides

    ONLY_REMOTE = colorsys.rgb_to_hsv(1, 0, 0)[2]


class Refused(Exception):
    """A user's own exception, with an attribute and a constructor of its own."""

    def __init__(self, reason, code):
        super().__init__(f"{reason} ({code})")
        self.reason = reason
        self.code = code


@app.function()
def add(a, b=10):
    return a + b


@app.function()
def refuse(reason):
    error = Refused(reason, 7)
    if hasattr(error, "add_note"):
        error.add_note("written far away")
    raise error from KeyError("the cause")


@app.function(max_containers=1)
def ids(_=0):
    return os.getpid(), byoc.current_input_id(), byoc.current_function_call_id()


@app.function()
def about():
    return {
        "name": __name__,
        "file": __file__,
        "where": WHERE,
        "cwd": os.getcwd(),
        "path0": sys.path[0],
        "main_thread": threading.current_thread() is threading.main_thread(),
        "environ": dict(os.environ),
    }


@app.function(secrets=[byoc.Secret.from_dict({"LEVEL": "function", "TOKEN": "t"})], env={"X": "1"})
def variables():
    names = ("LEVEL", "TOKEN", "X", "FROM_IMAGE")
    return [IMPORTED_WITH.get(name) for name in names]


@app.function(timeout=1, startup_timeout=60)
def sleep_for(seconds):
    time.sleep(seconds)
    return seconds


@app.function(timeout=1, retries=2)
def quick_at_last(folder):
    """Hangs at its first two attempts."""
    tried = len(os.listdir(folder))
    open(os.path.join(folder, str(tried)), "w").close()
    if tried < 2:
        time.sleep(60)
    return tried


@app.function(retries=byoc.Retries(max_retries=3, initial_delay=0.0, backoff_coefficient=1.0))
def third_time(folder, key):
    path = os.path.join(folder, key)
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise ValueError(f"{key} not yet")
    return key


@app.function()
def maybe(n, bad=-1):
    if n == bad:
        raise ValueError(f"{n} is bad")
    return n


@app.function()
def slow_then(n):
    time.sleep(0.4 if n == 0 else 0.0)
    if n == 5:
        raise ValueError("five")
    return n


@app.function()
def count_to(n):
    yield from range(n)


@app.function()
async def count_later(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


@app.function()
async def add_later(a, b):
    await asyncio.sleep(0.001)
    return a + b


# --- classes ----------------------------------------------------------------------------------


class Base:
    @byoc.enter()
    def first(self):
        self.steps = ["base"]


@app.cls(max_containers=1)
class Model(Base):
    size: int = byoc.parameter(default=3)
    label: str = byoc.parameter(default="none")

    @byoc.enter(snap=True)
    def before_all(self):
        self.early = True

    @byoc.enter()
    async def then(self):
        self.steps.append(f"model-{self.size}")
        self.loop = asyncio.get_running_loop()
        self.calls = 0

    @byoc.method()
    def describe(self):
        self.calls += 1
        return os.getpid(), self.size, self.label, list(self.steps), self.calls

    @byoc.method()
    async def same_loop(self):
        return self.loop is asyncio.get_running_loop()

    @byoc.method()
    def numbers(self):
        yield from range(self.size)

    @byoc.method()
    def both(self, x):
        return self.twice.local(x) + self.plain(x)

    @byoc.method()
    def twice(self, x):
        return 2 * x

    def plain(self, x):
        return x


@app.cls(scaledown_window=2)
class Leaves:
    folder: str = byoc.parameter()

    @byoc.enter()
    def come(self):
        self._note("enter")

    @byoc.method()
    def where(self):
        return os.getpid()

    @byoc.exit()
    def leave(self):
        self._note("exit")

    def _note(self, word):
        with open(os.path.join(self.folder, "notes"), "a") as file:
            file.write(f"{word} {os.getpid()}\n")


# --- many inputs at once ----------------------------------------------------------------------

together = contextvars.ContextVar("together", default=0)
now = {"inside": 0, "most": 0}
lock = threading.Lock()


def comes_in():
    with lock:
        now["inside"] += 1
        now["most"] = max(now["most"], now["inside"])


def goes_out():
    with lock:
        now["inside"] -= 1


@app.function(max_containers=1)
@byoc.concurrent(max_inputs=8)
def in_threads(n):
    comes_in()
    time.sleep(0.1)
    goes_out()
    return n, now["most"], threading.current_thread().name, byoc.current_input_id(), os.getpid()


@app.function(max_containers=1)
@byoc.concurrent(max_inputs=8, target_inputs=4)
async def on_one_loop(n):
    comes_in()
    mine = byoc.current_input_id()
    await asyncio.sleep(0.1)
    goes_out()
    same = mine == byoc.current_input_id() == await asyncio.to_thread(byoc.current_input_id)
    return n, now["most"], threading.current_thread() is threading.main_thread(), same, mine


@app.function(max_containers=1)
@byoc.batched(max_batch_size=4, wait_ms=200)
def batch(xs, factor):
    return [(x * f, len(xs)) for x, f in zip(xs, factor)]  # noqa: B905 - for Python 3.8 too


@app.function(max_containers=1)
@byoc.batched(max_batch_size=4, wait_ms=50)
def wrong_length(xs):
    return xs[:-1]


# --- functions that call functions ------------------------------------------------------------


@app.function()
def sum_of_squares(n):
    return sum(square.map(range(n)))


@app.function()
def square(x):
    return x * x


@app.function()
def fib(n):
    return n if n < 2 else fib.remote(n - 1) + fib.remote(n - 2)


@app.function()
async def gathers(n):
    return sum(await asyncio.gather(*[square.remote.aio(i) for i in range(n)]))


@app.function()
def passes_on(function, x):
    return function.remote(x)


@app.function()
def catches():
    try:
        refuse.remote("nested")
    except Refused as error:
        return error.reason, error.code
    return None


@app.function()
def spawns(x):
    return square.spawn(x)


@app.function()
def fetches(call_id):
    return byoc.FunctionCall.from_id(call_id).get(timeout=30)


@app.function()
def uses_class(size):
    return Model(size=size).describe.remote()[1]


@app.function()
def streams(n):
    return list(count_to.remote_gen(n))


# --- old names --------------------------------------------------------------------------------


def old_style(app):
    """What programs of older Modal versions say."""

    @app.function(
        concurrency_limit=2,
        container_idle_timeout=60,
        keep_warm=0,
        allow_concurrent_inputs=3,
        serialized=True,
    )
    def old(x):
        return x + 1

    return old


# --- hostile ----------------------------------------------------------------------------------


@app.function(max_containers=1)
def hostile(how):
    import ctypes
    import signal

    if how == "exit":
        sys.exit(3)
    elif how == "os_exit":
        os._exit(4)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "recursion":

        def deeper(n):
            return deeper(n + 1)

        deeper(0)
    elif how == "close":
        os.close(0), os.close(1), os.close(2)
        sys.stdout.close()
    elif how == "lambda":
        return lambda: 1
    elif how == "lock":
        return threading.Lock()
    elif how == "flood":
        line = "x" * 1000 + "\n"
        for _ in range(20_000):
            sys.stdout.write(line)
    elif how == "thread":
        threading.Thread(target=time.sleep, args=(3600,)).start()
    elif how == "keyboard":
        raise KeyboardInterrupt
    return how


@app.function()
def size_of(data):
    return len(data)


@app.function()
def make(size):
    return bytearray(size)


@app.local_entrypoint()
def main(n: int = 3, word: str = "w", flag: bool = False):
    print("sum", sum_of_squares.remote(n), word, flag)
