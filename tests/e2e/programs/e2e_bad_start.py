"""A module that behaves well here, and over there does what a variable says at its import."""

import ctypes
import os
import sys
import time
from typing import Any

import byoc

app = byoc.App("bad-start")
HOW = "" if byoc.is_local() else os.environ.get("E2E_BAD", "")

if HOW == "raise":
    raise LookupError("no such thing at import")
if HOW == "exit":
    sys.exit("not today")
if HOW == "quit":
    os._exit(9)
if HOW == "crash":
    ctypes.string_at(0)
if HOW == "interrupt":
    raise KeyboardInterrupt
if HOW == "hang":
    while True:
        time.sleep(1000)
if HOW == "deep":
    exec("def f(): return f()\nf()")


def fine(n: int) -> int:
    return n + 1


def starting(how: str) -> Any:
    """A function whose container does ``how`` while it starts."""
    return app.function(name=f"start-{how}", env={"E2E_BAD": how}, startup_timeout=2)(fine)
