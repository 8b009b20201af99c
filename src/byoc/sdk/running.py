"""Running an app from Python: ``with app.run():``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .. import _lazy
from ..errors import AsyncUsageWarning
from ..notices import loop_is_running, warn
from .twins import in_thread

if TYPE_CHECKING:
    from .app import App

_output: list[bool] = []
"""Not empty inside ``enable_output()``."""


@contextlib.contextmanager
def enable_output() -> Iterator[None]:
    """Inside, ``app.run()`` shows remote output and what byoc does; outside it is silent."""
    _output.append(True)
    try:
        yield
    finally:
        _output.pop()


class RunContext:
    """One run of an app: opens a session, closes it. Both ``with`` and ``async with``."""

    def __init__(self, app: App, name: str) -> None:
        self._app = app
        self._name = name
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> App:
        if loop_is_running():
            text = "`with app.run()` blocks the running event loop: write `async with app.run()`"
            warn(text, AsyncUsageWarning)
        return self._open()

    def _open(self) -> App:
        settings = _lazy.load("byoc.settings:load")(Path.cwd(), os.environ, {})
        events = _lazy.load("byoc.engine.events")
        options = _lazy.load("byoc.engine.options:RunOptions")(
            name=self._name, keep=settings.keep, idle=settings.idle
        )
        reporter = events.Plain() if _output else events.Silent()
        session = _lazy.load("byoc.engine.session:Session")(settings, options, reporter)
        with contextlib.ExitStack() as stack:
            stack.enter_context(session)
            stack.enter_context(self._app.bound(session))
            self._stack = stack.pop_all()
        return self._app

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    async def __aenter__(self) -> App:
        return await in_thread(self._open)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await in_thread(lambda: self.__exit__(kind, error, trace))
