"""A client that dies, as if by a power cut, at a place of its run that its argument names.

``f_client.py PLACE PORT``: PLACE is ``STAGE:STATUS`` as a reporter is told, or one of ``preload``
(launched, not reached), ``call`` (while the call waits at the gate, killed by the test), ``leave``
(the instance was told to idle, the journal was not) and ``none``. PORT: the gate.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import f_work

from byoc.engine.events import Silent
from byoc.engine.options import RunOptions
from byoc.engine.session import Session
from byoc.fleet.dial import SshDialer
from byoc.settings import load

PLACE, PORT = sys.argv[1], int(sys.argv[2])


def die_at(place: str) -> None:
    if place == PLACE:
        os.kill(os.getpid(), signal.SIGKILL)


class Watcher(Silent):
    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        die_at(f"{name}:{status}")


class Leaving:
    """A connection whose end is a place to die at."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self) -> None:
        die_at("leave")
        self._connection.close()


class Dialer(SshDialer):
    def preload(self) -> None:
        die_at("preload")
        super().preload()

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        return Leaving(super().connect(*args, **kwargs))


def main() -> None:
    settings = load(Path.cwd(), os.environ)
    options = RunOptions(keep=settings.keep, idle=settings.idle)
    session = Session(settings, options, Watcher(), dialer=Dialer(settings.home))
    with session, f_work.app.bound(session):
        print(f_work.at_gate.remote(PORT, "client"), flush=True)


if __name__ == "__main__":
    main()
