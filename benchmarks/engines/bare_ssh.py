"""The bare round trip of 100 bytes: byoc's transport, an sshd, ``cat``; no engine at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import driver

from byoc.transport import keys
from tests.transport.sshd import Sshd

SIZE = 100


class BareSsh:
    """Only :meth:`call`; see :class:`driver.Engine`."""

    def start(self) -> None:
        folder = Path(os.environ["HOME"]) / "bare"
        folder.mkdir(exist_ok=True)
        identity = keys.ensure_identity(folder)
        self.sshd = Sshd(folder / "sshd", keys.new_host_key(), identity.public)
        self.connection = self.sshd.connect(identity)
        self.stream = self.connection.exec("exec cat")

    def call(self, x: int) -> Any:
        said = b"%0*d" % (SIZE, x)
        self.stream.write(said)
        heard = b""
        while len(heard) < SIZE:
            heard += self.stream.read(SIZE)
        return int(heard)

    def stop(self) -> None:
        self.connection.close()
        self.sshd.stop()


if __name__ == "__main__":
    driver.main(BareSsh())
