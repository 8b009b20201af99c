"""One thread of the process that sends what sockets did not take at once.

For senders that must not wait: the threads that read connections, and those that serve many. It
exists once something has had to wait, which on a line that keeps up is never.
"""

from __future__ import annotations

import select
import socket
import threading
from typing import Protocol


class Sender(Protocol):
    """What waits for its socket."""

    def fileno(self) -> int:
        """The socket's descriptor; negative once it is closed."""

    def flush(self) -> bool:
        """Send what the socket takes; True when nothing waits. Raises EOFError: it is broken."""

    def flushed(self) -> None:
        """Nothing waits any more."""


class _Flusher:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[Sender] = set()
        self._wake: socket.socket | None = None

    def add(self, sender: Sender) -> None:
        with self._lock:
            if sender in self._waiting:
                return
            self._waiting.add(sender)
            if self._wake is None:
                self._wake, woken = socket.socketpair()
                self._wake.setblocking(False)
                thread = threading.Thread(
                    target=self._run, args=(woken,), name="byoc-flush", daemon=True
                )
                thread.start()
        try:
            self._wake.send(b".")
        except BlockingIOError:
            pass  # it is about to look anyway

    def _run(self, woken: socket.socket) -> None:
        while True:
            poller = select.poll()
            poller.register(woken, select.POLLIN)
            with self._lock:
                waiting = {sender.fileno(): sender for sender in self._waiting}
            for handle in waiting:
                if handle >= 0:
                    poller.register(handle, select.POLLOUT)
            broken = [sender for handle, sender in waiting.items() if handle < 0]
            for handle, _ in poller.poll(0 if broken else None):
                if handle == woken.fileno():
                    woken.recv(4096)
                elif _done(waiting[handle]):
                    broken.append(waiting[handle])
            for sender in broken:
                with self._lock:
                    self._waiting.discard(sender)
                sender.flushed()


def _done(sender: Sender) -> bool:
    try:
        return sender.flush()
    except (EOFError, OSError, ValueError):  # whoever reads from it finds out too
        return True


_flusher = _Flusher()


def add(sender: Sender) -> None:
    """Call ``sender.flush`` when its socket has room, until it has sent all; then ``flushed``."""
    _flusher.add(sender)
