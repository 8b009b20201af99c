"""One installation of byoc with its local provider, and the ways into its machines."""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from byoc.clock import SYSTEM, Clock
from byoc.providers.base import OWNER_TAG, TOKEN_TAG, HostKey, Instance, LaunchRequest
from byoc.providers.local.provider import LocalProvider
from tests.helpers import until

TEXT_LIMIT = 10.0
"""Seconds for a command in a machine; they take milliseconds on a quiet host."""


def new_key() -> HostKey:
    """A fresh ed25519 key in OpenSSH's forms."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return HostKey(private.decode(), public.decode())


class ShiftedClock:
    """The system's clock, moved by what a test wants to have passed."""

    def __init__(self) -> None:
        self.shift = 0.0

    def wall(self) -> float:
        return SYSTEM.wall() + self.shift

    def mono(self) -> float:
        return SYSTEM.mono() + self.shift

    def sleep(self, seconds: float) -> None:
        self.shift += seconds


@dataclass
class World:
    """A ``BYOC_HOME``, its provider, the client's key and the host key of its machines."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = SYSTEM
    client: HostKey = field(default_factory=new_key)
    host: HostKey = field(default_factory=new_key)

    def __post_init__(self) -> None:
        self.provider = LocalProvider(self.home, self.clock, {**os.environ, **self.settings})
        self._identity = self.home / "client_key"
        if not self._identity.exists():
            self._identity.touch(0o600)
            self._identity.write_text(self.client.private)

    def another_client(self) -> World:
        """The same installation, opened by somebody else at the same time."""
        return replace(self)

    def request(self, token: str = "", boot_lease: float = 60.0) -> LaunchRequest:
        """A launch request for the host's own offer."""
        token = token or secrets.token_hex(8)
        return LaunchRequest(
            token=token,
            offer=self.provider.offers()[0],
            tags={TOKEN_TAG: token, OWNER_TAG: "tests"},
            host_key=self.host,
            authorized_key=self.client.public,
            boot_lease=boot_lease,
        )

    def launch(self, token: str = "", boot_lease: float = 60.0) -> Instance:
        """A machine that answers."""
        instance = self.provider.launch(self.request(token, boot_lease))
        assert instance.state == "running", instance
        return instance

    def folder(self, instance: Instance) -> Path:
        """Where everything of a machine lies on the host."""
        return self.home / "local" / instance.id

    def guardian(self, instance: Instance) -> int:
        """The guardian's process id, once it has started."""
        path = self.folder(instance) / "pid"
        return int(until(lambda: path.exists() and path.read_text().strip(), what="the guardian"))

    def state(self, instance: Instance) -> str:
        """The machine's state now."""
        return self.provider.get(instance.id).state

    def ended(self, instance: Instance, seconds: float = 10.0) -> str:
        """Waits until a machine is gone; returns why."""
        until(lambda: self.state(instance) == "gone", seconds, f"the end of {instance.id}")
        return self.provider.get(instance.id).detail

    def ssh_line(self, instance: Instance, *options: str, key: HostKey | None = None) -> list[str]:
        """The system's ssh client, trusting nothing but ``key`` (default: the pinned one)."""
        program = shutil.which("ssh")
        assert program
        known = self.home / f"known_{secrets.token_hex(4)}"
        public = (key or self.host).public
        known.write_text(f"[{instance.address}]:{instance.port} {public}\n")
        line = [program, "-F", "none", "-i", str(self._identity), "-p", str(instance.port)]
        line += ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]
        # The default key exchange costs the client 60 ms of CPU.
        line += ["-o", "KexAlgorithms=curve25519-sha256,curve25519-sha256@libssh.org"]
        line += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
        return [*line, *options, f"{instance.user}@{instance.address}"]

    def ssh(
        self, instance: Instance, command: str, data: bytes = b"", key: HostKey | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command by the system's ssh client."""
        line = [*self.ssh_line(instance, key=key), command]
        return subprocess.run(line, input=data, capture_output=True, timeout=30, check=False)

    @contextmanager
    def connected(self, instance: Instance) -> Iterator[paramiko.SSHClient]:
        """A paramiko connection that accepts the pinned host key only."""
        client = paramiko.SSHClient()
        kind, data = self.host.public.split()[:2]
        name = f"[{instance.address}]:{instance.port}"
        client.get_host_keys().add(name, kind, paramiko.Ed25519Key(data=base64.b64decode(data)))
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.connect(
            instance.address,
            instance.port,
            instance.user,
            key_filename=str(self._identity),
            allow_agent=False,
            look_for_keys=False,
            timeout=TEXT_LIMIT,
        )
        try:
            yield client
        finally:
            client.close()

    def out(self, instance: Instance, command: str) -> str:
        """What a command prints; it must succeed."""
        done = self.ssh(instance, command)
        assert done.returncode == 0, done
        return done.stdout.decode().strip()

    def python(self, code: str, *args: str) -> str:
        """A command line that runs Python code in a machine."""
        return shlex.join([self.provider.traits.python, "-I", "-c", code, *args])
