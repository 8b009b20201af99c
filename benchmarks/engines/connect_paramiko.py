"""One client process with many connections by paramiko as it comes: ``Transport`` and a channel.

python connect_paramiko.py FOLDER PORT SOCKET
"""

from __future__ import annotations

import base64
import socket
import sys
from pathlib import Path
from typing import Any

import clients
import paramiko


class Paramiko:
    """See :class:`clients.Client`. Its channel leads where byoc's does, and stays silent."""

    def __init__(self, folder: Path, port: int, path: str) -> None:
        self.key = paramiko.Ed25519Key.from_private_key_file(str(folder / "keys" / "id_ed25519"))
        blob = base64.b64decode((folder / "host_key.pub").read_text().split()[1])
        self.host_key = paramiko.Ed25519Key(data=blob)
        self.port = port
        self.path = path

    def open(self) -> Any:
        """Connected, authenticated, a session channel open."""
        transport = paramiko.Transport(socket.create_connection(("127.0.0.1", self.port)))
        transport.connect(self.host_key, clients.user(), pkey=self.key)
        return transport, transport.open_session(timeout=60)

    def close(self, one: Any) -> None:
        """End it."""
        one[0].close()


if __name__ == "__main__":
    clients.main(Paramiko(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
