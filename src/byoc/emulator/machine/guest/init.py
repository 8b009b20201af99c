"""The first process of a machine: applies the boot data, serves SSH, collects orphans, ends.

It speaks to the emulator over one socket. From it: connections, as descriptors, and the power
button. To it: the listeners of the machine's private addresses, that SSH is open, which connections
have ended, and that the machine goes off.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time

from . import kernel, messages, mounts, power, steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GRACE = 1.0
"""Seconds that processes have to end when the machine goes off."""
LOOK_EVERY = 0.01
"""Seconds between two looks while they do."""
METADATA = ("169.254.169.254", 80)
PROXY = ("127.0.0.1", 3128)
SSH_PORT = 22
POWER = "/run/emulator/power"
"""Pipe to which the machine's ``shutdown`` and the like write their words, a line each."""
MOMENTS = "/run/emulator/moments"
"""Pipe to which byoc's agent writes what it has reached, a word on a line."""
_LOGGED_IN = b"Accepted publickey"  # as sshd logs it
DROPPED = (16, 17, 25, 27, 32, 33, 34, 35)
"""Capabilities that reach beyond a machine: kernel modules, raw devices, the clock, device nodes,
security modules, the kernel's log, wake-ups."""
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


def main(plan: dict[str, Any], peer: socket.socket) -> int:
    """Live as the machine that ``plan`` describes."""
    os.umask(0o022)
    wire, unwired = _wired(plan["inside"])  # before the machine's own /dev hides the device
    mounts.system(plan)
    socket.sethostname(plan["hostname"])
    kernel.loopback_up(METADATA[0])
    kernel.drop(DROPPED)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)  # the first process ignores what has no handler
    machine = Init(plan, peer, wire >= 0)
    if unwired:
        _say(f"no private network: {unwired}")
    if wire >= 0:
        messages.send(peer, {"wire": plan["inside"]}, [wire])
        os.close(wire)
    machine.run()
    return 0


def _wired(address: str) -> tuple[int, str]:
    """The far end of this machine's network card, -1 without one, and why there is none."""
    if not address:
        return -1, ""
    try:
        return kernel.wire("eth0", address), ""
    except OSError as error:
        return -1, f"{kernel.TUN}: {error.strerror}"


class Init:
    """One machine from its first to its last moment."""

    def __init__(self, plan: dict[str, Any], peer: socket.socket, wired: bool = False) -> None:
        self._plan = plan
        self._peer = peer
        self._wired = wired
        os.set_inheritable(peer.fileno(), False)
        self._connections: dict[int, int] = {}
        self._steps = steps.Steps(plan["steps"], self._open)
        self._off_at: tuple[float, str] | None = None
        self._met = False
        self._wake, wake_end = os.pipe()
        for end in (self._wake, wake_end):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        os.mkdir(os.path.dirname(POWER), 0o700)
        self._power = _fifo(POWER)
        self._moments = _fifo(MOMENTS)
        self._console = _fifo("/dev/console")
        self._log, self._log_end = os.pipe()

    def run(self) -> None:
        """Until it is off."""
        self._listen("metadata", METADATA)
        if self._plan["egress"]:
            self._listen("egress", PROXY)
        self._steps.go_on()
        ending = ""
        while not ending:
            ending = self._turn()
        self._end(ending)

    def _listen(self, name: str, address: tuple[str, int]) -> None:
        """Open a listener in here, which the emulator serves."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(64)
            messages.send(self._peer, {"listener": name}, [listener.fileno()])

    def _open(self) -> None:
        if self._wired:
            self._listen("ssh", (self._plan["inside"], SSH_PORT))
        messages.send(self._peer, {"open": True})

    def _turn(self) -> str:
        """Wait for something and deal with it; how the machine has to end, if it has."""
        wait = max(0.0, self._off_at[0] - time.monotonic()) if self._off_at else None
        pipes = (self._wake, self._power, self._console, self._moments, self._log)
        sources = [self._peer.fileno(), *pipes]
        ready = select.select(sources, [], [], wait)[0]
        if self._off_at and time.monotonic() >= self._off_at[0]:
            return self._off_at[1]
        if self._wake in ready:
            os.read(self._wake, 4096)
            self._collect()
        if self._console in ready:
            os.write(1, os.read(self._console, 65536))
        if self._log in ready:
            self._look_at_log()
        if self._moments in ready:
            for word in os.read(self._moments, 4096).decode(errors="replace").split():
                messages.send(self._peer, {"moment": word})
        if self._power in ready:
            self._press(os.read(self._power, 65536).decode(errors="replace"))
        if self._peer.fileno() in ready:
            return self._hear()
        return ""

    def _look_at_log(self) -> None:
        """What SSH servers log goes to the console; the first login is a moment."""
        text = os.read(self._log, 65536)
        os.write(1, text)
        if _LOGGED_IN in text and not self._met:
            self._met = True
            messages.send(self._peer, {"moment": "connected"})

    def _hear(self) -> str:
        got = messages.receive(self._peer)
        if got is None:
            os._exit(1)  # the emulator is gone
        message, handles = got
        if "ssh" in message:
            self._serve(message["ssh"], handles[0])
        return power.OFF if message.get("power") else ""

    def _serve(self, number: int, handle: int) -> None:
        """An SSH server for one connection."""
        try:
            pid = os.posix_spawn(
                self._plan["sshd"][0],
                self._plan["sshd"],
                self._plan["environ"],
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, handle, 0),
                    (os.POSIX_SPAWN_DUP2, handle, 1),
                    (os.POSIX_SPAWN_DUP2, self._log_end, 2),
                ],
                setsigdef=_RESET,
            )
        except OSError as error:
            _say(f"{self._plan['sshd'][0]}: {error}")
            messages.send(self._peer, {"closed": number})
        else:
            self._connections[pid] = number
        finally:
            os.close(handle)

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._connections.pop(pid, None)
            if number is not None:
                messages.send(self._peer, {"closed": number})
            self._steps.ended(pid, status)

    def _press(self, text: str) -> None:
        for line in text.splitlines():
            words = line.split()
            action, seconds = power.understood(words) if words else ("", 0.0)
            if action == power.CANCEL:
                self._off_at = None
            elif action:
                self._off_at = (time.monotonic() + seconds, action)
                _say(f"{line}: the machine goes {action} in {seconds:g} s")

    def _end(self, how: str) -> None:
        """Orderly: processes are asked first; what is left ends with us."""
        _say("Powering off." if how == power.OFF else "Restarting.")
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGTERM)
            os.kill(-1, signal.SIGCONT)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and self._has_children():
            time.sleep(LOOK_EVERY)
        with contextlib.suppress(BlockingIOError):  # their last words
            os.write(1, os.read(self._console, 65536))
        messages.send(self._peer, {"off": how})

    def _has_children(self) -> bool:
        self._collect()
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True


def _fifo(path: str) -> int:
    os.mkfifo(path, 0o622)
    os.chmod(path, 0o622)  # noqa: S103 - anybody in the machine may write
    # Read and write, so that it never reports an end when a writer leaves.
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _say(text: str) -> None:
    os.write(1, f"init: {text}\n".encode(errors="replace"))
