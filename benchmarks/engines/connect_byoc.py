"""One client process with many instances: byoc's connection and agent link to each.

    python connect_byoc.py FOLDER PORT SOCKET

Everything is real up to the far end of a channel: TCP, key exchange, authentication, the link's
hello, its heart and its watch. The channel leads to ``agents.py`` by sshd's stream-local forwarding
where a real instance would start an agent, and so ships nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import clients

from byoc.clock import IDS, SYSTEM
from byoc.engine.agentlink import AgentLink
from byoc.transport import keys
from byoc.transport.ssh import Connection, connect
from tests.transport.sshd import USER

ADDRESS = "127.0.0.1"


class Nothing:
    """Stands for the bundle of an agent that is there already."""

    digest = ""
    stdin = b""

    def command(self, python: str) -> str:
        """What a real one would start the agent by."""
        return "true"


class Instance:
    """One machine, as the link wants it. ``exec`` leads to the agents' socket."""

    def __init__(self, identity: keys.Identity, host_key: str, port: int, path: str) -> None:
        self.identity = identity
        self.host_key = host_key
        self.port = port
        self.path = path

    def connect(self, timeout: float | None = None) -> Connection:
        """A real connection whose sessions are stream-local channels."""
        connection = connect(ADDRESS, self.port, USER, self.identity, self.host_key, 60)

        def run(command: str, stdin_first: Any = b"") -> Any:
            stream = connection.open_streamlocal(self.path)
            stream.write(stdin_first)
            return stream

        changed: Any = connection
        changed.exec = run
        return connection

    def look(self) -> Any:
        """Never asked: nothing is lost here."""
        raise NotImplementedError


class Byoc:
    """See :class:`clients.Client`."""

    def __init__(self, folder: Path, port: int, path: str) -> None:
        self.identity = keys.ensure_identity(folder)
        self.identity.key()  # loads paramiko
        self.host_key = (folder / "host_key.pub").read_text()
        self.port = port
        self.path = path

    def open(self) -> AgentLink:
        """One instance, connected, its agent greeted."""
        machine: Any = Instance(self.identity, self.host_key, self.port, self.path)
        bundle: Any = Nothing()
        made = AgentLink(
            machine,
            bundle,
            session=IDS.new("s"),
            python="python3",
            end_command=("true",),
            lease=90.0,
            clock=SYSTEM,
            on_lost=lambda error: sys.exit(f"lost: {error}"),
        )
        made.open()
        return made

    def close(self, one: Any) -> None:
        """End it."""
        one.close()


if __name__ == "__main__":
    clients.main(Byoc(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
