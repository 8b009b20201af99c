"""A container's life in small, played by a process that waits to become one.

After a fork every page of memory is shared until it is written to, and Python writes wherever it
goes: of a container's first six milliseconds three were the system copying pages. A spare does
that before anybody waits for it (docs/performance.md).
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from typing import Any, Dict

from ..runtime_agent import board, payload
from ..wire import messages
from . import worker
from .channel import Channel

NAME = "byoc_rehearsal"
SOURCE = """
import byoc
app = byoc.App("rehearsal")

@app.function()
def function(x):
    return x

@app.cls()
class Model:
    @byoc.enter()
    def enter(self):
        self.size = 1

    @byoc.method()
    def call(self, x):
        return x
"""
PAUSE = 5.0
"""Seconds after which a rehearsal that hangs fails."""


def rehearse() -> None:
    """Start a container of a class of ours, run an input, end it; leave the process as it was.

    Raises whatever goes wrong; the process is still fit to become a container then.
    """
    environ, path, argv, folder = dict(os.environ), list(sys.path), list(sys.argv), os.getcwd()
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    root = os.path.expanduser("~/.byoc/rehearsal")
    try:
        _play(_written(root))
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        sys.path[:], sys.argv, sys.dont_write_bytecode = path, argv, writes
        sys.path_importer_cache.pop(root, None)
        sys.modules.pop(NAME, None)
    gc.collect()


def _written(root: str) -> str:
    """The folder with the module in it."""
    file = os.path.join(root, NAME + ".py")
    os.makedirs(root, 0o700, exist_ok=True)
    if not os.path.exists(file) or os.path.getsize(file) != len(SOURCE):
        fresh = "%s.%d" % (file, os.getpid())
        with open(fresh, "w") as made:
            made.write(SOURCE)
        os.replace(fresh, file)
    return root


def _play(root: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(PAUSE)
        theirs.settimeout(PAUSE)
        start: Dict[str, Any] = {
            "t": "start",
            "name": "ta-rehearsal",
            "root": root,
            "cwd": root,
            "vars": {},
            "module": NAME,
            "qualname": "Model",
        }
        for head, buffers in (
            (start, []),
            ({"t": "in", "b": [[1, 1, "call"]]}, payload.dumps(((1,), {}))),
        ):
            ours.sendall(b"".join(messages.encode(head, buffers)))
        ours.shutdown(socket.SHUT_WR)
        shared = board.new()
        container = worker.Container(Channel(theirs), board.Board(shared))
        os.close(shared)
        try:
            code = container.live()
            container.end()
        finally:
            container.channel.bulk.close()
            container.board.close()
        if code:
            raise RuntimeError("the rehearsal ended with code %d" % code)
