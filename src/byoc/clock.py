"""Time, randomness and ids, injected everywhere through constructors.

No other module of the client reads the wall clock, sleeps or draws random numbers (a check in CI
holds that), so that tests and the simulation can put a virtual clock and a seeded source in place.
"""

from __future__ import annotations

import os
import time
from typing import Protocol

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32, lower case


class Clock(Protocol):
    """Three ways to look at time."""

    def wall(self) -> float:
        """Seconds since the epoch; may step. Only for what people read."""

    def mono(self) -> float:
        """Seconds that never step back; the same for all processes of this host."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clock."""

    def wall(self) -> float:
        return time.time()

    def mono(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Ids(Protocol):
    """Where new ids come from."""

    def new(self, prefix: str) -> str:
        """A fresh id such as ``run-0h3k9...``: prefix, dash, ten base-32 characters (50 bits)."""

    def secret(self, size: int) -> bytes:
        """So many bytes that nobody can guess."""


class RandomIds:
    """Ids from the operating system's randomness."""

    def new(self, prefix: str) -> str:
        bits = int.from_bytes(os.urandom(7), "big")
        return prefix + "-" + "".join(_ALPHABET[(bits >> (5 * i)) & 31] for i in range(10))

    def secret(self, size: int) -> bytes:
        return os.urandom(size)


SYSTEM = SystemClock()
IDS = RandomIds()
