"""The agent: one process per instance, one client session at a time.

It joins three things in one loop: the client's connection (which may be cut and made again), the
containers, and the lease. Standard library only; it never unpickles anything.
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Set, Tuple

from .. import _lazy, limits
from ..wire import link, messages
from . import bulk, clients, containers, forward, guard
from .host import Host, note

if TYPE_CHECKING:
    from . import artifacts
    from .requests import Requests

CONTROL, LOGS = 0, 1
"""Streams that every session has; containers have the numbers that the client gives them."""
ROUSE_EVERY = 5.0
"""Seconds between two signals that let stopped zygotes go on, while there are containers."""
BRISK = 0.0003
"""Seconds for which the loop looks again and again, after a small message, before it sleeps: waking
a processor costs a short call more than all else (0.5 against 0.27 ms, docs/performance.md)."""
QUEUE_LIMIT = 512 * 1024
"""Unsent bytes of a stream beyond which the agent reads no more for it: print() then waits."""


class Agent:
    """The loop and all that hangs on it."""

    def __init__(self, server: socket.socket, bundle: str, digest: str) -> None:
        self.bundle = bundle
        self.digest = digest
        self.host = Host()
        self.guard = guard.Guard()
        self.selector = selectors.DefaultSelector()
        self.connection: Optional[clients.Connection] = None
        self.session = ""
        self.link = link.Link()
        self.control = messages.Assembler()
        self.containers: Dict[int, containers.Container] = {}
        self.taps: Dict[int, forward.Tap] = {}
        self.zygotes: Dict[str, containers.Zygote] = {}
        self.sources: Dict[int, artifacts.Source] = {}
        self.slow: Set[forward.Tap] = set()
        """Containers that wait for the client to take more."""
        self._throttled: Set[int] = set()  # streams of which it should
        self._requests: Optional[Requests] = None
        self.done = False
        self.leaving = False
        """The machine ends: what runs gets its grace, and nothing new is begun."""
        self.calls: Deque[Callable[[], None]] = deque()
        self._timers: List[Tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._roused = 0.0
        self.brisk = False
        """A small message has just passed."""
        self._due = 0.0  # when to look at clocks again
        self._stirred = True  # something happened by which a container may have ended
        self._wake_read, self._wake_write = os.pipe()
        self.bulk_folder = bulk.folder()
        self._tap: Callable[[Agent, containers.Container], forward.Tap] = forward.Tap
        moments = os.environ.get("BYOC_MOMENTS")
        if moments:
            self._tap = _lazy.load("byoc.runtime_agent.moments:taps")(moments)
        clients.Door(self, server)

    @property
    def requests(self) -> Requests:
        """The handlers of what a client asks; loaded with the first request, so that the hello
        leaves 6 ms sooner."""
        if self._requests is None:
            self._requests = _lazy.load("byoc.runtime_agent.requests:Requests")(self)
        return self._requests

    # --- the loop -------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until the host ends or a newer agent takes over."""
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self.soon(self.leave))
        signal.signal(signal.SIGHUP, lambda *_: None)  # sent beside it when a machine ends
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self.watch(self._wake_read, self._woken)
        known = self.selector.get_map()
        while not self.done:
            for key, mask in self._wait():
                # An earlier one of this batch may have closed it, and its number may be in use
                # again for something else.
                if known.get(key.fd) is key:
                    handler, hot = key.data
                    handler(mask)
                    if not hot:
                        self._stirred = True
            self._turn()
        self.reset()
        return 0

    def _wait(self) -> List[Tuple[selectors.SelectorKey, int]]:
        """What is ready, as soon as something is."""
        pause = self._pause()
        if self.brisk and pause > BRISK:
            until = time.monotonic() + BRISK
            while time.monotonic() < until:
                ready = self.selector.select(0)
                if ready:
                    return ready
                os.sched_yield()  # whoever else wants this processor goes first
        self.brisk = False
        return self.selector.select(pause)

    def _turn(self) -> None:
        """What follows from what has come."""
        if self._stirred or time.monotonic() >= self._due:
            self._clocks()
        self._write()
        if self._stirred or self._throttled or self.sources:
            self._stirred = False
            self._ends()
            self._resume()
            self._write()
        if self.leaving and not self.containers:
            self.done = True

    def watch(
        self,
        fd: int,
        handler: Callable[[int], None],
        mask: int = selectors.EVENT_READ,
        hot: bool = False,
    ) -> None:
        """Call ``handler(mask)`` when ``fd`` is ready; a repeat changes the mask, 0 removes.

        ``hot``: it is called for every message, and nothing ends by what it does.
        """
        known = fd in self.selector.get_map()
        if not mask:
            if known:
                self.selector.unregister(fd)
        elif known:
            self.selector.modify(fd, mask, (handler, hot))
        else:
            self.selector.register(fd, mask, (handler, hot))

    def soon(self, call: Callable[[], None]) -> None:
        """From any thread: run ``call`` in the loop."""
        self.calls.append(call)
        try:
            os.write(self._wake_write, b".")
        except BlockingIOError:
            pass  # it is about to wake anyway

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop after so many seconds, unless the session is over by then."""
        session = self.session

        def run() -> None:
            if self.session == session:
                call()

        when = time.monotonic() + seconds
        heapq.heappush(self._timers, (when, next(self._order), run))
        self._due = min(self._due, when)

    def hasten(self, when: float) -> None:
        """Look at clocks at that time, or earlier."""
        self._due = min(self._due, when)

    def look(self) -> None:
        """Some deadline has changed: consider all of them again."""
        self._stirred = True

    def _woken(self, mask: int) -> None:
        containers.read_some(self._wake_read)
        while self.calls:
            self.calls.popleft()()
        for container in list(self.containers.values()):
            if container.process is not None and container.status is None:
                pid, status = os.waitpid(container.pid, os.WNOHANG)
                if pid:
                    container.status = status
                    container.process.returncode = 0  # reaped here: nothing for subprocess to do

    def _pause(self) -> float:
        if self._stirred or any(self.link.queued(s) < QUEUE_LIMIT for s in self._throttled):
            return 0.0
        return max(0.0, self._due - time.monotonic())

    def _clocks(self) -> None:
        """Do what is due, and find out when to look again."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
            self._stirred = True
        times = [
            now + containers.LONGEST_LOOK,
            self.guard.look(self.containers.values(), now),
        ]
        for container in self.containers.values():
            self._stirred |= container.look(now)
            times.append(container.look_at)
        if self.containers and now - self._roused >= ROUSE_EVERY:
            self._roused = now
            for zygote in self.zygotes.values():
                zygote.rouse()
        if self.containers:
            times.append(self._roused + ROUSE_EVERY)
        if self.host.expired(now) and not self.host.ending:
            note("the lease ran out")
            self.end_host()
        if self.host.deadline is not None and not self.host.ending:
            times.append(self.host.deadline)
        if self._timers:
            times.append(self._timers[0][0])
        self._due = min(times)

    def leave(self) -> None:
        """The machine is about to end (SIGTERM): containers run their exit hooks, their inputs go
        elsewhere, then the agent ends too."""
        if self.leaving:
            return
        note("the machine ends")
        self.leaving = self._stirred = True
        for container in self.containers.values():
            container.end_within(limits.EXIT_GRACE, "ended")

    def end_host(self) -> None:
        """Kill what runs and end the machine."""
        for container in self.containers.values():
            container.kill("ended")
        self._stirred = True
        self.host.end()

    # --- clients --------------------------------------------------------------------------

    def drop(self, connection: clients.Connection) -> None:
        """The channel is gone or unusable. The session stays until the lease ends."""
        if connection.closed:
            return
        self.watch(connection.reader, self._woken, 0)
        self.watch(connection.writer, self._woken, 0)
        connection.close()
        if self.connection is connection:
            self.connection = None

    def reset(self) -> None:
        """Forget the session and kill what it ran; zygotes stay warm."""
        for container in list(self.containers.values()):
            container.kill("stopped")
        for tap in list(self.taps.values()):
            tap.forget()
        self.containers.clear()
        self.sources.clear()
        self._throttled.clear()
        if self._requests is not None:
            self._requests.reset()
        self.session = ""
        self.link = link.Link()
        self.control = messages.Assembler()

    def send(self, head: Dict[str, Any], *buffers: link.Buffer) -> None:
        """A message on the control stream."""
        self.link.send(CONTROL, *messages.encode(head, buffers))

    def log(self, head: Dict[str, Any], data: bytes) -> None:
        """A piece of log."""
        self.link.send(LOGS, *messages.encode(head, [data]))

    # --- bytes ----------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """Bytes of the session's client. Raises FrameError."""
        for event in self.link.received(data):
            tap = self.taps.get(event.stream)
            if tap is not None:
                container = tap.container
                if container.status is not None or container.input is None:
                    self.link.consumed(event.stream, len(event.payload))
                elif event.kind == link.END:
                    tap.close_input()
                else:
                    tap.take(event.payload)
                continue
            self.link.consumed(event.stream, len(event.payload))
            if event.stream == CONTROL:
                self._stirred = True
                self._control(event.payload)

    def _control(self, data: link.Buffer) -> None:
        try:
            for message in self.control.feed(data):
                self.requests.handle(message)
        except link.FrameError:
            self.reset()  # no new connection would mend it: the client is told that it is lost
            raise

    def adopt(self, container: containers.Container) -> None:
        """Move a container's bytes from now on, until it has ended."""
        self.containers[container.stream] = container
        self.taps[container.stream] = self._tap(self, container)

    def feed(self, stream: int, source: artifacts.Source) -> None:
        """Send what ``source`` gives on a stream, as fast as the client takes it."""
        self.sources[stream] = source

    def room(self, stream: int) -> bool:
        """The client takes this stream fast enough to read more for it; else remember to look."""
        if self.link.queued(stream) < QUEUE_LIMIT:
            return True
        self._throttled.add(stream)
        return False

    def _ends(self) -> None:
        """Containers that have ended: what they left, their last word."""
        for stream, container in list(self.containers.items()):
            if container.status is not None:
                self.taps[stream].finish()

    def _resume(self) -> None:
        """Go on with what had to wait for the client."""
        self._throttled.clear()
        for tap in list(self.slow):
            self.slow.discard(tap)
            if tap.container.status is None:
                tap.adjust()
            else:
                tap.finish()
        for stream, source in list(self.sources.items()):
            while stream in self.sources and self.room(stream):
                piece = source.next()
                if piece is None:
                    self.link.end(stream, b"{}")
                    del self.sources[stream]
                else:
                    self.link.send(stream, *piece)

    def read_all_logs(self) -> None:
        """Read all output that is there now, without regard to how fast the client takes it."""
        for tap in list(self.taps.values()):
            tap.read_all_logs()

    def _write(self) -> None:
        """Write frames until the channel is full or nothing waits."""
        connection = self.connection
        if connection is None or not connection.attached:
            return
        out = connection.out
        try:
            while True:
                if not out:
                    parts = self.link.outgoing()
                    if not parts:
                        break
                    out.extend(map(memoryview, parts))
                connection.write()
                if out:
                    break
        except OSError:
            self.drop(connection)
            return
        if bool(out) != connection.full:
            clients.watch_room(self, connection)


def main(server: socket.socket, bundle: str, digest: str) -> int:
    """Run the agent in the current process, whose folder is ``~/.byoc``."""
    note("agent %s, pid %d" % (digest, os.getpid()))
    return Agent(server, bundle, digest).run()
