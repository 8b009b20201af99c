"""The process below the emulator whose children the machines are.

It is small and has one thread, so a machine is a fork away; and whatever becomes of the emulator,
it notices, ends every machine and removes what they leave behind. Were it killed itself, the kernel
would end the machines with it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import traceback

from . import family, init, kernel, messages, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SPACES = kernel.NEWNS | kernel.NEWPID | kernel.NEWUTS | kernel.NEWIPC | kernel.NEWNET


def main(args: list[str]) -> int:
    """``args``: the number of the socket to the emulator, the folder of all machines, and what else
    to remove when the emulator ends without a word."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # only the emulator ends us
    kernel.adopt_orphans()
    gc.disable()  # a collection would write to every page that children share
    Nursery(socket.socket(fileno=int(args[0])), args[1], args[2]).run()
    return 0


class Nursery:
    """All machines of one emulator. ``peer``: the emulator, whose end is the end of all."""

    def __init__(self, peer: socket.socket, folder: str, rest: str) -> None:
        self._peer = peer
        self._folder = folder
        self._rest = rest
        self._machines: dict[int, str] = {}
        self._wake, wake_end = os.pipe()
        for end in (self._wake, wake_end):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)

    def run(self) -> None:
        """Serves until the emulator is gone, then clears up."""
        try:
            messages.send(self._peer, {"trial": mounts.trial(self._folder)})
            while self._step():
                pass
        finally:
            self._clear()

    def _step(self) -> bool:
        ready = select.select([self._peer.fileno(), self._wake], [], [])[0]
        if self._wake in ready:
            os.read(self._wake, 4096)
            self._collect()
        if self._peer.fileno() in ready:
            got = messages.receive(self._peer)
            if got is None:
                return False
            self._obey(*got)
        return True

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            key = self._machines.pop(pid, "")
            if key:
                messages.send(self._peer, {"ended": key, "status": status})

    def _obey(self, message: dict[str, Any], handles: list[int]) -> None:
        if message["do"] == "end":
            self._rest = ""
            return
        key = message["key"]
        if message["do"] == "boot":
            self._boot(key, message["plan"], handles)
            return
        pid = next((pid for pid, one in self._machines.items() if one == key), 0)
        if pid:
            _ACTIONS[message["do"]](pid)

    def _boot(self, key: str, plan: str, handles: list[int]) -> None:
        """``handles``: the machine's end of its connection to the emulator, and its console."""
        try:
            pid = self._fork(plan, handles)
        except (OSError, ValueError) as error:
            messages.send(self._peer, {"failed": key, "why": str(error)})
            return
        finally:
            for handle in handles:
                os.close(handle)
        self._machines[pid] = key

    def _fork(self, path: str, handles: list[int]) -> int:
        """The process id of a machine's init, which is our child.

        A child in between enters the namespaces: the init is its child, and ours once it has left.
        """
        with open(path, encoding="utf-8") as file:
            plan = json.load(file)
        told, tell = os.pipe()
        wait, go = os.pipe()
        middle = os.fork()
        if middle == 0:
            os.close(told)
            os.close(go)
            self._in_between(plan, handles, tell, wait)
        os.close(tell)
        os.close(wait)
        with os.fdopen(told, "rb") as pipe:
            word = pipe.read().decode()
        os.waitpid(middle, 0)
        # Only now is the init our child, and may ask to die with its parent: a process that is
        # about to end closes its files before it gives its children away.
        os.close(go)
        if not word.isdigit():
            raise OSError(word or "it ended while it was made")
        return int(word)

    def _in_between(self, plan: dict[str, Any], handles: list[int], tell: int, wait: int) -> None:
        try:
            self._peer.close()
            os.setsid()
            kernel.unshare(_SPACES)
            pid = os.fork()
            if pid == 0:
                os.close(tell)
                self._live(plan, handles, wait)
            os.write(tell, str(pid).encode())
        except OSError as error:
            os.write(tell, str(error).encode())
        finally:
            os._exit(0)

    def _live(self, plan: dict[str, Any], handles: list[int], wait: int) -> None:
        code = 1
        try:
            os.dup2(handles[1], 1)
            os.dup2(handles[1], 2)
            os.close(handles[1])
            os.read(wait, 1)  # until we are the nursery's child
            os.close(wait)
            kernel.die_with_parent(signal.SIGKILL)
            code = init.main(plan, socket.socket(fileno=handles[0]))
        except BaseException:  # noqa: BLE001 - the console is where it belongs, whatever it is
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _clear(self) -> None:
        for pid in self._machines:
            _kill(pid)
        while self._machines:
            pid, _ = os.waitpid(-1, 0)
            self._machines.pop(pid, None)
        for folder in (self._folder, self._rest):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _freeze(pid: int) -> None:
    family.stop(lambda: family.tree(pid))


def _thaw(pid: int) -> None:
    family.go_on(family.tree(pid))


def _cut(pid: int) -> None:
    family.stop(lambda: family.servers(pid))


def _mend(pid: int) -> None:
    family.go_on(family.servers(pid))


_ACTIONS: dict[str, Callable[[int], None]] = {
    "kill": _kill,
    "freeze": _freeze,
    "thaw": _thaw,
    "cut": _cut,
    "mend": _mend,
}
