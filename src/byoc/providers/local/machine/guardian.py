"""The dead-man of a machine: a process beside it that lives exactly as long as the machine.

It holds the lock on the machine's folder (a held lock is what "alive" means), starts the machine's
init, and ends everything when its lease passes, when it is asked to, or when the init dies. Then it
leaves a tombstone that says why, and removes the folder.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

from . import files, processes

TYPE_CHECKING = False
if TYPE_CHECKING:  # not from typing, which takes 4 ms to import
    from typing import Any

LOOK_AT_LEASE = 2.0
"""The lease file is read this often, so that a lease that was shortened is noticed too."""
LONGEST_LEASE = 7 * 24 * 3600.0
"""Seconds; a deadline further away is garbage. Leases are renewed for minutes."""
ENDING_FILE = "ending"
PID_FILE = "pid"
_ASKS = {b"shutdown": "shutdown", b"terminate": "terminated"}
_LEASE_TEXT = 64  # bytes; a float's text has fewer than 25
_LOG_TAIL = 2000  # bytes of the machine's log that a tombstone keeps
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def main(args: list[str]) -> int:
    """``args``: path of the plan, number of the locked handle, number of the listening socket."""
    plan = files.read_json(args[0])
    if plan is None:
        sys.stderr.write(f"{args[0]}: not a plan\n")
        return 2
    lock, listen = int(args[1]), int(args[2])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # a client may have blocked some
    os.set_inheritable(lock, False)
    guardian = Guardian(plan, lock)
    guardian.start(listen)
    reason = guardian.watch()
    guardian.end(reason)
    return 0


class Guardian:
    """One machine's guardian."""

    def __init__(self, plan: dict[str, Any], lock: int) -> None:
        self._plan = plan
        self._lock = lock
        self._folder = str(plan["folder"])
        self._deadline = float(plan["deadline"])
        self._pid_file = os.path.join(self._folder, PID_FILE)
        self._init = 0
        self._asked = ""

    def start(self, listen: int) -> None:
        """Boots: from here on the machine answers on its socket, or has ended."""
        self._hear_signals()
        files.write_whole(self._pid_file, b"%d\n" % os.getpid())  # from here on it can be asked
        processes.adopt_orphans()
        # Read and write, so that the pipe never reports an end when a writer leaves.
        self._control = os.open(
            os.path.join(self._folder, "control"), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        )
        watch, self._alive = os.pipe()  # our end closes when we die, whatever kills us
        os.set_inheritable(watch, True)
        os.set_inheritable(listen, True)
        argv = [*self._plan["init"], str(listen), str(watch)]
        self._init = self._spawn(argv, self._plan["env"])
        os.close(watch)
        os.close(listen)

    def _hear_signals(self) -> None:
        self._wake, wake_end = os.pipe()
        for end in (self._wake, wake_end):
            os.set_blocking(end, False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_end_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)

    def _on_end_signal(self, *_: object) -> None:
        self._asked = self._asked or "terminated"

    def _spawn(self, argv: list[str], environ: dict[str, str]) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            os.umask(0o022)
            for number in _RESET:
                signal.signal(number, signal.SIG_DFL)
            os.chdir(self._plan["cwd"])
            os.execve(argv[0], argv, environ)  # noqa: S606 - no shell is what we want
        except OSError as error:
            os.write(2, f"{argv[0]}: {error}\n".encode())
        finally:
            os._exit(127)

    def watch(self) -> str:
        """Waits until the machine has to end, or has; returns why."""
        while True:
            if self._init in processes.reap():
                self._init = 0
                return "died"
            if self._asked:
                return self._asked
            if not os.path.exists(self._pid_file):
                return "folder removed"  # nobody could find the machine any more
            left = self._lease_left()
            if left <= 0:
                return "lease expired"
            self._listen(min(left, LOOK_AT_LEASE))

    def _listen(self, seconds: float) -> None:
        ready = select.select([self._control, self._wake], [], [], seconds)[0]
        if self._wake in ready:
            os.read(self._wake, 4096)
        if self._control in ready:
            for word in os.read(self._control, 4096).split():
                self._asked = self._asked or _ASKS.get(word, "")

    def _lease_left(self) -> float:
        text = files.read_small(str(self._plan["lease"]), _LEASE_TEXT)
        try:
            deadline = float(text)
        except ValueError:  # no lease yet, or not one: what was known before stays in force
            deadline = self._deadline
        if deadline < time.monotonic() + LONGEST_LEASE:  # also false for what is not a number
            self._deadline = deadline
        return self._deadline - time.monotonic()

    def end(self, reason: str) -> None:
        """Ends every process of the machine, writes the tombstone, removes the folder."""
        if os.path.exists(self._pid_file):
            files.leave_word(os.path.join(self._folder, ENDING_FILE), reason.encode())
        left = processes.end_all(self._mine, float(self._plan["grace"]), self._frame())
        left |= processes.kill_all(self._marked)
        if left:
            sys.stderr.write(f"could not end {sorted(left)}\n")
        self._bury(reason)

    def _mine(self) -> set[int]:
        return processes.descendants(os.getpid())

    def _marked(self) -> set[int]:
        return processes.marked(str(self._plan["id"]), self._folder)

    def _frame(self) -> set[int]:
        """The init, and what stands between us and it: they end last, without being asked."""
        frame = {self._init} if self._init else set()
        for _ in range(int(self._plan["depth"]) - 1):
            frame |= {pid for pid, parent in processes.parents().items() if parent in frame}
        return frame

    def _bury(self, reason: str) -> None:
        machine = files.read_json(os.path.join(self._folder, "machine.json")) or {}
        tail = files.read_tail(os.path.join(self._folder, "log"), _LOG_TAIL)
        grave = {**machine, "reason": reason, "ended": time.time(), "log": tail}
        word = json.dumps(grave, sort_keys=True).encode()
        files.leave_word(str(self._plan["tombstone"]), word, os.path.join(self._folder, "home"))
        trash = f"{self._plan['trash']}.{os.getpid()}"
        moved = files.rename_away(self._folder, trash)
        os.close(self._lock)
        if moved:
            files.remove_tree(trash)
