"""The process that drives a run: known by a lock, able to go on in the background, told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..clock import IDS, Clock
from ..errors import InstanceError, StateError
from ..fleet import runids
from ..fleet.locks import UseLock, elsewhere, holder
from ..settings import Settings
from ..state import Run
from . import context
from .console import Console

READY = b"ready"
CANCEL_WAIT = 60.0
"""Seconds for a cancelled run to end its instances; a cloud's answer to an end takes up to half."""
CANCEL_POLL = 0.05
"""Seconds between two looks whether it has ended."""
LOG_LIMIT = 64 * 1024 * 1024
"""Bytes of a run's output that are kept for ``byoc logs``; a chatty run must not fill a disk."""
_CUT = b"\nbyoc: the log ends here, at its limit; the program's output went on\n"


class Driver:
    """This process, as the driver of one run; holds the run's lock until :meth:`close`.

    ``background``: ``RUN:FD`` when another process has put this one in the background; FD is told
    once the run has begun.
    """

    def __init__(self, settings: Settings, background: str) -> None:
        run, _, channel = background.partition(":")
        self.run_id = run or runids.fresh(IDS, os.environ)
        self.background = bool(run)
        self.log = log_path(settings, self.run_id)
        self._channel = int(channel) if channel else -1
        self._kept = 0
        self._file = -1 if self.background else _open_log(self.log)
        lock = UseLock.take(settings.home, self.run_id)
        if lock is None:
            raise StateError(f"another process is driving {self.run_id} already")
        self._lock = lock

    def ready(self) -> None:
        """The run has begun: whoever started this process in the background may go."""
        if self._channel >= 0:
            os.write(self._channel, READY)
            os.close(self._channel)
            self._channel = -1

    def keep(self, data: bytes) -> None:
        """Add the program's output to the run's log (in the background, stdout is that log)."""
        if self._file < 0 or self._kept >= LOG_LIMIT:
            return
        self._kept += len(data)
        _write_all(self._file, data if self._kept < LOG_LIMIT else _CUT)

    def close(self) -> None:
        """The run is over."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.release(remove=True)


def log_path(settings: Settings, run_id: str) -> Path:
    """Where the output of a run is kept."""
    return settings.home / context.LOGS / f"{run_id}.log"


def detach(console: Console, settings: Settings, args: Sequence[str], command: str) -> int:
    """Start the same command again in the background; returns once its run has begun.

    ``args``: the whole command line; ``command``: the word in it after which its options begin.
    When it ends before that, what it said is shown and its exit code returned.
    """
    run_id = runids.fresh(IDS, os.environ)
    path = log_path(settings, run_id)
    log = _open_log(path)
    channel, told = os.pipe()
    at = args.index(command) + 1
    line = [*args[:at], "--driver", f"{run_id}:{told}", *args[at:]]
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "byoc", *line],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(told,),
            start_new_session=True,
        )
    finally:
        os.close(log)
        os.close(told)
    try:
        with os.fdopen(channel, "rb") as reader:
            begun = reader.read() == READY
    except KeyboardInterrupt:
        child.terminate()
        raise
    if not begun:
        code = child.wait()
        console.write(2, path.read_bytes())
        path.unlink()
        return code if code >= 0 else 128 - code
    if console.as_json:
        console.json_object(command, 0, {"run": run_id, "detached": True, "log": str(path)})
    else:
        console.data(run_id)
        console.say(f"goes on in the background; follow it with: byoc logs -f {run_id}")
    return 0


def cancel(run: Run, settings: Settings, clock: Clock) -> bool:
    """Tell the driver of a run to stop, and wait until it has; False when it has none any more.

    Raises :class:`InstanceError` when it does not stop in time.
    """
    lock = UseLock.take(settings.home, run.id)
    if lock is not None:
        lock.release(remove=True)
        return False
    if computer := elsewhere(settings.home, run.id):
        raise InstanceError(
            f"{run.id} goes on at the computer {computer}", hints=("cancel it there",)
        )
    if pid := holder(settings.home, run.id):
        os.kill(pid, signal.SIGTERM)
    deadline = clock.mono() + CANCEL_WAIT
    while (lock := UseLock.take(settings.home, run.id)) is None:
        if clock.mono() > deadline:
            raise InstanceError(
                f"{run.id} did not stop within {CANCEL_WAIT:.0f} s",
                hints=(f"see what it does: byoc logs {run.id}",),
            )
        clock.sleep(CANCEL_POLL)
    lock.release(remove=True)
    return True


def _open_log(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(
            f"the log {path} cannot be written: {error.strerror}",
            hints=("make the folder writable, or set BYOC_HOME to one that is",),
        ) from error


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
