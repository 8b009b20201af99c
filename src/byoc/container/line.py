"""The inputs that wait in a container, where something reads them while user code runs."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Deque, List, Optional, Set

from ..runtime_agent.board import STARTED, STOPS, Board
from ..wire.messages import Message
from .running import Input

if TYPE_CHECKING:
    from .channel import Channel


class Gate:
    """Whether the next input may be started: the client may want back what is not.

    The container says what it starts before it looks whether it may; see
    :meth:`byoc.runtime_agent.requests.Requests.steal`. Not locked.
    """

    def __init__(self, board: Board) -> None:
        self._words = board.words
        self.started = 0
        """The last place that was really started."""
        self.goes = 0

    def start(self, place: int) -> bool:
        """Whether the inputs up to ``place`` may be started; if so they count as started."""
        words = self._words
        words[STARTED] = place
        if words[STOPS] != self.goes:
            words[STARTED] = self.started
            return False
        self.started = place
        return True


def tell_went(channel: Channel, started: int) -> None:
    """Tell the client what was started before its ``go``; all else before it was skipped."""
    channel.send({"t": "went", "started": started})


class Line:
    """Inputs in the order of sending, given out singly or by the batch. From any thread.

    ``size``: the most inputs of a batch; ``wait``: seconds for which the first one waits for
    others to fill it.
    """

    def __init__(self, channel: Channel, board: Board, size: int, wait: float) -> None:
        self._channel = channel
        self._gate = Gate(board)
        self._size = size
        self._wait = wait
        self._lock = threading.Lock()
        self._waiting: Deque[Input] = deque()
        self._places = 0
        self.ended = False
        """No further inputs will come."""
        self.cancelled: Set[int] = set()
        """Inputs that are not to be begun any more."""

    def put(self, message: Message) -> None:
        """Take in a message of the stream, ``in`` or ``go``."""
        if message.head["t"] == "go":
            with self._lock:
                self._gate.goes += 1
                self._waiting.clear()
                started = self._gate.started
            tell_went(self._channel, started)
            return
        position = 0
        now = time.monotonic()
        with self._lock:
            for entry in message.head["b"]:
                self._places += 1
                method, call = entry[2:4] if len(entry) == 4 else (*entry[2:3], "", "")[:2]
                buffers = message.buffers[position : position + entry[1]]
                position += entry[1]
                self._waiting.append(Input(self._places, entry[0], buffers, method, call, now))

    def end(self) -> None:
        """What is here is all that there will be."""
        self.ended = True

    @property
    def over(self) -> bool:
        """Nothing is here and nothing will come."""
        return self.ended and not self._waiting

    @property
    def waiting(self) -> bool:
        """Something has not been taken yet."""
        return bool(self._waiting)

    def cancel(self, ident: int, taken: bool) -> None:
        """It is not to be begun. ``taken``: it has been, and may have begun already."""
        with self._lock:
            if taken or any(item.ident == ident for item in self._waiting):
                self.cancelled.add(ident)

    def take(self) -> Optional[List[Input]]:
        """The inputs to start now, which count as started; None while there are none."""
        with self._lock:
            if not self._waiting or self.due() > 0:
                return None
            count = min(self._size, len(self._waiting))
            if not self._gate.start(self._waiting[count - 1].place):
                return None
            return [self._waiting.popleft() for _ in range(count)]

    def due(self) -> float:
        """Seconds until what waits is to be started although others could join it."""
        waiting = self._waiting
        if not waiting or len(waiting) >= self._size or self.ended:
            return 0.0
        return waiting[0].arrived + self._wait - time.monotonic()
