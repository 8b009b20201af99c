"""What a provider makes ready once in each region and then takes for granted, until told not to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from .base import LaunchRequest

W = TypeVar("W")
P = TypeVar("P")


class Prepared(Generic[W, P]):
    """By region, what was made, and for which wants. Safe from any thread: a region is made ready
    by one thread at a time, others in the meantime wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        self._known: dict[str, tuple[W, P]] = {}

    def get(
        self, region: str, wanted: W, make: Callable[[], P], anew: bool = False
    ) -> tuple[P, bool]:
        """What ``make`` gives, or gave before when the same was ``wanted``; and whether it did so
        before. ``anew``: make it in any case. Raises what ``make`` raises."""
        with self._lock:
            turn = self._turns.setdefault(region, threading.Lock())
        with turn:
            known = self._known.get(region)
            if known is not None and known[0] == wanted and not anew:
                return known[1], True
            made = make()
            with self._lock:
                self._known[region] = (wanted, made)
            return made, False

    def forget(self, region: str = "") -> None:
        """What was made in a region, or anywhere, may be out of date."""
        with self._lock:
            if region:
                self._known.pop(region, None)
            else:
                self._known.clear()


class Zones:
    """For clouds that choose no zone: that of each launch without one, chosen once for its token,
    so that a launch that is tried again is the same request. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chosen: dict[str, str] = {}

    def placed(self, request: LaunchRequest, choose: Callable[[], str]) -> LaunchRequest:
        """The request with a zone in its offer. Raises what ``choose`` raises."""
        if request.offer.zone:
            return request
        with self._lock:
            known = self._chosen.get(request.token, "")
        zone = known or choose()
        with self._lock:
            zone = self._chosen.setdefault(request.token, zone)
        return request._replace(offer=request.offer._replace(zone=zone))
