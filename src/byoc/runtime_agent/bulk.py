"""A container's end of bulk transfers: large buffers that come and go beside its messages.

The container listens on a Unix socket in a folder that only its user can enter; sshd connects the
client's channels to it, so the agent moves none of these bytes. Threads exist only from the first
transfer on: one that accepts, one for each channel. They move megabytes per system call, without
holding the interpreter meanwhile.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import threading
import zlib
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from .. import limits
from ..wire import bulk, memory, messages

LONGEST_PATH = 103
"""Bytes of a Unix socket's path that every system takes (macOS has 104 with its end)."""
NAME_ROOM = 24
"""Bytes kept for the name in the folder."""
DOOR = "door"
"""Name of the agent's own socket in the folder."""
MOST_CHANNELS = 64
"""Channels served at once; clients use 16 in each direction."""
SLICE = 0.5
"""Seconds of one wait of the main thread, which hears signals only between waits."""
KEEP = 64 * 1024 * 1024
"""Bytes of results that may wait to be fetched while the next input runs."""


def folder() -> str:
    """The folder of this user's bulk sockets: made, 0700, ours; "" when there cannot be one."""
    home = os.path.expanduser("~/.byoc")
    path = os.path.join(home, "bulk")
    if len(os.fsencode(path)) + NAME_ROOM > LONGEST_PATH:
        mark = zlib.crc32(os.fsencode(home))
        path = "/tmp/byoc-%d-%08x" % (os.geteuid(), mark)  # noqa: S108 - checked below to be ours
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        found = os.lstat(path)
    except OSError:
        return ""
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return path if ours and not stat.S_IMODE(found.st_mode) & 0o077 else ""


def socket_path(where: str, pid: int) -> str:
    """The socket of the container with that process id."""
    return os.path.join(where, "c%d" % pid)


def tidy(where: str, pid: int) -> None:
    """Remove the socket of a container that has ended."""
    if where and pid:
        try:
            os.unlink(socket_path(where, pid))
        except OSError:
            pass  # it did so itself, or never had one


def open_door(where: str) -> Optional[socket.socket]:
    """The agent's own socket in the folder, where clients find out whether they may connect to
    any. Removes what an earlier agent's containers left."""
    try:
        for name in os.listdir(where) if where else []:
            os.unlink(os.path.join(where, name))
    except OSError:
        return None
    return listen(os.path.join(where, DOOR)) if where else None


def listen(path: str) -> Optional[socket.socket]:
    """A socket that listens at ``path``; None when the system will not have it."""
    server = socket.socket(socket.AF_UNIX)
    try:
        if os.path.lexists(path):
            os.unlink(path)  # of an earlier process with this number
        server.bind(path)
        server.listen(MOST_CHANNELS)
    except OSError:
        server.close()
        return None
    return server


class _Incoming:
    """A buffer that is being filled, piece by piece.

    It is handed to user code once all pieces are there, so from then on nobody may write to it: a
    piece has one writer at a time, and one that comes again is read and thrown away.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.data: Optional[bytearray] = memory.allocate(size)
        self.have: Set[int] = set()  # where the pieces begin that are there
        self.writers: Dict[int, socket.socket] = {}  # channels that bring one, by where it begins

    @property
    def whole(self) -> bool:
        return len(self.have) * bulk.PIECE >= self.size

    def has_piece(self, offset: int, length: int) -> bool:
        return not offset % bulk.PIECE and 0 < length == min(bulk.PIECE, self.size - offset)


class Bulk:
    """The transfers of one container. Any thread. Nothing travels aside before :meth:`open`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._incoming: Dict[bytes, _Incoming] = {}
        self._outgoing: Dict[bytes, memoryview] = {}
        self._channels = 0
        self._started = False
        self._pid = 0
        self._server: Optional[socket.socket] = None

    def open(self) -> str:
        """Be there for a client that reaches this machine's sockets: the path, or "" when there
        cannot be one and everything has to go in the messages."""
        where = folder()
        self._pid = os.getpid()
        self._path = socket_path(where, self._pid)
        self._server = listen(self._path) if where else None
        return self._path if self._server is not None else ""

    # --- what messages bring and take -----------------------------------------------------

    def collect(self, message: messages.Message) -> messages.Message:
        """A message with its buffers, waited for. Raises FrameError for impossible ones."""
        if "x" not in message.head:
            return message
        named = bulk.named(message.head, len(message.buffers), limits.MAX_MESSAGE)
        buffers = list(message.buffers)
        with self._changed:
            for one in named:
                self._incoming[one.token] = _Incoming(one.size)
            self._start()
            self._changed.notify_all()
            for one in named:
                transfer = self._incoming[one.token]
                while not transfer.whole:
                    self._changed.wait(SLICE)
                buffers[one.place], transfer.data = transfer.data or b"", None
        return messages.Message(message.head, buffers)

    def offer(self, buffers: Sequence[Any]) -> Tuple[List[Any], List[List[Any]]]:
        """Buffers as they go into a message, and what its head says as ``x`` of the large ones."""
        if self._server is None or os.getpid() != self._pid:
            return list(buffers), []
        inline: List[Any] = []
        aside: List[List[Any]] = []
        for index, buffer in enumerate(buffers):
            view = memoryview(buffer)
            if view.nbytes < bulk.LARGE:
                inline.append(buffer)
                continue
            token = os.urandom(bulk.TOKEN)
            with self._changed:
                self._outgoing[token] = view.cast("B")
                self._start()
            aside.append([index, token.hex(), view.nbytes])
            inline.append(b"")
        return inline, aside

    def settle(self, keep: int = KEEP) -> None:
        """Wait until at most ``keep`` bytes wait to be fetched: memory is not for collecting
        results that the client is slow to take."""
        if self._outgoing:
            with self._changed:
                while sum(view.nbytes for view in self._outgoing.values()) > keep:
                    self._changed.wait(SLICE)

    def close(self) -> None:
        """Nothing more comes or goes."""
        server = self._server
        if server is None or os.getpid() != self._pid:
            return
        self._server = None
        self._unlink()
        try:
            server.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        except OSError:
            pass  # not every system does it for one that listens; or user code closed it
        if not self._started:
            server.close()

    # --- channels -------------------------------------------------------------------------

    def _start(self) -> None:
        """Serve, from the first transfer on."""
        if not self._started and self._server is not None:
            threading.Thread(
                target=self._accept, args=(self._server,), name="byoc-bulk", daemon=True
            ).start()
            self._started = True

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                channel, _ = server.accept()
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                self._give_up(server, error)
                return
            with self._changed:
                full = self._channels >= MOST_CHANNELS
                self._channels += 0 if full else 1
            if full or not self._serves(channel):
                channel.close()  # the client sees it, and tries again

    def _serves(self, channel: socket.socket) -> bool:
        """Whether there is a thread for it now; else user code has too many."""
        server = threading.Thread(
            target=self._serve, args=(channel,), name="byoc-bulk", daemon=True
        )
        try:
            server.start()
        except RuntimeError:
            with self._changed:
                self._channels -= 1
            return False
        return True

    def _give_up(self, server: socket.socket, error: OSError) -> None:
        """No channel can be had any more: a client must find that out, instead of waiting."""
        self._unlink()
        if error.errno == errno.EBADF:
            server.detach()  # user code closed it: the number may be something else's now
        else:
            server.close()

    def _unlink(self) -> None:
        try:
            os.unlink(self._path)
        except OSError:
            pass  # somebody tidied up

    def _serve(self, channel: socket.socket) -> None:
        """One channel, until it ends or brings what is no request."""
        head = bytearray(bulk.REQUEST.size)
        handlers = {bulk.PUT: self._put, bulk.GET: self._get, bulk.DONE: self._done}
        try:
            while _filled(channel, memoryview(head)):
                magic, kind, token, offset, length = bulk.REQUEST.unpack(head)
                handler = handlers.get(kind)
                if magic != bulk.MAGIC or handler is None:
                    return
                if not handler(channel, token, offset, length):
                    return
        except OSError:
            pass  # the client's connection was cut: it asks again on another
        finally:
            channel.close()
            with self._changed:
                self._channels -= 1

    def _put(self, channel: socket.socket, token: bytes, offset: int, length: int) -> bool:
        """Bytes of a transfer; those of one whose message has not been read yet wait for that."""
        with self._changed:
            while token not in self._incoming:  # its message may be read in hours
                if _over(channel):
                    return False  # a connection that was cut: it shall not take up a place
                self._changed.wait(SLICE)
            transfer = self._incoming[token]
            if not transfer.has_piece(offset, length):
                return False
            while offset in transfer.writers:  # of a connection that was cut: it shall not go on
                try:
                    transfer.writers[offset].shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it has just ended
                self._changed.wait(SLICE)
            known = offset in transfer.have or transfer.data is None
            if known or transfer.data is None:
                into = memoryview(bytearray(length))
            else:
                into = memoryview(transfer.data)[offset : offset + length]
                transfer.writers[offset] = channel
        filled = False
        try:
            filled = _filled(channel, into)
        finally:
            into.release()
            with self._changed:
                if not known:
                    del transfer.writers[offset]
                    if filled:
                        transfer.have.add(offset)
                    self._changed.notify_all()
        if filled:
            channel.sendall(bulk.YES)
        return filled

    def _get(self, channel: socket.socket, token: bytes, offset: int, length: int) -> bool:
        view = self._outgoing.get(token)
        if view is None or offset + length > view.nbytes:
            channel.sendall(bulk.NO)
            return False
        channel.sendall(bulk.YES)
        channel.sendall(view[offset : offset + length])
        return True

    def _done(self, channel: socket.socket, token: bytes, offset: int, length: int) -> bool:
        with self._changed:
            self._outgoing.pop(token, None)
            self._incoming.pop(token, None)
            self._changed.notify_all()
        channel.sendall(bulk.YES)
        return True


def _over(channel: socket.socket) -> bool:
    """Whether the other end is gone, read or not what it left."""
    look = select.poll()
    look.register(channel, 0)
    return bool(look.poll(0))


def _filled(channel: socket.socket, view: memoryview) -> bool:
    """Fill ``view`` from the channel, with few system calls; False at its end."""
    while view.nbytes:
        size = channel.recv_into(view, view.nbytes, socket.MSG_WAITALL)
        if not size:
            return False
        view = view[size:]
    return True
