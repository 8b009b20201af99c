"""``@app.local_entrypoint()``: the function that ``byoc run`` runs here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import App


class LocalEntrypoint:
    """A function that runs on the client. Calling it calls the plain function."""

    def __init__(self, app: App, raw_f: Callable[..., Any], name: str) -> None:
        self.app = app
        self.raw_f = raw_f
        self.name = name
        self.__name__ = raw_f.__name__
        self.__doc__ = raw_f.__doc__
        self.__module__ = raw_f.__module__
        self.__wrapped__ = raw_f

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.raw_f(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<byoc.LocalEntrypoint {self.name}>"
