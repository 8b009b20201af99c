"""The same measurements for every engine: what a script of this folder runs as its main loop.

One JSON object a line on stdin, ``{"do": "calls", ...}``, and one line ``RESULT {...}`` for each on
stdout. Standard library only: it runs in each peer's own environment. Memory is read from Linux's
/proc.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol

WARM_SECONDS = 0.7
"""How long an engine runs small maps before anything is measured: all workers are up by then."""
WARM_CALLS = 200
MIB = 1024 * 1024


class Engine(Protocol):
    """Two workers that run ``noop``, ``take`` and ``give`` of :mod:`functions`."""

    def start(self) -> None:
        """Have two workers."""

    def call(self, x: int) -> Any:
        """``noop(x)``, and wait for it."""

    def mapped(self, n: int, ordered: bool) -> list[Any]:
        """``noop`` of each of ``range(n)``."""

    def queue(self, n: int, how: str) -> Any:
        """Queue ``noop`` of each of ``range(n)`` without waiting; what :meth:`drain` takes."""

    def drain(self, queued: Any) -> int:
        """Wait for all that was queued; how many results there were."""

    def take(self, array: Any) -> float:
        """``take(array)``, and wait for it."""

    def give(self, size: int) -> Any:
        """``give(size)``: the array."""

    def stop(self) -> None:
        """End the workers."""


def status(field: str) -> float:
    """A field of this process's memory in MiB: ``VmRSS`` now, ``VmHWM`` at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def forget_peak() -> float:
    """Begin to note the highest memory anew; what is in use now, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def warm(engine: Engine) -> dict[str, Any]:
    """Small maps until every worker has surely started."""
    until = time.perf_counter() + WARM_SECONDS
    while time.perf_counter() < until:
        engine.mapped(200, False)
    return {}


def calls(engine: Engine, n: int) -> dict[str, Any]:
    """Microseconds of each of ``n`` calls, one after another."""
    for x in range(WARM_CALLS):
        engine.call(x)
    found = []
    for x in range(n):
        begun = time.perf_counter()
        answer = engine.call(x)
        found.append((time.perf_counter() - begun) * 1e6)
        assert answer == x, answer
    return {"micros": found}


def mapped(engine: Engine, n: int, ordered: bool) -> dict[str, Any]:
    """Seconds of one map of ``n`` inputs, its results checked."""
    begun = time.perf_counter()
    found = engine.mapped(n, ordered)
    seconds = time.perf_counter() - begun
    assert (found if ordered else sorted(found)) == list(range(n)), "wrong results"
    return {"seconds": seconds}


def queued(engine: Engine, n: int, how: str) -> dict[str, Any]:
    """Memory and time of ``n`` inputs queued at once, then of waiting for them all.

    ``queued_mib``: growth when all were queued; ``peak_mib``: the most until all were done.
    """
    before = forget_peak()
    begun = time.perf_counter()
    held = engine.queue(n, how)
    between = time.perf_counter()
    grown = status("VmRSS") - before
    count = engine.drain(held)
    ended = time.perf_counter()
    assert count == n, f"{count} results for {n} inputs"
    return {
        "queue_s": between - begun,
        "total_s": ended - begun,
        "queued_mib": grown,
        "peak_mib": status("VmHWM") - before,
    }


def argument(engine: Engine, size: int) -> dict[str, Any]:
    """Seconds of one array of ``size`` bytes there, and how far the client's memory rose."""
    import numpy as np  # where no array is measured it need not be installed

    array = np.full(size // 8, time.perf_counter(), "f8")
    before = forget_peak()
    begun = time.perf_counter()
    answer = engine.take(array)
    seconds = time.perf_counter() - begun
    assert abs(answer - float(array[::512].sum())) <= 1e-6 * abs(answer), "another array arrived"
    top = status("VmHWM")
    far = getattr(engine, "far_mib", None)
    return {"seconds": seconds, "peak_mib": top - before, "client_mib": top, "far_mib": far}


def result(engine: Engine, size: int) -> dict[str, Any]:
    """Seconds of one array of ``size`` bytes back, touched here; the memory's rise with it."""
    before = forget_peak()
    begun = time.perf_counter()
    array = engine.give(size)
    total = float(array[::512].sum())
    seconds = time.perf_counter() - begun
    assert array.nbytes == size and total == len(array[::512]), "another array arrived"
    top = status("VmHWM")
    return {"seconds": seconds, "peak_mib": top - before, "client_mib": top}


ACTIONS = {
    "warm": warm,
    "calls": calls,
    "map": mapped,
    "queue": queued,
    "argument": argument,
    "result": result,
}


def main(engine: Engine, **more: Any) -> None:
    """Serve commands until stdin ends. ``more``: further actions, called with their options."""
    actions: dict[str, Any] = {**ACTIONS, **more}
    begun = time.perf_counter()
    engine.start()
    say({"started_s": time.perf_counter() - begun})
    try:
        for line in sys.stdin:
            command = json.loads(line)
            say(actions[command.pop("do")](engine, **command))
    finally:
        engine.stop()


def say(word: dict[str, Any]) -> None:
    """One line for the benchmark."""
    print("RESULT " + json.dumps(word), flush=True)
