"""The private network between machines: packets from one machine's card to another's, where the
account's rules let them through. What they do not let through is dropped, as clouds do.

Each card is a TUN device in its machine's own network namespace, whose far end is here.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable

from ..firewalls import SSH_PORT
from ..ports import Machine
from .guest.kernel import MTU
from .kinds import Key

Judge = Callable[[Key, Key], bool]
"""Whether the first machine may open connections to the second."""
Porter = Callable[[str, Key], bool]
"""Whether an address may reach a machine's SSH port."""
REMEMBERED = 0.5
"""Seconds for which an answer about two machines is good: rules change within seconds on clouds
too, and each packet asks."""
BURST = 64
"""Packets of one card that are passed on before the others have their turn."""


def nobody(source: Key, target: Key) -> bool:
    """A :data:`Judge` that lets nobody in."""
    return False


def everybody(source: str, target: Key) -> bool:
    """A :data:`Porter` that lets all in."""
    return True


class _Card:
    """A machine's network card. ``handle``: its far end."""

    def __init__(self, machine: Machine, handle: int) -> None:
        self.key = (machine.cloud, machine.id)
        self.net = (machine.cloud, machine.region)
        self.address = socket.inet_aton(machine.inside)
        self.handle = handle
        self.cut = False


class Mesh:
    """All private networks of one emulator, and one thread that passes packets on. Safe from any
    thread. The façades are asked without our lock, since they may wait for us."""

    def __init__(self, lets_in: Judge, admits: Porter) -> None:
        self._lets_in = lets_in
        self._admits = admits
        self._admitted: dict[tuple[bytes, Key], tuple[float, bool]] = {}
        self._lock = threading.Lock()
        self._cards: dict[int, _Card] = {}
        self._over: list[_Card] = []
        self._closing = False
        self._known: dict[tuple[Key, Key], tuple[float, bool]] = {}
        self._poll = select.epoll()
        self._wake, self._waker = socket.socketpair()
        self._poll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="emulator-mesh", daemon=True)
        self._thread.start()

    def join(self, machine: Machine, handle: int) -> None:
        """A machine's card is there; ``handle`` is ours from now on."""
        os.set_blocking(handle, False)
        with self._lock:
            self._cards[handle] = _Card(machine, handle)
            self._poll.register(handle, select.EPOLLIN)

    def cut(self, key: Key, on: bool) -> None:
        """Drop all that a machine sends and is sent, or no longer."""
        with self._lock:
            for card in self._cards.values():
                if card.key == key:
                    card.cut = on

    def leave(self, key: Key) -> None:
        """A machine has ended."""
        with self._lock:
            over = [card for card in self._cards.values() if card.key == key]
            for card in over:
                del self._cards[card.handle]
            self._over += over
        if over:
            self._waker.send(b"x")

    def close(self) -> None:
        """Pass on no more; no thread is left."""
        with self._lock:
            self._over += self._cards.values()
            self._cards.clear()
            self._closing = True
        self._waker.send(b"x")
        self._thread.join()
        self._poll.close()
        self._wake.close()
        self._waker.close()

    def _run(self) -> None:
        while not (self._clear_up() and self._closing):
            for handle, _ in self._poll.poll():
                if handle == self._wake.fileno():
                    self._wake.recv(64)
                    continue
                with self._lock:
                    card = self._cards.get(handle)
                if card is not None and not self._pass_on(card):
                    self.leave(card.key)

    def _clear_up(self) -> bool:
        """Let go of cards that are no more: this thread alone does, which alone reads them."""
        with self._lock:
            over, self._over = self._over, []
        for card in over:
            with contextlib.suppress(OSError):  # its machine is gone, and took it out
                self._poll.unregister(card.handle)
            os.close(card.handle)
        return True

    def _pass_on(self, card: _Card) -> bool:
        """What the machine has sent; False when its card is no more."""
        for _ in range(BURST):
            try:
                packet = os.read(card.handle, MTU)
            except BlockingIOError:
                return True
            except OSError:
                return False
            target = self._target(card, packet)
            if target is not None:
                with contextlib.suppress(OSError):  # its machine is ending, or cannot keep up
                    os.write(target.handle, packet)
        return True

    def _target(self, card: _Card, packet: bytes) -> _Card | None:
        """Whom a packet is for, if it may go there: IPv4 from the card's own address only."""
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[12:16] != card.address:
            return None
        to = packet[16:20]
        with self._lock:
            cards = list(self._cards.values())
        found = next((one for one in cards if one.address == to and one.net == card.net), None)
        if found is None or card.cut or found.cut:
            return None
        if self._joined(card.key, found.key) or self._by_ssh(card, found, packet):
            return found
        return None

    def _by_ssh(self, card: _Card, found: _Card, packet: bytes) -> bool:
        """Whether a packet belongs to a connection to an SSH port that may be made."""
        start = 4 * (packet[0] & 15)
        if packet[9] != socket.IPPROTO_TCP or len(packet) < start + 4:
            return False
        ports = int.from_bytes(packet[start : start + 2], "big"), packet[start + 2 : start + 4]
        if int.from_bytes(ports[1], "big") == SSH_PORT and self._let_in(card, found):
            return True
        return ports[0] == SSH_PORT and self._let_in(found, card)

    def _let_in(self, source: _Card, target: _Card) -> bool:
        now, key = time.monotonic(), (source.address, target.key)
        at, answer = self._admitted.get(key, (-REMEMBERED, False))
        if now - at >= REMEMBERED:
            answer = self._admits(socket.inet_ntoa(source.address), target.key)
            self._admitted[key] = (now, answer)
        return answer

    def _joined(self, one: Key, other: Key) -> bool:
        """Rules are about who opens a connection, and what comes back on it passes: packets pass
        where either may open one."""
        now = time.monotonic()
        at, answer = self._known.get((one, other), (-REMEMBERED, False))
        if now - at >= REMEMBERED:
            answer = self._lets_in(one, other) or self._lets_in(other, one)
            self._known[one, other] = self._known[other, one] = (now, answer)
        return answer
