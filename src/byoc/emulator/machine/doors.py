"""Where machines are met: an address of the loopback net each, with port 22.

An address is bound from the moment it is given out, so nothing else on this host can have it; until
its machine listens, connections are refused.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

from ...errors import InstanceError

PORT = 22
BACKLOG = 128
_NETS = {"aws": "127.10", "gcp": "127.20", "oci": "127.30"}
"""One part of the loopback net for each cloud. Several emulators share them, by binding."""
_HOSTS = 250 * 250
FULL_PAUSE = 0.05
"""Seconds before another attempt when this process has no descriptor left."""
_FILLERS = 8
"""Connections that may be needed to fill a backlog of length 0; it takes one or two."""

Caller = Callable[[socket.socket], None]
"""Takes an accepted connection, which is then its own."""


class Door:
    """One address."""

    def __init__(self, address: str, bound: socket.socket) -> None:
        self.address = address
        self.socket = bound
        self.caller: Caller | None = None
        self._fillers: list[socket.socket] = []
        self._own: set[tuple[str, int]] = set()

    def silence(self) -> None:
        """Let every connection attempt wait for an answer that never comes, as of a host that is
        off: the backlog is full, and the system drops what is more."""
        self.socket.listen(0)
        for _ in range(_FILLERS):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            done = filler.connect_ex((self.address, PORT)) == 0
            self._own.add(filler.getsockname())
            self._fillers.append(filler)
            if not done:
                return

    def speak(self) -> None:
        """Undo :meth:`silence`."""
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self.socket.listen(BACKLOG)

    def is_own(self, peer: tuple[str, int]) -> bool:
        """Whether an accepted connection only served to fill the backlog."""
        if peer not in self._own:
            return False
        self._own.discard(peer)
        return True

    def close(self) -> None:
        """Give the address back."""
        for one in (*self._fillers, self.socket):
            one.close()


class Doors:
    """All addresses of one emulator, and one thread that accepts. Safe from any thread."""

    def __init__(self) -> None:
        self._doors: dict[str, Door] = {}
        self._by_handle: dict[int, Door] = {}
        self._next = dict.fromkeys(_NETS, 0)
        self._lock = threading.Lock()
        self._poll = select.epoll()
        self._wake, self._waker = socket.socketpair()
        self._poll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="emulator-doors", daemon=True)
        self._thread.start()

    def reserve(self, cloud: str) -> str:
        """An address that nobody has. Raises InstanceError when there is none."""
        with self._lock:
            for _ in range(_HOSTS):
                number = self._next[cloud]
                self._next[cloud] = (number + 1) % _HOSTS
                address = f"{_NETS[cloud]}.{number // 250}.{number % 250 + 1}"
                bound = _bind(address) if address not in self._doors else None
                if bound is not None:
                    self._doors[address] = Door(address, bound)
                    return address
        raise InstanceError(
            f"no address is free in {_NETS[cloud]}.0.0/16",
            hints=("End other emulators on this host.",),
        )

    def wait(self, address: str) -> None:
        """From now on connections are taken in, and wait."""
        with self._door(address) as door:
            if door is not None:
                door.socket.listen(BACKLOG)

    def open(self, address: str, caller: Caller) -> None:
        """Hand each connection to ``caller``, on the thread of all doors."""
        with self._door(address) as door:
            if door is None:
                return
            door.caller = caller
            door.socket.listen(BACKLOG)
            handle = door.socket.fileno()
            if handle not in self._by_handle:
                self._by_handle[handle] = door
                self._poll.register(handle, select.EPOLLIN)

    def silence(self, address: str, on: bool = True) -> None:
        """Drop every attempt to connect, or no longer."""
        with self._door(address) as door:
            if door is None:
                return
            if not on:
                door.speak()
                self._watch(door, True)
                return
            self._watch(door, False)
            door.silence()

    def release(self, address: str) -> None:
        """Nobody is met there any more, and another may have it."""
        with self._door(address) as door:
            if door is None:
                return
            self._watch(door, False)
            self._by_handle.pop(door.socket.fileno(), None)
            del self._doors[address]
            door.close()

    def close(self) -> None:
        """Release all; no thread is left."""
        self._waker.send(b"x")
        self._thread.join()
        for address in list(self._doors):
            self.release(address)
        self._poll.close()
        self._wake.close()
        self._waker.close()

    @contextlib.contextmanager
    def _door(self, address: str) -> Iterator[Door | None]:
        with self._lock:
            yield self._doors.get(address)

    def _watch(self, door: Door, on: bool) -> None:
        """Accept there, or leave callers waiting; a door that was never opened is not watched."""
        if door.socket.fileno() in self._by_handle:
            self._poll.modify(door.socket.fileno(), select.EPOLLIN if on else 0)

    def _run(self) -> None:
        while True:
            for handle, _ in self._poll.poll():
                if handle == self._wake.fileno():
                    return
                self._accept(handle)

    def _accept(self, handle: int) -> None:
        with self._lock:
            door = self._by_handle.get(handle)
            if door is None:
                return
            try:
                connection, peer = door.socket.accept()
            except OSError as error:  # the caller left, or the door was shut meanwhile
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    time.sleep(FULL_PAUSE)
                return
            own = door.is_own(peer)
            caller = door.caller
        if own or caller is None:
            connection.close()
            return
        connection.setblocking(True)
        caller(connection)


def _bind(address: str) -> socket.socket | None:
    """A socket on an address; None when somebody has it, or has just had it."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setblocking(False)
    try:
        bound.bind((address, PORT))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise InstanceError(
            f"{address}:{PORT} cannot be used: {error.strerror}",
            hints=("Run as root on Linux, whose loopback net has an address for every machine.",),
        ) from None
    return bound
