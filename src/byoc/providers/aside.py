"""Questions asked side by side, in threads that keep no program from ending.

A thread pool of the standard library is waited for when the interpreter ends: one region that does
not answer would hold a command that has long had its result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def side_by_side(works: Sequence[Callable[[], T]], most: int) -> list[T]:
    """What each of these gives, in their order; ``most`` run at the same time. Raises what the
    first of them raised, once all have ended."""
    found: dict[int, T] = {}
    raised: dict[int, BaseException] = {}
    left = list(enumerate(works))[::-1]
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                if not left:
                    return
                number, work = left.pop()
            try:
                found[number] = work()
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                raised[number] = error

    threads = [
        threading.Thread(target=run, name="byoc-ask", daemon=True)
        for _ in range(min(most, len(works)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[min(raised)]
    return [found[number] for number in range(len(works))]
