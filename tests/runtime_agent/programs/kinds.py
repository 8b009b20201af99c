"""Functions of every kind, ordinary ones."""

from __future__ import annotations

import asyncio
import os
import sys


def add(a, b):
    return a + b


async def add_later(a, b):
    await asyncio.sleep(0)
    return a + b


def count(n):
    yield from range(n)


async def count_later(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


def count_then_fail(n):
    yield from range(n)
    raise LookupError("no more")


class Group:
    class Inner:
        @staticmethod
        def double(x):
            return 2 * x


def same(value):
    return value


def pid():
    return os.getpid()


def where():
    return os.getcwd(), sys.path[0], dict(os.environ), sys.argv, os.getpgid(0)


def fill(buffer):
    """Writes into what it was given, as code with arrays does."""
    view = memoryview(buffer)
    view[0] = 7
    return view.nbytes, bytes(view[:2])


def speak(text):
    print("out " + text)
    print("err " + text, file=sys.stderr)
    os.write(1, b"raw 1\n")
    os.write(2, b"raw 2\n")
    print("no newline", end="")


def fds():
    return sorted(os.listdir("/proc/self/fd"))


def modules():
    return sorted(sys.modules)
