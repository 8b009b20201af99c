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
from ...fleet.ways import Ways
from ...transport.jump import Jump
from ...transport.keys import ensure_identity
from .. import context, instances
from ..command import command
from ..console import Console

_ALIAS, _JUMP_ALIAS = "byoc", "byoc-jump"
"""Stand for the instance and its jump host in the known-hosts file, whatever their addresses."""


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
    machine is refused. With a jump host set, it goes by that.
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
    jump = Ways(settings)(row.provider).jump
    with context.scratch() as folder:
        known = folder / "known_hosts"
        lines = [f"{_ALIAS} {row.host_key}", *([f"{_JUMP_ALIAS} {jump.host_key}"] if jump else [])]
        known.write_text("\n".join(lines) + "\n")
        own = ensure_identity(settings.home).path
        options = _proved(known, _ALIAS, own) | {"IdentitiesOnly": "yes", "IdentityAgent": "none"}
        if jump is not None:
            options["ProxyCommand"] = _through(program, jump, known, own)
        return _hold(_line(program, row, options, remote))


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


def _proved(known: Path, alias: str, key: Path) -> dict[str, str]:
    """ssh's options for a host that must prove a pinned key; nothing of the user's configuration is
    read. ``key``: a private key file for it."""
    return {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": alias,
        "HostKeyAlgorithms": "ssh-ed25519",
        "UserKnownHostsFile": str(known),
        "GlobalKnownHostsFile": os.devnull,
        "LogLevel": "ERROR",
        "IdentityFile": str(key),
    }


def _words(program: str, options: dict[str, str]) -> list[str]:
    line = [program, "-F", os.devnull]
    for name, value in options.items():
        line += ["-o", f"{name}={value}"]
    return line


def _through(program: str, jump: Jump, known: Path, own: Path) -> str:
    """The command that carries bytes to the instance: an ssh to the jump host, whose key is pinned
    too, which ``ProxyJump`` could not be told. It uses the user's key of the settings, else the
    user's agent and byoc's own key."""
    options = _proved(
        known, _JUMP_ALIAS, Path(jump.identity).expanduser() if jump.identity else own
    )
    if jump.identity:
        options |= {"IdentitiesOnly": "yes", "IdentityAgent": "none"}
    line = [*_words(program, options), "-p", str(jump.port), f"{jump.user}@{jump.host}"]
    return f"{shlex.join(line).replace('%', '%%')} -W '[%h]:%p'"


def _line(program: str, row: Row, options: dict[str, str], remote: list[str]) -> list[str]:
    """ssh's command line."""
    line = [*_words(program, options), "-p", str(row.port), f"{row.user}@{row.address}"]
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
