"""A byoc session whose instance is far away: a delaying proxy stands before its sshd."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import proxy

from byoc import settings
from byoc.engine import events
from byoc.engine.options import RunOptions
from byoc.engine.session import Session
from byoc.fleet.dial import SshDialer

if TYPE_CHECKING:
    import socket

    from byoc.fleet.ports import Stop, Target
    from byoc.transport.ssh import Connection


class DistantDialer(SshDialer):
    """Meets every machine through a proxy process of its own."""

    def __init__(self, home: Path, delay: float) -> None:
        super().__init__(home)
        self._delay = delay
        self._proxies: dict[tuple[str, int], proxy.Proxy] = {}

    def knock(self, target: Target, timeout: float, stop: Stop) -> socket.socket | None:
        return super().knock(self._near(target), timeout, stop)

    def connect(
        self, target: Target, timeout: float, door: socket.socket | None = None
    ) -> Connection:
        return super().connect(self._near(target), timeout, door)

    def close(self) -> None:
        """End the proxies."""
        for one in self._proxies.values():
            one.close()

    def _near(self, target: Target) -> Target:
        where = (target.address, target.port)
        if where not in self._proxies:
            self._proxies[where] = proxy.Proxy(where, self._delay)
        address, port = self._proxies[where].address
        return target._replace(address=address, port=port)


@contextlib.contextmanager
def running(app: Any, delay: float) -> Iterator[None]:
    """The app runs on an instance that is ``delay`` seconds away, each way."""
    chosen = settings.load(Path.cwd(), os.environ, {})
    dialer = DistantDialer(chosen.home, delay)
    session = Session(chosen, RunOptions(keep=False), events.Silent(), dialer=dialer)
    with contextlib.closing(dialer), session, app.bound(session):
        yield
