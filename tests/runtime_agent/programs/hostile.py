"""Functions that do what ordinary ones should not."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time


def spin():
    while True:
        pass


def sleep(seconds):
    time.sleep(seconds)
    return seconds


async def sleep_later(seconds):
    await asyncio.sleep(seconds)


def leave(how):
    """Ends the process in the way named."""
    {
        "exit": lambda: sys.exit(3),
        "exit text": lambda: sys.exit("words"),
        "quit": lambda: os._exit(7),
        "quit well": lambda: os._exit(0),
        "segfault": lambda: ctypes.string_at(0),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "abort": os.abort,
        "group": lambda: os.killpg(0, signal.SIGKILL),
        "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
        "parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
    }[how]()
    return how


def exhaust():
    """Recurses until the C stack is gone."""
    sys.setrecursionlimit(10**9)
    threading.stack_size(64 * 1024)

    def deeper(depth):
        return [depth, *map(deeper, [depth + 1])]

    return deeper(0)


def close(what):
    """Closes what a container stands on; returns when it is done."""
    if what == "stdout":
        sys.stdout.close()
    elif what == "stderr":
        sys.stderr.close()
    elif what == "both descriptors":
        os.close(1)
        os.close(2)
    elif what == "no stdout":
        sys.stdout = sys.stderr = None
    elif what == "broken stdout":
        sys.stdout = sys.stderr = Broken()
    elif what == "loop":
        asyncio.get_event_loop_policy().set_event_loop(None)
    elif what == "everything":
        os.closerange(0, 256)
    return what


def fail_after(what):
    close(what)
    raise LookupError(what)


class Broken:
    def write(self, text):
        raise RuntimeError("no writing")

    def flush(self):
        raise RuntimeError("no flushing")


async def close_loop(what):
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
    return what


def close_own_loop(what):
    async def work():
        return what

    return work()


def fork(how):
    """Forks, and lets the child return, raise or exit as if it were the function."""
    pid = os.fork()
    if pid == 0:
        if how == "return":
            return "from the child"
        if how == "raise":
            raise LookupError("from the child")
        sys.exit(5)
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status)


def fork_items(n):
    """A generator whose forked child goes on yielding."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    yield from range(n)


def bomb(most):
    """Forks as often as it may, up to a limit, and leaves the children running."""
    pids = []
    while len(pids) < most:
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            signal.pause()
            os._exit(0)
        pids.append(pid)
    return pids


def children(own_session):
    """Leaves a program running that holds the container's output open."""
    program = subprocess.Popen(["sleep", "1000"], start_new_session=own_session)
    return program.pid


def flooding_child():
    """Leaves a program behind that prints for ever and is in no group of ours."""
    return subprocess.Popen(["yes"], start_new_session=True).pid


def threads():
    """Leaves a thread running that would keep an interpreter alive."""
    threading.Thread(target=time.sleep, args=(1000,), daemon=False).start()
    return threading.active_count()


def deaf():
    """Ignores and swallows all that may be."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    print("deaf", flush=True)
    while True:
        time.sleep(1000)


def swallow():
    """Catches whatever reaches it, once, and returns."""
    try:
        print("waiting", flush=True)
        time.sleep(1000)
    except BaseException as error:  # noqa: BLE001 - it is what this is for
        return type(error).__name__
    return "nothing"


def die_later(seconds):
    """Returns, and ends the process from a thread a little later."""

    def end():
        time.sleep(seconds)
        os._exit(9)

    threading.Thread(target=end, daemon=True).start()


def flood(lines):
    for i in range(lines):
        print("line", i)


def blob(size):
    return bytes(size)


def measure(data):
    return len(data), data[:3], data[-3:]


def hook(path, how):
    """Registers an exit hook."""
    import atexit

    def work():
        with open(path, "w") as file:
            file.write("begun")
        if how == "raise":
            raise LookupError("in a hook")
        if how == "hang":
            time.sleep(1000)
        with open(path, "w") as file:
            file.write("done")

    atexit.register(work)
