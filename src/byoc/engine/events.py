"""What the engine tells whoever watches: stages, log bytes, notices. No rendering here."""

from __future__ import annotations

import sys
from typing import Protocol

STAGES = ("place", "boot", "connect", "image", "run")
"""The stages of a run in order. ``place``: choose an offer or a warm instance. ``boot``: until sshd
answers. ``connect``: authenticate and start the agent. ``image``: sync files and build the
environment. ``run``: from the first input sent."""


class Reporter(Protocol):
    """Receives events from any thread; must not block for long (its back-pressure reaches the
    remote ``print``)."""

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        """``name``: one of :data:`STAGES`. ``status``: ``start`` | ``note`` (more detail) |
        ``wait`` (what it waits for, in a few words that may come again) | ``done`` | ``failed``."""

    def log(self, fd: int, data: bytes, container: str = "") -> None:
        """Bytes that remote code wrote: ``fd`` 1 for stdout, 2 for stderr."""

    def build_log(self, data: bytes) -> None:
        """Bytes of an image build's log."""

    def notice(self, message: str) -> None:
        """One sentence that the user should see once (a warm instance was reused, a retry ...)."""


class Silent:
    """Drops everything but remote output errors; what ``App.run()`` uses outside the CLI."""

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        """Dropped."""

    def log(self, fd: int, data: bytes, container: str = "") -> None:
        """Dropped, as in Modal without ``enable_output()``."""

    def build_log(self, data: bytes) -> None:
        """Dropped; a failed build carries its log's end in the error."""

    def notice(self, message: str) -> None:
        """Dropped."""


class Plain:
    """Remote output to stdout and stderr as it comes, and byoc's own words as lines on stderr; what
    ``byoc.enable_output()`` shows."""

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        """One line per stage that ended."""
        if status in ("done", "failed"):
            line = f"byoc: {name} {status} in {seconds:.2f} s {detail}".rstrip()
            sys.stderr.write(f"{line}\n")

    def log(self, fd: int, data: bytes, container: str = "") -> None:
        """Remote bytes, unchanged where the stream takes bytes."""
        stream = sys.stdout if fd == 1 else sys.stderr
        raw = getattr(stream, "buffer", None)
        if raw is None:  # a notebook's stream
            stream.write(data.decode("utf-8", "replace"))
        else:
            stream.flush()
            raw.write(data)
        stream.flush()

    def build_log(self, data: bytes) -> None:
        """The build log, to stderr."""
        self.log(2, data)

    def notice(self, message: str) -> None:
        """One line."""
        sys.stderr.write(f"byoc: {message}\n")
