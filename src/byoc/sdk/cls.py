"""``Cls`` and ``Obj``: what ``@app.cls()`` makes of a class, and of its instances.

An ``Obj`` is a lazy handle: each set of parameters and each variant has one spec, and so containers
of its own. The user's class is instantiated where its code runs: in those containers, and in this
process when an attribute is read or a method is called by ``.local()``.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, InvalidError
from ..notices import loop_is_running
from . import declare, hooks, marks, parameters
from .autoscaler import Autoscaler
from .function import Elsewhere, Function, find, key_of, running_session
from .later import Later

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from ..engine.spec import FunctionSpec
    from .app import App
    from .options import VariantOptions

_DEPLOYED = "deployed apps come later: import the module that declares it"


class Cls:
    """A class of an app. Calling it gives an object whose methods have ``.remote()``, ``.map()``
    and so on; the constructor takes the class's ``parameter()`` values, by keyword."""

    def __init__(self, app: App | Elsewhere, spec: FunctionSpec, base: Cls | None = None) -> None:
        self.app = app
        self.spec = spec
        self._base = base or self
        self._specs: dict[tuple[str, str], FunctionSpec] = {}
        for attribute in ("__name__", "__doc__", "__module__", "__qualname__"):
            setattr(self, attribute, getattr(spec.raw, attribute, None))
        self.__wrapped__ = spec.raw

    @property
    def name(self) -> str:
        """The name it has in its app."""
        return self.spec.name

    @property
    def raw(self) -> Any:
        """The user's class."""
        return self.spec.raw

    @property
    def methods(self) -> list[str]:
        """The names of the methods that can be called remotely."""
        return [name for name, _ in self.spec.methods]

    def __call__(self, *args: Any, **kwargs: Any) -> Obj:
        return self.instance(parameters.write(self.raw, args, kwargs))

    def instance(self, text: str) -> Obj:
        """The object with these parameters, canonical JSON."""
        return Handle(self, text).obj

    def spec_with(self, text: str) -> FunctionSpec:
        """The one spec of this class, or variant of it, with these parameters."""
        if not text:
            return self.spec
        specs, key = self._base._specs, (text, self.spec.variant)
        return specs.get(key) or specs.setdefault(key, replace(self.spec, parameters=text))

    def bare(self) -> FunctionSpec | None:
        """The spec of the object that is made without parameters; None where some are needed."""
        try:
            return self.spec_with(parameters.write(self.raw, (), {}))
        except ArgumentError:
            return None

    def arrived(self, raw: type) -> None:
        """Its code, which came after the reference to it."""
        self.spec = replace(self.spec, raw=raw)
        self.__wrapped__ = raw

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in dict(self.spec.methods):
            raise AttributeError(
                "You can't access methods on a Cls directly - Did you forget to instantiate the "
                f"class first? (write {self.name}().{name})"
            )
        return getattr(self.raw, name)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        """A class may extend a decorated one: it gets the plain class."""
        return (self.raw,)

    def __reduce__(self) -> tuple[Any, ...]:
        spec = self.spec
        code = spec.raw if spec.source.file is None else parameters.shape(spec.raw)
        return found_again, (key_of(spec), spec.app, spec.methods, spec.variant, code)

    def __repr__(self) -> str:
        return f"<byoc.Cls {self.spec.app}.{self.name}>"

    # --- variants -------------------------------------------------------------------------

    def with_options(self, **options: Unpack[VariantOptions]) -> Cls:
        """The same class with other options and containers of its own; stacked calls merge, and
        ``secrets`` replaces. Equal options give the same containers."""
        return self.varied(declare.changes_of(f"{self.name}.with_options", options))

    def with_concurrency(self, *, max_inputs: int, target_inputs: int | None = None) -> Cls:
        """A variant whose containers run several inputs at once."""
        where = f"{self.name}.with_concurrency"
        return self.varied(declare.concurrency_change(where, max_inputs, target_inputs))

    def with_batching(self, *, max_batch_size: int, wait_ms: int) -> Cls:
        """A variant whose one method is called with lists, of up to ``max_batch_size`` elements."""
        where = f"{self.name}.with_batching"
        change = declare.batching_change(where, max_batch_size, wait_ms)
        if len(self.methods) > 1:
            raise InvalidError(f"{where}: only a class with one method can be batched")
        return self.varied(change)

    def varied(self, changes: Mapping[str, Any]) -> Cls:
        """The variant after further changes."""
        return self.variant(declare.merged(self.spec.variant, changes))

    def variant(self, text: str) -> Cls:
        """The variant that this canonical JSON names."""
        if text == self.spec.variant:
            return self
        base = self._base
        if not text:
            return base
        spec = base._specs.get(("", text))
        if spec is None:
            spec = declare.varied(base.spec, self.name, text)
            spec = base._specs.setdefault(("", text), spec)
        return Cls(self.app, spec, base)

    from_name = Later(_DEPLOYED)
    lookup = Later(_DEPLOYED)

    def hydrate(self, client: Any = None) -> Cls:
        """Itself: nothing has to be looked up."""
        return self


class Obj:
    """An object of a class of an app: its methods are Functions; other attributes are those of a
    local instance, made when one is first asked for, without its enter hooks."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __getattr__(self, name: str) -> Any:
        handle = self._handle
        if name in dict(handle.spec.methods):
            return handle.function(name)
        if name in _SCALING:
            return handle.scaling(name)
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(handle.instance(), name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _object_again, (self._handle.owner, self._handle.text)

    def __repr__(self) -> str:
        return f"<byoc.Obj {self._handle.owner.name}({self._handle.text})>"


class Handle:
    """What is behind an Obj, whose own attributes are the user's. ``text``: its parameters, as
    canonical JSON."""

    def __init__(self, owner: Cls, text: str) -> None:
        self.owner = owner
        self.text = text
        self.spec = owner.spec_with(text)
        self.obj = Obj(self)
        self._functions: dict[str, Function] = {}
        self._local: Any = None
        self._entered = False
        self._lock = threading.RLock()

    def function(self, name: str) -> Function:
        """One of its methods."""
        found = self._functions.get(name)
        if found is None:
            found = Function(self.owner.app, self.spec, name, owner=self)
            self._functions[name] = found
        return found

    def scaling(self, name: str) -> Any:
        """The autoscaler of its containers, or one of its old names."""
        found = Autoscaler(self.owner.name, self.spec, self._running)
        return found if name == "autoscaler" else getattr(found, name)

    def _running(self, what: str) -> Any:
        return running_session(self.owner, what)

    def varied(self, changes: Mapping[str, Any]) -> Obj:
        """The same object of a variant of its class."""
        return self.owner.varied(changes).instance(self.text)

    def raw_method(self, name: str) -> Callable[..., Any]:
        """The user's method, unbound."""
        return hooks.raw_method(self.owner.raw, name)

    def instance(self, entered: bool = False) -> Any:
        """The user's own object in this process. Its hooks do not run; ``entered``: the caller sees
        to them."""
        with self._lock:
            if self._local is None:
                self._local = parameters.build(self.owner.raw, self.text)
                _attach(self._local, self.obj)
            self._entered = self._entered or entered
            return self._local

    def run_here(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a method of the local instance, whose enter hooks run once before."""
        instance = self.instance()
        raw = self.raw_method(name)
        if inspect.iscoroutinefunction(raw):
            return self._awaited(raw, instance, args, kwargs)
        if inspect.isasyncgenfunction(raw):
            return self._yielded(raw, instance, args, kwargs)
        with self._lock:
            for hook in self._hooks(instance):
                _run(hook)
        return raw(instance, *args, **kwargs)

    def _hooks(self, instance: Any) -> list[Callable[[], Any]]:
        """Those that have not run yet: all, or none."""
        if self._entered:
            return []
        self._entered = True
        return hooks.enter(instance)

    async def _enter(self, instance: Any) -> None:
        for hook in self._hooks(instance):
            found = hook()
            if inspect.isawaitable(found):
                await found

    async def _awaited(
        self, raw: Any, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        await self._enter(instance)
        return await raw(instance, *args, **kwargs)

    async def _yielded(
        self, raw: Any, instance: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        await self._enter(instance)
        async for value in raw(instance, *args, **kwargs):
            yield value


_SCALING = frozenset(("autoscaler", "keep_warm", "update_autoscaler"))
"""What Modal's objects have besides their methods."""


def _attach(instance: Any, obj: Obj) -> None:
    """Let ``self.method.remote()`` work inside the class."""
    try:
        setattr(instance, marks.OBJECT, obj)
    except AttributeError:
        pass  # __slots__: only calls of its own methods by .remote() need it


def _run(hook: Callable[[], Any]) -> None:
    """A hook, from code that is not async."""
    found = hook()
    if not inspect.isawaitable(found):
        return
    import asyncio  # 30 ms: only classes with async hooks pay

    async def whole() -> None:
        await found

    if not loop_is_running():
        asyncio.run(whole())
        return
    thread = threading.Thread(target=asyncio.run, args=(whole(),), name="byoc-enter")
    thread.start()
    thread.join()


def found_again(
    key: declare.Key, app: str, methods: tuple[tuple[str, bool], ...], variant: str, code: Any
) -> Cls:
    """A class that was sent by reference. Without its code here it can be called remotely.

    ``code``: the class itself where it has no file, else its shape.
    """
    known = find(key)
    if known is None:
        raw = code
        if isinstance(code, parameters.Shape):
            members = {name: declare.absent for name, _ in methods}
            raw = parameters.shell(key.qualname, code, members)
        known = Cls(Elsewhere(app), declare.stand_in(key, app, raw, methods=methods))
    found: Cls = known.variant(variant)
    return found


def _object_again(owner: Cls, text: str) -> Obj:
    return owner.instance(text)
