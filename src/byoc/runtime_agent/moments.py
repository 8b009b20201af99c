"""Tells a rehearsal what the agent passes on first: an input, and a result.

Only where the machine's environment names a file or pipe for it, as the emulator's machines do; the
names of moments are appended there, a line each and once each. Loaded only then.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Callable, Optional, Set

from ..wire import link, messages
from . import containers, forward
from .host import note

if TYPE_CHECKING:
    from .agent import Agent

FIRST_INPUT, FIRST_RESULT = "first-input", "first-result"


class Moments:
    """What was not told yet."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._untold: Set[str] = {FIRST_INPUT, FIRST_RESULT}

    def untold(self, name: str) -> bool:
        """That moment may still come."""
        return name in self._untold

    def tell(self, name: str) -> None:
        """It is now."""
        if name not in self._untold:
            return
        self._untold.discard(name)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(self._path, flags, 0o600)
            try:
                os.write(file, name.encode() + b"\n")
            finally:
                os.close(file)
        except OSError as error:
            note("the moment %s cannot be told: %s" % (name, error))


class Tap(forward.Tap):
    """One that looks at what it passes on while something is untold. Of a program, the first input
    is its start, and its end the first result."""

    def __init__(self, agent: Agent, container: containers.Container, moments: Moments) -> None:
        self._moments = moments
        self._incoming, self._outgoing = messages.Assembler(), messages.Assembler()
        super().__init__(agent, container)
        if container.kind == "command":
            moments.tell(FIRST_INPUT)
        else:
            self.read = self._read_and_look

    def take(self, payload: link.Buffer) -> None:
        """Bytes from the client."""
        if self._moments.untold(FIRST_INPUT):
            self._look(self._incoming, payload, "in", FIRST_INPUT)
        super().take(payload)

    def _read_and_look(self, fd: int) -> Optional[bytes]:
        data = containers.read_some(fd)
        if data and self._moments.untold(FIRST_RESULT):
            self._look(self._outgoing, data, "out", FIRST_RESULT)
        return data

    def _look(self, known: messages.Assembler, data: link.Buffer, kind: str, name: str) -> None:
        try:
            if any(message.head.get("t") == kind for message in known.feed(bytes(data))):
                self._moments.tell(name)
        except link.FrameError:
            pass  # nonsense of a container's, which others deal with

    def finish(self) -> None:
        """The process is gone."""
        if self.container.kind == "command":
            self._moments.tell(FIRST_RESULT)
        super().finish()


def taps(path: str) -> Callable[[Agent, containers.Container], Tap]:
    """What makes an agent's taps where moments are told."""
    moments = Moments(path)
    return lambda agent, container: Tap(agent, container, moments)
