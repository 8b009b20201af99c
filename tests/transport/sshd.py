"""A real sshd on loopback, for whichever user runs the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from byoc.providers.base import HostKey
from byoc.transport.keys import Identity
from byoc.transport.ssh import Connection, connect
from tests.helpers import until

CONFIG = """\
ListenAddress {address}:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
UseDNS no
MaxStartups 1000
LogLevel ERROR
Subsystem sftp internal-sftp
# Debian's bash reads ~/.bashrc for a remote command unless it is a nested shell: the tests and the
# benchmarks are not about what the user has in there.
SetEnv SHLVL=3 {environment}
"""
USER = pwd.getpwuid(os.getuid()).pw_name


def program() -> str | None:
    """The path of this host's sshd, if there is one. sshd insists on an absolute path."""
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nothing listens on now."""
    with socket.socket() as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


def _ending_with_parent() -> list[str]:
    """Words before a command that end it even when the tests are killed, where there are any."""
    path = shutil.which("setpriv") if sys.platform == "linux" else None
    return [path, "--pdeathsig", "TERM"] if path else []


class Sshd:
    """One sshd process.

    ``extra``: more lines of its configuration; ``environment``: ``NAME=value`` for its commands.
    """

    def __init__(
        self,
        folder: Path,
        host_key: HostKey,
        authorized: str,
        port: int = 0,
        extra: str = "",
        environment: str = "",
    ) -> None:
        path = program()
        assert path is not None
        folder.mkdir(mode=0o700, exist_ok=True)
        self.host_key = host_key
        self.address = "127.0.0.1"
        self.port = port or free_port(self.address)
        config = extra + CONFIG.format(
            address=self.address, port=self.port, folder=folder, environment=environment
        )
        files = (
            ("config", config),
            ("host_key", host_key.private),
            ("authorized_keys", authorized),
        )
        for name, text in files:
            file = folder / name
            file.touch(mode=0o600)
            file.write_text(text + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where a root sshd puts its helper processes
        self.log = folder / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*_ending_with_parent(), path, "-D", "-e", "-f", str(folder / "config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._listens, 10, "sshd to listen")

    def connect(self, identity: Identity, timeout: float = 10.0, port: int = 0) -> Connection:
        """A connection to it, or to the ``port`` of a relay in front of it."""
        line = self.host_key.public
        return connect(self.address, port or self.port, USER, identity, line, timeout)

    def stop(self) -> None:
        """End it; its sessions end when their connections do."""
        self.process.terminate()
        self.process.wait(10)

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as sock:
            return sock.connect_ex((self.address, self.port)) == 0
