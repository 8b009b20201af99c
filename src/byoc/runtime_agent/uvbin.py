"""The uv that builds environments on an instance, which may have none. Standard library, 3.8+.

In this order: the one that the provider names; one that was brought before; one on PATH that is new
enough; the wheel of the client's version from a package index; the client's own, when it was sent.
What was brought is kept as ``bin/uv-<version>`` in the cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from typing import Callable, List, Mapping, NamedTuple, Optional, Tuple

from .. import _lazy
from .filestore import new_file

LEAST = (0, 9)
"""The oldest uv that knows what byoc asks of it; the same as in byoc's own dependencies."""
VERSION_TIMEOUT = 20.0
"""Seconds for uv to say its version; a cold disk may need several."""
_SAYS = re.compile(r"^uv (\d+)\.(\d+)\S*")
_PLAIN_VERSION = re.compile(r"^\d+(\.\d+)+([a-z]+\d+)?$")
_COPY = 1024 * 1024
Log = Callable[[bytes], None]


class NoUvError(Exception):
    """There is no uv here. ``tried``: each way, and why it did not work."""

    def __init__(self, tried: List[str]) -> None:
        super().__init__("; ".join(tried))
        self.tried = tried


class Wanted(NamedTuple):
    """Which uv. ``path``: where the provider says that it is, or empty. ``version``: the client's
    own, or empty when it has none. ``sent``: the file in which the client's own was sent, or empty.
    ``digest``: its SHA-256."""

    path: str = ""
    version: str = ""
    sent: str = ""
    digest: str = ""


class Host(NamedTuple):
    """What a program must fit. ``machine``: as uname says. ``libc``: ``glibc`` with its version, or
    empty."""

    system: str
    machine: str
    libc: str
    libc_version: Tuple[int, ...]


def host() -> Host:
    """This instance."""
    try:
        libc, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (ValueError, OSError):  # another libc has no such name
        libc, version = "", ""
    numbers = tuple(int(word) for word in re.findall(r"\d+", version)[:2])
    return Host(sys.platform, os.uname().machine, libc, numbers)


def locate(wanted: Wanted, cache: str, env: Mapping[str, str], log: Log) -> str:
    """Path of a uv that works. Raises :class:`NoUvError`, or OSError when the cache folder cannot
    be written. ``env``: the host's variables that a build sees; they name the package index.
    """
    if wanted.path and os.access(wanted.path, os.X_OK):
        return wanted.path
    tried = ["looked at %s" % wanted.path] if wanted.path else []
    version = wanted.version if _PLAIN_VERSION.match(wanted.version) else ""
    kept = os.path.join(cache, "bin", "uv-" + (version or wanted.digest[:12] or "none"))
    if os.access(kept, os.X_OK):
        return kept
    found = _on_path(env, tried)
    if found:
        return found
    if not version and not wanted.sent:
        raise NoUvError([*tried, "the client did not say which version it uses"])
    return _bring(wanted._replace(version=version), kept, env, log, tried)


def _on_path(env: Mapping[str, str], tried: List[str]) -> str:
    found = shutil.which("uv", path=env.get("PATH") or os.defpath)
    if found is None:
        tried.append("none on PATH")
        return ""
    said = says(found)
    match = _SAYS.match(said)
    if match and (int(match.group(1)), int(match.group(2))) >= LEAST:
        return found
    tried.append("%s is no uv of %d.%d or newer: it said %.60r" % (found, *LEAST, said))
    return ""


def says(program: str) -> str:
    """What ``program --version`` prints, or why it does not."""
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VERSION_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return done.stdout.decode("utf-8", "replace").strip()


def _bring(wanted: Wanted, kept: str, env: Mapping[str, str], log: Log, tried: List[str]) -> str:
    """Put a uv at ``kept``, once, however many builds ask for it at a time."""
    folder = os.path.dirname(kept)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.access(kept, os.X_OK):
            return kept
        started = time.monotonic()
        if wanted.sent:
            _keep(lambda path: _copy(wanted, path), kept, wanted.version)
        else:
            fetch = _lazy.load("byoc.runtime_agent.uvfetch:fetch")  # urllib and ssl take 60 ms
            _keep(lambda path: fetch(wanted.version, path, env, log), kept, wanted.version)
        log(b"uv is here after %.1f s\n" % (time.monotonic() - started))
        return kept
    except NoUvError as error:
        raise NoUvError([*tried, *error.tried]) from error
    finally:
        os.close(lock)  # releases the lock


def _keep(fill: Callable[[str], None], kept: str, version: str) -> None:
    """Have ``fill`` write the program, and put it in place if it works."""
    handle, path = new_file(os.path.dirname(kept))
    os.close(handle)
    try:
        fill(path)
        os.chmod(path, 0o755)  # noqa: S103 - a program, for whoever may reach the folder
        said = says(path)
        if not _SAYS.match(said) or (version and said.split()[1] != version):
            raise NoUvError(["what was brought does not work here: it said %.200r" % said])
        os.replace(path, kept)
    except BaseException:
        os.unlink(path)
        raise


def _copy(wanted: Wanted, path: str) -> None:
    """The client's own, whole and unchanged."""
    known = hashlib.sha256()
    with open(wanted.sent, "rb") as source, open(path, "wb") as sink:
        piece: Optional[bytes] = source.read(_COPY)
        while piece:
            known.update(piece)
            sink.write(piece)
            piece = source.read(_COPY)
    if known.hexdigest() != wanted.digest:
        raise NoUvError(["the client's own arrived damaged"])
