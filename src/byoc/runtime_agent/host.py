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


class Host:
    """Lease and end of the machine. ``deadline``: CLOCK_MONOTONIC seconds, None before a client."""

    def __init__(self, path: str = "lease") -> None:
        self._path = path
        self.deadline: Optional[float] = None
        self.end_command: List[str] = []
        self.ending = False

    def extend(self, seconds: float) -> None:
        """The machine may live ``seconds`` from now; also shortens (an idle window)."""
        if self.ending:
            return
        self.deadline = time.monotonic() + seconds
        fresh = self._path + ".new"
        with open(fresh, "w") as file:
            file.write("%.3f\n" % self.deadline)
        os.replace(fresh, self._path)

    def expired(self, now: float) -> bool:
        """The lease ran out."""
        return self.deadline is not None and now >= self.deadline

    def end(self, command: Sequence[str] = ()) -> None:
        """End the machine now. If its own command fails the dead-man does it: the lease is void."""
        if self.ending:
            return
        self.deadline = time.monotonic()
        with open(self._path + ".new", "w") as file:
            file.write("%.3f\n" % self.deadline)
        os.replace(self._path + ".new", self._path)
        self.ending = True
        argv = list(command) or self.end_command
        if argv:
            try:
                subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
            except OSError as error:
                print("byoc: cannot run %r: %s" % (argv, error), flush=True)
