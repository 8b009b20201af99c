"""The client's own uv: its version, which instances without one fetch, and the program itself, for
those that cannot fetch anything."""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ImageBuildError
from ..images.mounts import FileEntry

LEAST_GLIBC = (2, 17)
"""What uv's manylinux wheels are linked against."""
_HINTS = (
    "let the instance reach a package index (PIP_INDEX_URL there, else pypi.org)",
    "or boot it from a machine image that has uv",
)
_LOCK = threading.Lock()
_HEAD = 4096  # bytes of a program in which it names its dynamic linker


@functools.cache
def version() -> str:
    """Of the uv that came with byoc; empty when it did not come as a package."""
    from importlib import metadata  # takes 10 ms, and only rented machines need it

    try:
        return metadata.version("uv")
    except metadata.PackageNotFoundError:
        return ""


def program(host: Mapping[str, Any], why: str) -> FileEntry:
    """Our uv as a content to send to ``host`` (:class:`byoc.runtime_agent.uvbin.Host`).

    ``why``: what the instance has tried. Raises ImageBuildError when ours does not run there.
    """
    with _LOCK:  # instances ask side by side, and one hashing of 44 MB is enough
        path = _path()
        reason = _unfit(path, host) if path is not None else "this installation of byoc has no uv"
        if path is None or reason:
            raise ImageBuildError(f"the image could not be built: {why}; {reason}", hints=_HINTS)
        return FileEntry("/uv", path, path.stat().st_size, 0o755, _digest(path))


@functools.cache
def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _path() -> Path | None:
    """Under the lock: what it asks of sysconfig cannot be asked by two threads at first."""
    try:
        from uv import find_uv_bin  # third party; costs an import of sysconfig

        return Path(os.path.realpath(find_uv_bin()))
    except (ImportError, FileNotFoundError):
        return None


def _unfit(path: Path, host: Mapping[str, Any]) -> str:
    """Why our program does not run on ``host``, or nothing."""
    ours, theirs = (sys.platform, os.uname().machine), (host["system"], host["machine"])
    if ours != theirs:
        return f"this client's own is for {' '.join(ours)}, the instance is {' '.join(theirs)}"
    with path.open("rb") as file:
        dynamic = b"/ld-linux" in file.read(_HEAD)
    glibc = host["libc"] == "glibc" and tuple(host["libc_version"]) >= LEAST_GLIBC
    if dynamic and not glibc:
        return "this client's own needs glibc 2.17 or newer, which the instance lacks"
    return ""
