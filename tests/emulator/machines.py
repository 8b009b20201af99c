"""Machines for tests: boot data, and logins by a client of SSH."""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import paramiko
import pytest

from byoc.emulator.ports import Events, Machine, Metadata, Reply
from byoc.emulator.world import EmulatedWorld
from byoc.transport import keys
from tests.helpers import until

real_machines = pytest.mark.skipif(
    os.getuid() != 0 or not sys.platform.startswith("linux"),
    reason="emulated machines need root on Linux",
)
HOST_KEY = keys.new_host_key()
CLIENT_KEY = keys.new_host_key()
FACTS = {"region": "us-east-1", "zone": "us-east-1a", "type": "t3.medium", "market": "spot"}


def cloud_config(**more: Any) -> str:
    """Boot data with our keys; ``more``: further keys of the cloud-config."""
    import json

    document = {
        "ssh_keys": {"ed25519_private": HOST_KEY.private, "ed25519_public": HOST_KEY.public},
        "disable_root": False,
        "ssh_authorized_keys": [CLIENT_KEY.public],
        **more,
    }
    return "#cloud-config\n" + json.dumps(document)


def nothing(*_: object) -> Reply:
    """A metadata service that knows nothing."""
    return Reply(404)


@dataclass
class Booted:
    """An instance of a world that a test made. ``heard``: what its façade was told."""

    world: EmulatedWorld
    id: str
    address: str
    heard: list[str] = field(default_factory=list)

    def said(self) -> str:
        """Its console."""
        return self.world.console("aws", self.id)

    @contextmanager
    def login(self, user: str = "root") -> Iterator[paramiko.Transport]:
        """A connection to its SSH server, whose key must be the injected one."""
        with socket.create_connection((self.address, 22), 20) as plain:
            plain.settimeout(20)
            transport = paramiko.Transport(plain)
            try:
                transport.start_client(timeout=20)
                offered = transport.get_remote_server_key().get_base64()
                assert offered == HOST_KEY.public.split()[1]
                private = paramiko.Ed25519Key.from_private_key(io.StringIO(CLIENT_KEY.private))
                transport.auth_publickey(user, private)
                yield transport
            finally:
                transport.close()

    def run(self, command: str, user: str = "root") -> tuple[int, str]:
        """A command's exit code and output, both streams together."""
        with self.login(user) as transport:
            return run(transport, command)


def run(transport: paramiko.Transport, command: str) -> tuple[int, str]:
    """A command on a connection: its exit code and output."""
    channel = transport.open_session(timeout=20)
    channel.settimeout(20)
    channel.set_combine_stderr(True)
    channel.exec_command(command)
    text = b""
    while piece := channel.recv(65536):
        text += piece
    return channel.recv_exit_status(), text.decode(errors="replace")


def boot(
    world: EmulatedWorld,
    user_data: str | None = None,
    id: str = "i-1",
    metadata: Metadata = nothing,
    **more: Any,
) -> Booted:
    """Launch an instance as a façade would; ``more``: fields of its machine."""
    address = world.address("aws")
    booted = Booted(world, id, address)

    def up() -> None:
        booted.heard.append("up")
        world.billing("aws", id, True)

    def off(reason: str) -> None:
        booted.heard.append(reason)
        world.billing("aws", id, False)

    text = cloud_config() if user_data is None else user_data
    machine = Machine("aws", id, id, **FACTS, address=address, user_data=text, metadata=metadata)
    world.made("aws", id, FACTS)
    world.power_on(machine._replace(**more), Events(up, off))
    return booted


def greets(address: str, seconds: float = 0.3) -> bool:
    """Whether an SSH server answers at an address now."""
    try:
        with socket.create_connection((address, 22), seconds) as plain:
            plain.settimeout(seconds)
            return plain.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_up(*booted: Booted) -> None:
    """Until they answer."""
    for one in booted:
        until(lambda one=one: greets(one.address), 20, f"{one.id} to answer; {one.said()}")
