"""Real machines: each a process tree in namespaces of its own, met by SSH.

The nursery (:mod:`.guest.nursery`) makes them and ends them. Each machine's init has a connection
to here; one thread listens to all of them, and to the listeners of the machines' private addresses.
"""

from __future__ import annotations

import json
import logging
import os
import select
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import bootsteps, egress, metadata, plans
from .doors import Doors
from .guest import messages, power
from .kinds import Key, Plan, Voice
from .link import Link, must_be_possible
from .mesh import Judge, Mesh, Porter, everybody, nobody

_LOG = logging.getLogger(__name__)
CONSOLE = 256 * 1024
"""Bytes of a console's end that are kept for those who ask."""
GENTLE = 4.0
"""Seconds for a machine to go off after its power button; its init gives processes one of them."""
SERVERS = 16
"""Requests to metadata services that are answered at once."""
_BY_REBOOT = {int(signal.SIGINT): power.OFF, int(signal.SIGHUP): power.RESTART}
"""The signal by which the kernel ends a machine's init for a ``reboot(2)`` within."""


@dataclass
class _Room:
    """One machine: its plan, who hears of it, and its init's connection, if that lives."""

    plan: Plan
    voice: Voice
    folder: Path
    console: Path
    data: dict[str, Any]
    peer: socket.socket | None = None
    connections: dict[int, socket.socket] = field(default_factory=dict)
    listeners: list[socket.socket] = field(default_factory=list)
    shut_out: list[socket.socket] = field(default_factory=list)
    number: int = 0
    opened: bool = False
    cut: bool = False
    frozen: bool = False
    ending: bool = False
    going: str = ""
    """How its init said that it goes off."""
    killed: bool = False


class RealKeeper:
    """Keeps real machines. ``folder``: made here, and removed with all that is in it; should this
    process be killed, the folder above it is removed as well. ``lets_in``: which machines reach
    which by their private addresses; ``admits``: which addresses reach which machine's SSH port.

    Raises BootError when this host cannot have such machines.
    """

    def __init__(
        self, doors: Doors, folder: Path, lets_in: Judge = nobody, admits: Porter = everybody
    ) -> None:
        must_be_possible()
        self._mesh = Mesh(lets_in, admits)
        self._admits = admits
        self._doors = doors
        self._folder = folder
        self._layout = plans.layout()
        for part in (folder, folder / "consoles"):
            part.mkdir(mode=0o700, parents=True)
        self._rooms: dict[Key, _Room] = {}
        self._by_name: dict[str, _Room] = {}
        self._ghosts: list[socket.socket] = []
        self._lock = threading.RLock()
        self._made = 0
        self.problems: list[str] = []
        self._sources: dict[int, Callable[[], None]] = {}
        self._poll = select.epoll()
        self._closing = False
        self._nursery = Link(folder)
        self._wake, self._waker = socket.socketpair()
        self._workers = ThreadPoolExecutor(SERVERS, thread_name_prefix="emulator-metadata")
        self._watch(self._wake, lambda: None)
        self._watch(self._nursery.socket, self._hear_nursery)
        self._thread = threading.Thread(target=self._run, name="emulator-machines", daemon=True)
        self._thread.start()

    # --- what the world asks --------------------------------------------------------------
    def boot(self, plan: Plan, voice: Voice) -> None:
        with self._lock:
            if self._closing:
                return
            self._made += 1
            name = f"{self._made:04d}"
            console = self._folder / "consoles" / name
            folder = self._folder / name
            data = plans.plan(plan, self._layout, folder, self._nursery.memory_disk)
            room = _Room(plan, voice, folder, console, data)
            self._rooms[plan.key] = self._by_name[name] = room
            console.write_text("" if not plan.dead else plan.console, encoding="utf-8")
            if plan.dead:
                self._doors.silence(plan.machine.address)
                return
            for part in ("disk", "root"):
                (folder / part).mkdir(mode=0o755, parents=True)
            self._doors.wait(plan.machine.address)
            self._start(name, room)

    def _start(self, name: str, room: _Room) -> None:
        path = room.folder / "plan.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(room.data), encoding="utf-8")
        ours, theirs = messages.pair()
        log = os.open(room.console, os.O_WRONLY | os.O_APPEND)
        try:
            order = {"do": "boot", "key": name, "plan": str(path)}
            self._nursery.tell(order, (theirs.fileno(), log))
        finally:
            theirs.close()
            os.close(log)
        ours.setblocking(False)
        room.peer, room.opened, room.going = ours, False, ""
        self._watch(ours, lambda: self._hear_machine(room))

    def end(self, key: Key, gently: bool) -> None:
        with self._lock:
            room = self._rooms.get(key)
            if room is None or room.ending:
                return
            room.ending = True
            if not (gently and _sent(room, {"power": True})):
                self._order(room, "kill")
                return
        late = threading.Timer(GENTLE, lambda: self._order(room, "kill"))
        late.daemon = True
        late.start()

    def kill(self, key: Key) -> None:
        with self._lock:
            room = self._rooms.get(key)
            if room is None or room.ending:
                return
            room.killed = True
            if not room.plan.dead:
                self._order(room, "kill")
                return
            room.ending = True
        room.voice.off("crash")

    def freeze(self, key: Key, on: bool) -> None:
        with self._lock:
            room = self._rooms.get(key)
            if room is not None:
                room.frozen = on
                self._order(room, "freeze" if on else "thaw")
                if not on and room.cut:
                    self._order(room, "cut")

    def cut(self, key: Key, on: bool) -> None:
        with self._lock:
            room = self._rooms.get(key)
            if room is None or room.plan.dead:
                return
            room.cut = on
            self._mesh.cut(key, on)
            if on:
                self._doors.silence(room.plan.machine.address)
            if not room.frozen:
                self._order(room, "cut" if on else "mend")
            if not on:
                self._doors.silence(room.plan.machine.address, False)
                if room.opened:
                    self._let_in(room)

    def console(self, key: Key) -> str:
        with self._lock:
            room = self._rooms.get(key)
        if room is None:
            return ""
        with room.console.open("rb") as file:
            file.seek(max(0, room.console.stat().st_size - CONSOLE))
            return file.read().decode("utf-8", "replace")

    def close(self) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._waker.send(b"x")
        self._thread.join()
        self._nursery.close()
        self._mesh.close()
        self._workers.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            for room in self._rooms.values():
                self._leave(room, silently=False)
        for one in (*self._ghosts, self._wake, self._waker):
            one.close()
        self._poll.close()
        shutil.rmtree(self._folder, ignore_errors=True)  # the nursery has, unless it was killed

    # --- what the thread hears ------------------------------------------------------------
    def _watch(self, source: socket.socket, heard: Callable[[], None]) -> None:
        with self._lock:
            self._sources[source.fileno()] = heard
            self._poll.register(source.fileno(), select.EPOLLIN)

    def _unwatch(self, source: socket.socket) -> None:
        if self._sources.pop(source.fileno(), None) is not None:
            self._poll.unregister(source.fileno())

    def _run(self) -> None:
        while not self._closing:
            for handle, _ in self._poll.poll():
                with self._lock:
                    heard = self._sources.get(handle)
                if heard is not None:
                    heard()

    def _hear_nursery(self) -> None:
        try:
            got = messages.receive(self._nursery.socket)
        except BlockingIOError:
            return
        if got is None:
            self._lose_nursery()
            return
        message = got[0]
        with self._lock:
            room = self._by_name.get(message.get("ended") or message["failed"])
        if room is None:
            return
        if "failed" in message:
            self._note(room, f"the machine could not be made: {message['why']}\n")
            self._ended(room, 0)
        else:
            self._ended(room, message["status"])

    def _lose_nursery(self) -> None:
        """It was killed, and all machines with it."""
        _LOG.error("the process that keeps the machines has ended, and they with it")
        with self._lock:
            self._unwatch(self._nursery.socket)
            rooms = [room for room in self._by_name.values() if room.peer is not None]
        for room in rooms:
            self._ended(room, signal.SIGKILL)

    def _hear_machine(self, room: _Room) -> None:
        while room.peer is not None:
            try:
                got = messages.receive(room.peer)
            except BlockingIOError:
                return
            if got is None:
                with self._lock:
                    self._unwatch(room.peer)
                return
            self._heard(room, *got)

    def _heard(self, room: _Room, message: dict[str, Any], handles: list[int]) -> None:
        if "listener" in message:
            self._serve(room, message["listener"], socket.socket(fileno=handles[0]))
        elif "wire" in message:
            self._mesh.join(room.plan.machine, handles[0])
        elif "open" in message:
            with self._lock:
                room.opened = True
                if not room.cut:
                    self._let_in(room)
        elif "closed" in message:
            with self._lock:
                connection = room.connections.pop(message["closed"], None)
            if connection is not None:
                connection.close()
        elif "moment" in message:
            room.voice.moment(str(message["moment"]))
        elif "off" in message:
            room.going = message["off"]

    def _let_in(self, room: _Room) -> None:
        self._doors.open(room.plan.machine.address, lambda guest: self._met(room, guest))

    def _met(self, room: _Room, guest: socket.socket) -> None:
        """Somebody is at the door: let in, or left without an answer, as by a firewall."""
        if self._admits(guest.getpeername()[0], room.plan.key):
            self._connect(room, guest)
            return
        with self._lock:
            room.shut_out.append(guest)

    def _connect(self, room: _Room, guest: socket.socket) -> None:
        guest.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            room.number += 1
            if _sent(room, {"ssh": room.number}, guest):
                # Kept open here as well: were the machine killed, its peers must hear nothing.
                room.connections[room.number] = guest
                return
        guest.close()

    def _serve(self, room: _Room, name: str, listener: socket.socket) -> None:
        """Answer at one of a machine's private addresses."""
        listener.setblocking(False)
        room.listeners.append(listener)
        if name == "metadata":
            answer = room.plan.machine.metadata

            def work(connection: socket.socket) -> None:
                self._workers.submit(metadata.serve, connection, answer)
        elif name == "ssh":  # at its private address: the mesh has judged who comes

            def work(connection: socket.socket) -> None:
                self._connect(room, connection)
        else:
            work = egress.start

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:  # it has left already
                return
            connection.setblocking(True)
            work(connection)

        self._watch(listener, accept)

    # --- the end of a machine -------------------------------------------------------------
    def _ended(self, room: _Room, status: int) -> None:
        self._hear_machine(room)  # its last words may still be on their way
        with self._lock:
            how = room.going or _BY_REBOOT.get(status & 127, "")
            asked, killed = room.ending, room.killed
            self._leave(room, silently=killed or not (how or asked))
            if how == power.RESTART and not asked and not killed:
                self._restart(room)
                return
            room.ending = True
            self._doors.silence(room.plan.machine.address)
            if not self._closing:
                self._workers.submit(shutil.rmtree, room.folder, True)
        if not (how or asked or killed):
            self._wonder(room, status)
        if not asked:
            room.voice.off("shutdown" if how and not killed else "crash")

    def _wonder(self, room: _Room, status: int) -> None:
        """A machine ended although nobody wanted it to: that is a failure of the emulator."""
        code = os.waitstatus_to_exitcode(status)
        last = (self.console(room.plan.key).strip().splitlines() or ["nothing on its console"])[-1]
        self.problems.append(f"machine {room.plan.machine.id} ended by itself ({code}): {last}")

    def _restart(self, room: _Room) -> None:
        room.data["boots"] += 1
        if (
            not self._nursery.memory_disk
        ):  # one in memory went with the machine: it boots as a new one
            room.data["steps"] = bootsteps.again(room.data["steps"])
        self._doors.wait(room.plan.machine.address)
        self._start(room.folder.name, room)

    def _leave(self, room: _Room, silently: bool) -> None:
        """Let go of what connects us with a machine that has ended. ``silently``: its peers are
        not told, as nobody tells them when a host loses its power."""
        self._mesh.leave(room.plan.key)
        for guest in room.shut_out:
            guest.close()
        room.shut_out.clear()
        for listener in room.listeners:
            self._unwatch(listener)
            listener.close()
        room.listeners.clear()
        if silently:
            self._ghosts += room.connections.values()
        else:
            for connection in room.connections.values():
                connection.close()
        room.connections.clear()
        if room.peer is not None:
            self._unwatch(room.peer)
            room.peer.close()
            room.peer = None

    # --- words to the nursery -------------------------------------------------------------
    def _order(self, room: _Room, what: str) -> None:
        with self._lock:
            if room.peer is not None and not self._closing:
                self._nursery.tell({"do": what, "key": room.folder.name})

    def _note(self, room: _Room, text: str) -> None:
        with room.console.open("a", encoding="utf-8") as file:
            file.write(text)


def _sent(room: _Room, message: dict[str, Any], handle: socket.socket | None = None) -> bool:
    """Tell a machine's init something; False when it cannot be told."""
    if room.peer is None:
        return False
    try:
        messages.send(room.peer, message, [] if handle is None else [handle.fileno()])
    except OSError:  # it has just ended, or has not listened for long
        return False
    return True
