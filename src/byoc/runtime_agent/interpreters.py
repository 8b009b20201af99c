"""Finding a Python of a wanted version on this instance. Standard library only, CPython 3.8+.

Nothing here trusts a name: a candidate is asked for its version before it is used, because pyenv
puts small shell scripts called ``python3.12`` on PATH that fail unless that version is switched on,
and one such script makes ``uv python find`` give up altogether.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import subprocess
import sys
from typing import Iterable, Iterator, List, Mapping, Optional, Tuple

PROBE_TIMEOUT = 20.0
"""Seconds for a Python to print its version; a cold disk may need several."""
_FIXED_DIRS = (
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
    "/opt/conda/bin",
    "/opt/python/bin",
)
_PROBE = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.implementation.name)"


def minor(version: str) -> str:
    """``"3.11.7"`` -> ``"3.11"``."""
    return ".".join(version.split(".")[:2])


def matches(wanted: str, found: str) -> bool:
    """Is ``found`` (a full version) what ``wanted`` (a minor or a full version) asks for?"""
    return found == wanted or minor(found) == wanted


def find(wanted: str, hints: Iterable[str], cache: str, env: Mapping[str, str]) -> Optional[str]:
    """An absolute path of a working CPython ``wanted``, or None.

    ``hints``: absolute paths to try early (the client may know the host). ``cache``: where managed
    Pythons are kept (see :func:`managed_dir`). Order: the running interpreter, the hints, PATH,
    pyenv's versions, usual folders, Pythons that uv has downloaded before.
    """
    own = _own_interpreter(wanted)
    if own is not None:
        return own
    seen = set()
    for path in _candidates(wanted, hints, cache, env):
        real = os.path.realpath(path)
        if real in seen or not _is_program(path):
            continue
        seen.add(real)
        if matches(wanted, _version(path)):
            return path
    return None


def managed_dir(cache: str) -> str:
    """Where uv puts the Pythons that it downloads."""
    return os.path.join(cache, "python")


def _own_interpreter(wanted: str) -> Optional[str]:
    """The interpreter that runs this code (its base, when it is a virtual environment's)."""
    if sys.implementation.name != "cpython":
        return None
    if not matches(wanted, ".".join(map(str, sys.version_info[:3]))):
        return None
    installed = os.path.join(sys.base_prefix, "bin", "python" + minor(wanted))
    # The second one is a virtual environment's own before 3.11.
    for base in (installed, getattr(sys, "_base_executable", None), sys.executable):
        if base and os.path.isabs(base) and _is_program(base):
            return str(base)
    return None


def _candidates(
    wanted: str, hints: Iterable[str], cache: str, env: Mapping[str, str]
) -> Iterator[str]:
    name = "python" + minor(wanted)
    for hint in hints:
        if os.path.isabs(hint):
            yield hint
    homes = _homes(env)
    for folder in env.get("PATH", "").split(os.pathsep):
        if os.path.isabs(folder) and not folder.endswith(os.sep + "shims"):
            yield os.path.join(folder, name)
    for home in homes:
        yield from _newest(os.path.join(home, ".pyenv", "versions", "*", "bin", name))
    for folder in _FIXED_DIRS:
        yield os.path.join(folder, name)
    yield f"/Library/Frameworks/Python.framework/Versions/{minor(wanted)}/bin/{name}"
    stores = [managed_dir(cache)]
    stores += [os.path.join(home, ".local", "share", "uv", "python") for home in homes]
    for store in stores:
        yield from _newest(os.path.join(store, f"cpython-{minor(wanted)}*", "bin", name))


def _homes(env: Mapping[str, str]) -> List[str]:
    """This process's home, and the account's own: they differ inside an isolated instance."""
    homes = [env["HOME"]] if env.get("HOME") else []
    with contextlib.suppress(KeyError):  # an account without an entry, usual in containers
        homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    return list(dict.fromkeys(homes))


def _newest(pattern: str) -> List[str]:
    return sorted(glob.glob(pattern), key=_version_key, reverse=True)


def _version_key(path: str) -> Tuple[int, ...]:
    """Sorts ``.../3.11.10/bin/python3.11`` after ``.../3.11.9/...``."""
    folder = os.path.basename(os.path.dirname(os.path.dirname(path)))
    digits = "".join(c if c.isdigit() else " " for c in folder)
    return tuple(int(part) for part in digits.split())


def _is_program(path: str) -> bool:
    """An executable that is not a script (pyenv's shims are scripts)."""
    if not os.access(path, os.X_OK) or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(2) != b"#!"
    except OSError:
        return False


def _version(path: str) -> str:
    """The version a candidate reports; empty when it does not work or is no CPython."""
    try:
        done = subprocess.run(
            [path, "-I", "-S", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    version, _, implementation = done.stdout.decode("ascii", "replace").strip().partition(" ")
    return version if done.returncode == 0 and implementation == "cpython" else ""
