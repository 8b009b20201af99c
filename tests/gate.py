"""A gate at which remote functions report and wait: tests see and time every execution."""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.helpers import until


class Gate:
    """Listens on loopback. A function connects, sends its name and a newline, and waits for a byte.

    ``begun``: the name of every execution, in order; the log by which tests count them.
    """

    def __init__(self, open: bool = False) -> None:
        self.begun: list[str] = []
        self._open = open
        self._lock = threading.Lock()
        self._inside: list[tuple[str, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        threading.Thread(target=self._serve, name="gate", daemon=True).start()

    @property
    def port(self) -> int:
        """Where to report; loopback."""
        return int(self._listener.getsockname()[1])

    def wait_for(self, count: int, seconds: float = 30.0, name: str = "") -> None:
        """Wait until ``count`` executions (of ``name``) have begun."""
        what = f"{count} executions {name}"
        until(lambda: self.count(name) >= count, seconds, what)

    def count(self, name: str = "") -> int:
        """How many executions (of ``name``) have begun."""
        return self.begun.count(name) if name else len(self.begun)

    def inside(self) -> list[str]:
        """The names of those that wait at the gate and whose process lives."""
        with self._lock:
            return [name for name, line in self._inside if _connected(line)]

    def let_go(self) -> None:
        """Let those go that wait now."""
        with self._lock:
            waiting, self._inside = self._inside, []
        for _, line in waiting:
            _release(line)

    def open(self) -> None:
        """Let everybody go, now and from now on."""
        with self._lock:
            self._open = True
        self.let_go()

    def close(self) -> None:
        """Take no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.let_go()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                threading.Thread(target=self._meet, args=(line,), daemon=True).start()

    def _meet(self, line: socket.socket) -> None:
        name = b""
        with contextlib.suppress(OSError):
            while not name.endswith(b"\n") and (part := line.recv(64)):
                name += part
        if not name.endswith(b"\n"):
            line.close()
            return
        with self._lock:
            self.begun.append(name.decode().strip())
            if not self._open:
                self._inside.append((name.decode().strip(), line))
                return
        _release(line)


def _release(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.sendall(b"o")
    line.close()


def _connected(line: socket.socket) -> bool:
    try:
        return line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
