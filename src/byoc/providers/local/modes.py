"""Which parts this host has for local instances: what isolates them, and what serves SSH.

Both are found by looking, and bwrap by trying it once: some systems install it and then refuse the
user namespaces it needs. A success is kept, keyed by the binary and the kernel.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ...errors import SettingsError
from .machine import files

ISOLATION_SETTING = "BYOC_LOCAL_ISOLATION"
SERVER_SETTING = "BYOC_LOCAL_SERVER"
ISOLATIONS = ("bwrap", "none")
SERVERS = ("sshd", "library")
TRIAL_TIMEOUT = 10.0
"""Longest trial of bwrap in seconds; it takes 5 ms, a swapping host perhaps a second."""
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", "/opt/homebrew/sbin")
_NO_LOGIN = ("nologin", "false")


class Mode(NamedTuple):
    """How instances of this host are made. ``isolation``: bwrap | none. ``server``: sshd | library.

    ``bwrap``, ``sshd``: paths of the binaries, empty when not used. ``isolation_note``,
    ``server_note``: why the better choice was not taken, empty when it was.
    """

    isolation: str
    server: str
    bwrap: str = ""
    sshd: str = ""
    isolation_note: str = ""
    server_note: str = ""

    def __str__(self) -> str:
        return f"{self.isolation}+{self.server}"


def choose(environ: Mapping[str, str], memory: Path, fresh: bool = False) -> Mode:
    """The best mode of this host, or the one that the settings force.

    ``memory``: file that remembers a successful trial of bwrap; ``fresh`` tries again. Raises
    :class:`SettingsError` when a forced choice is unknown or not possible here.
    """
    isolation = _forced(environ, ISOLATION_SETTING, ISOLATIONS)
    server = _forced(environ, SERVER_SETTING, SERVERS)
    bwrap, why_not_bwrap = "", "switched off by " + ISOLATION_SETTING
    if isolation != "none":
        bwrap, why_not_bwrap = _usable_bwrap(environ, memory, fresh)
    _must(isolation == "bwrap" and not bwrap, ISOLATION_SETTING, "bwrap", why_not_bwrap)
    sshd, why_not_sshd = "", "switched off by " + SERVER_SETTING
    if server != "library":
        sshd, why_not_sshd = _usable_sshd(environ, isolated=bool(bwrap))
    _must(server == "sshd" and not sshd, SERVER_SETTING, "sshd", why_not_sshd)
    return Mode(
        isolation="bwrap" if bwrap else "none",
        server="sshd" if sshd else "library",
        bwrap=bwrap,
        sshd=sshd,
        isolation_note=why_not_bwrap,
        server_note=why_not_sshd,
    )


def _forced(environ: Mapping[str, str], setting: str, known: tuple[str, ...]) -> str:
    value = environ.get(setting, "")
    if value and value not in known:
        raise SettingsError(f"{setting}={value!r} is not one of {', '.join(known)}")
    return value


def _must(failed: bool, setting: str, value: str, reason: str) -> None:
    if failed:
        raise SettingsError(
            f"{setting}={value} cannot be used here: {reason}",
            hints=(f"Unset {setting} to let byoc choose.",),
        )


def find_program(name: str, environ: Mapping[str, str], more: tuple[str, ...] = ()) -> str:
    """Absolute path of a program on PATH or in one of ``more`` folders; empty when missing."""
    for folder in (*environ.get("PATH", os.defpath).split(os.pathsep), *more):
        path = os.path.join(folder, name)
        if os.path.isabs(path) and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def base_python() -> str:
    """The Python that runs byoc, without its virtual environment."""
    base = getattr(sys, "_base_executable", "") or sys.executable
    return os.path.realpath(base)


def find_uv(environ: Mapping[str, str]) -> str:
    """Path of the uv that came with byoc, else of one on PATH, else empty."""
    own = os.path.join(sys.prefix, "bin", "uv")  # where uv looks first, without importing it: 2 ms
    if os.access(own, os.X_OK):
        return os.path.realpath(own)
    try:
        from uv import find_uv_bin  # third party; costs an import of sysconfig

        return os.path.realpath(find_uv_bin())
    except (ImportError, FileNotFoundError):
        return find_program("uv", environ)


def _usable_bwrap(environ: Mapping[str, str], memory: Path, fresh: bool) -> tuple[str, str]:
    path = find_program("bwrap", environ)
    if not path:
        return "", "bwrap is not installed"
    status = os.stat(path)
    key = f"{path} {status.st_mtime_ns} {status.st_size} {os.getuid()} {os.uname().release}"
    known = files.read_json(str(memory))
    if not fresh and known and known.get("works") == key:
        return path, ""
    refusal = _try_bwrap(path)
    if refusal:  # not remembered: a setting of the system may change that
        memory.unlink(missing_ok=True)
        return "", f"bwrap does not work here: {refusal}"
    files.make_private(str(memory.parent))
    files.write_json(str(memory), {"works": key})
    return path, ""


def _try_bwrap(path: str) -> str:
    """What bwrap says when it refuses what a machine needs; empty when it works."""
    argv = [path, *NAMESPACES, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    argv += ["--tmpfs", "/run", "--", "/bin/sh", "-c", "exit 0"]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").strip()
    return said or f"it ended with status {done.returncode}"


NAMESPACES = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--die-with-parent",
    "--cap-drop",
    "ALL",
)
"""Options of bwrap that every machine is started with, and that the trial tries."""


def _usable_sshd(environ: Mapping[str, str], isolated: bool) -> tuple[str, str]:
    path = find_program("sshd", environ, _SYSTEM_FOLDERS)
    if not path:
        return "", "no sshd is installed"
    refusal = "" if isolated else _login_refusal()
    return ("", f"sshd would refuse this account: {refusal}") if refusal else (path, "")


def _login_refusal() -> str:
    """Why sshd would not log the current user in; a sandbox brings an account of its own."""
    try:
        account = pwd.getpwuid(os.getuid())
    except KeyError:
        return "the user id has no account"
    if os.path.basename(account.pw_shell) in _NO_LOGIN:
        return f"its shell is {account.pw_shell}"
    if os.getuid() == 0:
        return "it is locked" if _is_locked(account.pw_name) else ""
    return _terminal_refusal()


def _terminal_refusal() -> str:
    """sshd ends a connection when it cannot give a terminal to group tty; only root could.

    Most systems give new terminals to that group themselves (the ``gid=5`` of devpts).
    """
    try:
        group = grp.getgrnam("tty").gr_gid
    except KeyError:  # then sshd leaves terminals with the user's own group
        return ""
    try:
        ends = os.openpty()
    except OSError as error:
        return f"it gets no terminal: {error}"
    try:
        return "" if os.fstat(ends[1]).st_gid == group else "its terminals are not of group tty"
    finally:
        for end in ends:
            os.close(end)


def _is_locked(name: str) -> bool:
    try:
        with open("/etc/shadow", encoding="utf-8", errors="replace") as shadow:
            rows = [line.split(":") for line in shadow if line.startswith(name + ":")]
    except OSError:
        return False
    return any(len(row) > 1 and row[1].startswith("!") for row in rows)
