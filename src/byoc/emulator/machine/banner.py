"""Machines that are only a greeting: enough for an adapter's tests, and quick."""

from __future__ import annotations

import socket
import threading

from .doors import Doors
from .kinds import Key, Plan, Voice

GREETING = b"SSH-2.0-byoc_emulated\r\n"


class BannerKeeper:
    """Keeps machines that greet as an SSH server does, and say no more."""

    def __init__(self, doors: Doors) -> None:
        self.problems: list[str] = []
        self._doors = doors
        self._lock = threading.Lock()
        self._plans: dict[Key, tuple[Plan, Voice]] = {}
        self._guests: dict[Key, list[socket.socket]] = {}
        self._consoles: dict[Key, str] = {}

    def boot(self, plan: Plan, voice: Voice) -> None:
        with self._lock:
            self._plans[plan.key] = (plan, voice)
            self._consoles[plan.key] = f"{plan.machine.name} booted\n{plan.console}"
        if plan.dead:
            self._doors.silence(plan.machine.address)
        else:
            self._doors.open(plan.machine.address, lambda guest: self._greet(plan, voice, guest))

    def _greet(self, plan: Plan, voice: Voice, guest: socket.socket) -> None:
        with self._lock:
            alive = plan.key in self._plans
            if alive:
                self._guests.setdefault(plan.key, []).append(guest)
        try:
            if alive:
                guest.sendall(GREETING)
                voice.moment("connected")
            else:
                guest.close()
        except OSError:  # it has left
            guest.close()

    def end(self, key: Key, gently: bool) -> None:
        with self._lock:
            found = self._plans.pop(key, None)
            guests = self._guests.pop(key, [])
        for guest in guests:
            guest.close()
        if found is not None:
            self._doors.silence(found[0].machine.address)

    def kill(self, key: Key) -> None:
        with self._lock:
            found = self._plans.get(key)
        self.end(key, False)
        if found is not None:
            found[1].off("crash")

    def freeze(self, key: Key, on: bool) -> None:
        self.cut(key, on)

    def cut(self, key: Key, on: bool) -> None:
        with self._lock:
            found = self._plans.get(key)
        if found is not None:
            self._doors.silence(found[0].machine.address, on)

    def shutdown(self, key: Key) -> None:
        """As its guest's ``shutdown`` would."""
        with self._lock:
            found = self._plans.get(key)
        self.end(key, True)
        if found is not None:
            found[1].off("shutdown")

    def console(self, key: Key) -> str:
        with self._lock:
            return self._consoles.get(key, "")

    def close(self) -> None:
        for key in list(self._plans):
            self.end(key, False)
