"""Moving bytes between one container and its streams, as fast as the client takes them.

Everything here happens for each message of each input, so it does as little as it can: descriptors
are watched once and not again at each turn, a message is written to the container where it arrives,
and what a container printed is looked for with one system call when a result comes, since what was
printed before a result goes before it.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import socket
from typing import TYPE_CHECKING, Callable

from ..wire import link
from . import bulk, containers

if TYPE_CHECKING:
    from .agent import Agent

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
DRAIN_LIMIT = 1024 * 1024
"""Bytes of output read from a container that has ended: the most that a pipe holds of what it had
written; beyond that somebody else is writing there."""
LOGS = 1
SMALL = 1024
"""Bytes of a message below which somebody may be waiting for one short call."""


class Tap:
    """One container's descriptors, watched."""

    read = staticmethod(containers.read_some)

    def __init__(self, agent: Agent, container: containers.Container) -> None:
        self.agent = agent
        self.container = container
        self._mask = 0  # what its socket is watched for
        self._logs_watched = False
        self._printed = select.poll()
        for fd in container.logs:
            self._printed.register(fd, select.POLLIN)
        self.adjust()

    # --- to the container -----------------------------------------------------------------

    def take(self, payload: link.Buffer) -> None:
        """Bytes from the client."""
        container = self.container
        queue = container.to_child
        if self.agent.guard.idle:
            self.agent.hasten(self.agent.guard.stir())
        queue.append(memoryview(payload))
        if len(queue) == 1:
            self.push()

    def close_input(self) -> None:
        """The client ends its side; what it sent before goes first."""
        self.container.input_closed = True
        self.push()

    def push(self) -> None:
        """Write what waits, as far as the container takes it."""
        container = self.container
        queue = container.to_child
        consumed = 0
        while queue and container.input is not None:
            try:
                size = os.write(container.input, queue[0])
            except BlockingIOError:
                break
            except OSError:  # it closed its end or died: what was meant for it is void
                consumed += sum(part.nbytes for part in queue)
                queue.clear()
                break
            consumed += size
            if size == queue[0].nbytes:
                queue.popleft()
            else:
                queue[0] = queue[0][size:]
        if consumed:
            self.agent.link.consumed(container.stream, consumed)
        if container.input_closed and not queue and container.input is not None:
            container.input_closed = False
            self._close_input()
        if bool(queue) != bool(self._mask & WRITE):
            self.adjust()

    def _close_input(self) -> None:
        container = self.container
        assert container.input is not None
        if container.output is None:
            self._watch_socket(0)
            os.close(container.input)
            container.input = None
            return
        sock = socket.socket(fileno=os.dup(container.input))
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone already
        sock.close()

    # --- from the container ---------------------------------------------------------------

    def adjust(self) -> None:
        """Watch what there is room for, and remember to look again where there is none."""
        container, agent = self.container, self.agent
        mask = WRITE if container.to_child else 0
        if container.output is not None:
            if agent.room(container.stream):
                mask |= READ
            else:
                agent.slow.add(self)
        self._watch_socket(mask)
        room = agent.room(LOGS)
        if not room and container.logs:
            agent.slow.add(self)
        if room != self._logs_watched:
            self._logs_watched = room
            for fd in container.logs:
                agent.watch(fd, self._log_reader(fd), READ if room else 0, hot=True)

    def _watch_socket(self, mask: int) -> None:
        container = self.container
        fd = container.input if container.output is None else container.output
        if fd is not None and mask != self._mask:
            self.agent.watch(fd, self._on_socket, mask, hot=True)
        self._mask = mask

    def _on_socket(self, mask: int) -> None:
        if mask & WRITE:
            self.push()
        container = self.container
        if not mask & READ or container.output is None:
            return
        data = self.read(container.output)
        if data:
            if container.logs:
                self._logs_first()
            self.agent.brisk |= len(data) < SMALL
            self.agent.link.send(container.stream, data)
            if not self.agent.room(container.stream):
                self.adjust()
        elif data == b"":
            self._watch_socket(0)
            if container.input == container.output:
                container.input = None
            os.close(container.output)
            container.output = None

    def _logs_first(self) -> None:
        """What was printed before a result comes before it."""
        while self.agent.room(LOGS):
            printed = self._printed.poll(0)
            if not printed:
                return
            for fd, _ in printed:
                self._read_log(fd)

    def _log_reader(self, fd: int) -> Callable[[int], None]:
        def read(mask: int) -> None:
            if fd in self.container.logs:  # else it ended while a result was passed on
                self._read_log(fd)
                if not self.agent.room(LOGS):
                    self.adjust()

        return read

    def _read_log(self, fd: int) -> int:
        """Read one piece of output: its size; 0 when there is none now or it has ended."""
        data = containers.read_some(fd)
        container = self.container
        if data:
            self.agent.log({"c": container.stream, "fd": container.logs[fd]}, data)
            return len(data)
        if data == b"":
            self._forget_log(fd)
            os.close(fd)
            del container.logs[fd]
        return 0

    def _forget_log(self, fd: int) -> None:
        self.agent.watch(fd, self._on_socket, 0)
        self._printed.unregister(fd)

    def read_all_logs(self) -> None:
        """Read all output that is there now, without regard to how fast the client takes it."""
        for fd in list(self.container.logs):
            left = DRAIN_LIMIT
            while left > 0 and fd in self.container.logs:
                size = self._read_log(fd)
                if not size:
                    break
                left -= size

    # --- the end --------------------------------------------------------------------------

    def finish(self) -> None:
        """The process is gone: pass on all that it left, then its last word; as there is room."""
        container, agent = self.container, self.agent
        if not container.swept:
            container.sweep()
            agent.guard.ended(container)
            self.unwatch()  # from here on it is read here only, as there is room
        for fd in list(container.logs):
            while fd in container.logs and container.drained < DRAIN_LIMIT:
                if not agent.room(LOGS):
                    agent.slow.add(self)
                    return  # the client is slow; go on when it has taken some
                size = self._read_log(fd)
                container.drained += size
                if not size:
                    break
        while container.output is not None:
            if not agent.room(container.stream):
                agent.slow.add(self)
                return
            data = self.read(container.output)
            if not data:
                break
            agent.link.send(container.stream, data)
        agent.link.end(container.stream, json.dumps(container.last_word()).encode())
        self.forget()

    def unwatch(self) -> None:
        """Look at none of its descriptors any more."""
        self._watch_socket(0)
        for fd in self.container.logs:
            self.agent.watch(fd, self._on_socket, 0)
        self._logs_watched = False

    def forget(self) -> None:
        """Close everything; nothing of it stays."""
        self.unwatch()
        container = self.container
        container.to_child.clear()
        container.close()
        bulk.tidy(self.agent.bulk_folder, container.pid)
        self.agent.slow.discard(self)
        self.agent.containers.pop(container.stream, None)
        self.agent.taps.pop(container.stream, None)
