"""Functions that do what no function should, one container each."""

import contextlib
import ctypes
import gc
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import byoc

app = byoc.App("hostile")
MIB = 1024 * 1024
PROCESSES = 1500
"""More than a container may have; forked from as many tokens, so that there are never more."""


class Odd(BaseException):
    """Not an Exception."""


class Mute(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Liar(Exception):
    """Says that it is made in a way in which it cannot be."""

    def __reduce__(self) -> Any:
        return (Liar._never, (), {})

    @staticmethod
    def _never() -> None:
        raise RuntimeError("never made")


class Impostor(Exception):
    """Says that it is a number."""

    def __reduce__(self) -> Any:
        return int, (7,)


class Endless:
    """Its pickle has no end."""

    def __reduce__(self) -> Any:
        return Endless, (), {"more": Endless()}


class Loud(Exception):
    """Whatever is done with it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise Odd("hands off")


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def recurse(n: int) -> int:
    return recurse(n + 1) + 1


def overflow() -> Any:
    sys.setrecursionlimit(10**9)

    def deeper(depth: int) -> Any:
        return [depth, *map(deeper, [depth + 1])]

    return deeper(0)


def allocate() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (2048 * MIB, resource.RLIM_INFINITY))
    try:
        return len(bytearray(8192 * MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def raises(error: BaseException) -> None:
    raise error


FAILS: dict[str, Any] = {
    "sys.exit": lambda: sys.exit(3),
    "sys.exit in a thread": lambda: [threading.Thread(target=sys.exit).start(), sys.exit(4)],
    "quit": lambda: os._exit(7),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "no memory": allocate,
    "close all": lambda: [os.closerange(0, 4096), time.sleep(0.1)],
    "recursion": lambda: recurse(0),
    "stack": overflow,
    "odd": lambda: raises(Odd("base")),
    "interrupt": lambda: raises(KeyboardInterrupt()),
    "generator exit": lambda: raises(GeneratorExit()),
    "stop": lambda: raises(StopIteration("enough")),
    "mute": lambda: raises(Mute("x")),
    "liar": lambda: raises(Liar("truth")),
    "impostor": lambda: raises(Impostor("seven")),
    "loud": lambda: raises(Loud()),
    "group of odd": lambda: raises(group()),
    "a lock": threading.Lock,
    "a frame": sys._getframe,
    "a generator": lambda: (n for n in range(3)),
    "endless pickle": Endless,
    "deep value": lambda: nested(100_000),
    "raise unpicklable": lambda: raises(ValueError(threading.Lock())),
    "chain": lambda: chained(500),
}
"""What ends in an error."""


def group() -> BaseException:
    """Two exceptions in one, one of which is no Exception; before 3.11 something like it."""
    if sys.version_info >= (3, 11):
        return BaseExceptionGroup("two", [Odd("a"), ValueError("b")])  # noqa: F821
    return SystemExit("raised BaseExceptionGroup")


def chained(length: int) -> None:
    """Raises an exception with a long chain of causes."""
    error: Exception = ValueError("first")
    for n in range(length):
        last, error = error, KeyError(n)
        error.__cause__ = last
    raise error


@app.function(max_containers=1, timeout=20)
def fails(how: str) -> Any:
    return FAILS[how]()


@app.function(max_containers=1)
def fine(n: int) -> int:
    return n + 1


# --- what has to work ------------------------------------------------------------------------


class Broken:
    """An output that cannot be written to."""

    def write(self, text: str) -> int:
        raise RuntimeError("no writing")

    def flush(self) -> None:
        raise RuntimeError("no flushing")


def no_output() -> None:
    sys.stdout = sys.stderr = None  # type: ignore[assignment]


def broken_output() -> None:
    sys.stdout = sys.stderr = Broken()  # type: ignore[assignment]


def closed_output() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            stream.close()


def closed_stdio() -> None:
    os.closerange(0, 3)


def redirected_stdio() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def all_signals() -> None:
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)


def blocked_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def removed_folder() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def no_source() -> None:
    os.chdir("/tmp")
    os.remove(__file__)


def threads() -> None:
    for daemon in (False, True):
        threading.Thread(target=time.sleep, args=(1000,), daemon=daemon).start()


def no_limits() -> None:
    gc.disable()
    sys.setrecursionlimit(10**9)


def no_modules() -> None:
    for name in list(sys.modules):
        if name not in ("sys", "builtins"):
            del sys.modules[name]
    sys.path.clear()


def tiny_limits() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def hooks_that_raise() -> None:
    sys.excepthook = sys.unraisablehook = sys.displayhook = None  # type: ignore[assignment]
    threading.excepthook = None  # type: ignore[assignment]
    sys.settrace(lambda *_: raises(Odd("trace")))  # type: ignore[arg-type,return-value]


def an_alarm() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)


WORKS: dict[str, Any] = {
    "no output": no_output,
    "broken output": broken_output,
    "closed output": closed_output,
    "closed stdio": closed_stdio,
    "redirected stdio": redirected_stdio,
    "all signals": all_signals,
    "blocked signals": blocked_signals,
    "removed folder": removed_folder,
    "no environment": os.environ.clear,
    "threads": threads,
    "no limits": no_limits,
    "no modules": no_modules,
    "tiny limits": tiny_limits,
    "an alarm": an_alarm,
}
"""What a container has to live with."""


@app.function(max_containers=1, timeout=20, single_use_containers=True)
def works_once(how: str, n: int) -> int:
    return works.local(how, n)


@app.function(max_containers=1, timeout=20)
def works(how: str, n: int) -> int:
    if how:
        WORKS[how]()
    return n + 1


@app.function(max_containers=1, timeout=20)
def sized(data: bytes, how: str = "") -> int:
    if how:
        WORKS[how]()
    return len(data)


@app.function(max_containers=1, timeout=20)
def without_source(n: int) -> int:
    no_source()
    return n + 1


# --- what takes too much ---------------------------------------------------------------------


@app.function(max_containers=1, timeout=2)
def deaf() -> None:
    """Blocks, ignores and swallows, and goes on for ever."""
    all_signals()
    blocked_signals()
    while True:
        with contextlib.suppress(BaseException):
            while True:
                pass


@app.function(max_containers=1, memory=(64, 300), timeout=30)
def hoards(mib: int) -> int:
    data = mmap.mmap(-1, mib * MIB)
    for at in range(0, len(data), mmap.PAGESIZE):
        data[at] = 1
    return mib


@app.function(max_containers=1, timeout=60)
def bomb(own_sessions: bool) -> None:
    tokens, more = os.pipe()
    os.write(more, bytes(PROCESSES))
    os.close(more)
    while os.read(tokens, 1):
        if os.fork() == 0 and own_sessions:
            os.setsid()
    while True:
        signal.pause()


@app.function(max_containers=1, timeout=300)
def floods(mib: int) -> int:
    block = (b"x" * 127 + b"\n") * 8192
    for _ in range(mib):
        sys.stdout.buffer.write(block)
    return mib


@app.function(max_containers=1, timeout=120)
def blob(size: int) -> Any:
    return bytes(size)


@app.function(max_containers=1)
def endless() -> Iterator[int]:
    n = 0
    while True:
        with contextlib.suppress(Exception):
            yield n
        n += 1


@app.function(max_containers=1)
def flood_of_values() -> Iterator[bytes]:
    while True:
        yield bytes(MIB)


@app.function(max_containers=1)
def daemons(word: str) -> int:
    """Leaves processes behind that cut their ties; ``word`` is on their command line."""
    if word in ("quit", "kill"):
        FAILS[word]()
    code = "import os, sys, time\nif os.fork(): os._exit(0)\nos.setsid()\n"
    code += "if os.fork(): os._exit(0)\nos.closerange(0, 256)\ntime.sleep(1000)"
    subprocess.run([os.path.realpath(sys.executable), "-c", code, word], check=True, env={})
    subprocess.Popen(["sh", "-c", "sleep 1000; exit 1", word], start_new_session=True)
    return os.getpid()


def source() -> Path:
    """This file."""
    return Path(__file__)
