"""Instances that were launched a moment ago: the cloud's own reads may not show them yet."""

from __future__ import annotations

import threading

from ..clock import Clock
from ..errors import ProviderError, TransientError
from .base import Instance
from .table import restated

SPREADING = 60.0
"""Seconds for which a cloud may not know an instance that it has just launched."""


class Recent:
    """What one provider has launched lately. ``service``: the cloud's own, for people. Safe from
    any thread."""

    def __init__(self, service: str, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[str, tuple[float, Instance]] = {}

    def add(self, made: Instance) -> Instance:
        """Remember one; returns it."""
        now = self._clock.mono()
        with self._lock:
            self._made = {
                one: known for one, known in self._made.items() if now - known[0] < SPREADING
            }
            self._made[made.id] = (now, made)
        return made

    def get(self, instance_id: str) -> Instance | None:
        """It as it was launched, while the cloud may not show it; None later, and for others."""
        with self._lock:
            since, made = self._made.get(instance_id, (0.0, None))
        if made is None or self._clock.mono() - since > SPREADING:
            return None
        return made._replace(detail=f"{self._service} does not show it yet")

    def check(self, instance_id: str, error: ProviderError) -> None:
        """Not to be called gone for ``error``: raises TransientError for one that the cloud may
        not know yet, so that it is asked for again and never left behind."""
        if self.get(instance_id) is not None:
            message = f"{self._service} does not know {instance_id} yet, which it has just launched"
            raise restated(error, TransientError, message) from error
