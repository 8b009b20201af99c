"""Many agents in one process: each connection to a Unix socket is one that says hello and answers.

    python agents.py SOCKET         serves byoc's wire protocol; prints a line when it listens

What 200 real agents burn on machines of their own must not be counted against one client, and 200
Pythons on this host would be all that is measured. They take a client's hello, answer it, and
acknowledge whatever comes, by byoc's own link layer; they run nothing.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from typing import Any

from byoc import limits
from byoc.wire import VERSION, link

GREETING = {"v": VERSION, "fresh": True, "received": 0, "python": [3, 11, 0], "system": "linux"}
GREETING |= {"home": "/root"}
MARK = b'{"v":'
"""How a client's hello begins, behind the bundle that it ships."""


class Agent:
    """One client's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.link = link.Link()
        self.hello: bytes | None = b""

    def take(self, data: bytes) -> None:
        """What came from the client."""
        if self.hello is not None:
            self.hello += data
            begin = self.hello.find(MARK)
            end = self.hello.find(b"\n", begin) if begin >= 0 else -1
            if end < 0:
                return
            rest, self.hello = self.hello[end + 1 :], None
            self.sock.sendall(json.dumps(GREETING).encode() + b"\n")
            data = rest
        if data:
            for event in self.link.received(data):
                self.link.consumed(event.stream, len(event.payload))
        for part in self.link.outgoing():
            self.sock.sendall(part)


def serve(path: str) -> None:
    """Until stdin ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1024)
    looking = selectors.DefaultSelector()
    looking.register(listener, selectors.EVENT_READ)
    looking.register(sys.stdin, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in looking.select():
            if key.fileobj is listener:
                sock, _ = listener.accept()
                looking.register(sock, selectors.EVENT_READ, Agent(sock))
            elif key.fileobj is sys.stdin:
                return
            elif not _spoken(key.data):
                looking.unregister(key.data.sock)
                key.data.sock.close()


def _spoken(agent: Any) -> bool:
    """Let one agent take what is there; False when its client has gone."""
    try:
        data = agent.sock.recv(limits.CHUNK)
        if data:
            agent.take(data)
        return bool(data)
    except OSError:
        return False


if __name__ == "__main__":
    serve(sys.argv[1])
