"""Time, chance and what is written down: one thread, one heap, one seeded source of chance."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from typing import Any

EPOCH = 1_800_000_000.0
"""The wall clock's seconds when a world begins."""
HOUR = 3600.0


class World:
    """The queue of what happens, in the order of its time. ``healed``: no fault happens any more.

    ``marks``: how often each kind of fault and each branch of a decision was met.
    """

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.now = 0.0
        self.rng = random.Random(seed)
        self.healed = False
        self.marks: dict[str, int] = {}
        self.events = 0
        self.lines: list[str] | None = [] if trace else None
        self._digest = hashlib.blake2b(digest_size=8)
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0

    @property
    def wall(self) -> float:
        """The true seconds since the epoch."""
        return EPOCH + self.now

    def after(self, delay: float, act: Callable[..., None], *args: Any) -> None:
        """Do it so many seconds from now."""
        self._sequence += 1
        heapq.heappush(self._queue, (self.now + delay, self._sequence, act, args))

    def chance(self, share: float) -> bool:
        """Whether a fault of this frequency happens now; never where it is zero."""
        return share > 0.0 and not self.healed and self.rng.random() < share

    def again_and_again(self, mean: float, act: Callable[[], None]) -> None:
        """Do it at random moments, ``mean`` seconds apart on the average, until the world heals."""
        if mean <= 0:
            return

        def go() -> None:
            if not self.healed:
                act()
                self.after(self.rng.expovariate(1 / mean), go)

        self.after(self.rng.expovariate(1 / mean), go)

    def mark(self, what: str) -> None:
        """Count that this was met."""
        self.marks[what] = self.marks.get(what, 0) + 1

    def log(self, *parts: object) -> None:
        """Write down what happened: part of the digest by which two runs are compared."""
        line = f"{self.now:9.1f} " + " ".join(map(str, parts))
        self._digest.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    def run(self, until: float) -> None:
        """Let everything happen that is due by then."""
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, act, args = heapq.heappop(queue)
            self.events += 1
            act(*args)
        self.now = max(self.now, until)

    @property
    def digest(self) -> str:
        """A hash of all that was written down."""
        return self._digest.hexdigest()
