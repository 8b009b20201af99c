"""What goes into a map and what comes out of it."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

from ..errors import InvalidError
from ..notices import deprecated, loop_is_running
from .twins import through_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

_END = object()


class MapResult:
    """The results of a map, for ``for`` or ``async for``; nothing runs before."""

    def __init__(self, run: Iterable[Any], name: str) -> None:
        self._run = run
        self._name = name
        self._used = False

    def run(self) -> Iterator[Any]:
        """Iterate, blocking."""
        self._used = True
        return iter(self._run)

    def __iter__(self) -> Iterator[Any]:
        if loop_is_running():
            self._used = True
            raise InvalidError(
                f"{self._name}.map() is iterated by `for` inside an event loop, which would stand "
                "still",
                hints=(f"write `async for ... in {self._name}.map.aio(...)`",),
            )
        return self.run()

    def __aiter__(self) -> AsyncIterator[Any]:
        self._used = True
        return through_thread(lambda: iter(self._run))

    def __del__(self) -> None:
        if not self._used:
            warnings.warn(
                f"the result of {self._name}.map() was never iterated, so nothing ran", stacklevel=2
            )


def zipped(what: str, iterables: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """The arguments of each call. Raises TypeError for what cannot be iterated."""
    given = tuple(iterables)
    for one in given:
        if not _iterable(one):
            raise TypeError(f"{what}() takes iterables, {type(one).__name__} is none")
    if not given:
        raise TypeError(f"{what}() needs at least one iterable")
    return zip(*given)


def _iterable(one: Any) -> bool:
    """``iter()`` takes it; data sets often have ``__getitem__`` only."""
    return hasattr(one, "__iter__") or hasattr(type(one), "__getitem__")


def unpacked(iterable: Any) -> Iterator[tuple[Any, ...]]:
    """The arguments of each call of a starmap. Raises TypeError for what cannot be iterated."""
    if not _iterable(iterable):
        raise TypeError(f"starmap() takes an iterable, {type(iterable).__name__} is none")
    return (tuple(item) for item in iterable)


def options(given: dict[str, Any]) -> dict[str, Any]:
    """The keywords of a map's ``.aio`` twin, with their defaults."""
    known = {"kwargs": {}, "order_outputs": True, "return_exceptions": False}
    for name in given:
        if name not in known:
            raise TypeError(f"map() got an unexpected keyword argument {name!r}")
    return {**known, **given}


def no_wrapping(value: bool | None) -> None:
    """``wrap_returned_exceptions=`` is accepted and has no effect, as in Modal."""
    if value is not None:
        deprecated("wrap_returned_exceptions=", "leave it out, exceptions are never wrapped")


def here(iterable: Any) -> Any:
    """An iterable; an asynchronous one is pulled from on the running loop, by another thread."""
    if not hasattr(iterable, "__aiter__") or hasattr(iterable, "__iter__"):
        return iterable
    return _Pulled(iterable)


class _Pulled:
    """An asynchronous iterable of one event loop, for the thread that a map runs in."""

    def __init__(self, iterable: AsyncIterable[Any]) -> None:
        import asyncio  # 30 ms: only programs that use it pay

        loop = asyncio.get_running_loop()
        self._submit = functools.partial(asyncio.run_coroutine_threadsafe, loop=loop)
        self._iterator = iterable.__aiter__()

    def __iter__(self) -> Iterator[Any]:
        while (value := self._submit(self._next()).result()) is not _END:
            yield value

    async def _next(self) -> Any:
        try:
            return await self._iterator.__anext__()
        except StopAsyncIteration:
            return _END
