"""The session that functions of the app find inside a container: calls go to the client by the
container's own stream, and come back on it.

Fulfils :class:`byoc.engine.inputs.Runner`, so that :mod:`byoc.engine.calls` is the same
here.
"""

from __future__ import annotations

import itertools
import os
import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

from .. import clock, errors
from ..engine.inputs import Arrival, Input, Outcome, Sink, deliver
from ..runtime_agent import payload

if TYPE_CHECKING:
    from ..wire.messages import Message
    from .channel import Channel


class Inside:
    """A container's way to call functions."""

    def __init__(self, channel: Channel, parent: Callable[[], int]) -> None:
        """``parent``: the input for which this thread or task runs; 0 when that is not known."""
        self._pid = os.getpid()
        self.clock = clock.SYSTEM
        self.calls: Dict[str, Any] = {}
        self.resolve: Any = None
        self._channel = channel
        self._parent = parent
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: Dict[int, Input] = {}
        self._ended = False
        channel.handlers["ans"] = self._answers
        channel.handlers["err"] = self._error
        channel.on_end.append(self._end)

    # --- what calls need ------------------------------------------------------------------

    def submit(
        self,
        spec: Any,
        payloads: Sequence[Sequence[payload.Buffer]],
        sink: Sink,
        register: Optional[Callable[[Any], None]] = None,
        method: str = "",
        spawned: Sequence[str] = (),
    ) -> List[Any]:
        """Send one input per payload to the client. See :class:`byoc.engine.inputs.Runner`."""
        entries: List[List[Any]] = []
        items = []
        for place, buffers in enumerate(payloads):
            call = (spawned[place] or clock.IDS.new("fc")) if spawned else ""
            item = self._add(buffers, sink, method, call)
            if register is not None:
                register(item)
            items.append(item)
            entries.append([item.id, len(buffers), call] if call else [item.id, len(buffers)])
        head = {
            "t": "call",
            "tag": spec.name,
            "parameters": spec.parameters,
            "variant": spec.variant,
            "m": method,
            "b": entries,
            "parent": self._parent(),
            "waits": not spawned,
        }
        self._say(head, items, [buffer for buffers in payloads for buffer in buffers])
        return items

    def cancel(self, spec: Any, items: Sequence[Any], kill: bool = False) -> None:
        """Forget inputs; those that run are interrupted, with ``kill`` their containers end."""
        with self._lock:
            dropped = [item.id for item in items if self._waiting.pop(item.id, None) is not None]
        for item in items:
            item.close()
        if dropped:
            self._channel.send({"t": "drop", "ids": dropped, "kill": kill})

    def more(self, spec: Any, item: Any, count: int) -> None:
        """So many items of a generator were used."""
        self._channel.send({"t": "more", "id": item.id, "n": count})

    def ask(self, call: str, sink: Sink) -> Optional[Any]:
        """Have the outcome of a call that was spawned anywhere in the run given to ``sink``."""
        item = self._add((), sink, "", call)
        self._say({"t": "ask", "lid": item.id, "call": call}, [item], ())
        return item

    # --- inside ---------------------------------------------------------------------------

    def _add(self, buffers: Sequence[payload.Buffer], sink: Sink, method: str, call: str) -> Input:
        item = Input(next(self._numbers), buffers, sink, method, call)
        with self._lock:
            self._waiting[item.id] = item
        return item

    def _say(
        self, head: Dict[str, Any], items: Sequence[Any], buffers: Sequence[payload.Buffer]
    ) -> None:
        """Send what the items wait for the outcome of."""
        if os.getpid() != self._pid:
            raise errors.ExecutionError(
                "functions cannot be called in a process that the container forked",
                hints=("call them in the container's own process, or in threads",),
            )
        self._channel.read_always()
        self._channel.send(head, buffers)
        if self._ended:
            self._end()  # it came between the two, so nobody else tells these

    def _answers(self, message: Message) -> None:
        where = message.head.get("where", "")
        arrivals: List[Arrival] = []
        position = 0
        for ident, kind, count in message.head["b"]:
            buffers = message.buffers[position : position + count]
            position += count
            with self._lock:
                final = kind != payload.ITEM
                item = self._waiting.pop(ident, None) if final else self._waiting.get(ident)
            if item is None or item.done:
                continue  # it was given up meanwhile
            if final:
                item.close()
            arrivals.append((item, Outcome(kind, buffers, where=where)))
        deliver(arrivals)

    def _error(self, message: Message) -> None:
        with self._lock:
            item = self._waiting.pop(message.head["lid"], None)
        if item is not None:
            self._fail(item, errors.from_dict(message.head["error"]))

    def _fail(self, item: Input, error: BaseException) -> None:
        item.finish(Outcome(payload.FAILURE, error=error))

    def _end(self) -> None:
        """No answer can come any more."""
        self._ended = True
        with self._lock:
            left = list(self._waiting.values())
            self._waiting.clear()
        for item in left:
            self._fail(item, errors.ExecutionError("the container was told to end meanwhile"))
