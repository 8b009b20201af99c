"""Functions of every kind, in one plain file."""

import array
import asyncio
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import byoc

HERE = Path(__file__).parent
SEEN_AT_IMPORT = {name: os.environ.get(name) for name in ("E2E_TOKEN", "E2E_WORD")}

carrying = (
    byoc.Image.debian_slim()
    .env({"E2E_PLACE": "image", "E2E_WORD": "image"})
    .add_local_file(HERE / "parcel" / "greeting.txt", "/root/one.txt")
    .add_local_dir(HERE / "parcel", "/root/parcel")
    .add_local_dir(HERE / "parcel", "/root", ignore=["*.txt"])
    .add_local_python_source("e2e_helper")
)
with carrying.imports():
    import e2e_helper
    import only_remote

app = byoc.App("e2e", secrets=[byoc.Secret.from_dict({"E2E_TOKEN": "app's", "E2E_WORD": "app"})])


@app.function()
def add(a: int, b: int = 10) -> int:
    return a + b


@app.function()
async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@app.function()
def echo(value: Any) -> Any:
    return value


@app.function()
def steps(n: int) -> Iterator[int]:
    for i in range(n):
        yield i * i


@app.function()
async def steps_later(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i * i


@app.function()
def endless() -> Iterator[int]:
    yield os.getpid()
    while True:
        time.sleep(0.01)


@app.function()
def breaks_off(n: int) -> Iterator[int]:
    yield from range(n)
    raise ArithmeticError("no more")


@app.function(timeout=1, max_containers=1)
def pid_or_hang(hang: bool) -> int:
    while hang:
        time.sleep(0.01)
    return os.getpid()


@app.function(retries=byoc.Retries(max_retries=3, initial_delay=0.0), max_containers=1)
def third_time(name: str) -> int:
    tries = Path(f"/tmp/tries-{name}")
    count = int(tries.read_text()) + 1 if tries.exists() else 1
    tries.write_text(str(count))
    if count < 3:
        raise ConnectionError(f"try {count}")
    return count


@app.function(retries=byoc.Retries(max_retries=1, initial_delay=0.0))
def never() -> None:
    raise ConnectionError("always")


@app.function(
    image=carrying,
    secrets=[byoc.Secret.from_dict({"E2E_TOKEN": "function's"})],
    env={"E2E_LAST": "env"},
)
def surroundings() -> dict[str, Any]:
    names = ("E2E_TOKEN", "E2E_WORD", "E2E_PLACE", "E2E_LAST", "BYOC_IS_REMOTE")
    return {"now": {n: os.environ.get(n) for n in names}, "at import": SEEN_AT_IMPORT}


@app.function(image=carrying)
def brought_along() -> dict[str, str]:
    return {
        "file": Path("one.txt").read_text(),
        "folder": Path("parcel/greeting.txt").read_text(),
        "left out": str(Path("greeting.txt").exists()),
        "module": e2e_helper.shout("hey"),
        "import": only_remote.WORD,
    }


class PickyError(ValueError):
    """Its constructor takes other arguments than it gives to its base."""

    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code
        self.why = why

    def __reduce__(self) -> Any:
        return _picky, (self.code, self.why), self.__dict__


def _picky(code: int, why: str) -> PickyError:
    return PickyError(code, why=why)


def deep(level: int) -> None:
    if not level:
        error = PickyError(42, why="too deep")
        error.extra = {"level": level}  # type: ignore[attr-defined]
        if sys.version_info >= (3, 11):
            error.add_note("look at the bottom")
        raise error from KeyError("the cause")
    deep(level - 1)


@app.function()
def raises(level: int) -> None:
    deep(level)


class StuckError(Exception):
    """Holds what no pickle takes along."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


@app.function()
def raises_what_cannot_travel() -> None:
    raise StuckError("cannot leave")


@app.function()
def raises_a_local_class() -> None:
    class LocalError(Exception):
        pass

    raise LocalError("defined over there")


@app.function()
def returns_a_socket() -> Any:
    return socket.socket()


@app.function()
def ends_itself(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how == "sys.exit":
        sys.exit("the function wants to stop")
    os.kill(os.getpid(), signal.SIGSEGV)


@app.function()
def says(n: int) -> int:
    print(f"out {n}")
    print(f"err {n}", file=sys.stderr)
    os.write(1, b"raw %d\n" % n)
    return n


@app.function(max_containers=2)
def chatters(port: int, name: str, lines: int) -> None:
    at_gate.local(port, name)
    for i in range(lines):
        print(name * 20, "line", i)


@app.function()
def weigh(value: Any) -> tuple[str, int, str]:
    view = memoryview(value)
    return type(value).__name__, view.nbytes, hashlib.sha256(view).hexdigest()


@app.function()
def make(kind: str, size: int) -> Any:
    data = bytes(range(256)) * (size // 256)
    return {"bytes": bytes, "bytearray": bytearray, "array": lambda d: array.array("B", d)}[kind](
        data
    )


@app.function()
def fails_on(n: int, bad: int) -> int:
    if n == bad:
        raise ValueError(f"{n} is bad")
    return n


@app.function()
def at_gate(port: int, name: str) -> str:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"{name}\n".encode())
        line.recv(1)
    return name
