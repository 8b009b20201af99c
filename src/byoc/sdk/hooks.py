"""What a user's class declares: its methods and its lifecycle hooks, found in its bases too."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InvalidError
from ..notices import deprecated
from . import marks, preemption
from .marks import Hook, Many, Method

if TYPE_CHECKING:
    from collections.abc import Iterator

_OLD = {
    "__enter__": Hook("enter"),
    "__aenter__": Hook("enter"),
    "__exit__": Hook("exit"),
    "__aexit__": Hook("exit"),
}
"""Hooks of Modal's old style, which count where a class has none of the new one."""


def methods(raw: type) -> dict[str, Method]:
    """The methods that can be called remotely, those of base classes first."""
    found: dict[str, Method] = {}
    for base in reversed(raw.__mro__):
        found.update((n, value) for n, value in vars(base).items() if isinstance(value, Method))
    return found


def listed(raw: type) -> tuple[tuple[str, bool], ...]:
    """Each method's name and whether it yields, as a spec has them."""
    found = []
    for name in methods(raw):
        latest = getattr(raw, name)
        yields = latest.generator if isinstance(latest, Method) else marks.is_generator(latest)
        found.append((name, yields))
    return tuple(found)


def adopt(raw: type) -> None:
    """Make methods of those that only ``@batched`` marks: it says method by itself."""
    for base in reversed(raw.__mro__):
        for name, value in list(vars(base).items()):
            batched = inspect.isfunction(value) and marks.many_of(value).batching is not None
            if batched and getattr(raw, name) is value:
                setattr(raw, name, Method(value))


def many(raw: type) -> Many:
    """What runs together in a container of the class: marked on it or, batched, on its method."""
    own = marks.many_of(raw)
    found = methods(raw)
    for name, method in found.items():
        marked = marks.many_of(method.raw)
        if marked.batching is not None:
            if len(found) > 1:
                raise InvalidError(
                    f"{raw.__qualname__}.{name} is batched, so it must be the class's only method",
                    hints=("put the other methods into a class of their own",),
                )
            marks.check_batched(method.raw, 1)
        if marked.concurrency is not None and own.concurrency is None:
            own = Many(marked.concurrency, own.batching)
        if marked.batching is not None:
            own = Many(own.concurrency, marked.batching)
    if None not in own:
        raise InvalidError(f"{raw.__qualname__} cannot be batched and concurrent both")
    return own


def raw_method(raw: type, name: str) -> Callable[..., Any]:
    """The function behind a method; the most derived one, decorated or not."""
    found = getattr(raw, name)
    return found.raw if isinstance(found, Method) else found


def enter(instance: Any) -> list[Callable[[], Any]]:
    """Bound, in the order they run: ``snap`` first, base classes before those that extend them."""
    found = list(_hooks(type(instance), "enter"))
    ordered = [one for one in found if one[1].snap] + [one for one in found if not one[1].snap]
    return [_bound(instance, name) for name, _ in ordered]


def leave(instance: Any) -> list[Callable[[], Any]]:
    """Bound, in the order they run."""
    return [_bound(instance, name) for name, _ in _hooks(type(instance), "exit")]


def preempt(instance: Any) -> list[preemption.Hook]:
    """Bound, in the order they run."""
    found = _hooks(type(instance), "preempt")
    return [preemption.adapted(getattr(instance, name)) for name, _ in found]


def check(raw: type) -> None:
    """Refuse hooks that cannot run; say what is the old way."""
    old = [name for kind in ("enter", "exit") for name, _ in _hooks(raw, kind) if name in _OLD]
    for name in old:
        new = _OLD[name].kind
        deprecated(f"{raw.__qualname__}.{name}", f"decorate a method with @byoc.{new}()")
    for kind in ("enter", "exit"):
        for name, _ in _hooks(raw, kind):
            hook = getattr(raw, name)
            needed = _needed(hook) - 1
            if needed not in (0, 3) or (needed == 3 and kind == "enter"):
                raise InvalidError(f"{raw.__qualname__}.{name} is a hook, which takes no arguments")
            if needed == 3 and name not in _OLD:
                deprecated(f"{raw.__qualname__}.{name}(exc_type, exc, tb)", "take no arguments")
    for name, _ in _hooks(raw, "preempt"):
        preemption.check_arguments(f"{raw.__qualname__}.{name}", getattr(raw, name), 1)


def _hooks(raw: type, kind: str) -> Iterator[tuple[str, Hook]]:
    """Names and marks, base classes first; of an overridden one the place is the base's."""
    found: dict[str, Hook] = {}
    for base in reversed(raw.__mro__):
        pairs = ((n, getattr(value, marks.HOOK, None)) for n, value in vars(base).items())
        own = [(name, hook) for name, hook in pairs if isinstance(hook, Hook)]
        found.update(sorted(own, key=lambda pair: pair[1].order))
    if not found:
        functions = (name for name in _OLD if inspect.isfunction(getattr(raw, name, None)))
        found = {name: _OLD[name] for name in functions}
    return ((name, hook) for name, hook in found.items() if hook.kind == kind)


def _bound(instance: Any, name: str) -> Callable[[], Any]:
    hook: Callable[..., Any] = getattr(instance, name)
    if _needed(hook) == 3:  # the old exit(exc_type, exc, tb)
        return functools.partial(hook, None, None, None)
    return hook


def _needed(hook: Callable[..., Any]) -> int:
    """Arguments that it cannot do without."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(
        one.kind in kinds and one.default is one.empty
        for one in inspect.signature(hook).parameters.values()
    )
