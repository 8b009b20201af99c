"""Where the code is running, and for whom."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..images.recipe import in_container

if TYPE_CHECKING:
    from collections.abc import Iterator

input_id: ContextVar[str | None] = ContextVar("byoc_input_id", default=None)
call_id: ContextVar[str | None] = ContextVar("byoc_call_id", default=None)
"""Set by the worker around each input."""

_container: list[Any] = []
"""The session of this process when it is a container, else empty."""
_open: list[Any] = []
"""The sessions of the apps that run in this process, the latest last."""


def is_local() -> bool:
    """True on the client; False inside a function's container, also while it imports."""
    return not in_container()


def current_input_id() -> str | None:
    """The id of the input that is being worked on, ``in-...``; None outside containers. Right for
    each of the inputs that a container runs at once."""
    return input_id.get()


def current_function_call_id() -> str | None:
    """The id of the call that this input belongs to, ``fc-...``; None outside containers."""
    return call_id.get()


def enter_container(session: Any) -> None:
    """The worker says that this process is a container: calls of functions go to ``session``."""
    _container[:] = [session]


def container_session() -> Any:
    """What :func:`enter_container` was given; None outside containers."""
    return _container[0] if _container else None


def sessions() -> list[Any]:
    """Every session that a call's id can be looked up in, the likeliest first."""
    return [*_container, *reversed(_open)]


@contextlib.contextmanager
def opened(session: Any) -> Iterator[None]:
    """Meanwhile ``session`` is one of :func:`sessions`."""
    _open.append(session)
    try:
        yield
    finally:
        _open.remove(session)
