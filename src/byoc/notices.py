"""Warnings for the user's code: each shown once for the place in it that caused it.

Standard library only; travels to containers, so it runs on CPython 3.8.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING

from .errors import AsyncUsageWarning, DeprecationError

if TYPE_CHECKING:
    from types import FrameType

CONTAINER_VARIABLE = "BYOC_IMAGE"
"""Set inside a container to the key of its image. A variable and not a global, so that processes
which user code starts there know it too."""
_OURS = (os.path.dirname(os.path.abspath(__file__)) + os.sep, "<byoc/")
"""How the file names of byoc's own frames begin: as installed, and as compiled in a bundle."""


def deprecated(what: str, instead: str) -> None:
    """Say that ``what``, an old name, works and that ``instead`` is what to write now.

    Not in containers: the client has said it already, and each of them would say it again.
    """
    if CONTAINER_VARIABLE not in os.environ:
        warn(f"{what} is the old way: {instead}", DeprecationError)


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line of the user's code that called byoc; Python shows it once per line."""
    frame = _user_frame()
    if frame is None:
        warnings.warn(message, category, stacklevel=2)
        return
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__", "<unknown>"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _user_frame() -> FrameType | None:
    """The innermost frame that is not byoc's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame


def loop_is_running() -> bool:
    """Whether this thread is inside an event loop. Loads nothing: no asyncio, no loop."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def blocking_in_loop(call: str) -> None:
    """Warn when a blocking call is made inside a running event loop."""
    if loop_is_running():
        warn(f"{call}() blocks the running event loop: await {call}.aio()", AsyncUsageWarning)
