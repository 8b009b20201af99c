"""A TCP relay between a client and a server that can delay, freeze, cut, reset and inject."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

READ = 256 * 1024
QUEUED = 4
"""Chunks waiting in one direction of an undelayed relay, so that back-pressure passes through it.
A delayed one stands for a long line and holds what is under way."""


@dataclass(eq=False)
class _Pipe:
    """One relayed connection. ``up`` is from the client to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Relay:
    """Listens on a loopback port of its own and passes bytes to and from ``target``.

    ``delay``: seconds each way; the TCP connect itself is not delayed. ``record``: keep what the
    client sent, in :attr:`sent`. Runs in a thread; every method may be called from any thread and
    has taken effect when it returns.
    """

    def __init__(self, target: tuple[str, int], delay: float = 0.0, record: bool = False) -> None:
        self.target = target
        self.sent = bytearray()
        self.up = self.down = 0
        self.accepted = 0
        self._delay = delay
        self._record = record
        self._pipes: set[_Pipe] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self._call(self._start)

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect."""
        return self._address

    def freeze(self) -> None:
        """Let no byte through, in neither direction; connections stay open."""
        self._call(self._set_open, False)

    def heal(self) -> None:
        """Let what was held back, and all that follows, through."""
        self._call(self._set_open, True)

    def cut(self) -> None:
        """End every connection in good order (FIN), with what was under way lost."""
        self._call(self._drop, False)

    def reset(self) -> None:
        """End every connection by a reset (RST)."""
        self._call(self._drop, True)

    def inject(self, data: bytes) -> None:
        """Put bytes of our own into the stream towards each client."""
        self._call(self._inject, data)

    def close(self) -> None:
        """End everything."""
        self._call(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        async def run() -> None:
            await function(*args)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _start(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        listener = socket.create_server(("127.0.0.1", 0))
        if not self._delay:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ)
        self._server = await asyncio.start_server(self._connected, sock=listener)
        self._address: tuple[str, int] = self._server.sockets[0].getsockname()

    async def _set_open(self, value: bool) -> None:
        (self._open.set if value else self._open.clear)()

    async def _drop(self, reset: bool) -> None:
        for pipe in list(self._pipes):
            self._end(pipe, reset)

    async def _inject(self, data: bytes) -> None:
        for pipe in self._pipes:
            pipe.client.write(data)

    async def _stop(self) -> None:
        self._server.close()
        tasks = [task for pipe in self._pipes for task in pipe.tasks]
        await self._drop(True)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next turn

    async def _connected(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            source, server = await asyncio.open_connection(*self.target)
        except OSError:
            client.transport.abort()
            return
        for writer in (client, server):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pipe = _Pipe(client, server)
        self._pipes.add(pipe)
        pipe.tasks = [
            asyncio.ensure_future(self._pass(pipe, reader, server, self._count_up)),
            asyncio.ensure_future(self._pass(pipe, source, client, self._count_down)),
        ]

    def _count_up(self, data: bytes) -> None:
        self.up += len(data)
        if self._record:
            self.sent += data

    def _count_down(self, data: bytes) -> None:
        self.down += len(data)

    async def _pass(
        self,
        pipe: _Pipe,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[bytes], None],
    ) -> None:
        """One direction, until its end of file or a broken connection."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(0 if self._delay else QUEUED)
        sender = asyncio.ensure_future(self._send(queue, writer))
        pipe.tasks.append(sender)
        try:
            while data := await reader.read(READ):
                count(data)
                await queue.put((self._loop.time() + self._delay, data))
            await queue.put((self._loop.time() + self._delay, b""))
            await sender
        except OSError:
            self._end(pipe, True)

    async def _send(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._open.wait()
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    def _end(self, pipe: _Pipe, reset: bool) -> None:
        for writer in (pipe.client, pipe.server):
            sock = writer.get_extra_info("socket")
            if reset and sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        for task in pipe.tasks:
            task.cancel()
        self._pipes.discard(pipe)
