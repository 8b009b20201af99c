"""Where words go: a command's data on stdout, everything else on stderr.

This module alone knows about quiet, JSON, colour and terminals, and alone owns rich, which is
imported only for the live line of a terminal (importing it costs 20-40 ms of CPU).
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, cast

SCHEMA_VERSION = 1
"""Of every JSON object on stdout. Raised when a field changes its meaning or goes."""

LIVE_AFTER = 0.3
"""Seconds before the live line first appears: a warm run ends sooner and never imports rich."""
LIVE_EVERY = 0.1
"""Seconds between two drawings of the live line."""

_RED, _CYAN, _DIM, _OFF = "\x1b[1;31m", "\x1b[36m", "\x1b[2m", "\x1b[0m"


class Console:
    """One command's output. Safe to use from any thread.

    ``quiet``: only the program's output and errors. ``as_json``: stdout holds one JSON object and
    the program's stdout goes to stderr.
    """

    def __init__(
        self, *, quiet: bool = False, as_json: bool = False, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.quiet = quiet
        self.as_json = as_json
        self.reader_gone = False
        self.on_reader_gone: Callable[[], None] = lambda: None
        self._lock = threading.RLock()
        self._live: LiveLine | None = None
        self._mid_line = False
        self._result = _divert_stdout() if as_json else 1
        terminal = _is_terminal(sys.stderr)
        self.live = terminal and not quiet and not environ.get("CI") and _moves(environ)
        self._shared = terminal and _is_terminal(sys.stdout)
        self._colour = _wants_colour(environ, terminal)

    # --- data -------------------------------------------------------------------------------
    def data(self, text: str) -> None:
        """One line of the command's own result."""
        self.write(1, (text + "\n").encode(errors="surrogateescape"))

    def json_object(self, command: str, exit_code: int, fields: Mapping[str, Any]) -> None:
        """The one object of ``--json``. ``fields`` may hold data classes and tuples."""
        import json  # 3 ms: only those who ask for it pay

        head = {"schema_version": SCHEMA_VERSION, "command": command, "ok": exit_code == 0}
        whole = head | {"exit_code": exit_code} | {k: plain(v) for k, v in fields.items()}
        # A lone surrogate (a file name that is not UTF-8) is escaped, so that the object is UTF-8.
        text = json.dumps(whole, ensure_ascii=False) + "\n"
        rest = memoryview(text.encode(errors="backslashreplace"))
        try:
            while rest:
                rest = rest[os.write(self._result, rest) :]
        except BrokenPipeError:
            self.reader_gone = True

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Left-aligned columns, two blanks apart; the same on a terminal and in a pipe."""
        lines = [tuple(header), *(tuple(row) for row in rows)]
        widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.data("  ".join(cells).rstrip())

    # --- words ------------------------------------------------------------------------------
    def say(self, text: str) -> None:
        """One line about what byoc does, on stderr."""
        if not self.quiet:
            self.plain(f"{self.paint(_DIM, 'byoc:')} {text}")

    def error(self, text: str) -> None:
        """``error: text`` on stderr, also when quiet."""
        self.plain(f"{self.paint(_RED, 'error:')} {text}")

    def hint(self, text: str) -> None:
        """``hint: text`` on stderr, also when quiet."""
        self.plain(f"{self.paint(_CYAN, 'hint:')} {text}")

    def plain(self, text: str) -> None:
        """A line on stderr as it is (a cause, a traceback), also when quiet."""
        start = "\n" if self._mid_line else ""
        self.write(2, (start + text + "\n").encode(errors="backslashreplace"))

    def paint(self, code: str, text: str) -> str:
        """``text`` in a colour where colours are wanted."""
        return f"{code}{text}{_OFF}" if self._colour else text

    # --- bytes ------------------------------------------------------------------------------
    def write(self, fd: int, data: bytes) -> None:
        """All of ``data`` to stdout (1) or stderr (2), now, after what was printed before."""
        stream = sys.__stdout__ if fd == 1 else sys.__stderr__
        if stream is None:  # closed by the caller's shell (>&-): nobody wants it
            return
        with self._above(data.endswith(b"\n")):
            try:
                _flush_users(fd)
                stream.buffer.write(data)
                stream.buffer.flush()
            except BrokenPipeError:
                self._lose(fd, stream)

    @contextmanager
    def _above(self, whole_line: bool) -> Iterator[None]:
        """Around output: the live line is away, and comes back when a line is complete."""
        with self._lock:
            if self._live is not None:
                self._live.hide()
                self._live.at_line_start = whole_line
            self._mid_line = self._shared and not whole_line
            yield

    def finish(self) -> None:
        """Flush what is left, give stdout back; a reader that has gone away is no error."""
        for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
            try:
                if stream is not None:
                    stream.flush()
            except BrokenPipeError:
                self._lose(fd, stream)
        if self._result != 1:
            os.dup2(self._result, 1)
            os.close(self._result)
            self._result = 1

    def _lose(self, fd: int, stream: TextIO) -> None:
        # The reader left (`byoc ... | head`). Point the descriptor at nothing, so that neither
        # later writes nor the interpreter's last flush complain.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
        if fd == 1 and not self.reader_gone:
            self.reader_gone = True
            self.on_reader_gone()

    # --- the live line ----------------------------------------------------------------------
    def start_live(self, text: Callable[[], str]) -> None:
        """Keep one line at the bottom of the terminal that shows ``text()``. No-op elsewhere."""
        if self.live and self._live is None:
            self._live = LiveLine(self._lock, text)
            self._users = sys.stdout, sys.stderr
            if sys.stdout is not None:
                sys.stdout = cast(TextIO, _Above(sys.stdout, self._above))
            sys.stderr = cast(TextIO, _Above(sys.stderr, self._above))

    def stop_live(self) -> None:
        """Take the line away."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.close()
            sys.stdout, sys.stderr = self._users


class _Above:
    """The user's own ``sys.stdout`` while the live line is shown: what is printed goes above it."""

    def __init__(self, stream: TextIO, above: Callable[[bool], Any]) -> None:
        self._stream = stream
        self._above = above

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As the stream's own, at once."""
        with self._above(text.endswith("\n")):
            count = self._stream.write(text)
            self._stream.flush()
        return count


class LiveLine:
    """One line redrawn in place on stderr by a thread of its own, erased before other output.

    Output that does not end in a newline keeps it away until the line is complete.
    """

    def __init__(self, lock: threading.RLock, text: Callable[[], str]) -> None:
        self.at_line_start = True
        self._lock = lock
        self._text = text
        self._drawn = False
        self._closed = threading.Event()
        self._erase: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="byoc-live", daemon=True)
        self._thread.start()

    def hide(self) -> None:
        """Erase the line. The caller holds the lock."""
        if self._drawn:
            self._drawn = False
            self._erase()

    def close(self) -> None:
        """Erase the line for good."""
        self._closed.set()
        self._thread.join()
        with self._lock:
            self.hide()

    def _run(self) -> None:
        if self._closed.wait(LIVE_AFTER):
            return
        draw = self._prepare()
        while not self._closed.wait(LIVE_EVERY):
            with self._lock:
                if self.at_line_start and not self._closed.is_set():
                    self.hide()
                    draw(self._text())
                    self._drawn = True

    def _prepare(self) -> Callable[[str], None]:
        # Heavy and only for terminals, therefore here and not at the top.
        from rich.console import Console as RichConsole
        from rich.control import Control
        from rich.segment import ControlType
        from rich.spinner import Spinner
        from rich.text import Text

        console = RichConsole(file=sys.__stderr__, force_terminal=True, highlight=False)
        spinner = Spinner("dots", style="cyan")
        back = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
        self._erase = lambda: console.control(back)

        def draw(text: str) -> None:
            glyph = spinner.render(console.get_time())
            line = Text.assemble(glyph if isinstance(glyph, Text) else "", " ", text)
            console.print(line, end="", no_wrap=True, overflow="ellipsis", crop=True)

        return draw


def plain(value: Any) -> Any:
    """As JSON can hold it: records become objects, what JSON lacks becomes its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return str(value)


def _divert_stdout() -> int:
    """Send stdout to stderr from now on, for whatever the program prints; the real stdout."""
    _flush_users(1)
    real = os.dup(1)
    os.dup2(2, 1)
    return real


def _flush_users(fd: int) -> None:
    # What the user's own code printed here stands in a buffer above ours: let it out first.
    stream = sys.stdout if fd == 1 else sys.stderr
    if stream is not None:
        stream.flush()


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _moves(environ: Mapping[str, str]) -> bool:
    return environ.get("TERM", "") not in ("", "dumb")


def _wants_colour(environ: Mapping[str, str], terminal: bool) -> bool:
    # https://no-color.org: set and not empty means no colour, whatever else is said.
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (terminal and _moves(environ))
