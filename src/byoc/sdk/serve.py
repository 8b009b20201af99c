"""What a container runs of what was declared: the callables, and the hooks around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import hooks, marks, preemption
from .cls import Cls, Handle
from .declare import Key, stand_in
from .function import Elsewhere, Function


class Target(NamedTuple):
    """One thing to call. ``generator``: its yields are the results."""

    call: Callable[..., Any]
    generator: bool


class Service(NamedTuple):
    """What a container serves. ``targets``: by method, of a function under ``""``. ``enter``,
    ``exit``, ``preempt``: hooks in the order they run, which may be coroutine functions."""

    targets: dict[str, Target]
    enter: list[Callable[[], Any]]
    exit: list[Callable[[], Any]]
    preempt: list[preemption.Hook]


def service(found: Any, parameters: str) -> Service:
    """Of what was found by its name, or unpickled: a Function, a Cls, or a plain one of either.

    Makes the instance of a class. Raises the errors that ``image.imports()`` passed over, and
    TypeError for anything else.
    """
    if isinstance(found, (Function, Cls)):
        found.spec.image.raise_import_errors()
    if isinstance(found, Function):
        hook = found.spec.on_preempt
        preempt = [preemption.adapted(hook)] if hook is not None else []
        return Service({"": Target(found.raw_f, found.is_generator)}, [], [], preempt)
    if isinstance(found, type):
        found = _arrived(found)
    if isinstance(found, Cls):
        return _of_class(found, parameters)
    if not callable(found):
        raise TypeError(f"{found!r} is not a function")
    hook = marks.preempt_of(found)
    preempt = [preemption.adapted(hook)] if hook is not None else []
    return Service({"": Target(found, marks.is_generator(found))}, [], [], preempt)


def _arrived(raw: type) -> Cls:
    """The Cls of a class that was pickled by value, with a reference to it."""
    known = vars(raw).get(marks.CLASS)
    if isinstance(known, Cls):
        known.arrived(raw)
        return known
    spec = stand_in(Key(raw.__module__, raw.__qualname__, raw.__qualname__), "", raw)
    return Cls(Elsewhere(""), spec)


def _of_class(owner: Cls, parameters: str) -> Service:
    instance = Handle(owner, parameters).instance(entered=True)
    targets = {}
    for name, generator in hooks.listed(owner.raw):
        raw = hooks.raw_method(owner.raw, name)
        targets[name] = Target(raw.__get__(instance), generator)
    preempt = hooks.preempt(instance)
    return Service(targets, hooks.enter(instance), hooks.leave(instance), preempt)
