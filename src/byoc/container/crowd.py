"""A container that runs several inputs at once, or one after the other by the batch.

What is synchronous runs in threads, of which there are as many as have been needed at once; what is
asynchronous runs as tasks of one loop on the main thread. Batches of a container that runs one at a
time run on the main thread, like single inputs.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Set, Tuple

from .. import errors
from ..runtime_agent import payload
from ..runtime_agent.board import SLOTS
from .line import Line
from .loops import STOP_WAIT
from .running import Arguments, Input, Outcome, flush_output, shape

if TYPE_CHECKING:
    from ..wire.messages import Message
    from .worker import Container

Unit = Tuple[List[Input], List[int]]
"""Inputs that are started together, and their slots on the board."""
Group = Tuple[List[Input], List[int], List[Arguments]]


class Crowd:
    """``most``: units at once. ``size``, ``wait``: of a batch; 1 and 0 for single inputs."""

    def __init__(self, container: Container, most: int, size: int, wait: float) -> None:
        size = min(size, SLOTS)
        self._container = container
        self._channel = container.channel
        self._board = container.board
        self._work = container.work
        self._loops = container.loops
        self._line = Line(container.channel, container.board, size, wait)
        self._batched = size > 1 or wait > 0
        self._most = min(most, SLOTS // size)
        self._alone = most == 1
        self.raises = self._alone
        """The main thread runs user code, which SIGTERM has to unwind."""
        self._lock = threading.Lock()
        self._running = 0
        self._free = list(range(self._most * size - 1, -1, -1))
        self._live: Dict[int, Any] = {}  # by input, that of a task when it runs in one of its own
        self._told: Set[int] = set()  # those that were cancelled: once, for their own good
        self._idle = 0
        self._handed: SimpleQueue[Unit] = SimpleQueue()
        channel = container.channel
        channel.handlers.update({"in": self._arrived, "go": self._arrived, "cancel": self._cancel})
        channel.wake = container.loops.wake

    def serve(self) -> None:
        """Run inputs until the agent closes the channel and the last one is done."""
        if not self._alone and any(target.later for target in self._work.targets.values()):
            self._loops.need()
        self._channel.read_always()
        while True:
            self._container.leave_if_asked()
            if not self._line.ended and self._channel.more and self._channel.receive() is None:
                self._line.end()
            self._pump()
            if self._line.over and not self._running:
                return
            due = self._line.due()
            self._loops.wait(due if due > 0 else None)

    # --- on the thread that reads ---------------------------------------------------------

    def _arrived(self, message: Message) -> None:
        self._line.put(message)
        if self._alone or self._batched:
            self._loops.wake()
        if not self._alone:
            self._pump()

    def _cancel(self, message: Message) -> None:
        for ident in message.head["ids"]:
            with self._lock:
                task = self._live.get(ident)
                if task is None:
                    self._line.cancel(ident, ident in self._live)
                told = ident in self._told
                if task is not None:
                    self._told.add(ident)
            if task is not None and not told:
                self._loops.soon(task.cancel)
            self._work.credits.cancel(ident)

    # --- starting -------------------------------------------------------------------------

    def _pump(self) -> None:
        """Start what may be started. From any thread, but where units run on the main thread."""
        while True:
            with self._lock:
                inputs = self._line.take() if self._running < self._most else None
                if inputs is None:
                    return
                self._running += 1
                slots = [self._free.pop() for _ in inputs]
                self._board.use(max(slots) + 1)
                self._live.update((item.ident, None) for item in inputs)
            self._start(inputs, slots)

    def _start(self, inputs: List[Input], slots: List[int]) -> None:
        target = self._work.targets.get(inputs[0].method)
        if self._alone:
            self._run(inputs, slots)
        elif target is not None and target.later:
            self._loops.soon(self._begin, inputs, slots)
        else:
            with self._lock:
                new = not self._idle
                self._idle -= 0 if new else 1
            if new:
                work = threading.Thread(
                    target=self._work_on, args=(inputs, slots), name="byoc-input", daemon=True
                )
                work.start()
            else:
                self._handed.put((inputs, slots))

    def _work_on(self, inputs: List[Input], slots: List[int]) -> None:
        """The life of a thread that runs units."""
        try:
            while True:
                self._run(inputs, slots)
                del inputs, slots
                with self._lock:
                    self._idle += 1
                self._pump()
                inputs, slots = self._handed.get()
        except BaseException as error:  # noqa: BLE001 - told: no input may go unanswered
            self._broken(error)

    def _broken(self, error: BaseException) -> None:
        """Something of ours failed in a thread or a task: an end that is seen."""
        if isinstance(error, OSError):
            self._loops.wake()  # the agent is gone, which the main thread sees too
            return
        traceback.print_exception(type(error), error, error.__traceback__)
        flush_output()
        os._exit(70)

    def _begin(self, inputs: List[Input], slots: List[int]) -> None:
        """On the loop: make a task of it."""
        task = self._loops.need().create_task(self._run_later(inputs, slots))
        if len(inputs) == 1:
            with self._lock:
                self._live[inputs[0].ident] = task
        task.add_done_callback(self._done)

    def _done(self, task: Any) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._broken(error)

    # --- running --------------------------------------------------------------------------

    def _run(self, inputs: List[Input], slots: List[int]) -> None:
        try:
            for group, places, arguments in self._groups(inputs, slots):
                began = self._enter(group, places)
                self._finish(group, places, self._outcomes(group, arguments), began)
        finally:
            self._finished(inputs, slots)

    def _outcomes(self, group: List[Input], arguments: List[Arguments]) -> List[Outcome]:
        work, first = self._work, group[0]
        if not self._batched:
            run = work.run_here if self._alone else work.run
            return [run(first.ident, first.method, first.buffers)]
        target = work.targets.get(first.method)
        if target is not None and target.later:
            return work.run_batch_here(group, arguments)
        return work.run_batch(group, arguments)

    async def _run_later(self, inputs: List[Input], slots: List[int]) -> None:
        try:
            for group, places, arguments in self._groups(inputs, slots):
                began = self._enter(group, places)
                first = group[0]
                if self._batched:
                    outcomes = await self._work.run_batch_later(group, arguments)
                else:
                    one = await self._work.run_later(first.ident, first.method, first.buffers)
                    outcomes = [one]
                self._finish(group, places, outcomes, began)
        finally:
            self._finished(inputs, slots)
        self._pump()

    def _groups(self, inputs: List[Input], slots: List[int]) -> Iterator[Group]:
        """The inputs that can be run by one call each; those that cannot be begun end here."""
        ready: List[Tuple[Input, int, Arguments]] = []
        for item, slot in zip(inputs, slots):
            if item.ident in self._line.cancelled:
                error = errors.InputCancellation("cancelled before it was started")
                self._finish([item], [slot], [self._work.failure(error)], time.monotonic())
            elif not self._batched:
                ready.append((item, slot, ((), {})))
            else:
                try:
                    ready.append((item, slot, payload.loads(item.buffers)))
                except BaseException as error:  # noqa: BLE001 - unpickling runs the user's code
                    self._finish([item], [slot], [self._work.failure(error)], time.monotonic())
        while ready:
            kind = (ready[0][0].method, shape(ready[0][2]))
            same = [one for one in ready if (one[0].method, shape(one[2])) == kind]
            ready = [one for one in ready if (one[0].method, shape(one[2])) != kind]
            yield [one[0] for one in same], [one[1] for one in same], [one[2] for one in same]

    # --- before and after -----------------------------------------------------------------

    def _enter(self, group: Sequence[Input], slots: Sequence[int]) -> float:
        began = time.monotonic()
        for item, slot in zip(group, slots):
            self._board.enter(slot, item.ident, began)
        self._work.name_input(group[0].ident, group[0].call)
        return began

    def _finish(
        self, group: List[Input], slots: List[int], outcomes: List[Outcome], began: float
    ) -> None:
        """Send outcomes; results of several inputs leave together while others wait to run."""
        flush_output()
        took = int((time.monotonic() - began) * 1e6) // len(group)
        left = len(group)
        for item, slot, (kind, out) in zip(group, slots, outcomes):
            left -= 1
            self._board.clear(slot)
            if self._container.leaving:
                continue  # not how these inputs end: they begin again elsewhere
            last = not left and not self._line.waiting
            self._channel.result((item.ident, kind, len(out), took), out, last)

    def _finished(self, inputs: List[Input], slots: List[int]) -> None:
        """A unit is done: others may start."""
        with self._lock:
            self._running -= 1
            self._free.extend(slots)
            for item in inputs:
                self._live.pop(item.ident, None)
                self._line.cancelled.discard(item.ident)
                self._told.discard(item.ident)
        if self._line.ended:
            self._loops.wake()  # it may have been the last

    def stop(self) -> None:
        """Cancel the tasks that still run, and give them a moment."""
        with self._lock:
            tasks = {ident: task for ident, task in self._live.items() if task is not None}
            fresh = [task for ident, task in tasks.items() if ident not in self._told]
            self._told.update(tasks)  # whose cancellation may still be on its way
        for task in fresh:
            task.cancel()
        self._loops.finish([*tasks.values(), *self._work.left], STOP_WAIT)
