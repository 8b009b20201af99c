"""The boot data of a rented machine: what cloud-init makes of it before anybody can log in.

First of all, and at every boot, the machine gets its own way to end itself and a dead-man that
uses it once the machine's lease has passed (``deadman.sh``, armed by ``arm.sh``). Then the host key
that the client pins, the client's key for root, and an SSH server with the limits that byoc needs.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

from ..errors import BadRequestError
from .base import LaunchRequest

END_COMMAND = "/usr/local/sbin/byoc-end"
"""Ends the machine for good; the adapter's script. Also what :attr:`Traits.end_command` names."""
DEADMAN = "/usr/local/sbin/byoc-deadman"
SSHD_SETTINGS = """\
PermitRootLogin prohibit-password
PubkeyAuthentication yes
MaxSessions 64
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
"""
"""For ``sshd_config.d``, read before an image's own settings: the first one counts.

64 sessions on one connection: the agent, and what users run beside it; OpenSSH's own limit is 10.
"""


def compose(request: LaunchRequest, end_script: str) -> str:
    """The ``#cloud-config`` document with which ``request`` boots, the same for the same request.

    ``end_script``: a POSIX shell script, ``#!`` line included, that ends the machine for good on
    its cloud and leaves with 0 when the cloud has agreed. It runs as root, from the dead-man and
    from the agent, and may be run again after it failed. Its size comes on top of less than 4 KiB.
    The document is JSON behind its first line. Raises BadRequestError for what cannot be told to a
    machine: text beyond printable ASCII, a key of several lines, a lease that is no time.
    """
    boot_lease = request.boot_lease
    if not (math.isfinite(boot_lease) and boot_lease > 0):
        raise BadRequestError(f"a boot lease of {boot_lease!r} s is not a time to live")
    host_key = request.host_key
    document: dict[str, Any] = {
        "bootcmd": [_first_act(math.ceil(boot_lease), end_script)],
        "ssh_deletekeys": True,
        "ssh_genkeytypes": ["ed25519"],
        "ssh_keys": {
            "ed25519_private": _text("the host key", host_key.private.rstrip("\n") + "\n"),
            "ed25519_public": _line("the public host key", host_key.public),
        },
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_authorized_keys": [_line("the client's key", request.authorized_key)],
        "write_files": [
            {
                "path": "/etc/ssh/sshd_config.d/00-byoc.conf",
                "permissions": "0600",
                "content": SSHD_SETTINGS,
            }
        ],
        "package_update": False,
        "package_upgrade": False,
    }
    # Escaped JSON within ASCII is YAML as well, whatever the strings hold.
    return "#cloud-config\n" + json.dumps(document, indent=1) + "\n"


def _first_act(boot_lease: int, end_script: str) -> str:
    """The shell text that cloud-init runs before anything else."""
    if not end_script.startswith("#!"):
        raise BadRequestError("the script that ends the machine has no #! line")
    parts = [
        "umask 077",
        "mkdir -p /usr/local/sbin",
        _put(END_COMMAND, _text("the script that ends the machine", end_script)),
        _put(DEADMAN, _script("deadman.sh")),
        f"boot_lease={boot_lease}",
        _script("arm.sh"),
    ]
    return "\n".join(parts)


def _put(path: str, text: str) -> str:
    """Shell text that makes ``text`` the program at ``path``, at once and as a whole."""
    mark = "BYOC"
    while mark in text:
        mark += "_"
    body = text.rstrip("\n")
    return (
        f"cat >{path}.new <<'{mark}'\n{body}\n{mark}\n"
        f"chmod 0700 {path}.new && mv -f {path}.new {path}"
    )


@functools.cache
def _script(name: str) -> str:
    """A script of this folder without its comments, which would only cost room."""
    text = Path(__file__).with_name(name).read_text(encoding="ascii")
    lines = [line for line in text.splitlines() if line.strip() and not _comment(line)]
    return "\n".join(lines) + "\n"


def _comment(line: str) -> bool:
    text = line.lstrip()
    return text.startswith("#") and not text.startswith("#!")


def _text(what: str, text: str) -> str:
    """``text``, which must be printable ASCII: beyond it JSON and YAML differ."""
    for char in text:
        if not (" " <= char <= "~" or char in "\n\t"):
            raise BadRequestError(f"{what} has a character that boot data cannot hold: {char!r}")
    return text


def _line(what: str, text: str) -> str:
    line = _text(what, text.strip())
    if not line or "\n" in line:
        raise BadRequestError(f"{what} is not one line of text")
    return line
