"""Every instance that ever was, how long it was billed and what that would have cost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from .ports import Facts

Prices = Callable[[str, str, str, str], "tuple[float | None, float]"]
"""(cloud, region, type, market) -> dollars an hour, None when unknown; seconds billed at least."""


@dataclass
class Entry:
    """One instance. Times are seconds since the start of the world."""

    cloud: str
    id: str
    facts: Facts
    made: float
    price: float | None
    minimum: float
    billed: float = 0.0
    since: float | None = None
    gone: float | None = None
    ever_billed: bool = False
    moments: dict[str, float] = field(default_factory=dict)

    def seconds(self, now: float) -> float:
        """Seconds for which it was billed so far."""
        return self.billed + (now - self.since if self.since is not None else 0.0)

    def dollars(self, now: float) -> float | None:
        """What they cost, the cloud's minimum included; None without a known price."""
        if self.price is None:
            return None
        seconds = max(self.seconds(now), self.minimum) if self.ever_billed else 0.0
        return self.price * seconds / 3600.0


class Ledger:
    """Safe from any thread. ``now``: seconds since the start of the world."""

    def __init__(self, now: Callable[[], float], prices: Prices) -> None:
        self._now = now
        self._prices = prices
        self._entries: dict[tuple[str, str], Entry] = {}
        self._lock = threading.Lock()

    def made(self, cloud: str, id: str, facts: Facts) -> Entry:
        """An instance exists; a second time for one id changes nothing."""
        words = (facts.get(key, "") for key in ("region", "type", "market"))
        price, minimum = self._prices(cloud, *words)
        with self._lock:
            entry = Entry(cloud, id, dict(facts), self._now(), price, minimum)
            return self._entries.setdefault((cloud, id), entry)

    def billing(self, cloud: str, id: str, on: bool) -> None:
        """Its seconds count from now on, or no longer."""
        with self._lock:
            entry = self._entries.get((cloud, id))
            if entry is None or on == (entry.since is not None):
                return
            if on:
                entry.since, entry.ever_billed = self._now(), True
            else:
                entry.billed, entry.since = entry.seconds(self._now()), None

    def gone(self, cloud: str, id: str) -> bool:
        """It is no more; False when that was known."""
        self.billing(cloud, id, False)
        with self._lock:
            entry = self._entries.get((cloud, id))
            if entry is None or entry.gone is not None:
                return False
            entry.gone = self._now()
            return True

    def moment(self, cloud: str, id: str, name: str) -> bool:
        """Note a moment of its life; False when it is not the first of that name."""
        with self._lock:
            entry = self._entries.get((cloud, id))
            if entry is None or name in entry.moments:
                return False
            entry.moments[name] = self._now()
            return True

    def get(self, cloud: str, id: str) -> Entry | None:
        """What is known of an instance."""
        with self._lock:
            return self._entries.get((cloud, id))

    def all(self) -> list[Entry]:
        """Every instance in the order in which they were made."""
        with self._lock:
            return list(self._entries.values())

    def alive(self) -> list[Entry]:
        """Those that are not gone, the oldest first."""
        return [entry for entry in self.all() if entry.gone is None]
