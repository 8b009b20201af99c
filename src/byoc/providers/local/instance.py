"""Putting up one machine: its folder, its keys, its guardian."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ... import limits
from ...clock import Clock
from ...errors import BootError
from ..base import LaunchRequest
from . import sandbox, sshd
from .folder import END_COMMAND, instance_id
from .machine import files, processes
from .modes import Mode, base_python, find_program, find_uv

SANDBOX_USER = "byoc"
_END_NAMES = (END_COMMAND, "shutdown", "poweroff", "halt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOTSTRAP = (
    "import sys,types;{first}m=types.ModuleType('machine');m.__path__=[sys.argv[1]];"
    "sys.modules['machine']=m;from machine.{module} import main;sys.exit(main(sys.argv[2:]))"
)
"""Loads a module of the ``machine`` folder as a package of its own, without the rest of byoc."""
_MACHINE = str(Path(__file__).parent / "machine")
_PACKAGES = str(Path(__file__).parents[3])
_LIBRARY = ("paramiko", "cryptography", "bcrypt", "nacl", "cffi", "_cffi_backend", "invoke")
_LIBRARIES = "LD_LIBRARY_PATH"
_CERTIFICATES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_CERT",
)
_NETWORK = (
    *_CERTIFICATES,
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "UV_NO_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_PYTHON_INSTALL_MIRROR",
    _LIBRARIES,
)
"""What a machine takes over from the host's environment: how to reach the network and drivers from
here. A rented machine is set up for its own network, and this is this one's."""
_LOOPBACK = "127.0.0.1"
_BACKLOG = 128
_TMPDIR_LENGTH = 50
"""Longest path of a temporary folder in which programs can still make sockets (limit 104 bytes)."""


class Paths(NamedTuple):
    """Absolute paths of this installation: ``home`` is ``BYOC_HOME``, ``python`` a base Python,
    ``user_homes`` what the user who runs byoc calls home."""

    home: Path
    python: str
    uv: str
    user_homes: tuple[str, ...]


def launcher(
    home: Path, root: Path, mode: Mode, environ: Mapping[str, str], clock: Clock
) -> Launcher:
    """The launcher of this installation. ``home``: ``BYOC_HOME``; the rest as in its fields."""
    paths = Paths(
        home=home,
        python=base_python(),
        uv=find_uv(environ),
        user_homes=tuple({environ.get("HOME", ""), _account_home()} - {""}),
    )
    return Launcher(root, mode, paths, environ, clock)


class Launcher(NamedTuple):
    """Puts machines up. ``root``: the folder of machines; ``environ``: the client's environment."""

    root: Path
    mode: Mode
    paths: Paths
    environ: Mapping[str, str]
    clock: Clock

    def launch(self, request: LaunchRequest) -> None:
        """Boots the machine of ``request.token``; returns when it answers on its socket.

        The caller holds the launch lock, and no folder of that id exists. Raises BootError.
        """
        name = instance_id(request.token)
        draft = self.root / "trash" / f"{name}.draft"
        files.remove_tree(str(draft))
        draft.mkdir(mode=0o700)
        with _listen(name) as listener:
            lock = os.open(draft / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._fill(draft, name, request, listener.getsockname())
                if self.mode.server == "sshd" and self.mode.isolation == "none":
                    sshd.make_privilege_folder()
                os.rename(draft, self.root / name)
                self._start_guardian(self.root / name, lock, listener)
            finally:
                os.close(lock)

    def _fill(
        self, draft: Path, name: str, request: LaunchRequest, address: tuple[str, int]
    ) -> None:
        for inner in ("home", "tmp", "ssh", "bin", "etc"):
            (draft / inner).mkdir(mode=0o700)
        os.mkfifo(draft / "control", 0o600)
        final = self.root / name
        self._write_ssh(draft, final, name, request)
        self._write_commands(draft, final)
        record = {
            "id": name,
            "token": request.token,
            "tags": dict(request.tags),
            "offer": request.offer._asdict(),
            "address": address[0],
            "port": address[1],
            "user": self.user(),
            "host_key": request.host_key.public.strip(),
            "started": self.clock.wall(),
            "mode": str(self.mode),
        }
        files.write_json(str(draft / "machine.json"), record)
        files.write_json(str(draft / "plan.json"), self._plan(final, request.boot_lease))

    def user(self) -> str:
        """Whom to log in as."""
        if self.mode.isolation == "bwrap" or self.mode.server == "library":
            return SANDBOX_USER
        return pwd.getpwuid(os.getuid()).pw_name

    def _inside(self, folder: Path) -> tuple[str, str]:
        """The machine's home, and the folder of its parts, as the machine sees them."""
        if self.mode.isolation == "bwrap":
            return sandbox.ROOT_HOME, sandbox.RUN
        return str(folder / "home"), str(folder)

    def _session(self, folder: Path) -> dict[str, str]:
        """The environment that every process of the machine starts with."""
        home, parts = self._inside(folder)
        values = {name: self.environ.get(name, "") for name in _NETWORK}
        environ = {name: value for name, value in values.items() if value and "\n" not in value}
        path = f"{parts}/bin:{_PATH}"
        gpu_tool = find_program("nvidia-smi", self.environ)
        if gpu_tool and os.path.dirname(gpu_tool) not in path.split(":"):
            path += ":" + os.path.dirname(gpu_tool)
        environ |= {
            processes.MARKER: folder.name,
            "HOME": home,
            "USER": self.user(),
            "LOGNAME": self.user(),
            "SHELL": _shell(),
            "PATH": path,
            "LANG": "C.UTF-8",
        }
        scratch = str(folder / "tmp")
        if self.mode.isolation == "none" and len(scratch) <= _TMPDIR_LENGTH:
            environ["TMPDIR"] = scratch
        return environ

    def _write_ssh(self, draft: Path, final: Path, name: str, request: LaunchRequest) -> None:
        private = request.host_key.private.strip() + "\n"
        files.write_whole(str(draft / "ssh" / "host_key"), private.encode())
        keys = request.authorized_key.strip() + "\n"
        files.write_whole(str(draft / "ssh" / "authorized_keys"), keys.encode())
        forced = ""
        if self.mode.isolation == "none":
            forced = "exec " + shlex.quote(str(final / "bin" / "enter"))
        text = sshd.config(f"{self._inside(final)[1]}/ssh", self._session(final), forced)
        files.write_whole(str(draft / "ssh" / "sshd_config"), text.encode())
        passwd, group = sandbox.accounts(self.user(), _shell())
        files.write_whole(str(draft / "etc" / "passwd"), passwd.encode(), 0o644)
        files.write_whole(str(draft / "etc" / "group"), group.encode(), 0o644)

    def _write_commands(self, draft: Path, final: Path) -> None:
        home, parts = self._inside(final)
        end = f"#!/bin/sh\necho shutdown > {shlex.quote(parts + '/control')}\n"
        for name in _END_NAMES:
            files.write_whole(str(draft / "bin" / name), end.encode(), 0o700)
        enter = sshd.enter_script(home, _shell())
        files.write_whole(str(draft / "bin" / "enter"), enter.encode(), 0o700)
        # A login shell takes its PATH from the host's profile.
        profile = f"PATH={shlex.quote(parts + '/bin')}:$PATH\n"
        files.write_whole(str(draft / "home" / ".profile"), profile.encode())

    def _plan(self, final: Path, boot_lease: float) -> dict[str, object]:
        """What the guardian needs to know."""
        init = self._init(self._inside(final)[1] + "/ssh")
        if self.mode.isolation == "bwrap":
            init = sandbox.command(self.mode.bwrap, self._view(final), init)
        return {
            "id": final.name,
            "folder": str(final),
            "tombstone": str(self.root / "ended" / f"{final.name}.json"),
            "trash": str(self.root / "trash" / final.name),
            "lease": str(final / "home" / ".byoc" / "lease"),
            "deadline": self.clock.mono() + boot_lease,
            "grace": limits.END_GRACE,
            "init": init,
            "depth": 3 if self.mode.isolation == "bwrap" else 1,  # bwrap, its pid 1, our init
            "cwd": str(final / "home"),
            # The host's drivers are for programs of the machine, not for its sshd.
            "env": {k: v for k, v in self._session(final).items() if k != _LIBRARIES},
        }

    def _init(self, keys: str) -> list[str]:
        python = [self.paths.python, "-I", "-S", "-c"]
        if self.mode.server == "sshd":
            serve = [self.mode.sshd, "-i", "-e", "-f", f"{keys}/sshd_config"]
            return [*python, _boot("init"), _MACHINE, *serve]
        libraries = os.pathsep.join(_library_folders())
        return [*python, _boot("libserver"), _MACHINE, libraries, keys, self.user()]

    def _view(self, final: Path) -> sandbox.View:
        return sandbox.View(
            folder=str(final),
            hostname=final.name,
            hidden=(*self.paths.user_homes, str(self.paths.home)),
            visible=(
                sys.prefix,
                sys.base_prefix,
                sys.base_exec_prefix,
                os.path.dirname(os.path.dirname(self.paths.python)),
                _PACKAGES,
                _MACHINE,
                *_library_folders(),
                *([self.paths.uv] if self.paths.uv else []),
                *sandbox.interpreters(self.paths.user_homes),
                *(self.environ[name] for name in _CERTIFICATES if self.environ.get(name)),
            ),
            writable=(str(self.root / "cache"),),
        )

    def _start_guardian(self, folder: Path, lock: int, listener: socket.socket) -> None:
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        guardian = [self.paths.python, "-I", "-S", "-c", _boot("guardian")]
        guardian += [_MACHINE, str(folder / "plan.json"), str(lock), str(listener.fileno())]
        try:
            # The shell leaves at once, so that the guardian is nobody's child: it outlives us, and
            # nobody has to wait for it.
            done = subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *guardian],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": _PATH, "LANG": "C.UTF-8"},
                pass_fds=(lock, listener.fileno()),
                start_new_session=True,
                timeout=limits.CONNECT_TIMEOUT,
                check=False,
            )
        finally:
            os.close(log)
        if done.returncode:
            raise BootError(f"the guardian of {folder.name} did not start: see {folder / 'log'}")


def _boot(module: str) -> str:
    first = "sys.path+=sys.argv[2].split(':');" if module == "libserver" else ""
    return _BOOTSTRAP.format(module=module, first=first)


def _listen(name: str) -> socket.socket:
    """A socket on an address of the machine's own where the system has a whole loopback net."""
    digest = hashlib.sha256(name.encode()).digest()
    try:
        return _bound(f"127.88.{digest[0]}.{1 + digest[1] % 254}")
    except OSError:
        return _bound(_LOOPBACK)


def _bound(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind((address, 0))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _shell() -> str:
    return "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"


def _library_folders() -> tuple[str, ...]:
    """Folders from which the library SSH server's packages are imported."""
    found: dict[str, None] = {}
    for name in _LIBRARY:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            path = Path(spec.origin).parent
            found[str(path.parent if spec.submodule_search_locations else path)] = None
    return tuple(found)


def _account_home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user id without an account, as in some containers
        return ""
