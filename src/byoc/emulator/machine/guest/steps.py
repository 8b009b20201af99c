"""The steps of a boot, one after the other: files, accounts, keys, scripts."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FOLDER = "/run/emulator/scripts"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOST_KEYS = "/etc/ssh/ssh_host_{}_key"


class Steps:
    """Goes through the steps; scripts run beside the init, which is told when they have ended.

    ``steps``: see :mod:`byoc.emulator.machine.bootsteps`. ``opened``: called by the step that lets
    people in. A step that fails says so on the console, and the next one is taken.
    """

    def __init__(self, steps: list[dict[str, Any]], opened: Callable[[], None]) -> None:
        self._left = list(steps)
        self._opened = opened
        self._script = 0
        self._label = ""
        self._number = 0

    def go_on(self) -> None:
        """Take steps until one has to be waited for, or none is left."""
        while self._left and not self._script:
            step = self._left.pop(0)
            try:
                self._take(step)
            except (OSError, ValueError, LookupError) as error:
                say(f"{step['do']} failed: {error}")

    def ended(self, pid: int, status: int) -> None:
        """A child has ended, perhaps the script that was waited for."""
        if pid != self._script:
            return
        self._script = 0
        if status:
            code = os.waitstatus_to_exitcode(status)
            say(f"{self._label} failed with status {code}")
        self.go_on()

    def _take(self, step: dict[str, Any]) -> None:
        action = step["do"]
        if action == "run":
            self._run(step["label"], step["text"])
        elif action == "open":
            self._opened()
        else:
            _ACTIONS[action](step)

    def _run(self, label: str, text: str) -> None:
        os.makedirs(FOLDER, 0o700, exist_ok=True)
        self._number += 1
        path = f"{FOLDER}/{self._number:02d}-{label}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o700)
        self._label = label
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            self._script = os.posix_spawn(
                path,
                [path],
                {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"},
                file_actions=[(os.POSIX_SPAWN_DUP2, null, 0)],
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        finally:
            os.close(null)


def say(text: str) -> None:
    """A line on the console."""
    os.write(1, (text.rstrip("\n") + "\n").encode(errors="replace"))


def _print(step: dict[str, Any]) -> None:
    say(step["text"])


def _file(step: dict[str, Any]) -> None:
    path, content = step["path"], base64.b64decode(step["content"])
    os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if step["append"] else os.O_TRUNC)
    handle = os.open(path, flags, step["mode"])
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.chmod(path, step["mode"])
    if step["owner"]:
        user, _, group = step["owner"].partition(":")
        uid, gid = _ids(user)
        os.chown(path, uid, _group(group) if group else gid)


def _accounts() -> dict[str, list[str]]:
    with open("/etc/passwd", encoding="utf-8") as file:
        rows = (line.rstrip("\n").split(":") for line in file)
        return {row[0]: row for row in rows if len(row) == 7}


def _ids(user: str) -> tuple[int, int]:
    if user.isdigit():
        return int(user), int(user)
    row = _accounts()[user]
    return int(row[2]), int(row[3])


def _group(name: str) -> int:
    if name.isdigit():
        return int(name)
    with open("/etc/group", encoding="utf-8") as file:
        rows = {line.split(":")[0]: line.split(":") for line in file if line.count(":") == 3}
    return int(rows[name][2])


def _user(step: dict[str, Any]) -> None:
    name = step["name"]
    if name in _accounts():
        return
    uid = max([999, *(int(row[2]) for row in _accounts().values() if int(row[2]) < 60000)]) + 1
    home = step["home"] or f"/home/{name}"
    _append("/etc/passwd", f"{name}:x:{uid}:{uid}:{name}:{home}:{step['shell']}\n")
    _append("/etc/group", f"{name}:x:{uid}:\n")
    _append("/etc/shadow", f"{name}:*:19000:0:99999:7:::\n")
    if step["sudo"]:
        _append("/etc/sudoers.d/90-cloud-init-users", f"{name} {step['sudo']}\n")
    os.makedirs(home, 0o750, exist_ok=True)
    os.chown(home, uid, uid)


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def _authorize(step: dict[str, Any]) -> None:
    row = _accounts()[step["user"]]
    folder, uid, gid = f"{row[5]}/.ssh", int(row[2]), int(row[3])
    os.makedirs(folder, 0o700, exist_ok=True)
    path = f"{folder}/authorized_keys"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.writelines(line.rstrip("\n") + "\n" for line in step["lines"])
    for one in (folder, path):
        os.chown(one, uid, gid)


def _hostname(step: dict[str, Any]) -> None:
    socket.sethostname(step["name"])


def _host_key(step: dict[str, Any]) -> None:
    """Make a key of a kind where the boot data brought none, and show it as cloud-init does."""
    path = HOST_KEYS.format(step["kind"])
    if not os.path.exists(path):
        line = ["ssh-keygen", "-q", "-t", step["kind"], "-N", "", "-C", "root", "-f", path]
        subprocess.run(line, check=False, stdin=subprocess.DEVNULL, env={"PATH": PATH})
    with open(path + ".pub", encoding="utf-8") as file:
        key = file.read().strip()
    begin, end = ("-----%s SSH HOST KEY KEYS-----" % word for word in ("BEGIN", "END"))
    say(f"{begin}\n{key}\n{end}")


_ACTIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "say": _print,
    "file": _file,
    "user": _user,
    "authorize": _authorize,
    "host key": _host_key,
    "hostname": _hostname,
}
