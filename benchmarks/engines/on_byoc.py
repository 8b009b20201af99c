"""byoc: one local instance met over SSH, two containers.

``python on_byoc.py [--delay MS]``: ``MS`` of delay each way between the client and the instance.
This file is what travels, so containers import it; what only the client needs is imported late.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import byoc

if TYPE_CHECKING:
    import contextlib

app = byoc.App("benchmark")
arrays = byoc.Image.debian_slim().pip_install("numpy")
_kept: dict[int, Any] = {}


@app.function(min_containers=2, max_containers=2)
def noop(x: int) -> int:
    """As :func:`functions.noop`."""
    return x


@app.function(image=arrays, max_containers=1)
def take(array: Any) -> tuple[float, float]:
    """As :func:`functions.take`; and the most memory that this container ever had, in MiB."""
    with open("/proc/self/status") as status:
        peak = next(line for line in status if line.startswith("VmHWM:"))
    return float(array[::512].sum()), int(peak.split()[1]) / 1024


@app.function(image=arrays, max_containers=1)
def give(size: int) -> Any:
    """As :func:`functions.give`."""
    if size not in _kept:
        import numpy as np  # in the image of this function

        _kept[size] = np.ones(size // 8)
    return _kept[size]


class Byoc:
    """See :class:`driver.Engine`."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.far_mib = 0.0

    def start(self) -> None:
        self.stack: contextlib.ExitStack = running(app, self.delay)

    def call(self, x: int) -> Any:
        return noop.remote(x)

    def mapped(self, n: int, ordered: bool) -> list[Any]:
        return list(noop.map(range(n), order_outputs=ordered))

    def queue(self, n: int, how: str) -> Any:
        if how == "map":
            return noop.map(range(n), order_outputs=False)
        if how == "spawn_map":
            noop.spawn_map(range(n))
            return n
        return [noop.spawn(x) for x in range(n)]

    def drain(self, queued: Any) -> int:
        if isinstance(queued, list):
            return len([call.get() for call in queued])
        if isinstance(queued, int):  # spawn_map gives nothing to ask, but inputs begin in order
            noop.remote(0)
            return queued
        return sum(1 for _ in queued)

    def take(self, array: Any) -> float:
        total, self.far_mib = take.remote(array)
        return float(total)

    def give(self, size: int) -> Any:
        return give.remote(size)

    def stop(self) -> None:
        self.stack.close()


def running(app: byoc.App, delay: float) -> contextlib.ExitStack:
    """The app runs until the stack is closed; ``delay`` seconds each way to its instance."""
    import contextlib

    with contextlib.ExitStack() as stack:
        if not delay:
            stack.enter_context(app.run())
            return stack.pop_all()
        import distant

        stack.enter_context(distant.running(app, delay))
        return stack.pop_all()


if __name__ == "__main__":
    import driver

    milliseconds = float(sys.argv[2]) if sys.argv[1:2] == ["--delay"] else 0.0
    driver.main(Byoc(milliseconds / 1e3))
