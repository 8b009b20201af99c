"""Small files of a machine: written whole or not at all, readable by their owner only."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # not from typing, which takes 4 ms to import
    from collections.abc import Callable
    from typing import Any


def write_whole(path: str, data: bytes, mode: int = 0o600) -> None:
    """Writes a file so that a reader sees the old content, or all of the new."""
    draft = f"{path}.{os.getpid()}.new"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(draft, path)
    except OSError:  # most likely a full disk, which must not hold a part of it
        os.unlink(draft)
        raise


def write_json(path: str, value: Any) -> None:
    """Writes ``value`` whole, as JSON."""
    write_whole(path, json.dumps(value, sort_keys=True).encode())


def leave_word(path: str, data: bytes, folder: str = "") -> bool:
    """Writes a file about what is over; a full disk must not keep anything alive.

    When there is no room the contents of ``folder``, which nobody needs any more, go first.
    """
    for last_try in (not folder, True):
        try:
            write_whole(path, data)
        except OSError:
            if last_try:
                return False
            remove_tree(folder)
        else:
            return True
    return False


def make_private(folder: str) -> None:
    """Creates a folder and those above it that are missing, for the owner only."""
    if not os.path.isdir(folder):
        make_private(os.path.dirname(folder))
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:  # another client was faster
            return


def read_json(path: str) -> dict[str, Any] | None:
    """The JSON object in a file; None when it is missing or is not one."""
    try:
        with open(path, "rb") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def read_small(path: str, limit: int) -> str:
    """The first ``limit`` bytes of a regular file, never through a link; empty when missing."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(handle, limit).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(handle)


def read_tail(path: str, limit: int) -> str:
    """The last ``limit`` bytes of a file as text; empty when missing."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def remove_tree(path: str) -> None:
    """Removes a folder and all in it, also what a program made read-only.

    What is missing is fine, also when another process removes the same folder meanwhile.
    """
    for folder, names, entries in os.walk(path, topdown=True):
        for name in entries:
            _tolerantly(os.unlink, os.path.join(folder, name))
        for name in names:
            inner = os.path.join(folder, name)
            if os.path.islink(inner):
                _tolerantly(os.unlink, inner)
            else:
                _tolerantly(_open_up, inner)
    for folder, _, _ in os.walk(path, topdown=False):
        _tolerantly(os.rmdir, folder)


def rename_away(folder: str, trash: str) -> bool:
    """Takes a folder out of sight in one step, for :func:`remove_tree`. False when it is gone."""
    try:
        os.rename(folder, trash)
    except FileNotFoundError:
        return False
    return True


def _tolerantly(action: Callable[[str], None], path: str) -> None:
    try:
        action(path)
    except FileNotFoundError:
        return


def _open_up(folder: str) -> None:
    os.chmod(folder, 0o700)
