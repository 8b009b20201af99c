"""``byoc ssh``: a shell, or a command, on a live instance, by the system's own ssh."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from ...errors import InvalidError
from ...fleet.watch import Row
from ...transport.keys import ensure_identity
from .. import context, instances
from ..command import command
from ..console import Console

_ALIAS = "byoc"
"""Stands for the instance in the known-hosts file, whatever its address is."""


@command(as_json=False, stops_at_first=True)
def ssh(
    console: Console,
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID] [-- CMD...]", help="Default: the only instance, a shell."),
    ] = None,
) -> int:
    """Open a shell, or run a command, on a live instance.

    byoc ssh ID -- CMD. Without ID, the only running instance. CMD in one
    piece is read by the instance's shell. Its host key is the one that byoc made for it; another
    machine is refused.
    """
    settings = context.merged()
    wanted, remote = _split(ctx.find_root().obj, list(words or ()))
    program = shutil.which("ssh")
    if program is None:
        raise InvalidError(
            "there is no ssh program on this computer",
            hints=("install OpenSSH's client", "or run a command by: byoc exec -- CMD"),
        )
    with instances.watched(settings, console) as watch:
        row = instances.chosen(watch.ps(), wanted)
    with context.scratch() as folder:
        known = folder / "known_hosts"
        known.write_text(f"{_ALIAS} {row.host_key}\n")
        identity = ensure_identity(settings.home)
        return _hold(_line(program, row, known, identity.path, remote))


def _split(typed: list[str], words: list[str]) -> tuple[str, list[str]]:
    """The instance's id and the remote command. ``typed``: the whole command line, in which a
    leading ``--`` is still there."""
    after = typed[typed.index("ssh") + 1 :]
    if "--" not in after:
        wanted, remote = words, []
    else:
        at = after.index("--")
        wanted, remote = after[:at], after[at + 1 :]
    if len(wanted) > 1:
        raise InvalidError(
            f"{wanted[1]!r} is one word too many",
            hints=(f"a command follows --: byoc ssh {wanted[0]} -- CMD",),
        )
    return "".join(wanted), remote


def _line(program: str, row: Row, known: Path, key: Path, remote: list[str]) -> list[str]:
    """ssh's command line: our key, the pinned host key, nothing of the user's configuration."""
    options = {
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": _ALIAS,
        "HostKeyAlgorithms": "ssh-ed25519",
        "UserKnownHostsFile": str(known),
        "GlobalKnownHostsFile": os.devnull,
        "LogLevel": "ERROR",
    }
    line = [program, "-F", os.devnull, "-i", str(key), "-p", str(row.port)]
    for name, value in options.items():
        line += ["-o", f"{name}={value}"]
    line += [f"{row.user}@{row.address}"]
    if len(remote) == 1:
        return [*line, remote[0]]  # for the instance's shell, as with ssh
    return [*line, shlex.join(remote)] if remote else line


def _hold(line: list[str]) -> int:
    """Run ssh in our place: Ctrl-C is for it, and its exit code is ours."""
    with subprocess.Popen(line) as child:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = child.wait()
        finally:
            signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code
