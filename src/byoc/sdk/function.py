"""``Function``: what ``@app.function()`` makes of a function, and how it is called."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from .. import _lazy
from ..errors import ExecutionError, InvalidError
from ..images.recipe import in_container
from ..notices import deprecated
from . import context, declare, maps
from .autoscaler import Autoscaler
from .call import FunctionCall
from .later import Later
from .maps import MapResult
from .twins import blocking, lazy, streaming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from typing_extensions import Unpack

    from ..engine.spec import FunctionSpec
    from .app import App
    from .cls import Handle
    from .options import VariantOptions

_DEPLOYED = "deployed apps come later: import the module that declares it"


class Function:
    """A function of an app, or a method of an object of a class of one. Not callable itself: say
    ``.remote()``, ``.map()`` or ``.local()``."""

    def __init__(
        self,
        app: App | Elsewhere,
        spec: FunctionSpec,
        method: str = "",
        owner: Handle | None = None,
        base: Function | None = None,
    ) -> None:
        self.app = app
        self.spec = spec
        self.method = method
        self.raw_f = spec.raw if owner is None else owner.raw_method(method)
        self._owner = owner
        self._base = base or self
        self._variants: dict[str, FunctionSpec] = {}
        for attribute in ("__name__", "__doc__", "__module__", "__qualname__"):
            setattr(self, attribute, getattr(self.raw_f, attribute, None))
        self.__wrapped__ = self.raw_f

    @property
    def name(self) -> str:
        """The name it has in its app; of a method with that of its class."""
        return f"{self.spec.name}.{self.method}" if self.method else self.spec.name

    @property
    def is_generator(self) -> bool:
        """It yields: call it by ``remote_gen``."""
        return self.spec.yields(self.method)

    def __repr__(self) -> str:
        return f"<byoc.Function {self.spec.app}.{self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """A reference by name: what travels to a container is never the session."""
        if self._owner is not None:
            return getattr, (self._owner.obj, self.method)
        spec = self.spec
        raw = spec.raw if spec.source.file is None else None
        return found_again, (key_of(spec), spec.app, spec.generator, spec.variant, raw)

    # --- calling --------------------------------------------------------------------------

    def local(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run it here, in this process; an async function gives its coroutine. The first call of a
        method of an object runs the object's enter hooks."""
        if self._owner is not None:
            return self._owner.run_here(self.method, args, kwargs)
        return self.raw_f(*args, **kwargs)

    @blocking
    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run it once on an instance and return its value.

        Raises the remote exception as itself, with its remote frames; FunctionTimeoutError when it
        ran past its timeout; ContainerError when its container died.
        """
        session = self._running("remote")
        self._refuse_generator()
        calls = _lazy.load("byoc.engine.calls")
        return calls.call(session, self.spec, args, kwargs, self.method)

    @remote.twin
    async def _remote_later(self, /, *args: Any, **kwargs: Any) -> Any:
        session = self._running("remote")
        self._refuse_generator()
        awaiting = _lazy.load("byoc.sdk.awaiting")
        return await awaiting.call(session, self.spec, args, kwargs, self.method)

    @streaming
    def remote_gen(self, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Run a generator function remotely; yields each value as it comes."""
        session = self._running("remote_gen")
        self._refuse_plain()
        calls = _lazy.load("byoc.engine.calls")
        found: Iterator[Any] = calls.items(session, self.spec, args, kwargs, self.method)
        return found

    @remote_gen.twin
    def _remote_gen_later(self, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        session = self._running("remote_gen")
        self._refuse_plain()
        awaiting = _lazy.load("byoc.sdk.awaiting")
        found: AsyncIterator[Any] = awaiting.items(session, self.spec, args, kwargs, self.method)
        return found

    @lazy
    def map(
        self,
        *input_iterators: Iterable[Any],
        kwargs: Mapping[str, Any] = {},
        order_outputs: bool = True,
        return_exceptions: bool = False,
        wrap_returned_exceptions: bool | None = None,
    ) -> MapResult:
        """Run it for each item (several iterables are zipped; the shortest wins).

        Lazy: nothing is sent before the result is iterated, and at most 1000 inputs are unfinished
        at a time. A failing input raises as soon as its outcome arrives, unless
        ``return_exceptions`` puts the exception in its place. ``order_outputs=False`` yields as
        completed. ``kwargs`` go to every call.
        """
        maps.no_wrapping(wrap_returned_exceptions)
        arguments = maps.zipped("map", input_iterators)
        return self._map(arguments, kwargs, order_outputs, return_exceptions)

    @map.twin  # noqa: A003 - the method above, not the builtin
    def _map_later(
        self, *input_iterators: Any, wrap_returned_exceptions: bool | None = None, **options: Any
    ) -> AsyncIterator[Any]:
        maps.no_wrapping(wrap_returned_exceptions)
        arguments = maps.zipped("map", [maps.here(one) for one in input_iterators])
        return self._map(arguments, **maps.options(options)).__aiter__()

    @lazy
    def starmap(
        self,
        input_iterator: Iterable[Iterable[Any]],
        *,
        kwargs: Mapping[str, Any] = {},
        order_outputs: bool = True,
        return_exceptions: bool = False,
        wrap_returned_exceptions: bool | None = None,
    ) -> MapResult:
        """As :meth:`map`, each item being a sequence of positional arguments."""
        maps.no_wrapping(wrap_returned_exceptions)
        arguments = maps.unpacked(input_iterator)
        return self._map(arguments, kwargs, order_outputs, return_exceptions)

    @starmap.twin
    def _starmap_later(
        self, input_iterator: Any, wrap_returned_exceptions: bool | None = None, **options: Any
    ) -> AsyncIterator[Any]:
        maps.no_wrapping(wrap_returned_exceptions)
        arguments = maps.unpacked(maps.here(input_iterator))
        return self._map(arguments, **maps.options(options)).__aiter__()

    @blocking
    def for_each(
        self,
        *input_iterators: Iterable[Any],
        kwargs: Mapping[str, Any] = {},
        ignore_exceptions: bool = False,
    ) -> None:
        """Run it for each item and drop the results; raises the first error unless ignored."""
        arguments = maps.zipped("for_each", input_iterators)
        for _ in self._map(arguments, kwargs, False, ignore_exceptions).run():
            pass

    @for_each.twin
    async def _for_each_later(
        self,
        *input_iterators: Any,
        kwargs: Mapping[str, Any] = {},
        ignore_exceptions: bool = False,
    ) -> None:
        arguments = maps.zipped("for_each", [maps.here(one) for one in input_iterators])
        async for _ in self._map(arguments, kwargs, False, ignore_exceptions):
            pass

    @blocking
    def spawn(self, /, *args: Any, **kwargs: Any) -> FunctionCall:
        """Start it and return at once; ask the :class:`FunctionCall` for the result later."""
        session = self._running("spawn")
        self._refuse_generator()
        calls = _lazy.load("byoc.engine.calls")
        return FunctionCall(calls.spawn(session, self.spec, args, kwargs, self.method))

    @blocking
    def spawn_map(self, *input_iterators: Iterable[Any], kwargs: Mapping[str, Any] = {}) -> None:
        """Start it for each item and return once all are sent; the results are dropped."""
        self._start_all("spawn_map", "start_all", input_iterators, kwargs)

    @blocking
    def experimental_spawn_map(
        self, *input_iterators: Iterable[Any], kwargs: Mapping[str, Any] = {}
    ) -> FunctionCall:
        """Start it for each item; the FunctionCall has one input per item."""
        started = self._start_all("experimental_spawn_map", "spawn_map", input_iterators, kwargs)
        return FunctionCall(started)

    def _start_all(
        self, what: str, how: str, input_iterators: Iterable[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        session = self._running(what)
        self._refuse_generator()
        arguments = maps.zipped(what, input_iterators)
        start = _lazy.load(f"byoc.engine.calls:{how}")
        return start(session, self.spec, arguments, kwargs, self.method)

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
            method=self.method,
        )
        return MapResult(run, self.name)

    def _running(self, what: str) -> Any:
        return running_session(self, what)

    def _refuse_generator(self) -> None:
        if self.is_generator:
            raise InvalidError(f"{self.name} is a generator: call it by {self.name}.remote_gen()")

    def _refuse_plain(self) -> None:
        if not self.is_generator:
            raise InvalidError(f"{self.name} is not a generator: call it by {self.name}.remote()")

    # --- variants -------------------------------------------------------------------------

    def with_options(self, **options: Unpack[VariantOptions]) -> Function:
        """The same function with other options and containers of its own; stacked calls merge, and
        ``secrets`` replaces. Equal options give the same containers."""
        where = f"{self.name}.with_options"
        return self._varied(declare.changes_of(where, options))

    def with_concurrency(self, *, max_inputs: int, target_inputs: int | None = None) -> Function:
        """A variant whose containers run several inputs at once."""
        where = f"{self.name}.with_concurrency"
        return self._varied(declare.concurrency_change(where, max_inputs, target_inputs))

    def with_batching(self, *, max_batch_size: int, wait_ms: int) -> Function:
        """A variant that is called with lists, of up to ``max_batch_size`` elements."""
        where = f"{self.name}.with_batching"
        return self._varied(declare.batching_change(where, max_batch_size, wait_ms))

    def _varied(self, changes: Mapping[str, Any]) -> Function:
        if self._owner is not None:
            found: Function = getattr(self._owner.varied(changes), self.method)
            return found
        return self.variant(declare.merged(self.spec.variant, changes))

    def variant(self, text: str) -> Function:
        """The variant that this canonical JSON names; equal texts give the same spec."""
        base = self._base
        if not text:
            return base
        spec = base._variants.get(text)
        if spec is None:
            spec = base._variants.setdefault(text, declare.varied(base.spec, self.name, text))
        return Function(self.app, spec, base=base)

    # --- scaling --------------------------------------------------------------------------

    @property
    def autoscaler(self) -> Autoscaler:
        """Its bounds for the number of containers, to be asked for and changed during a run."""
        return Autoscaler(self.name, self.spec, self._running)

    @property
    def update_autoscaler(self) -> Any:
        """The old name of ``autoscaler.update``."""
        return self.autoscaler.update_autoscaler

    @property
    def keep_warm(self) -> Any:
        """The old way to change ``min_containers`` during a run."""
        return self.autoscaler.keep_warm

    @property
    def get_current_stats(self) -> Any:
        """``.backlog``, ``.num_total_runners``, ``.num_running_inputs``, ``.input_headroom``."""
        return self.autoscaler.stats

    # --- what deployed apps bring, and old names ---------------------------------------------

    from_name = Later(_DEPLOYED)
    lookup = Later(_DEPLOYED)
    from_id = Later(_DEPLOYED)
    object_id = Later(_DEPLOYED)
    get_dashboard_url = Later()
    stats = Later()
    metrics = Later()
    logs = Later("follow the run: byoc logs -f")
    info = Later()
    shell = Later("byoc ssh opens a shell on a live instance")

    def hydrate(self, client: Any = None) -> Function:
        """Itself: nothing has to be looked up."""
        return self

    def get_web_url(self) -> str | None:
        """None: it is not a web endpoint."""
        return None

    @property
    def web_url(self) -> str | None:
        """The old name of :meth:`get_web_url`."""
        deprecated("Function.web_url", "write .get_web_url()")
        return None

    def get_raw_f(self) -> Any:
        """The old way to the undecorated function."""
        deprecated("Function.get_raw_f()", "write .local(...) to call it")
        return self.raw_f


def running_session(declared: Any, what: str) -> Any:
    """The session of the app of a function or class. Raises ExecutionError when there is none."""
    session = declared.app.session
    if session is not None:
        return session
    where = "this process of a container" if in_container() else "the app"
    raise ExecutionError(
        f"{declared.name}.{what}(): {where} is not running",
        hints=(
            "start the program by `byoc run FILE.py`",
            "or put the calls in `with app.run():`",
        ),
    )


# --- references -------------------------------------------------------------------------------

_declared: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
"""Functions and classes that were declared in this process, by where a container finds them."""


class Elsewhere:
    """Stands for the app of a function whose code is not in this process."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def session(self) -> Any:
        """The session of this container, or of whatever runs here."""
        return next(iter(context.sessions()), None)


def key_of(spec: FunctionSpec) -> declare.Key:
    """What a reference names."""
    return declare.Key(spec.source.module, spec.source.qualname, spec.name)


def remember(declared: Any) -> None:
    """References to this function or class mean it, in this process."""
    _declared[key_of(declared.spec)] = declared


def find(key: declare.Key) -> Any:
    """What is declared under a key here, its module imported if it can be; None when nothing is."""
    if key not in _declared:
        try:
            _lazy.load(key.module)
        except ImportError:
            return None  # it travelled pickled: nothing of it can be imported here
    return _declared.get(key)


def found_again(key: declare.Key, app: str, generator: bool, variant: str, raw: Any) -> Function:
    """A function that was sent by reference. Without its code here it can be called remotely."""
    known = find(key)
    if known is None:
        spec = declare.stand_in(key, app, raw, generator=generator)
        known = Function(Elsewhere(app), spec)
    found: Function = known.variant(variant)
    return found
