"""What a machine is made of, as data for its init: its file tree, its programs, its boot steps."""

from __future__ import annotations

import glob
import os
import pwd
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import BootError
from ...pricing import gpus
from ...providers.local.modes import base_python, find_program
from ...providers.local.sandbox import interpreters
from . import bootsteps
from . import gpus as pretended
from .guest.init import MOMENTS, POWER, PROXY
from .guest.mounts import EMPTY, SYSTEM
from .kinds import Plan

SESSIONS = 64
_STANDARD = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_SHIMS = ("shutdown", "poweroff", "halt", "reboot", "init", "telinit", "systemctl")
_LEFT_OUT = ("uv", "uvx", "nvidia-smi", "byoc", "byoc-end", "byoc-deadman")
"""Programs that a rented machine does not have until somebody brings them."""
_SHIM = f"""#!/bin/sh
case "${{0##*/}} $*" in
  systemctl*poweroff*|systemctl*halt*|systemctl*reboot*) ;;
  systemctl*) echo "System has not been booted with systemd as init system" >&2; exit 1 ;;
esac
printf '%s\\n' "${{0##*/}} $*" >{POWER}
"""
_SSHD_CONFIG = """\
Include /etc/ssh/sshd_config.d/*.conf
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
UseDNS no
PidFile none
Subsystem sftp internal-sftp
"""
_HOST_NAME = re.compile(r"[^A-Za-z0-9-]+")


class Layout(NamedTuple):
    """What all machines of this host have in common, found once.

    ``python``: a Python inside machines, for those hosts that have none among their programs.
    """

    sshd: str
    absent: tuple[str, ...]
    visible: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    passwd: str
    group: str
    shadow: str


def layout() -> Layout:
    """Look at this host. Raises BootError when it lacks what machines need."""
    sshd = find_program("sshd", {"PATH": ":".join(_STANDARD)})
    if not sshd:
        raise BootError(
            "emulated machines need OpenSSH's server, and this host has none",
            hints=("Install it (Debian and Ubuntu: apt-get install openssh-server).",),
        )
    homes = {account.pw_dir for account in pwd.getpwall()} | {os.path.expanduser("~"), "/root"}
    visible = set(interpreters(tuple(sorted(homes - {"/"}))))
    links: list[tuple[str, str]] = []
    if not find_program("python3", {"PATH": ":".join(_STANDARD)}):
        links.append(("/usr/local/bin/python3", base_python()))
        visible.add(os.path.realpath(sys.base_prefix))
    absent = (*_programs(_LEFT_OUT), *_programs(_SHIMS), *glob.glob("/etc/*shadow*"))
    return Layout(
        sshd=sshd,
        absent=absent,
        visible=tuple(sorted(path for path in visible if not _shown(path))),
        links=tuple(links),
        **_accounts(),
    )


def _programs(names: tuple[str, ...]) -> tuple[str, ...]:
    """Where programs are on this host, each place once."""
    found: dict[str, None] = {}
    for folder in {os.path.realpath(folder) for folder in _STANDARD}:
        for name in names:
            if os.path.lexists(f"{folder}/{name}"):
                found[f"{folder}/{name}"] = None
    return tuple(found)


def _shown(path: str) -> bool:
    """Whether a path of the host is there in a machine anyway."""
    inside = path.strip("/")
    hidden = any(inside == one or inside.startswith(one + "/") for one in EMPTY)
    return inside.split("/")[0] in SYSTEM and not hidden


def _accounts() -> dict[str, str]:
    """Accounts of a fresh image: the system's own, and no people."""
    system = [one for one in pwd.getpwall() if one.pw_uid < 1000 or one.pw_name == "nobody"]
    rows = [
        f"{one.pw_name}:x:{one.pw_uid}:{one.pw_gid}:{one.pw_name}:"
        f"{'/root' if one.pw_uid == 0 else one.pw_dir}:{_shell(one)}"
        for one in system
    ]
    with open("/etc/group", encoding="utf-8", errors="replace") as file:
        lines = [line.split(":") for line in file if line.count(":") == 3]
    groups = [f"{row[0]}:x:{row[2]}:" for row in lines if int(row[2]) < 1000 or row[0] == "nogroup"]
    shadows = [f"{one.pw_name}:*:19000:0:99999:7:::" for one in system]
    return {
        name: "\n".join(lines) + "\n"
        for name, lines in (("passwd", rows), ("group", groups), ("shadow", shadows))
    }


def _shell(account: pwd.struct_passwd) -> str:
    if account.pw_uid:
        return account.pw_shell
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"


def plan(asked: Plan, host: Layout, folder: Path, memory_disk: bool) -> dict[str, Any]:
    """The plan of one machine, as ``guest`` reads it from JSON. ``folder``: the machine's own."""
    machine = asked.machine
    name = _HOST_NAME.sub("-", machine.name or machine.id).strip("-")[:63] or "machine"
    files = _files(asked, host)
    own = {path for path, _, _ in files}
    return {
        "folder": str(folder),
        "hostname": name,
        "memory_disk": memory_disk,
        "boots": 0,
        "egress": asked.egress,
        "inside": machine.inside,
        "sshd": [
            host.sshd,
            "-i",
            "-e",
            *("-f", "/etc/ssh/sshd_config"),
            *("-o", f"SetEnv={_environ(asked)}"),
            *("-o", f"MaxSessions={SESSIONS}"),
        ],
        "environ": {"PATH": ":".join(_STANDARD), "LANG": "C.UTF-8"},
        "absent": [path for path in host.absent if path not in own],
        "visible": list(host.visible),
        "links": list(host.links),
        "files": files,
        "steps": bootsteps.steps(machine.user_data, machine.keys, name, asked.console),
    }


def _environ(asked: Plan) -> str:
    """What SSH sessions start with, as sshd's configuration has it."""
    found = {"BYOC_MOMENTS": MOMENTS}
    if asked.egress:
        proxy = f"http://{PROXY[0]}:{PROXY[1]}"
        found |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy)
        found |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,169.254.169.254")
        found |= _trust()
    return " ".join(f'"{name}={value}"' for name, value in found.items())


_TRUSTED = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"),
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX"),
    "UV_SYSTEM_CERTS",
)
"""Variables that say where packages come from and whom to trust for it."""


def _trust() -> dict[str, str]:
    return {name: os.environ[name] for name in _TRUSTED if os.environ.get(name)}


def _files(asked: Plan, host: Layout) -> list[tuple[str, int, str]]:
    """(path, mode, text) of what differs from the host's own system."""
    return [
        *_programs_of(asked),
        ("/etc/passwd", 0o644, host.passwd),
        ("/etc/group", 0o644, host.group),
        ("/etc/shadow", 0o640, host.shadow),
        ("/etc/resolv.conf", 0o644, ""),
        ("/etc/ssh/sshd_config", 0o644, _SSHD_CONFIG),
        ("/etc/ssh/sshd_config.d/README", 0o644, "Settings here come first.\n"),
    ]


def _programs_of(asked: Plan) -> list[tuple[str, int, str]]:
    """Programs that this machine has and the host has not."""
    sbin, usr_bin = os.path.realpath("/usr/sbin"), os.path.realpath("/usr/bin")
    found = [(f"{sbin}/{name}", 0o755, _SHIM) for name in _SHIMS if name != "systemctl"]
    found.append((f"{usr_bin}/systemctl", 0o755, _SHIM))
    machine = asked.machine
    if machine.gpu and machine.gpu_count:
        known = gpus.gpu(machine.gpu)
        memory = asked.gpu_memory or (known.memory if known else 0)
        capability = known.capability if known else ""
        made = pretended.Gpus(machine.gpu, machine.gpu_count, memory, capability, asked.gpu_fault)
        found += [(f"{usr_bin}/{name}", 0o755, text) for name, text in pretended.programs(made)]
    return found
