"""The first process of a machine: hands each connection to an ``sshd -i`` of its own.

It holds the listening socket, collects every orphan of the machine, and ends the machine's
processes when the guardian dies. Only the guardian, by killing it, or the guardian's death ends it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

from . import processes

MAX_CONNECTIONS = 256
"""Connections served at once; more wait in the socket's backlog. A client keeps about ten."""
_IGNORED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_RESET = (*_IGNORED, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ)


def main(args: list[str]) -> int:
    """``args``: the server's argv, then the numbers of the listening socket and the watch pipe."""
    server, listen, watch = args[:-2], int(args[-2]), int(args[-1])
    for handle in (listen, watch):
        os.set_inheritable(handle, False)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    processes.adopt_orphans()
    listener = socket.socket(fileno=listen)
    listener.setblocking(False)
    Doorman(listener, watch, server).run()
    processes.kill_all(lambda: processes.descendants(os.getpid()))
    return 1


class Doorman:
    """Accepts connections until the watch pipe closes."""

    def __init__(self, listener: socket.socket, watch: int, server: list[str]) -> None:
        self._listener = listener
        self._watch = watch
        self._server = server
        self._serving: set[int] = set()
        self._wake, wake_end = os.pipe()
        for end in (self._wake, wake_end):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serves until the guardian is gone."""
        while True:
            sources = [self._watch, self._wake]
            if len(self._serving) < MAX_CONNECTIONS:
                sources.append(self._listener.fileno())
            ready = select.select(sources, [], [])[0]
            if self._watch in ready:
                return
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._serving -= set(processes.reap())
            if self._listener.fileno() in ready:
                self._serve_one()

    def _serve_one(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # the peer left already, or we are out of descriptors for now
            sys.stderr.write(f"accept: {error}\n")
            return
        with connection:
            connection.setblocking(True)
            # sshd sets this only for sessions: a login would wait twice 40 ms for delayed ACKs.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handle = connection.fileno()
            try:
                pid = os.posix_spawn(
                    self._server[0],
                    self._server,
                    os.environ,
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, handle, 0),
                        (os.POSIX_SPAWN_DUP2, handle, 1),
                    ],
                    setsigdef=_RESET,
                )
            except OSError as error:
                sys.stderr.write(f"{self._server[0]}: {error}\n")
                return
        self._serving.add(pid)
