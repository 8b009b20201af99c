"""SSH packets, read ahead and written without waiting.

paramiko's own packetizer makes two ``recv`` calls for each packet, copies it six times and waits in
``send`` with a lock held that its reading thread needs too. This one

* reads what is there, up to 512 KiB, and decrypts packets where they lie;
* hands channel data to its channel at once, uncopied;
* sends only what the socket takes now. The rest waits here: a thread that may wait drains it
  (:meth:`ReadAhead.drain`), for others the process's flusher does (:meth:`ReadAhead.settle`).

It also refuses impossible packet lengths, which paramiko would try to read. The fast ways are for
AES-GCM; other ciphers take paramiko's own, between the same reads and writes.
"""

from __future__ import annotations

import functools
import mmap
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import ProtocolError
from . import flusher, library

READ_AHEAD = 512 * 1024
"""Bytes of the read buffer; twice the largest packet that OpenSSH accepts (256 KiB)."""
MAX_PACKET = 256 * 1024
"""Largest SSH packet accepted, OpenSSH's own limit. We ask for 32 KiB."""
MAX_LINE = 8 * 1024
"""Longest line before or in the version exchange (RFC 4253 4.2 allows 255 bytes for the latter)."""
QUICK_READS = 200
"""Reads after which TCP_QUICKACK is no longer re-armed: sshd's Nagle waits for our ACK, so each
delayed ACK of a handshake or a first exec costs 40 ms; bulk data needs none of it."""
REKEY_AFTER = 4 * 1024 * 1024 * 1024
"""Bytes under one key. AES allows 64 GiB (RFC 4344 3.2); paramiko's 512 MiB costs 5 %."""
DRAIN_LOOK = 1.0
"""Seconds between two looks of who waits for the socket whether the connection was closed."""

DATA = 94  # SSH_MSG_CHANNEL_DATA, RFC 4254
_TAG, _BLOCK = 16, 16  # bytes of a GCM tag, and what a packet is padded to
_PADDING = bytes(32)
_LENGTH = struct.Struct(">I")
_DATA_HEAD = struct.Struct(">BBII")  # padding, kind, channel, size
_COUNT = (1 << 64) - 1

_Late: Any = object  # stands for paramiko's Packetizer, which packetizer_class() loads: 100 ms

Deliver = Callable[[int, memoryview], bool]
"""Takes data for the channel of that number; False when it must go paramiko's own way."""


class _Gcm:
    """One direction's AES-GCM: RFC 5647's nonce is four fixed bytes and a counter."""

    __slots__ = ("count", "engine", "fixed")

    def __init__(self, engine: Any, start: bytes) -> None:
        self.engine = engine
        self.fixed = start[:4]
        self.count = int.from_bytes(start[4:], "big")

    def nonce(self) -> bytes:
        count = self.count
        self.count = (count + 1) & _COUNT
        return self.fixed + count.to_bytes(8, "big")


class ReadAhead(_Late):  # type: ignore[misc]
    """Mixin over :class:`paramiko.packet.Packetizer`; uses only its public names.

    ``deliver``: takes channel data. ``flushed``: called, on any thread, when what waited to be sent
    has been.
    """

    REKEY_BYTES = REKEY_AFTER
    rekey_needed: type[Exception]
    message: type[Any]

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._sock = sock
        self._view = memoryview(mmap.mmap(-1, READ_AHEAD))  # of which only what is used is real
        self._start = self._end = 0
        tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        self._quick = QUICK_READS if tcp and hasattr(socket, "TCP_QUICKACK") else 0
        self._lock = threading.Lock()  # what leaves, and the cipher it leaves under
        self._unsent: deque[memoryview] = deque()
        self._dead = False
        self._sealing: _Gcm | None = None
        self._opening: _Gcm | None = None
        self._sent = self._got = self._ignored = 0  # bytes under this key; since we asked for a new
        self._seen = 0  # packets
        self.deliver: Deliver = lambda number, data: False
        self.flushed: Callable[[], None] = lambda: None

    def start_handshake(self, timeout: float) -> None:
        """Nothing: ``connect`` holds the deadline, paramiko's timer is a non-daemon thread."""

    # --- reading ------------------------------------------------------------------------------

    def readline(self, timeout: float) -> bytes:
        """One line of the version exchange, without its end.

        Raises EOFError at the end of the connection, ProtocolError when a line is endless.
        """
        while True:
            line = bytes(self._view[self._start : self._end])
            end = line.find(b"\n")
            if end >= 0:
                self._start += end + 1
                return line[:end].removesuffix(b"\r")
            if len(line) > MAX_LINE:
                raise ProtocolError("the server does not speak SSH: it sent an endless line")
            self._fill(check_rekey=False)

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        """Exactly ``n`` bytes. Raises EOFError at the end of the connection."""
        if not 0 <= n <= MAX_PACKET:
            raise ProtocolError(f"the server sent a packet with an impossible length ({n} bytes)")
        while self._end - self._start < n:
            self._fill(check_rekey)
        start = self._start
        self._start = start + n
        return bytes(self._view[start : start + n])

    def read_message(self) -> tuple[int, Any]:
        """The next message that is not channel data: (type, message)."""
        while True:
            self._seen += 1
            if self._opening is None:
                kind, message = super().read_message()
                return kind, message
            plain = self._read_packet(self._opening)
            end = len(plain) - plain[0]
            if plain[1] == DATA and end >= _DATA_HEAD.size:
                _, _, number, size = _DATA_HEAD.unpack_from(plain)
                data = memoryview(plain)[_DATA_HEAD.size : _DATA_HEAD.size + size]
                if _DATA_HEAD.size + size == end and self.deliver(number, data):
                    if self.need_rekey():
                        raise self.rekey_needed  # paramiko looks whether it is under way
                    continue
            if end < 2:
                raise ProtocolError("the server sent a packet without a message")
            message = self.message(plain[2:end])
            message.seqno = self._seen - 1
            return plain[1], message

    def _read_packet(self, gcm: _Gcm) -> bytes:
        """The next packet, decrypted: padding length, message, padding."""
        while self._end - self._start < _LENGTH.size:
            self._fill(check_rekey=True)
        (length,) = _LENGTH.unpack_from(self._view, self._start)
        if not _BLOCK <= length <= MAX_PACKET:
            raise ProtocolError(
                f"the server sent a packet with an impossible length ({length} bytes)"
            )
        whole = _LENGTH.size + length + _TAG
        while self._end - self._start < whole:
            self._fill(check_rekey=False)
        start = self._start
        body = start + _LENGTH.size
        plain: bytes = gcm.engine.decrypt(
            gcm.nonce(), self._view[body : start + whole], self._view[start:body]
        )
        self._start = start + whole
        self._count_received(whole)
        return plain

    def _count_received(self, size: int) -> None:
        self._got += size
        if self._got < self.REKEY_BYTES:
            return
        if not self.need_rekey():
            self._ignored = 0
            self._trigger_rekey()
        self._ignored += size
        if self._ignored > self.REKEY_BYTES_OVERFLOW_MAX:
            raise ProtocolError("the server ignores that its key has to be renewed")

    def _fill(self, check_rekey: bool) -> None:
        """Wait for more bytes and put them behind those that are there."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._view):
            rest = bytes(self._view[self._start : self._end])
            self._view[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        try:
            got = self._sock.recv_into(self._view[self._end :])
        except (BlockingIOError, TimeoutError):  # the socket's own receive timeout
            self._idle(check_rekey)
            return
        except OSError as error:
            if self.closed:
                raise EOFError from error
            raise
        if not got:
            raise EOFError
        self._end += got
        if self._quick:
            self._quick -= 1
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _idle(self, check_rekey: bool) -> None:
        """The socket's timeout passed without a byte: a moment to see what else is due."""
        if self.closed:
            raise EOFError
        if check_rekey and self._start == self._end and self.need_rekey():
            raise self.rekey_needed

    def reset_seqno_in(self) -> None:
        """Packets are counted anew (strict key exchange)."""
        super().reset_seqno_in()
        self._seen = 0

    def set_inbound_cipher(self, block_engine: Any, *args: Any, **options: Any) -> None:
        """See paramiko: what the server sends from now on."""
        super().set_inbound_cipher(block_engine, *args, **options)
        gcm = options.get("aead", False)
        self._opening = _Gcm(block_engine, options["iv_in"]) if gcm else None
        self._got = 0

    # --- writing ------------------------------------------------------------------------------

    def set_outbound_cipher(self, block_engine: Any, *args: Any, **options: Any) -> None:
        """See paramiko: what we send from now on."""
        with self._lock:
            super().set_outbound_cipher(block_engine, *args, **options)
            gcm = options.get("aead", False)
            self._sealing = _Gcm(block_engine, options["iv_out"]) if gcm else None
            self._sent = 0

    def send_message(self, message: Any) -> None:
        """Send a message; never waits. Any thread."""
        with self._lock:
            if self._sealing is None:
                super().send_message(message)
            else:
                data = message.asbytes()
                self._seal(self._sealing, b"", data)

    def send_data(self, number: int, data: memoryview, most: int) -> None:
        """Send data for the server's channel of that number, in packets of ``most`` bytes of it;
        never waits. Any thread."""
        head = bytes((DATA,)) + _LENGTH.pack(number)
        with self._lock:
            if self._sealing is not None and len(data) <= most:
                self._seal(self._sealing, head + _LENGTH.pack(len(data)), data)
                return
            parts: list[bytes] = []
            for at in range(0, len(data), most):
                piece = data[at : at + most]
                prefix = head + _LENGTH.pack(len(piece))
                if self._sealing is None:
                    super().send_message(self.message(prefix + piece))
                else:
                    parts += self._sealed(self._sealing, prefix, piece)
            self._put(*parts)

    def _seal(self, gcm: _Gcm, head: bytes, data: bytes | memoryview) -> None:
        self._put(*self._sealed(gcm, head, data))

    def _sealed(self, gcm: _Gcm, head: bytes, data: bytes | memoryview) -> tuple[bytes, bytes]:
        """One packet, as two parts."""
        size = 1 + len(head) + len(data)
        padding = _BLOCK - size % _BLOCK
        if padding < 4:
            padding += _BLOCK
        length = _LENGTH.pack(size + padding)
        plain = b"".join((bytes((padding,)), head, data, _PADDING[:padding]))
        sealed = gcm.engine.encrypt(gcm.nonce(), plain, length)
        self._sent += len(sealed)
        if self._sent >= self.REKEY_BYTES and not self.need_rekey():
            self._trigger_rekey()
        return length, sealed

    def write_all(self, out: bytes) -> None:
        """paramiko's name: its own messages, and those of other ciphers. Under the lock but for the
        version line, beside which nothing is sent."""
        self._put(out)

    def _put(self, *parts: bytes) -> None:
        """Send as much as the socket takes now; the rest waits."""
        if self._dead:
            raise EOFError
        if self._unsent:
            self._unsent.extend(map(memoryview, parts))
            return
        sent = self._try(parts)
        for part in parts:
            if sent >= len(part):
                sent -= len(part)
            else:
                self._unsent.append(memoryview(part)[sent:])
                sent = 0

    def _try(self, parts: Any) -> int:
        """Bytes that the socket took. Raises EOFError when the connection is broken."""
        try:
            return self._sock.sendmsg(parts, [], socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._dead = True
            self._unsent.clear()
            raise EOFError from error

    @property
    def full(self) -> bool:
        """Something waits for the socket."""
        return bool(self._unsent)

    def flush(self) -> bool:
        """Send what waits, as much as the socket takes; True when nothing waits any more."""
        with self._lock:
            unsent = self._unsent
            while unsent:
                sent = self._try([unsent[0]])
                if sent < len(unsent[0]):
                    unsent[0] = unsent[0][sent:]
                    return False
                unsent.popleft()
        return True

    def settle(self) -> None:
        """Have what waits sent by the flusher, if anything does."""
        if self._unsent:
            flusher.add(self)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits, ``timeout`` seconds at most: whether that is so.

        Not for paramiko's thread. Raises EOFError when the connection is broken.
        """
        while self._unsent:
            poller = select.poll()
            handle = self._sock.fileno()
            if handle < 0 or self.closed:
                raise EOFError
            poller.register(handle, select.POLLOUT)
            wait = DRAIN_LOOK if timeout is None else timeout
            ready = poller.poll(wait * 1000)
            if not self.flush() and not ready and timeout is not None:
                return False
        return True

    def fileno(self) -> int:
        """The socket's; negative once it is closed."""
        return self._sock.fileno()


@functools.cache
def packetizer_class() -> type[Any]:
    """The class to give to :class:`paramiko.Transport` as ``packetizer_class``."""
    paramiko = library.load()
    from paramiko.packet import NeedRekeyException, Packetizer  # here: paramiko is loaded late

    own = {"rekey_needed": NeedRekeyException, "message": paramiko.Message}
    return type("ReadAheadPacketizer", (ReadAhead, Packetizer), own)
