"""The container's one event loop, made when something asynchronous first needs it, and the main
thread's waits, during which that loop goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Collection, Coroutine, Optional, TypeVar

from .channel import SLICE

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
STOP_WAIT = 2.5
"""Seconds that what is cancelled has for its ``finally`` blocks when the container is told to
leave: half of the grace for all, the other half is for its exit hooks."""


class Loops:
    """For the main thread, but for :meth:`wake`."""

    def __init__(self) -> None:
        self.loop: Optional[asyncio.AbstractEventLoop] = None
        self._making = threading.Lock()
        self._woken = threading.Event()
        self._future: Optional[asyncio.Future[None]] = None

    def need(self) -> asyncio.AbstractEventLoop:
        """The loop, made when there is none or user code closed it. From any thread."""
        with self._making:
            if self.loop is None or self.loop.is_closed():
                import asyncio  # 20 ms: a zygote that has been idle has it, others pay here

                self.loop = asyncio.new_event_loop()
                asyncio.set_event_loop(self.loop)
            return self.loop

    def run_elsewhere(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end on the loop, for another thread than the main one."""
        loop = self.need()
        import asyncio  # it is loaded now

        self.wake()  # the main thread may have waited without a loop so far
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def run(self, work: Awaitable[T]) -> T:
        """Run it to its end on the loop."""
        return self.need().run_until_complete(work)

    def finish(self, tasks: Collection[Any], seconds: float) -> None:
        """Give tasks that were cancelled some time to end."""
        tasks = [task for task in tasks if not task.done()]
        if tasks:
            self.run(self._finished(tasks, seconds))

    @staticmethod
    async def _finished(tasks: Collection[Any], seconds: float) -> None:
        import asyncio  # it is loaded: there are tasks

        await asyncio.wait(tasks, timeout=seconds)

    def wait(self, seconds: Optional[float]) -> None:
        """Until :meth:`wake`, or so many seconds, or a while: the caller looks again anyway."""
        limit = SLICE if seconds is None else max(0.0, min(seconds, SLICE))
        if self.loop is None or self.loop.is_closed():
            self._woken.wait(limit)
        elif not self._woken.is_set():
            try:
                self.loop.run_until_complete(self._until_woken(limit))
            except RuntimeError as error:
                if "stopped before" not in str(error):  # user code stopped the loop: no matter
                    raise
        self._woken.clear()

    async def _until_woken(self, limit: float) -> None:
        assert self.loop is not None
        self._future = future = self.loop.create_future()
        timer = self.loop.call_later(limit, _resolve, future)
        try:
            if not self._woken.is_set():
                await future
        finally:
            self._future = None
            timer.cancel()

    def wake(self) -> None:
        """End the main thread's wait, now or when it begins. From any thread or signal handler."""
        self._woken.set()
        future, loop = self._future, self.loop
        if future is not None and loop is not None:
            self.soon(_resolve, future)

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Have the loop call this, if there still is one. From any thread or signal handler."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(call, *args)

    def close(self) -> None:
        """Cancel what still runs on it and give generators their end."""
        loop = self.loop
        if loop is None or loop.is_closed():
            return
        import asyncio  # it is loaded: there is a loop

        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())


def _resolve(future: Any) -> None:
    if not future.done():
        future.set_result(None)
