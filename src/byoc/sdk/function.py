"""``Function``: what ``@app.function()`` makes of a function, and how it is called."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import _lazy
from ..engine.spec import FunctionSpec
from ..errors import ExecutionError, InvalidError
from ..images.recipe import in_container
from .call import FunctionCall
from .twins import blocking, streaming, through_thread

if TYPE_CHECKING:
    from ..engine.session import Session
    from .app import App


class Function:
    """A function of an app. Not callable itself: say ``.remote()``, ``.map()`` or ``.local()``."""

    def __init__(self, app: App, spec: FunctionSpec) -> None:
        self.app = app
        self.spec = spec
        self.raw_f = spec.raw
        self.__name__ = spec.raw.__name__
        self.__doc__ = spec.raw.__doc__
        self.__module__ = spec.raw.__module__
        self.__wrapped__ = spec.raw

    @property
    def name(self) -> str:
        """The name it has in its app."""
        return self.spec.name

    @property
    def is_generator(self) -> bool:
        """It yields: call it by ``remote_gen``."""
        return self.spec.generator

    def __repr__(self) -> str:
        return f"<byoc.Function {self.spec.app}.{self.spec.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """A reference by name: what travels to a container is never the session."""
        return _found_again, (self.spec.source.module, self.spec.source.qualname)

    def local(self, *args: Any, **kwargs: Any) -> Any:
        """Run it here, in this process; an async function gives its coroutine."""
        return self.raw_f(*args, **kwargs)

    @blocking
    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Run it once on an instance and return its value.

        Raises the remote exception as itself, with its remote frames; FunctionTimeoutError when it
        ran past its timeout; ContainerError when its container died.
        """
        session = self._running("remote")
        if self.is_generator:
            raise InvalidError(f"{self.name} is a generator: call it by {self.name}.remote_gen()")
        return _lazy.load("byoc.engine.calls:call")(session, self.spec, args, kwargs)

    @streaming
    def remote_gen(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Run a generator function remotely; yields each value as it comes."""
        session = self._running("remote_gen")
        if not self.is_generator:
            raise InvalidError(f"{self.name} is not a generator: call it by {self.name}.remote()")
        run = _lazy.load("byoc.engine.calls:items")
        found: Iterator[Any] = run(session, self.spec, args, kwargs)
        return found

    @streaming
    def map(
        self,
        *input_iterators: Iterable[Any],
        kwargs: Mapping[str, Any] = {},
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> MapResult:
        """Run it for each item (several iterables are zipped; the shortest wins).

        Lazy: nothing is sent before the result is iterated, and at most 1000 inputs are unfinished
        at a time. A failing input raises as soon as its outcome arrives, unless
        ``return_exceptions`` puts the exception in its place. ``order_outputs=False`` yields as
        completed. ``kwargs`` go to every call.
        """
        for one in input_iterators:
            if not hasattr(one, "__iter__"):
                raise TypeError(f"map() takes iterables, {type(one).__name__} is none")
        if not input_iterators:
            raise TypeError("map() needs at least one iterable")
        arguments = zip(*input_iterators, strict=False)
        return self._map(arguments, kwargs, order_outputs, return_exceptions)

    @streaming
    def starmap(
        self,
        input_iterator: Iterable[Iterable[Any]],
        *,
        kwargs: Mapping[str, Any] = {},
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> MapResult:
        """As :meth:`map`, each item being a sequence of positional arguments."""
        if not hasattr(input_iterator, "__iter__"):
            raise TypeError(f"starmap() takes an iterable, {type(input_iterator).__name__} is none")
        arguments = (tuple(item) for item in input_iterator)
        return self._map(arguments, kwargs, order_outputs, return_exceptions)

    @blocking
    def for_each(
        self,
        *input_iterators: Iterable[Any],
        kwargs: Mapping[str, Any] = {},
        ignore_exceptions: bool = False,
    ) -> None:
        """Run it for each item and drop the results; raises the first error unless ignored."""
        found = self.map(
            *input_iterators,
            kwargs=kwargs,
            order_outputs=False,
            return_exceptions=ignore_exceptions,
        )
        for _ in found:
            pass

    @blocking
    def spawn(self, *args: Any, **kwargs: Any) -> FunctionCall:
        """Start it and return at once; ask the :class:`FunctionCall` for the result later."""
        session = self._running("spawn")
        if self.is_generator:
            raise InvalidError(f"{self.name} is a generator: call it by {self.name}.remote_gen()")
        calls = _lazy.load("byoc.engine.calls")
        buffers = [bytes(b) for b in calls.dump_arguments(self.spec, args, kwargs)]
        return FunctionCall(calls.PendingCall(session, self.spec, buffers))

    def _map(
        self,
        arguments: Iterable[tuple[Any, ...]],
        kwargs: Mapping[str, Any],
        order_outputs: bool,
        return_exceptions: bool,
    ) -> MapResult:
        session = self._running("map")
        if self.is_generator:
            raise InvalidError(f"{self.name} is a generator, which map() cannot run")
        run = _lazy.load("byoc.engine.calls:MapRun")(
            session,
            self.spec,
            arguments,
            kwargs,
            ordered=order_outputs,
            return_exceptions=return_exceptions,
        )
        return MapResult(run, self.name)

    def _running(self, what: str) -> Session:
        """The session of the running app. Raises ExecutionError when there is none."""
        session = self.app.session
        if session is not None:
            return session
        if in_container():
            raise ExecutionError(
                f"{self.name}.{what}(): calling a function from inside another one's container "
                "is not available in this version of byoc",
                hints=(f"call {self.name}.local() to run it in the same container",),
            )
        raise ExecutionError(
            f"{self.name}.{what}(): the app is not running",
            hints=(
                "start the program by `byoc run FILE.py`",
                "or put the calls in `with app.run():`",
            ),
        )


def _found_again(module: str, qualname: str) -> Any:
    """A function that was sent by reference: found in its module, wherever this is."""
    found: Any = _lazy.load(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


class MapResult:
    """The results of a map, for ``for`` or ``async for``; nothing runs before."""

    def __init__(self, run: Iterable[Any], name: str) -> None:
        self._run = run
        self._name = name
        self._used = False

    def __iter__(self) -> Iterator[Any]:
        self._used = True
        return iter(self._run)

    def __aiter__(self) -> AsyncIterator[Any]:
        self._used = True
        return through_thread(lambda: iter(self._run))

    def __del__(self) -> None:
        if not self._used:
            warnings.warn(
                f"the result of {self._name}.map() was never iterated, so nothing ran", stacklevel=2
            )
