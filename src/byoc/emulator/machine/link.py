"""The connection to the nursery, the process that makes machines and ends them."""

from __future__ import annotations

import importlib.util
import logging
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...errors import BootError
from ...providers.local.modes import base_python
from .guest import messages

_LOG = logging.getLogger(__name__)
START = 20.0
"""Longest wait for the nursery's first word; it takes 0.1 s, a busy host perhaps seconds."""
_HERE = str(Path(__file__).parent)
_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from guest.nursery import main; "
_CODE += "sys.exit(main(sys.argv[1:]))"


def must_be_possible() -> None:
    """Raises BootError, with a remedy, where emulated machines cannot be."""
    if not sys.platform.startswith("linux"):
        raise BootError(
            f"emulated machines need Linux, and this is {sys.platform}",
            hints=("Run byoc emulate in a Linux virtual machine or a privileged container.",),
        )
    if os.geteuid() != 0:
        raise BootError(
            "emulated machines need root, for namespaces and mounts of their own",
            hints=("Run it as root, for example: sudo env PATH=$PATH byoc emulate ...",),
        )
    if importlib.util.find_spec("yaml") is None:
        raise BootError(
            "emulated machines need PyYAML, to read their boot data",
            hints=("Run: pip install 'byoc-cloud[emulator]'",),
        )


class Link:
    """A running nursery. ``folder``: of all machines, removed at the end; the one above it as well
    should this process be killed. ``memory_disk``: disks of machines have to be kept in memory.

    Raises BootError when this host refuses what machines are made of.
    """

    def __init__(self, folder: Path) -> None:
        self.socket, theirs = messages.pair()
        with theirs:
            argv = [base_python(), "-I", "-S", "-c", _CODE, _HERE, str(theirs.fileno())]
            self._process = subprocess.Popen(
                [*argv, str(folder), str(folder.parent)],
                stdin=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        try:
            self.memory_disk = self._trial()
        except BaseException:
            self.socket.close()
            self._process.wait()
            raise

    def _trial(self) -> bool:
        self.socket.settimeout(START)
        try:
            got = messages.receive(self.socket)
        except TimeoutError:
            got = None
        said = got[0]["trial"] if got else "the process that makes them did not start"
        if said not in ("disk", "memory"):
            raise BootError(
                f"emulated machines cannot be made on this host: {said}",
                hints=("Run on Linux as root with all rights; a container needs --privileged.",),
            )
        self.socket.setblocking(False)
        return bool(said == "memory")

    def tell(self, message: dict[str, Any], handles: tuple[int, ...] = ()) -> None:
        """Say something. Waits while it is busy: many machines may be asked for at once."""
        while True:
            try:
                messages.send(self.socket, message, handles)
                return
            except BlockingIOError as error:
                if not select.select([], [self.socket], [], START)[1]:
                    raise BootError("the process that makes machines is stuck") from error
            except OSError as error:
                _LOG.error("the process that makes machines does not answer: %s", error)
                return

    def close(self) -> None:
        """End it, and with it all machines; returns when they are gone."""
        if self._process.poll() is None:
            self.tell({"do": "end"})
        # Only our half: it may still have something to say, and must not wait for a listener.
        self.socket.shutdown(socket.SHUT_WR)
        self.socket.setblocking(True)
        while messages.receive(self.socket) is not None:
            pass
        self._process.wait()
        self.socket.close()
