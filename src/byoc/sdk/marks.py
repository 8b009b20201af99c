"""What decorators leave on a user's functions and classes: hooks, methods, parameters, many inputs.

Nothing here knows an app: the marks travel with the code and mean the same in a container.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeVar

from ..engine.spec import Batching, Concurrency
from ..errors import ArgumentError, ConflictError, InvalidError
from ..notices import deprecated
from .params import number

F = TypeVar("F")

HOOK = "__byoc_hook__"
"""On a function: the :class:`Hook` it is."""
MANY = "__byoc_many__"
"""On a function or class: its :class:`Many`."""
PREEMPT = "__byoc_on_preempt__"
"""On a function: its hook for a preemption, so that it is known where the function arrives
pickled."""
CLASS = "__byoc_class__"
"""On a user's class: its ``Cls``, so that it is known where the class arrives pickled."""
OBJECT = "__byoc_object__"
"""On an instance of a user's class: the ``Obj`` that it was made for."""
MOST_INPUTS = 1000
"""Modal's limit of ``max_inputs`` and of ``max_batch_size``."""
LONGEST_WAIT = 600_000
"""Modal's limit of ``wait_ms``."""


class Hook(NamedTuple):
    """``kind``: ``enter`` | ``exit`` | ``preempt``. ``snap``: runs before the other enter hooks.
    ``order``: as written in the class, which a pickled class does not tell."""

    kind: str
    snap: bool = False
    order: int = 0


class Many(NamedTuple):
    """What ``@concurrent`` and ``@batched`` asked for."""

    concurrency: Concurrency | None = None
    batching: Batching | None = None


class Parameter:
    """A ``parameter()`` of a class. ``default`` is :data:`UNSET` when it has none."""

    def __init__(self, default: Any, init: bool) -> None:
        self.default = default
        self.init = init


_ORDER = itertools.count(1)


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET = _Unset()


class Method:
    """A method of a user's class that can be called remotely. On an instance it is a
    :class:`BoundMethod`."""

    def __init__(self, raw: Callable[..., Any], generator: bool | None = None) -> None:
        self.raw = raw
        self.generator = is_generator(raw) if generator is None else generator
        self.__name__ = getattr(raw, "__name__", "method")
        self.__doc__ = raw.__doc__
        self.__wrapped__ = raw

    @property
    def __isabstractmethod__(self) -> bool:
        return getattr(self.raw, "__isabstractmethod__", False)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else BoundMethod(self.raw, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As ``Class.method(instance, ...)`` calls a plain function."""
        return self.raw(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<byoc.method {self.__name__}>"


class BoundMethod:
    """``self.method`` inside a user's class: call it, or ``.local()`` it, here; ``.remote()``,
    ``.map()`` and the others run it in containers of this object."""

    __slots__ = ("__func__", "__self__")

    def __init__(self, raw: Callable[..., Any], instance: Any) -> None:
        self.__func__ = raw
        self.__self__ = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)

    local = __call__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            return getattr(self.__func__, name)
        owner = getattr(self.__self__, OBJECT, None)
        if owner is None:
            raise InvalidError(
                f"{self.__func__.__qualname__}.{name}: this object was not made by its class's "
                "app, so it has no containers",
                hints=("make it from the class under @app.cls(), outside or inside functions",),
            )
        return getattr(getattr(owner, self.__func__.__name__), name)

    def __repr__(self) -> str:
        return f"<byoc.method {self.__func__.__qualname__} of {self.__self__!r}>"


def is_generator(raw: Callable[..., Any]) -> bool:
    """It yields."""
    return inspect.isgeneratorfunction(raw) or inspect.isasyncgenfunction(raw)


# --- decorators -------------------------------------------------------------------------------


def enter(*args: Any, snap: bool = False) -> Callable[[F], F]:
    """Decorator of a method: it runs once in each container before its first input.

    Hooks of base classes run first, and those with ``snap`` before all others. Sync or async.
    """
    _no_arguments("enter", args)
    return _hook("enter", Hook("enter", bool(snap)))


def exit(*args: Any) -> Callable[[F], F]:  # noqa: A001 - Modal's name
    """Decorator of a method: it runs once when its container ends in good order."""
    _no_arguments("exit", args)
    return _hook("exit", Hook("exit"))


def on_preempt(*args: Any) -> Callable[[F], F]:
    """Decorator of a method: it runs when its container's machine is about to be taken back by its
    cloud, beside the inputs that run, once, with a :class:`byoc.Preemption` if it takes an
    argument. Sync or async. Where clouds give no notice it does not run (docs/spot.md)."""
    _no_arguments("on_preempt", args)
    return _hook("on_preempt", Hook("preempt"))


def _hook(name: str, hook: Hook) -> Callable[[F], F]:
    def decorate(raw: F) -> F:
        if isinstance(raw, Method) or not inspect.isfunction(raw):
            _wrong(name, raw, "a plain method of a class")
        setattr(raw, HOOK, hook._replace(order=next(_ORDER)))
        return raw

    return decorate


def method(*args: Any, is_generator: bool | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of a method of a class under ``@app.cls()``: it can be called remotely."""
    _no_arguments("method", args)

    def decorate(raw: Any) -> Method:
        if isinstance(raw, (staticmethod, classmethod)) or not inspect.isfunction(raw):
            _wrong("method", raw, "a plain method of a class")
        if hasattr(raw, HOOK):
            raise InvalidError(f"{raw.__qualname__} cannot be a hook and a method both")
        return Method(raw, is_generator)

    return decorate


def parameter(*, default: Any = UNSET, init: bool = True) -> Any:
    """An attribute of a class under ``@app.cls()`` that its constructor takes, by keyword only.

    Each set of values has containers of its own. Annotate it: ``size: int = byoc.parameter()``;
    the types are str, int, bool and bytes. ``init=False``: the constructor does not take it.
    """
    return Parameter(default, bool(init))


def concurrent(
    *args: Any, max_inputs: int | None = None, target_inputs: int | None = None
) -> Callable[[F], F]:
    """Decorator of a function or class, under the app's: a container runs up to ``max_inputs`` at
    once, sync ones in threads and async ones on one loop. Scaling aims at ``target_inputs``."""
    _no_arguments("concurrent", args)
    found = concurrency("@byoc.concurrent", max_inputs, target_inputs)

    def decorate(marked: F) -> F:
        _add("concurrent", marked, Many(concurrency=found))
        return marked

    return decorate


def batched(*args: Any, max_batch_size: int, wait_ms: int) -> Callable[[F], F]:
    """Decorator of a function or method: it takes lists and returns a list of the same length,
    while callers give and get single elements. A batch runs when it has ``max_batch_size``
    elements, or ``wait_ms`` after its first."""
    _no_arguments("batched", args)
    found = batching("@byoc.batched", max_batch_size, wait_ms)

    def decorate(marked: F) -> F:
        if isinstance(marked, type):
            raise InvalidError(
                "@byoc.batched decorates a function or a method, not a class",
                hints=("put it on the class's one method",),
            )
        _add("batched", marked, Many(batching=found))
        return marked

    return decorate


def _add(name: str, marked: Any, many: Many) -> None:
    if isinstance(marked, Method):
        if many.concurrency:
            deprecated("@byoc.concurrent on a method", "put it on the class")
        marked = marked.raw
    elif not isinstance(marked, type) and not inspect.isfunction(marked):
        _wrong(name, marked, "a function or a class")
    known = many_of(marked)
    both = Many(many.concurrency or known.concurrency, many.batching or known.batching)
    if None not in both:
        raise ConflictError(
            f"{marked.__qualname__} cannot be batched and concurrent both",
            hints=("a batch is run by one call; use either of the two",),
        )
    setattr(marked, MANY, both)


def many_of(marked: Any) -> Many:
    """What a function, or a class itself and not its bases, is marked with."""
    found = vars(marked).get(MANY)
    return found if isinstance(found, Many) else Many()


def preempt_of(raw: Any) -> Callable[..., Any] | None:
    """The hook that a function carries with it."""
    found: Callable[..., Any] | None = getattr(raw, "__dict__", {}).get(PREEMPT)
    return found


def concurrency(where: str, most: Any, target: Any) -> Concurrency:
    """Checked ``max_inputs`` and ``target_inputs``."""
    if most is None and target is None:
        raise InvalidError(f"{where} needs max_inputs")
    most = number(where, "max_inputs", target if most is None else most, 1, MOST_INPUTS, whole=True)
    if target is None:
        return Concurrency(int(most), int(most))
    aim = number(where, "target_inputs", target, 1, MOST_INPUTS, whole=True)
    if aim > most:
        raise InvalidError(f"{where}: target_inputs ({aim:g}) is more than max_inputs ({most:g})")
    return Concurrency(int(most), int(aim))


def batching(where: str, size: Any, wait: Any) -> Batching:
    """Checked ``max_batch_size`` and ``wait_ms``."""
    most = number(where, "max_batch_size", size, 1, MOST_INPUTS, whole=True)
    longest = number(where, "wait_ms", wait, 0, LONGEST_WAIT, whole=True)
    return Batching(int(most), longest / 1000)


def check_batched(raw: Callable[..., Any], skip: int) -> None:
    """Refuse what cannot take lists. ``skip``: leading parameters that are not arguments."""
    if is_generator(raw):
        raise InvalidError(f"{raw.__qualname__} is a generator, which cannot be batched")
    for parameter in list(inspect.signature(raw).parameters.values())[skip:]:
        if parameter.default is not parameter.empty:
            raise InvalidError(
                f"{raw.__qualname__} is batched, so its parameter {parameter.name} cannot have a "
                "default",
                hints=("give each call all arguments",),
            )


def _no_arguments(name: str, args: tuple[Any, ...]) -> None:
    if args:
        raise ArgumentError(
            f"@byoc.{name} takes keyword arguments only",
            hints=(f"write @byoc.{name}(...) with parentheses",),
        )


def _wrong(name: str, raw: Any, right: str) -> NoReturn:
    kind = type(raw).__name__
    above = kind in ("Function", "Cls", "LocalEntrypoint")
    hint = f"put @byoc.{name} below the app's decorator" if above else f"put it on {right}"
    raise ArgumentError(f"@byoc.{name} decorates {right}, not a {kind}", hints=(hint,))
