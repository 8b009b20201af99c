"""The agent: one process per instance, one client session at a time.

It joins three things in one loop: the client's connection (which may be cut and made again), the
containers, and the lease. Standard library only; it never unpickles anything.
"""

from __future__ import annotations

import array
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Set

from .. import _lazy
from ..wire import VERSION, link, messages
from . import containers
from .host import Host, note

if TYPE_CHECKING:
    from . import artifacts
    from .requests import Requests

CONTROL, LOGS = 0, 1
"""Streams that every session has; containers have the numbers that the client gives them."""
QUEUE_LIMIT = 512 * 1024
"""Unsent bytes of a stream beyond which the agent reads no more for it: print() then waits."""
HELLO_LIMIT = 65536
"""Longest first line of a client."""
DRAIN_LIMIT = 1024 * 1024
"""Bytes of output read from a container that has ended: the most that a pipe holds of what it had
written; beyond that somebody else is writing there."""


class Connection:
    """A client's channel: the descriptors that an SSH exec handed over."""

    def __init__(self, stub: socket.socket, reader: int, writer: int) -> None:
        self.stub = stub
        self.reader = reader
        self.writer = writer
        self.hello = b""
        self.attached = False
        self.closed = False
        self.out: Deque[memoryview] = deque()

    def close(self) -> None:
        """Give the channel back; the waiting SSH command then ends."""
        self.closed = True
        os.close(self.reader)
        os.close(self.writer)
        self.stub.close()


class Agent:
    """The loop and all that hangs on it."""

    def __init__(self, server: socket.socket, bundle: str, digest: str) -> None:
        self.server = server
        self.bundle = bundle
        self.digest = digest
        self.host = Host()
        self.selector = selectors.DefaultSelector()
        self.connection: Optional[Connection] = None
        self.session = ""
        self.link = link.Link()
        self.control = messages.Assembler()
        self.containers: Dict[int, containers.Container] = {}
        self.zygotes: Dict[str, containers.Zygote] = {}
        self.sources: Dict[int, artifacts.Source] = {}
        self._throttled: Set[int] = set()
        self._requests: Optional[Requests] = None
        self.done = False
        self.calls: Deque[Callable[[], None]] = deque()
        self._wake_read, self._wake_write = os.pipe()

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
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self.server.setblocking(False)
        self.watch(self.server.fileno(), self._accept)
        self.watch(self._wake_read, self._woken)
        while not self.done:
            for key, mask in self.selector.select(self._pause()):
                # An earlier one of this batch may have closed it, and its number may be in use
                # again for something else.
                if self.selector.get_map().get(key.fd) is key:
                    key.data(mask)
            self._deadlines()
            self._write()
            self._forward()
            self._write()
        self.reset()
        return 0

    def watch(
        self, fd: int, handler: Callable[[int], None], mask: int = selectors.EVENT_READ
    ) -> None:
        """Call ``handler(mask)`` when ``fd`` is ready; a repeat changes the mask, 0 removes."""
        known = fd in self.selector.get_map()
        if not mask:
            if known:
                self.selector.unregister(fd)
        elif known:
            self.selector.modify(fd, mask, handler)
        else:
            self.selector.register(fd, mask, handler)

    def soon(self, call: Callable[[], None]) -> None:
        """From any thread: run ``call`` in the loop."""
        self.calls.append(call)
        try:
            os.write(self._wake_write, b".")
        except BlockingIOError:
            pass  # it is about to wake anyway

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
        if any(self._room(stream) for stream in self._throttled):
            return 0.0
        now = time.monotonic()
        times = [now + containers.LONGEST_LOOK]
        if self.host.deadline is not None and not self.host.ending:
            times.append(self.host.deadline)
        for container in self.containers.values():
            due = container.deadline()
            times.append(now + container.precision() if due is None else due)
        return max(0.0, min(times) - now)

    def _deadlines(self) -> None:
        now = time.monotonic()
        for container in self.containers.values():
            due = container.deadline()
            if due is not None and due <= now:
                if container.kill_at is None or container.kill_at > now:
                    container.blamed = container.running()[0]
                container.kill_at = None
                container.kill("timeout")
        if self.host.expired(now) and not self.host.ending:
            note("the lease ran out")
            self.end_host()

    def end_host(self) -> None:
        """Kill what runs and end the machine."""
        for container in self.containers.values():
            container.kill("ended")
        self.host.end()

    # --- clients --------------------------------------------------------------------------

    def _accept(self, mask: int) -> None:
        try:
            stub, _ = self.server.accept()
        except OSError:
            return
        stub.settimeout(5.0)
        fds = array.array("i")
        try:
            data, ancillary, _, _ = stub.recvmsg(256, socket.CMSG_SPACE(2 * fds.itemsize))
        except OSError:
            stub.close()
            return
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        if len(fds) != 2:
            for fd in fds:
                os.close(fd)
            stub.close()
            return
        if data.decode(errors="replace") != self.digest:
            self._other_version(stub, list(fds))
            return
        connection = Connection(stub, fds[0], fds[1])
        os.set_blocking(connection.reader, False)
        os.set_blocking(connection.writer, False)
        stub.sendall(b"+")
        self.watch(connection.reader, lambda _: self._read(connection))

    def _other_version(self, stub: socket.socket, fds: List[int]) -> None:
        """A client with another bundle: make room when idle, refuse while in use."""
        for fd in fds:
            os.close(fd)
        if self.session:
            stub.sendall(b"!")
        else:
            os.unlink("agent.sock")
            self.done = True
            stub.sendall(b"-")
        stub.close()

    def _read(self, connection: Connection) -> None:
        data = containers.read_some(connection.reader)
        if data is None:
            return
        if not data:
            self.drop(connection)
            return
        try:
            if connection.attached:
                self._received(data)
            else:
                self._greet(connection, data)
        except (link.FrameError, ValueError, KeyError, TypeError, RecursionError) as error:
            note("dropped a client: %s: %s" % (type(error).__name__, error))
            self.drop(connection)

    def _greet(self, connection: Connection, data: bytes) -> None:
        connection.hello += data
        line, newline, rest = connection.hello.partition(b"\n")
        if newline:
            if self._attach(connection, json.loads(line.decode())) and rest:
                self._received(rest)
        elif len(connection.hello) > HELLO_LIMIT:
            raise link.FrameError("no hello")

    def _attach(self, connection: Connection, hello: Dict[str, Any]) -> bool:
        """Greet a client; False when it was refused."""
        fresh = hello["session"] != self.session
        end, ttl = [str(word) for word in hello["end"]], float(hello["ttl"])
        problem = self._refusal(hello, fresh)
        if not problem:
            self.host.extend(ttl)
            problem = "" if fresh else self._resumed(int(hello["received"]))
        if problem:
            self._say(connection, {"v": VERSION, "error": "refused", "detail": problem})
            self.drop(connection)
            return False
        self.host.end_command = end
        if self.connection is not None:
            self.drop(self.connection)
        if fresh:
            self.reset()
            self.session = hello["session"]
        answer = {
            "v": VERSION,
            "fresh": fresh,
            "received": self.link.received_seq,
            "python": list(sys.version_info[:3]),
            "system": sys.platform,
            "home": os.path.expanduser("~"),
        }
        self._say(connection, answer)
        connection.attached = True
        self.connection = connection
        return True

    def _resumed(self, received: int) -> str:
        """Go on where the client is; else why that cannot be."""
        try:
            self.link.resume(received)
        except link.FrameError as error:
            return "lost: %s" % error
        return ""

    def _refusal(self, hello: Dict[str, Any], fresh: bool) -> str:
        if hello["v"] != VERSION:
            return "protocol %s, this agent speaks %d" % (hello["v"], VERSION)
        if self.host.ending:
            return "the instance is ending"
        if fresh and hello["received"]:
            return "lost: the agent no longer knows this session"
        if fresh and self.session and self.connection is not None and not hello.get("takeover"):
            return "in use by another client"
        return ""

    @staticmethod
    def _say(connection: Connection, word: Dict[str, Any]) -> None:
        line = memoryview(json.dumps(word).encode() + b"\n")
        try:
            line = line[os.write(connection.writer, line) :]
            if line.nbytes:
                connection.out.append(line)  # goes with the first frames
        except BlockingIOError:
            connection.out.append(line)
        except OSError:
            pass  # it is gone; its reader will say so

    def drop(self, connection: Connection) -> None:
        """The channel is gone or unusable. The session stays until the lease ends."""
        if connection.closed:
            return
        self.watch(connection.reader, self._accept, 0)
        self.watch(connection.writer, self._accept, 0)
        connection.close()
        if self.connection is connection:
            self.connection = None

    def reset(self) -> None:
        """Forget the session and kill what it ran; zygotes stay warm."""
        for container in list(self.containers.values()):
            container.kill("stopped")
            self._forget(container)
        self.sources.clear()
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

    def _received(self, data: bytes) -> None:
        for event in self.link.received(data):
            if event.stream == CONTROL:
                self.link.consumed(CONTROL, len(event.payload))
                self._control(event.payload)
                continue
            container = self.containers.get(event.stream)
            if container is None or container.status is not None or container.input is None:
                self.link.consumed(event.stream, len(event.payload))
            elif event.kind == link.END:
                container.input_closed = True
            else:
                container.to_child.append(memoryview(event.payload))

    def _control(self, data: link.Buffer) -> None:
        try:
            for message in self.control.feed(data):
                self.requests.handle(message)
        except link.FrameError:
            self.reset()  # no new connection would mend it: the client is told that it is lost
            raise

    def feed(self, stream: int, source: artifacts.Source) -> None:
        """Send what ``source`` gives on a stream, as fast as the client takes it."""
        self.sources[stream] = source

    def _room(self, stream: int) -> bool:
        """The client takes this stream fast enough to read more for it; else remember to look."""
        if self.link.queued(stream) < QUEUE_LIMIT:
            return True
        self._throttled.add(stream)
        return False

    def _forward(self) -> None:
        """Move bytes from and to containers; find the ones that ended."""
        self._throttled.clear()
        for stream, source in list(self.sources.items()):
            while stream in self.sources and self._room(stream):
                piece = source.next()
                if piece is None:
                    self.link.end(stream, b"{}")
                    del self.sources[stream]
                else:
                    self.link.send(stream, *piece)
        for container in list(self.containers.values()):
            self._to_child(container)
            if container.status is not None:
                self._finish(container)
            else:
                self._adjust(container)

    def _adjust(self, container: containers.Container) -> None:
        """Read a container only as fast as the client takes it."""
        room = self._room(LOGS)
        for fd in container.logs:
            self.watch(fd, self._log_reader(container, fd), selectors.EVENT_READ if room else 0)
        mask = 0
        if container.output is not None and self._room(container.stream):
            mask |= selectors.EVENT_READ
        if container.to_child:
            mask |= selectors.EVENT_WRITE
        if container.output is not None:
            self.watch(container.output, lambda m: self._from_child(container, m), mask)
        elif container.input is not None:
            self.watch(container.input, lambda m: None, mask)

    def _to_child(self, container: containers.Container) -> None:
        queue = container.to_child
        while queue and container.input is not None:
            try:
                size = os.write(container.input, queue[0])
            except BlockingIOError:
                break
            except OSError:  # it closed its end or died: what was meant for it is void
                self.link.consumed(container.stream, sum(part.nbytes for part in queue))
                queue.clear()
                break
            self.link.consumed(container.stream, size)
            if size == queue[0].nbytes:
                queue.popleft()
            else:
                queue[0] = queue[0][size:]
        if container.input_closed and not queue and container.input is not None:
            container.input_closed = False
            self._close_input(container)

    def _close_input(self, container: containers.Container) -> None:
        assert container.input is not None
        if container.output is None:
            self.watch(container.input, self._accept, 0)
            os.close(container.input)
            container.input = None
            return
        sock = socket.socket(fileno=os.dup(container.input))
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone already
        sock.close()

    def _from_child(self, container: containers.Container, mask: int) -> None:
        if not mask & selectors.EVENT_READ or container.output is None:
            return
        data = containers.read_some(container.output)
        if data:
            for fd in list(container.logs):  # what was printed before a result comes before it
                while fd in container.logs and self._room(LOGS) and self._read_log(container, fd):
                    pass
            self.link.send(container.stream, data)
        elif data == b"":
            self.watch(container.output, self._accept, 0)
            if container.input == container.output:
                container.input = None
            os.close(container.output)
            container.output = None

    def _log_reader(self, container: containers.Container, fd: int) -> Callable[[int], None]:
        def read(mask: int) -> None:
            self._read_log(container, fd)

        return read

    def _read_log(self, container: containers.Container, fd: int) -> int:
        """Read one piece of output: its size; 0 when there is none now or it has ended."""
        data = containers.read_some(fd)
        if data:
            self.log({"c": container.stream, "fd": container.logs[fd]}, data)
            return len(data)
        if data == b"":
            self.watch(fd, self._accept, 0)
            os.close(fd)
            del container.logs[fd]
        return 0

    def read_all_logs(self) -> None:
        """Read all output that is there now, without regard to how fast the client takes it."""
        for container in list(self.containers.values()):
            for fd in list(container.logs):
                left = DRAIN_LIMIT
                while left > 0 and fd in container.logs:
                    size = self._read_log(container, fd)
                    if not size:
                        break
                    left -= size

    def _finish(self, container: containers.Container) -> None:
        """The process is gone: pass on all that it left, then its last word."""
        if not container.swept:
            container.sweep()
            self._unwatch(container)  # from here on it is read here only, as there is room
        for fd in list(container.logs):
            while fd in container.logs and container.drained < DRAIN_LIMIT:
                if not self._room(LOGS):
                    return  # the client is slow; go on when it has taken some
                size = self._read_log(container, fd)
                container.drained += size
                if not size:
                    break
        while container.output is not None:
            if not self._room(container.stream):
                return
            data = containers.read_some(container.output)
            if not data:
                break
            self.link.send(container.stream, data)
        self.link.end(container.stream, json.dumps(container.last_word()).encode())
        self._forget(container)

    def _unwatch(self, container: containers.Container) -> None:
        for fd in {container.input, container.output, *container.logs}:
            if fd is not None:
                self.watch(fd, self._accept, 0)

    def _forget(self, container: containers.Container) -> None:
        self._unwatch(container)
        container.close()
        self.containers.pop(container.stream, None)

    def _write(self) -> None:
        """Write frames until the channel is full or nothing waits."""
        connection = self.connection
        if connection is None or not connection.attached:
            return
        try:
            while True:
                if not connection.out:
                    connection.out.extend(memoryview(b) for b in self.link.outgoing())
                    if not connection.out:
                        self.watch(connection.writer, self._accept, 0)
                        return
                size = os.writev(connection.writer, list(connection.out)[:64])
                while size:
                    first = connection.out[0]
                    if size >= first.nbytes:
                        size -= first.nbytes
                        connection.out.popleft()
                    else:
                        connection.out[0] = first[size:]
                        size = 0
        except BlockingIOError:
            self.watch(connection.writer, lambda _: None, selectors.EVENT_WRITE)
        except OSError:
            self.drop(connection)


def main(server: socket.socket, bundle: str, digest: str) -> int:
    """Run the agent in the current process, whose folder is ``~/.byoc``."""
    note("agent %s, pid %d" % (digest, os.getpid()))
    return Agent(server, bundle, digest).run()
