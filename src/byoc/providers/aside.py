"""Questions asked side by side, in threads that keep no program from ending.

A thread pool of the standard library is waited for when the interpreter ends: one region that does
not answer would hold a command that has long had its result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..errors import InternalError, ProviderError

T = TypeVar("T")


def side_by_side(works: Sequence[Callable[[], T]], most: int) -> list[T]:
    """What each of these gives, in their order; ``most`` run at the same time. Raises the first of
    their ProviderErrors, once all have ended. Anything else that one raises is a mistake of ours:
    Python tells it where it happened, and InternalError is raised here."""
    found: dict[int, T] = {}
    refused: dict[int, ProviderError] = {}
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
            except ProviderError as error:
                refused[number] = error

    count = min(most, len(works))
    threads = [threading.Thread(target=run, name="byoc-ask", daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise refused[min(refused)]
    if len(found) < len(works):
        raise InternalError("a question to the cloud failed by a mistake in byoc itself")
    return [found[number] for number in range(len(works))]
