"""What the user sees of a run while it goes on: stages, the program's output, one last line."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping

from ..clock import Clock
from ..engine.events import STAGES
from .console import Console

_DOING = {
    "place": "looking for an instance",
    "boot": "booting",
    "connect": "connecting",
    "image": "preparing the environment",
    "run": "running",
}
_NAME_WIDTH = max(map(len, STAGES))
WAITS_AFTER = 2.0
"""Seconds into a stage from which what it waits for is worth a line: a local boot is over by then,
and a cloud's has told what the first hop was."""
FAILURE = 200
"""Characters of what failed: some clouds send an encoded page. ``byoc why`` has all of it."""
SAME_MOST = 3
"""Lines of one stage that are told: of fifty instances each would have four. The last line has the
sums, and ``--verbose`` all of them."""
WAITS_MOST = 5
"""Different waits of one stage that are told: of fifty instances not all are of interest."""


class View:
    """A :class:`~byoc.engine.events.Reporter` for people.

    On a terminal one live line shows the stage under way; elsewhere each finished stage is a plain
    line, and so is what one waits for that lasts. The program's bytes pass through unchanged.
    ``keep_log``: also takes the program's bytes, for ``byoc logs``. ``verbose``: each wait is told.
    """

    def __init__(
        self,
        console: Console,
        clock: Clock,
        keep_log: Callable[[bytes], None] = lambda data: None,
        verbose: bool = False,
    ) -> None:
        self._console = console
        self._clock = clock
        self._keep_log = keep_log
        self._lock = threading.Lock()
        self._current = ""
        self._detail = ""
        self._waits_for = ""
        self._waits: dict[str, set[str]] = {}
        self._finished: Counter[str] = Counter()
        self._later = threading.Timer(0, lambda: None)  # replaced before it is ever started
        self._verbose = verbose
        self._since = 0.0
        self._told: set[str] = set()

    def start(self) -> None:
        """Show the live line, where there is a terminal for it."""
        self._since = self._clock.mono()
        self._console.start_live(self._line)

    def stop(self) -> None:
        """Take the live line away."""
        self._later.cancel()
        self._console.stop_live()

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        """See :class:`~byoc.engine.events.Reporter`."""
        with self._lock:
            if status == "start":
                self._current, self._since = name, self._clock.mono()
            if status in ("start", "note"):
                self._detail = detail
            self._later.cancel()
            if status != "wait":
                self._waits_for = ""
        if status == "wait":
            self._wait(name, detail)
        elif status == "failed":
            short = detail if len(detail) <= FAILURE else f"{detail[: FAILURE - 3]}..."
            self._console.say(f"{name:<{_NAME_WIDTH}}  failed{_after(short)}")
        elif status == "done" and not self._console.live and self._is_news(name):
            self._console.say(f"{name:<{_NAME_WIDTH}}  {seconds:.2f} s{_after(detail)}")

    def _is_news(self, name: str) -> bool:
        with self._lock:
            self._finished[name] += 1
            return self._verbose or self._finished[name] <= SAME_MOST

    def _wait(self, name: str, detail: str) -> None:
        """Show what a stage waits for: in the live line, or as a line of its own once it lasts."""
        with self._lock:
            self._waits_for, self._current = detail, self._current or name
            early = WAITS_AFTER - (self._clock.mono() - self._since)
            if self._console.live:
                return
            if early > 0 and not self._verbose:
                self._later = threading.Timer(early, self._tell_wait, (name, detail))
                self._later.daemon = True
                self._later.start()
                return
        self._tell_wait(name, detail)

    def _tell_wait(self, name: str, detail: str) -> None:
        with self._lock:
            told = self._waits.setdefault(name, set())
            if self._waits_for != detail or detail in told:
                return
            if len(told) >= WAITS_MOST and not self._verbose:
                return
            told.add(detail)
        self._console.say(f"{name:<{_NAME_WIDTH}}  {detail}")

    def log(self, fd: int, data: bytes, container: str = "") -> None:
        """See :class:`~byoc.engine.events.Reporter`."""
        self._console.write(fd, data)
        self._keep_log(data)

    def build_log(self, data: bytes) -> None:
        """See :class:`~byoc.engine.events.Reporter`."""
        if not self._console.quiet:
            self._console.write(2, data)

    def notice(self, message: str) -> None:
        """See :class:`~byoc.engine.events.Reporter`. The same sentence is shown once."""
        with self._lock:
            new = message not in self._told
            self._told.add(message)
        if new:
            self._console.say(message)

    def last_line(
        self, outcome: str, seconds: float, places: list[str], spent: Mapping[str, float]
    ) -> None:
        """How it went, what took how long, where it ran and what becomes of the instance."""
        stages = ", ".join(f"{name} {spent[name]:.2f}" for name in STAGES if name in spent)
        timing = f"{outcome} in {seconds:.2f} s" + (f" ({stages})" if stages else "")
        self._console.say("; ".join([timing, *places]))

    def _line(self) -> str:
        with self._lock:
            seconds = self._clock.mono() - self._since
            doing = _DOING.get(self._current, "starting")
            # The narrowest first: what does not fit on the line is cut at its end.
            return f"{doing} {seconds:.0f} s{_after(self._waits_for)}{_after(self._detail)}"


def _after(detail: str) -> str:
    return f"  {detail}" if detail else ""
