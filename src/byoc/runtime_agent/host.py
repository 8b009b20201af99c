"""The agent's hold on its machine: the lease file that the dead-man reads, and the end.

The dead-man was armed by whatever booted the machine; it ends the machine when the monotonic
deadline in ``~/.byoc/lease`` has passed. Only the agent extends it, and only while it has a reason:
a client that renews, or the idle window after a run.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import List, Optional, Sequence

LONGEST_LEASE = 7 * 24 * 3600.0
"""Seconds; whoever asks for more does not mean it. Leases are renewed for minutes."""
_WIDTH = 32  # bytes of the lease file, always as many, so that it can be written over in place


def note(text: str) -> None:
    """A line in the agent's log. A full disk loses it, and nothing else."""
    try:
        os.write(1, ("byoc: %s\n" % text).encode("utf-8", "replace"))
    except OSError:
        pass


class Host:
    """Lease and end of the machine. ``deadline``: CLOCK_MONOTONIC seconds, None before a client."""

    def __init__(self, path: str = "lease") -> None:
        self._path = path
        self.deadline: Optional[float] = None
        self.end_command: List[str] = []
        self.ending = False

    def belongs_to(self, home: str) -> None:
        """The dead-man looks for the lease below ``home``, whatever HOME says here."""
        if os.path.realpath(home) == os.path.realpath(os.path.expanduser("~")):
            return
        folder = os.path.join(home, ".byoc")
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
        except OSError as error:
            note("the lease cannot be where the dead-man looks for it: %s" % error)
        else:
            self._path = os.path.join(folder, "lease")

    def extend(self, seconds: float) -> None:
        """The machine may live ``seconds`` from now; also shortens (an idle window).

        Raises ValueError for what cannot be a lease.
        """
        if not 0 <= seconds <= LONGEST_LEASE:
            raise ValueError("a lease of %r seconds" % seconds)
        if not self.ending:
            self._set(time.monotonic() + seconds)

    def _set(self, deadline: float) -> None:
        self.deadline = deadline
        text = (b"%.3f" % deadline).ljust(_WIDTH - 1) + b"\n"
        fresh = self._path + ".new"
        try:
            with open(fresh, "wb") as file:
                file.write(text)
            os.replace(fresh, self._path)
        except OSError as error:  # a full disk still lets what is there be written over
            note("the lease file is written over: %s" % error)
            self._write_over(text)

    def _write_over(self, text: bytes) -> None:
        try:
            with open(self._path, "r+b", buffering=0) as file:
                file.write(text)
        except OSError as error:
            note("the lease cannot be written: %s" % error)

    def expired(self, now: float) -> bool:
        """The lease ran out."""
        return self.deadline is not None and now >= self.deadline

    def end(self, command: Sequence[str] = ()) -> None:
        """End the machine now. If its own command fails the dead-man does it: the lease is void."""
        if self.ending:
            return
        self._set(time.monotonic())
        self.ending = True
        argv = list(command) or self.end_command
        if argv:
            try:
                subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
            except OSError as error:
                note("cannot run %r: %s" % (argv, error))
