"""Preemptions as user code meets them: what a hook is told, and how it is called."""

from __future__ import annotations

import inspect
from typing import Any, Callable, NamedTuple

from ..clock import SYSTEM
from ..errors import InvalidError

Hook = Callable[["Preemption"], Any]
"""A user's hook as a container calls it; what it returns may have to be awaited."""


class Preemption(NamedTuple):
    """What an ``on_preempt`` hook is told: its cloud takes the machine back.

    ``seconds``: how long the machine still runs, when the hook is called; at least so long, as far
    as the cloud keeps its word. ``deadline``: the same as a time, in seconds since the epoch by the
    machine's clock. ``instance_id``, ``cloud``: which machine it is, as ``byoc ps`` shows it.
    """

    seconds: float
    deadline: float
    instance_id: str
    cloud: str

    @property
    def left(self) -> float:
        """Seconds from now until the machine is gone; 0 when they are over."""
        return max(0.0, self.deadline - SYSTEM.wall())


def check(where: str, hook: Any) -> Callable[..., Any] | None:
    """``on_preempt=`` of a function: something to call with a :class:`Preemption` or with nothing.

    Raises InvalidError.
    """
    if hook is None:
        return None
    if not callable(hook):
        raise InvalidError(
            f"{where}: on_preempt={hook!r} cannot be called",
            hints=("give it a plain function, which may take a byoc.Preemption",),
        )
    check_arguments(f"{where}: on_preempt", hook, 0)
    return hook  # type: ignore[no-any-return]


def check_arguments(where: str, hook: Callable[..., Any], skip: int) -> None:
    """Refuse a hook that needs more than a :class:`Preemption`; ``skip``: arguments that it has
    already, such as ``self``. Raises InvalidError."""
    needed = sum(
        one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        for one in _parameters(hook)
    )
    only_by_name = any(
        one.default is one.empty and one.kind is one.KEYWORD_ONLY for one in _parameters(hook)
    )
    if needed - skip > 1 or only_by_name:
        raise InvalidError(
            f"{where} takes one argument at most, a byoc.Preemption",
            hints=("leave out the others, or give them defaults",),
        )


def adapted(hook: Callable[..., Any]) -> Hook:
    """The hook as it is called: with a :class:`Preemption`, which one without arguments is spared.

    ``hook``: bound, where it is a method.
    """
    positional = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    if any(one.kind in positional for one in _parameters(hook)):
        return hook
    return lambda preemption: hook()


def _parameters(hook: Callable[..., Any]) -> list[inspect.Parameter]:
    """Of a signature; empty where there is none to be read, as of some builtins."""
    try:
        return list(inspect.signature(hook).parameters.values())
    except (TypeError, ValueError):
        return []
