"""A TCP proxy in a process of its own that delays each direction and limits nothing else.

    python proxy.py HOST PORT SECONDS        prints the port that it listens on

It stands for the distance to an instance: no loss, no slow start, no limit of bandwidth. The TCP
connect itself is not delayed.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import deque

READ = 256 * 1024
BUFFER = 4 * 1024 * 1024
HERE = "127.0.0.1"


class Proxy:
    """One proxy process before ``target``."""

    def __init__(self, target: tuple[str, int], seconds: float) -> None:
        words = [sys.executable, __file__, target[0], str(target[1]), str(seconds)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.PIPE)
        assert self.process.stdout is not None
        self.address = (HERE, int(self.process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


class _End(asyncio.Protocol):
    """One socket of a relayed connection; what it reads leaves at the other one, later."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.other: _End | None = None
        self.transport: asyncio.Transport | None = None
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.loop = asyncio.get_running_loop()
        self.armed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=1 << 40)  # a long line holds what is under way
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.max_size = READ  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._later(data)

    def eof_received(self) -> bool:
        self._later(b"")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        other = self.other
        if error is not None and other is not None and other.transport is not None:
            other.transport.abort()

    def _later(self, data: bytes) -> None:
        self.waiting.append((self.loop.time() + self.delay, data))
        self._arm()

    def _arm(self) -> None:
        if self.waiting and not self.armed:
            self.armed = True
            self.loop.call_at(self.waiting[0][0], self._due)

    def _due(self) -> None:
        self.armed = False
        other = self.other
        if other is None or other.transport is None:
            return  # the other socket is still connecting, and arms this one then
        now = self.loop.time()
        while self.waiting and self.waiting[0][0] <= now:
            data = self.waiting.popleft()[1]
            if other.transport.is_closing():
                continue
            if data:
                other.transport.write(data)
            elif other.transport.can_write_eof():
                other.transport.write_eof()
        self._arm()


async def serve(host: str, port: int, delay: float) -> None:
    """Relay connections for ever."""
    loop = asyncio.get_running_loop()

    async def answer(near: _End) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, port))
        _, far = await loop.create_connection(lambda: _End(delay), sock=sock)
        near.other, far.other = far, near
        near._arm()

    tasks: set[asyncio.Task[None]] = set()

    def accept() -> _End:
        near = _End(delay)
        task = loop.create_task(answer(near))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return near

    server = await loop.create_server(accept, HERE, 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # until who started it has gone


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
