"""Methods that exist twice: blocking ``f.x()`` and ``await f.x.aio()``."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ..notices import blocking_in_loop, loop_is_running
from ..tasks import Task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

R = TypeVar("R")
AHEAD = 256
"""Values that an asynchronous iteration's thread fetches before they are asked for: enough that a
change of threads is paid once for many, and few enough that an input is not pulled for nothing."""


class Blocking(Generic[R]):
    """A bound blocking method with its ``.aio`` twin."""

    __slots__ = ("_instance", "_method", "_twin")

    def __init__(
        self,
        instance: Any,
        method: Callable[..., R],
        twin: Callable[..., Any] | None,
    ) -> None:
        self._instance = instance
        self._method = method
        self._twin = twin

    def __call__(self, /, *args: Any, **kwargs: Any) -> R:
        if loop_is_running():
            blocking_in_loop(_label(self._instance, self._method))
        return self._method(self._instance, *args, **kwargs)

    async def aio(self, /, *args: Any, **kwargs: Any) -> R:
        """The same without blocking the running event loop."""
        if self._twin is not None:
            found: R = await self._twin(self._instance, *args, **kwargs)
            return found
        return await in_thread(lambda: self._method(self._instance, *args, **kwargs))

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._method.__doc__

    @property
    def __name__(self) -> str:
        return self._method.__name__


class Streaming(Blocking[R]):
    """A bound method that returns an iterable, with its ``.aio`` twin, an asynchronous one."""

    __slots__ = ()

    def aio(self, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:  # type: ignore[override]
        """An asynchronous iterator over the same values."""
        if self._twin is not None:
            found: AsyncIterator[Any] = self._twin(self._instance, *args, **kwargs)
            return found
        result: Any = self._method(self._instance, *args, **kwargs)
        return through_thread(lambda: iter(result))


class Lazy(Streaming[R]):
    """As Streaming; calling it does not block, so it is fine inside an event loop."""

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwargs: Any) -> R:
        return self._method(self._instance, *args, **kwargs)


def _label(instance: Any, method: Callable[..., Any]) -> str:
    if isinstance(instance, type):
        return method.__qualname__
    return f"{getattr(instance, 'name', type(instance).__name__)}.{method.__name__}"


async def in_thread(work: Callable[[], R]) -> R:
    """Run blocking work in a thread, with the caller's context variables."""
    import asyncio  # 30 ms: only programs that use it pay

    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: context.run(work))


class blocking(Generic[R]):  # noqa: N801 - used as a decorator
    """Decorator: make a method a :class:`Blocking` when it is looked up on an instance."""

    wrapper: Any = Blocking

    def __init__(self, method: Callable[..., R]) -> None:
        self._method = method
        self._twin: Callable[..., Any] | None = None
        self.__doc__ = method.__doc__

    def twin(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: what ``.aio`` runs instead of the blocking method in a thread."""
        self._twin = method
        return method

    @overload
    def __get__(self, instance: None, owner: type) -> blocking[R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Blocking[R]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        return self.wrapper(instance, self._method, self._twin)


class streaming(blocking[R]):  # noqa: N801 - used as a decorator
    """Decorator: make a method a :class:`Streaming`."""

    wrapper = Streaming


class lazy(blocking[R]):  # noqa: N801 - used as a decorator
    """Decorator: make a method a :class:`Lazy`."""

    wrapper = Lazy


class static_blocking(blocking[R]):  # noqa: N801 - used as a decorator
    """Decorator: as ``blocking``, for a function of a class that takes no instance."""

    def __get__(self, instance: object | None, owner: type) -> Any:
        @functools.wraps(self._method)
        def call(owner: type, *args: Any, **kwargs: Any) -> R:
            return self._method(*args, **kwargs)

        return Blocking(owner, call, self._twin)


# --- iterating in a thread --------------------------------------------------------------------


_END = object()
"""The last thing that a pump hands over."""


class _Pump:
    """Iterates in a thread of its own and hands the values to an event loop, many at a time."""

    def __init__(self, make: Callable[[], Iterator[Any]], wake: Callable[[], object]) -> None:
        self._make = make
        self._wake = wake
        self._ready: deque[Any] = deque()
        self._room = threading.Semaphore(AHEAD)
        self._lock = threading.Lock()
        self._told = False  # the loop was woken and has not looked since
        self._stopped = False
        context = contextvars.copy_context()
        self._task = Task("byoc-aio", lambda: context.run(self._run))

    def take(self) -> deque[Any]:
        """What is there now."""
        with self._lock:
            self._told = False
            found, self._ready = self._ready, deque()
        for _ in found:
            self._room.release()
        return found

    def stop(self) -> None:
        """The values are not wanted any more; the thread closes its iterator when it can."""
        self._stopped = True
        self._room.release()

    def finish(self) -> None:
        """After the last value: raises what the iteration raised."""
        self._task.result()

    def _run(self) -> None:
        try:
            with contextlib.closing(_closable(self._make())) as iterator:
                for value in iterator:
                    self._room.acquire()
                    self._put(value)
                    if self._stopped:
                        return
        finally:
            self._put(_END)

    def _put(self, value: Any) -> None:
        with self._lock:
            self._ready.append(value)
            told, self._told = self._told, True
        if not told:
            self._wake()


def _closable(iterator: Iterator[Any]) -> Any:
    """The iterator, as a generator when it cannot be closed."""
    return iterator if hasattr(iterator, "close") else (value for value in iterator)


async def through_thread(make: Callable[[], Iterator[Any]]) -> AsyncIterator[Any]:
    """Iterate in a thread of its own, so that waiting does not block the event loop."""
    import asyncio  # 30 ms: only programs that use it pay

    loop, some = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(some.set)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    pump = _Pump(make, wake)
    try:
        while True:
            await some.wait()
            some.clear()
            for value in pump.take():
                if value is _END:
                    pump.finish()
                    return
                yield value
    finally:
        pump.stop()
