"""What most commands begin with: the folder they stand in and the settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .. import settings
from ..errors import InvalidError, SettingsError

LOGS = "logs"
"""Folder of the runs' logs and of internal errors, in the data folder."""


def here() -> Path:
    """The working folder. Raises :class:`InvalidError` when it has been deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise InvalidError(
            "the folder you are in no longer exists", hints=("cd to one that does",)
        ) from None


def merged(flags: Mapping[str, object] | None = None) -> settings.Settings:
    """The settings for a command started here. Raises :class:`SettingsError`."""
    return settings.load(here(), os.environ, flags)


def logs_folder() -> Path:
    """Where logs go; a temporary folder when the settings themselves are wrong."""
    try:
        return merged().home / LOGS
    except (SettingsError, InvalidError):
        import tempfile  # 4 ms: only those who need it pay

        return Path(tempfile.gettempdir()) / "byoc-logs"


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder that is removed afterwards."""
    import tempfile  # 4 ms: only those who need it pay

    with tempfile.TemporaryDirectory(prefix="byoc-") as folder:
        yield Path(folder)


def program_input() -> BinaryIO | None:
    """Our standard input for a remote program to read; None when there is none to pass on.

    A shell's background job must not read the terminal: the system would stop it for that.
    """
    stdin = sys.stdin
    if stdin is None or stdin.closed:
        return None
    try:
        handle = stdin.fileno()
        if os.isatty(handle) and os.tcgetpgrp(handle) != os.getpgrp():
            return None
    except (OSError, ValueError):
        return None
    return stdin.buffer
