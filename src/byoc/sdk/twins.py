"""Methods that exist twice: blocking ``f.x()`` and ``await f.x.aio()``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, ParamSpec, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")
_END = object()


class Blocking(Generic[P, R]):
    """A bound blocking method with its ``.aio`` twin."""

    def __init__(self, call: Callable[P, R]) -> None:
        self._call = call
        self.__doc__ = call.__doc__
        self.__name__ = call.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._call(*args, **kwargs)

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same without blocking the running event loop."""
        import asyncio  # 30 ms: only programs that use it pay

        return await asyncio.to_thread(self._call, *args, **kwargs)


class Streaming(Generic[P, R]):
    """A bound method that returns an iterable, with its ``.aio`` twin."""

    def __init__(self, call: Callable[P, Any]) -> None:
        self._call = call
        self.__doc__ = call.__doc__
        self.__name__ = call.__name__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        return self._call(*args, **kwargs)

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Any]:
        """An asynchronous iterator over the same values."""
        return through_thread(lambda: iter(self._call(*args, **kwargs)))


async def through_thread(make: Callable[[], Iterator[Any]]) -> AsyncIterator[Any]:
    """Iterate in a thread of its own, so that waiting does not block the event loop."""
    import asyncio  # 30 ms: only programs that use it pay

    iterator = await asyncio.to_thread(make)
    try:
        while (value := await asyncio.to_thread(next, iterator, _END)) is not _END:
            yield value
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            await asyncio.to_thread(close)


class blocking(Generic[P, R]):  # noqa: N801 - used as a decorator
    """Decorator: make a method a :class:`Blocking` when it is looked up on an instance."""

    wrapper: Any = Blocking

    def __init__(self, method: Callable[..., R]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> blocking[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Blocking[..., R]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is None:
            return self
        return self.wrapper(self._method.__get__(instance, owner))


class streaming(blocking[P, R]):  # noqa: N801 - used as a decorator
    """Decorator: make a method a :class:`Streaming`."""

    wrapper = Streaming
