"""The hooks of a preemption: run beside the inputs, once, while the machine still runs."""

from __future__ import annotations

import inspect
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Awaitable, Callable, List, Optional

from ..sdk.preemption import Hook, Preemption
from .running import complain, describe, flush_output, stay_one

if TYPE_CHECKING:
    from ..wire.messages import Message
    from .loops import Loops


class Preempting:
    """A container's hooks. ``shared``: what is asynchronous runs on the container's loop, which
    goes on while inputs run; else on one of the hooks' own."""

    def __init__(self, hooks: List[Hook], loops: Loops, shared: bool) -> None:
        self._hooks = hooks
        self._loops = loops
        self._shared = shared
        self._pid = os.getpid()
        self._thread: Optional[threading.Thread] = None
        self._until = 0.0  # of CLOCK_MONOTONIC: what has not ended by then is not waited for

    @property
    def here(self) -> bool:
        """This is the thread of the hooks."""
        return self._thread is threading.current_thread()

    def told(self, message: Message) -> None:
        """The client says that the machine is taken back; on the thread that reads."""
        if self._thread is not None or not self._hooks:
            return
        head = message.head
        seconds = max(0.0, float(head["at"]) - time.time())
        self._until = time.monotonic() + seconds
        notice = Preemption(seconds, float(head["at"]), str(head["instance"]), str(head["cloud"]))
        self._thread = threading.Thread(
            target=self._run, args=(notice,), name="byoc-preempt", daemon=True
        )
        self._thread.start()

    def finish(self, look: Callable[[], None]) -> None:
        """Wait until the hooks have ended, or the machine's time is up; ``look`` may raise. For the
        main thread, when no input is left."""
        thread = self._thread
        while thread is not None and thread.is_alive():
            look()
            left = self._until - time.monotonic()
            if left <= 0:
                complain("byoc: an on_preempt hook still ran when the machine's time was up\n")
                return
            self._loops.wait(left)

    def _run(self, notice: Preemption) -> None:
        for hook in self._hooks:
            try:
                found = hook(notice)
                if inspect.isawaitable(found):
                    self._await(found)
            except BaseException as error:  # noqa: BLE001 - user code may raise anything; it is told
                stay_one(self._pid, error)
                complain("byoc: an on_preempt hook failed\n" + describe(error)["text"])
            stay_one(self._pid)
            flush_output()
        self._loops.wake()

    def _await(self, found: Awaitable[Any]) -> None:
        async def whole() -> None:
            await found

        if self._shared:
            self._loops.run_elsewhere(whole())
            return
        import asyncio  # 20 ms: only where a hook needs it

        asyncio.run(whole())
