"""What the library SSH server joins to channels: commands, shells, forwarded sockets."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable

import paramiko
from paramiko.message import Message

from . import processes

PIECE = 32 * 1024
"""Bytes moved at once: one SSH packet."""
_CHANNEL_REQUEST = 98
_NOT_STARTED = 126  # what shells answer for a command that cannot be executed
_NORMAL = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGPIPE,
    signal.SIGXFSZ,
)


class Children:
    """Collects every ended process of the machine, and tells whoever started it.

    One collector for all, because orphans of the machine are collected too: nobody else may wait.
    """

    def __init__(self) -> None:
        self.wake, wake_end = os.pipe()
        for end in (self.wake, wake_end):
            os.set_blocking(end, False)
        self._lock = threading.Lock()
        self._waiting: dict[int, Callable[[int], None]] = {}
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)

    def start(self, spawn: Callable[[], int], ended: Callable[[int], None]) -> int:
        """Runs ``spawn``, which returns a pid; ``ended`` gets its wait status, once."""
        with self._lock:
            pid = spawn()
            self._waiting[pid] = ended
        return pid

    def collect(self) -> None:
        """To be called when ``wake`` is readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake, 4096)
        with self._lock:
            ended = [
                (self._waiting.pop(pid), status)
                for pid, status in processes.reap().items()
                if pid in self._waiting
            ]
        for tell, status in ended:
            tell(status)


class Session:
    """One session channel: a command with pipes, or on a terminal when ``term`` was asked for."""

    def __init__(
        self, channel: paramiko.Channel, children: Children, done: Callable[[], None]
    ) -> None:
        self.term = ""
        self._channel = channel
        self._children = children
        self._done = done
        self._size = (80, 24)
        self._begun = False
        self._argv: list[str] = []
        self._terminal = -1
        self._leader = 0
        self._status = 0
        self._ended = threading.Event()

    def resize(self, width: int, height: int) -> None:
        """The terminal's new size, before or after it was opened."""
        self._size = (width, height)
        if self._terminal >= 0:
            rows = struct.pack("HHHH", height, width, 0, 0)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, rows)

    def prepare(self, command: str | None) -> bool:
        """Takes a command, or None for a login shell; False when there is one already."""
        if self._begun:
            return False
        self._begun = True
        shell = os.environ.get("SHELL", "/bin/sh")
        self._argv = [shell, "-c", command] if command is not None else [shell, "-l"]
        return True

    def start(self) -> None:
        """Starts what was prepared, once."""
        argv, self._argv = self._argv, []
        if argv:
            _start(self._run, argv)

    def _run(self, argv: list[str]) -> None:
        try:
            if self.term:
                self._run_on_terminal(argv)
            else:
                self._run_on_pipes(argv)
        except OSError as error:
            # Not started, or the client has gone; telling it then fails in the same way.
            with contextlib.suppress(OSError):
                self._channel.sendall_stderr(f"{argv[0]}: {error.strerror}\n".encode())
                self._channel.send_exit_status(_NOT_STARTED)
        finally:
            self._channel.close()
            self._done()

    def _exited(self, status: int) -> None:
        self._status = status
        self._ended.set()

    def _run_on_pipes(self, argv: list[str]) -> None:
        inner, outer = _pipes()

        def spawn() -> int:
            return os.posix_spawn(
                argv[0],
                argv,
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, handle, n) for n, handle in enumerate(inner)],
                setsid=True,
                setsigdef=_NORMAL,
            )

        try:
            self._children.start(spawn, self._exited)
        finally:
            for handle in inner:
                os.close(handle)
        _start(_feed, self._channel, outer[0])
        pumps = [
            _start(_drain, outer[1], self._channel.sendall),
            _start(_drain, outer[2], self._channel.sendall_stderr),
        ]
        self._ended.wait()
        self._report()
        for pump in pumps:  # until nobody holds the pipes any more, as sshd does
            pump.join()

    def _run_on_terminal(self, argv: list[str]) -> None:
        environ = {**os.environ, "TERM": self.term}

        def spawn() -> int:
            pid, self._terminal = os.forkpty()
            if pid == 0:
                try:
                    for number in _NORMAL:
                        signal.signal(number, signal.SIG_DFL)
                    os.execve(argv[0], argv, environ)  # noqa: S606 - it is the shell
                finally:
                    os._exit(127)
            return pid

        self._leader = self._children.start(spawn, self._exited)
        self.resize(*self._size)
        _start(self._feed_terminal, os.dup(self._terminal))
        pump = _start(_drain, os.dup(self._terminal), self._channel.sendall)
        self._ended.wait()
        pump.join(1.0)  # what it printed last; background jobs may keep the terminal open
        self._report()
        terminal, self._terminal = self._terminal, -1
        os.close(terminal)

    def _feed_terminal(self, handle: int) -> None:
        _feed(self._channel, handle)
        if self._channel.closed:
            self.hang_up()

    def _report(self) -> None:
        """Tells how the process ended: a status, or the signal by name."""
        if os.WIFEXITED(self._status):
            self._channel.send_exit_status(os.WEXITSTATUS(self._status))
            return
        message = Message()
        message.add_byte(bytes([_CHANNEL_REQUEST]))
        message.add_int(self._channel.remote_chanid)
        message.add_string("exit-signal")
        message.add_boolean(False)
        message.add_string(signal.Signals(os.WTERMSIG(self._status)).name[3:])
        message.add_boolean(os.WCOREDUMP(self._status))
        message.add_string("")
        message.add_string("")
        # paramiko's server side has no call for this request.
        self._channel.get_transport()._send_user_message(message)  # type: ignore[attr-defined]

    def hang_up(self) -> None:
        """The client is gone: what runs on its terminal hears that, as from a modem's hang-up."""
        self._channel.close()
        if self._leader and not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._leader, signal.SIGHUP)


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Ends for the process (stdin, stdout, stderr), and ours."""
    stdin, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
    return (stdin[0], stdout[1], stderr[1]), (stdin[1], stdout[0], stderr[0])


def _start(work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def _feed(channel: paramiko.Channel, handle: int) -> None:
    """Channel to process, until either side is through."""
    try:
        while data := channel.recv(PIECE):
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
    except OSError:  # the process reads no more: what still comes is dropped
        channel.shutdown_read()
    finally:
        os.close(handle)


def _drain(handle: int, send: Callable[[bytes], None]) -> None:
    """Process to channel; waits while the client's window is full, and with it the process."""
    try:
        while data := os.read(handle, PIECE):
            send(data)
    except OSError:  # the client has gone, or (terminal) the process has
        pass
    finally:
        os.close(handle)


def join(channel: paramiko.Channel, peer: socket.socket) -> None:
    """Moves bytes between a channel and a socket, each direction until its own end."""

    def inward() -> None:
        try:
            while data := channel.recv(PIECE):
                peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
        except OSError:
            channel.close()

    def outward() -> None:
        try:
            while data := peer.recv(PIECE):
                channel.sendall(data)
            channel.shutdown_write()
            inner.join()
        except OSError:
            pass
        finally:
            channel.close()
            peer.close()

    inner = _start(inward)
    _start(outward)
