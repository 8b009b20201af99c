"""Reaching machines through a firewall that may have been opened for another network.

A laptop that moved is shut out by its own rule: connections are not refused, they are not answered.
So when an attempt has used up its time the rule is looked at, changed if need be, and the attempt
is made once more.
"""

from __future__ import annotations

import socket
import threading

from ..clock import Clock
from ..errors import ConnectionLostError
from ..providers.base import HostKey
from ..transport.ssh import Connection
from .closing import Closing
from .ports import Dialer, Stop, Target

SILENT = 0.9
"""Share of its time that an attempt took when nobody answered it at all; a refusal comes sooner."""
SILENT_BOOT = 30.0
"""Seconds after which a booting machine that has an address and does not answer may be one whose
firewall does not let us in: most greet by then, and a look costs two requests."""


class Admitting:
    """A dialer that mends firewalls on its way. See :class:`~byoc.fleet.ports.Dialer`."""

    def __init__(self, dialer: Dialer, closing: Closing, clock: Clock) -> None:
        self._dialer = dialer
        self._closing = closing
        self._clock = clock
        self._lock = threading.Lock()
        self._knocked: dict[Target, float] = {}

    def authorized_key(self) -> str:
        """As the dialer within."""
        return self._dialer.authorized_key()

    def new_host_key(self) -> HostKey:
        """As the dialer within."""
        return self._dialer.new_host_key()

    def ready(self, cloud: str) -> None:
        """As the dialer within."""
        self._dialer.ready(cloud)

    def preload(self) -> None:
        """As the dialer within."""
        self._dialer.preload()

    def knock(self, target: Target, timeout: float, stop: Stop) -> socket.socket | None:
        """As the dialer within; a machine that is silent for long has its firewall looked at."""
        with self._lock:
            since = self._knocked.setdefault(target, self._clock.mono())
        door = self._dialer.knock(target, timeout, stop)
        waited = self._clock.mono() - since
        if door is not None or waited > SILENT_BOOT:
            with self._lock:
                self._knocked[target] = self._clock.mono()
        if door is None and waited > SILENT_BOOT:
            self._closing.moved(target.cloud, target.region)
        return door

    def connect(
        self, target: Target, timeout: float, door: socket.socket | None = None
    ) -> Connection:
        """As the dialer within, and once more when this client had moved."""
        begun = self._clock.mono()
        try:
            return self._dialer.connect(target, timeout, door)
        except ConnectionLostError:
            silent = self._clock.mono() - begun >= SILENT * timeout
            if not (silent and self._closing.moved(target.cloud, target.region)):
                raise
        return self._dialer.connect(target, timeout)
