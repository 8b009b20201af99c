"""A container that runs one input at a time: on the main thread, so that signals and toolkits work
as they would at home."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Optional

from ..runtime_agent.board import HEADER
from .line import Gate, tell_went
from .loops import STOP_WAIT
from .running import flush_output

if TYPE_CHECKING:
    from ..wire.messages import Message
    from .worker import Container

SLOT = HEADER
"""Words of the board's first slot, the only one that is used."""


class Single:
    """Takes messages one by one; reads them itself as long as nothing has to be heard meanwhile."""

    raises = True
    """The main thread runs user code, which SIGTERM has to unwind."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._channel = container.channel
        self._work = container.work
        self._loops = container.loops
        self._words = container.board.words
        self._times = container.board.times
        self._gate = Gate(container.board)
        self._place = 0
        self._channel.wake = self._loops.wake
        self._channel.handlers["cancel"] = self._cancelled

    def serve(self) -> None:
        """Take inputs until the agent closes the channel."""
        while True:
            self._container.leave_if_asked()
            message = self._receive()
            if message is None:
                return
            if message.head["t"] == "go":
                self._gate.goes += 1
                tell_went(self._channel, self._gate.started)
            else:
                self._inputs(message)
            del message  # large arguments go before the next wait

    def _receive(self) -> Optional[Message]:
        """The next message; what user code left on the loop goes on meanwhile."""
        if self._loops.loop is not None:
            self._channel.read_always()
            while not self._channel.more:
                self._loops.wait(None)
                self._container.leave_if_asked()
        return self._channel.receive()

    def _inputs(self, message: Message) -> None:
        entries = message.head["b"]
        buffers = message.buffers
        channel, work, gate, words = self._channel, self._work, self._gate, self._words
        monotonic = time.monotonic
        position = 0
        left = len(entries)
        for entry in entries:
            ident, count = entry[0], entry[1]
            mine = buffers[position : position + count]
            position += count
            left -= 1
            self._place += 1
            if not gate.start(self._place):
                continue
            began = monotonic()
            self._times[SLOT + 1] = began
            words[SLOT] = ident
            work.name_input(ident, entry[3] if len(entry) > 3 else "")
            kind, out = work.run_here(ident, entry[2] if len(entry) > 2 else "", mine)
            flush_output()
            words[SLOT] = 0
            if not left:
                work.stay_one()
            took = int((monotonic() - began) * 1e6)
            channel.result((ident, kind, len(out), took), out, not left and not channel.more)
            self._container.leave_if_asked()
        work.name_none()
        channel.flush()  # the last one may not have been started

    def stop(self) -> None:
        """Give a task that was broken off a moment; nothing else runs beside the main thread."""
        self._loops.finish(self._work.left, STOP_WAIT)

    def _cancelled(self, message: Message) -> None:
        """The agent's signal interrupts the main thread; what waits here the client takes back."""
        for ident in message.head["ids"]:
            self._work.credits.cancel(ident)
