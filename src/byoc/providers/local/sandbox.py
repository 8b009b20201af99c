"""The bwrap command of a machine: the host read-only, and of people's own files nothing.

Inside, ``/root`` is the machine's home, ``/tmp`` its own. The home of the user who runs byoc and
byoc's own folder are hidden; what a machine needs of them (Python, uv, the cache) is put back.
"""

from __future__ import annotations

import glob
import os
import subprocess
from typing import NamedTuple

from .modes import NAMESPACES

ROOT_HOME = "/root"
RUN = "/run/byoc"
"""Where a sandbox finds its keys, its commands and the pipe to its guardian."""
SANDBOX_ID = 1000
"""User and group inside when root runs byoc: sshd as uid 0 would want powers it does not get."""
_SCRATCH = ("/tmp", "/var/tmp")  # noqa: S108 - the machine's own, not the host's
_DEVICES = ("/dev/nvidia*", "/dev/dxg", "/dev/dri")
_RUN_KEEPS = ("/run/current-system", "/run/opengl-driver", "/run/nvidia-persistenced")
_ROOTS_SECRETS = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-"),  # by name: locks come and go
    *("/etc/ssh/ssh_host_*_key", "/etc/sudoers"),
)
_ROOTS_FOLDERS = ("/home", "/etc/ssl/private", "/etc/sudoers.d")
"""What root could read and an ordinary user could not: hidden when root runs byoc, because the
sandbox's user is then the owner of these files."""
_INTERPRETERS = (
    ".pyenv/versions",
    ".local/share/uv/python",
    ".local/share/mise/installs/python",
    ".asdf/installs/python",
)
"""Folders below a home where people's Python versions live; images may be built on them."""


class View(NamedTuple):
    """What a sandbox sees.

    ``folder``: the machine's folder. ``hostname``: its name. ``hidden``: folders of the host it
    must not read. ``visible``: paths it may read even there. ``writable``: folders it shares.
    """

    folder: str
    hostname: str
    hidden: tuple[str, ...]
    visible: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


def devices() -> tuple[str, ...]:
    """GPU devices of the host. The node for CUDA's memory is made on first use, by a program that
    has no rights in a sandbox: so it is made here."""
    if os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/nvidia-uvm"):
        for program in glob.glob("/usr/bin/nvidia-modprobe"):
            subprocess.run([program, "-u", "-c=0"], capture_output=True, check=False)
    return tuple(path for pattern in _DEVICES for path in sorted(glob.glob(pattern)))


def inner_ids() -> tuple[int, int]:
    """User and group id of processes inside."""
    return (os.getuid(), os.getgid()) if os.getuid() else (SANDBOX_ID, SANDBOX_ID)


def accounts(user: str, shell: str) -> tuple[str, str]:
    """Texts of ``/etc/passwd`` and ``/etc/group`` inside."""
    uid, gid = inner_ids()
    passwd = "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
    passwd += f"{user}:x:{uid}:{gid}:{user}:{ROOT_HOME}:{shell}\n"
    passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    return passwd, f"root:x:0:\n{user}:x:{gid}:\nnogroup:x:65534:\n"


def command(bwrap: str, view: View, argv: list[str]) -> list[str]:
    """The command line that runs ``argv`` in the sandbox, with the descriptors it inherits."""
    uid, gid = inner_ids()
    line = [bwrap, *NAMESPACES, "--uid", str(uid), "--gid", str(gid)]
    line += ["--hostname", view.hostname, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    for device in devices():
        line += ["--dev-bind-try", device, device]
    line += _mounts(view)
    for name in ("passwd", "group"):
        line += ["--ro-bind", f"{view.folder}/etc/{name}", f"/etc/{name}"]
    for name in ("bin", "ssh"):
        line += ["--ro-bind", f"{view.folder}/{name}", f"{RUN}/{name}"]
    line += ["--bind", f"{view.folder}/control", f"{RUN}/control"]
    return [*line, "--chdir", ROOT_HOME, "--", *argv]


def _mounts(view: View) -> list[str]:
    """Hidings and openings, shallow paths first, so that each lies on top of what contains it."""
    hidden = {os.path.realpath(path) for path in (*view.hidden, *_roots_folders())} - {"/"}
    steps: dict[str, list[str]] = {path: ["--tmpfs", path] for path in hidden}
    steps |= {path: ["--ro-bind", "/dev/null", path] for path in _roots_secrets()}
    steps["/run"] = ["--tmpfs", "/run"]
    for scratch in _SCRATCH:
        if os.path.isdir(scratch) and not os.path.islink(scratch):
            steps[scratch] = ["--bind", os.path.join(view.folder, "tmp"), scratch]
    steps[ROOT_HOME] = ["--bind", f"{view.folder}/home", ROOT_HOME]
    covered = (*hidden, "/run", *_SCRATCH, ROOT_HOME)
    for path in (*view.visible, *_run_keeps()):
        for place in {path, os.path.realpath(path)}:
            if os.path.exists(path) and place not in covered and _is_under(place, covered):
                steps[place] = ["--ro-bind", os.path.realpath(path), place]
    for path in view.writable:
        steps[path] = ["--bind", path, path]
    return [word for path in sorted(steps, key=_depth) for word in steps[path]]


def _roots_secrets() -> tuple[str, ...]:
    if os.getuid():
        return ()
    return tuple(path for pattern in _ROOTS_SECRETS for path in glob.glob(pattern))


def _roots_folders() -> tuple[str, ...]:
    return () if os.getuid() else tuple(path for path in _ROOTS_FOLDERS if os.path.isdir(path))


def _depth(path: str) -> tuple[int, str]:
    return len(path.rstrip("/").split("/")), path


def _is_under(path: str, folders: tuple[str, ...]) -> bool:
    return any(path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _run_keeps() -> tuple[str, ...]:
    """What must stay visible of ``/run``: the resolver's file, graphics drivers."""
    resolver = os.path.realpath("/etc/resolv.conf")
    return (*_RUN_KEEPS, resolver)


def interpreters(homes: tuple[str, ...]) -> tuple[str, ...]:
    """Folders of Python versions below people's homes that exist."""
    found = (os.path.join(home, name) for home in homes for name in _INTERPRETERS)
    return tuple(path for path in found if os.path.isdir(path))
