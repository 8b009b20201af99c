"""What a client with many connections is asked for: to make them, to idle, and what that takes."""

from __future__ import annotations

import contextlib
import getpass
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import driver

AT_ONCE = 32
"""Threads that connect."""


class Client(Protocol):
    """Makes and ends one connection."""

    def open(self) -> Any:
        """Ready to be used."""

    def close(self, one: Any) -> None:
        """End it."""


class Many:
    """Holds the connections; see :class:`driver.Engine`, of which it needs only the life."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.held: list[Any] = []

    def start(self) -> None:
        """One connection first: what is loaded with it is not what 200 cost."""
        self.client.close(self.client.open())

    def stop(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool, contextlib.suppress(OSError):
            list(pool.map(self.client.close, self.held))


def user() -> str:
    """Who logs in."""
    return getpass.getuser()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def connect(many: Many, n: int) -> dict[str, Any]:
    """``n`` more connections, :data:`AT_ONCE` at a time."""
    memory, cpu, begun = driver.forget_peak(), _cpu(), time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        many.held += pool.map(lambda _: many.client.open(), range(n))
    return {
        "seconds": time.perf_counter() - begun,
        "cpu_s": _cpu() - cpu,
        "rss_mib": driver.status("VmRSS"),
        "peak_mib": driver.status("VmHWM"),
        "grown_mib": driver.status("VmRSS") - memory,
        "threads": threading.active_count(),
    }


def idle(many: Many, seconds: float) -> dict[str, Any]:
    """Do nothing for a while; per cent of a core that it took."""
    cpu, begun = _cpu(), time.perf_counter()
    time.sleep(seconds)
    used = (_cpu() - cpu) / (time.perf_counter() - begun)
    return {"idle_percent": used * 100, "rss_mib": driver.status("VmRSS")}


def main(client: Client) -> None:
    """Serve commands."""
    made: Any = Many(client)
    driver.main(made, connect=connect, idle=idle)
