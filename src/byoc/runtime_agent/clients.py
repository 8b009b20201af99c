"""Clients of the agent: how a channel is handed over, greeted, refused and let go."""

from __future__ import annotations

import array
import itertools
import json
import os
import selectors
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Dict, List

from ..wire import VERSION, link
from . import bulk, containers, forward
from .host import note

if TYPE_CHECKING:
    from .agent import Agent

HELLO_LIMIT = 65536
"""Longest first line of a client."""


class Connection:
    """A client's channel: the descriptors that an SSH exec handed over."""

    def __init__(self, stub: socket.socket, reader: int, writer: int) -> None:
        self.stub = stub
        self.reader = reader
        self.writer = writer
        self.hello = b""
        self.attached = False
        self.closed = False
        self.full = False
        """The channel takes no more now; it is watched for room."""
        self.out: Deque[memoryview] = deque()

    def write(self) -> None:
        """Write what waits, as far as the channel takes it. Raises OSError; a full one is none."""
        out = self.out
        while out:
            try:
                size = os.writev(self.writer, [*itertools.islice(out, 64)])
            except BlockingIOError:
                return
            while size:
                first = out[0]
                if size >= first.nbytes:
                    size -= first.nbytes
                    out.popleft()
                else:
                    out[0] = first[size:]
                    size = 0

    def close(self) -> None:
        """Give the channel back; the waiting SSH command then ends."""
        self.closed = True
        os.close(self.reader)
        os.close(self.writer)
        self.stub.close()


class Door:
    """Takes in clients for the agent."""

    def __init__(self, agent: Agent, server: socket.socket) -> None:
        self._agent = agent
        self._server = server
        server.setblocking(False)
        agent.watch(server.fileno(), self._accept)
        self._bulk_door = bulk.open_door(agent.bulk_folder)
        if self._bulk_door is not None:
            self._bulk_door.setblocking(False)
            agent.watch(self._bulk_door.fileno(), self._knocked)

    def _knocked(self, mask: int) -> None:
        """A client has seen that bulk channels reach this machine's sockets: that was all."""
        assert self._bulk_door is not None
        try:
            self._bulk_door.accept()[0].close()
        except OSError:
            pass  # it is gone already

    def _accept(self, mask: int) -> None:
        try:
            stub, _ = self._server.accept()
        except OSError:
            return
        stub.setblocking(False)
        self._agent.watch(stub.fileno(), lambda _: self._handed(stub))

    def _handed(self, stub: socket.socket) -> None:
        """The first word of an SSH exec's process: its channel, and the version it belongs to."""
        self._agent.watch(stub.fileno(), self._accept, 0)
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
        if data.decode(errors="replace") != self._agent.digest:
            self._other_version(stub, list(fds))
            return
        connection = Connection(stub, fds[0], fds[1])
        os.set_blocking(connection.reader, False)
        os.set_blocking(connection.writer, False)
        _tell(stub, b"+")
        self._agent.watch(connection.reader, lambda _: self._read(connection), hot=True)

    def _other_version(self, stub: socket.socket, fds: List[int]) -> None:
        """A client with another bundle: make room when idle, refuse while in use."""
        for fd in fds:
            os.close(fd)
        if self._agent.session:
            _tell(stub, b"!")
        else:
            os.unlink("agent.sock")
            self._agent.done = True
            _tell(stub, b"-")
        stub.close()

    def _read(self, connection: Connection) -> None:
        data = containers.read_some(connection.reader)
        if data is None:
            return
        if not data:
            self._agent.drop(connection)
            return
        try:
            if connection.attached:
                self._agent.brisk |= len(data) < forward.SMALL
                self._agent.received(data)
            else:
                self._greet(connection, data)
        except (link.FrameError, ValueError, KeyError, TypeError, RecursionError) as error:
            note("dropped a client: %s: %s" % (type(error).__name__, error))
            self._agent.drop(connection)

    def _greet(self, connection: Connection, data: bytes) -> None:
        connection.hello += data
        line, newline, rest = connection.hello.partition(b"\n")
        if newline:
            if self._attach(connection, json.loads(line.decode())) and rest:
                self._agent.received(rest)
        elif len(connection.hello) > HELLO_LIMIT:
            raise link.FrameError("no hello")

    def _attach(self, connection: Connection, hello: Dict[str, Any]) -> bool:
        """Greet a client; False when it was refused."""
        agent = self._agent
        fresh = hello["session"] != agent.session
        end, ttl = [str(word) for word in hello["end"]], float(hello["ttl"])
        problem = self._refusal(hello, fresh)
        if not problem:
            if hello.get("home"):
                agent.host.belongs_to(str(hello["home"]))
            agent.host.extend(ttl)
            problem = "" if fresh else self._resumed(int(hello["received"]))
        if problem:
            _say(connection, {"v": VERSION, "error": "refused", "detail": problem})
            agent.drop(connection)
            return False
        agent.host.end_command = end
        agent.look()
        if agent.connection is not None:
            agent.drop(agent.connection)
        if fresh:
            agent.reset()
            agent.session = hello["session"]
        answer = {
            "v": VERSION,
            "fresh": fresh,
            "received": agent.link.received_seq,
            "python": list(sys.version_info[:3]),
            "system": sys.platform,
            "home": os.path.expanduser("~"),
            "door": os.path.join(agent.bulk_folder, bulk.DOOR) if self._bulk_door else "",
        }
        _say(connection, answer)
        connection.attached = True
        agent.connection = connection
        return True

    def _resumed(self, received: int) -> str:
        """Go on where the client is; else why that cannot be."""
        try:
            self._agent.link.resume(received)
        except link.FrameError as error:
            return "lost: %s" % error
        return ""

    def _refusal(self, hello: Dict[str, Any], fresh: bool) -> str:
        agent = self._agent
        if hello["v"] != VERSION:
            return "protocol %s, this agent speaks %d" % (hello["v"], VERSION)
        if agent.host.ending:
            return "the instance is ending"
        if fresh and hello["received"]:
            return "lost: the agent no longer knows this session"
        if fresh and agent.session and agent.connection is not None and not hello.get("takeover"):
            return "in use by another client"
        return ""


def watch_room(agent: Agent, connection: Connection) -> None:
    """Be called when the channel takes more, exactly while something waits for that."""
    full = bool(connection.out)
    if full != connection.full:
        connection.full = full
        mask = selectors.EVENT_WRITE if full else 0
        agent.watch(connection.writer, lambda _: None, mask, hot=True)


def _say(connection: Connection, word: Dict[str, Any]) -> None:
    connection.out.append(memoryview(json.dumps(word).encode() + b"\n"))
    try:
        connection.write()  # what is left goes with the first frames
    except OSError:
        pass  # it is gone; its reader will say so


def _tell(stub: socket.socket, word: bytes) -> None:
    try:
        stub.send(word)
    except OSError:
        pass  # it is gone already; so will be its channel
