"""The ranks of a gang: what each is told of the others, and whose output is whose.

Each container of a gang is one rank, and so is each node. The variables are those that torchrun,
torch.distributed and Ray read, besides byoc's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..clock import Ids
from ..providers.base import Instance

PORTS = range(20000, 30000)
"""Where a gang's rendezvous port is looked for: below what Linux gives to outgoing connections
(32768 and up), and none that well-known services have."""
TRIES = 8
"""Ports that the first rank tries; the first that is free there is taken."""
PROBE = """\
import socket, sys
for number, port in enumerate(sys.argv[1:]):
    with socket.socket() as door:
        try:
            door.bind(("", int(port)))
        except OSError:
            continue
    raise SystemExit(number)
raise SystemExit(0)
"""
"""Exits with the place of the first of its arguments that is a free port."""
RAY_PORT = 6379
"""Of Ray's head, by Ray's own default."""
LONGEST = 64 * 1024
"""Bytes of a line after which what is there of it is shown."""


class Roster(NamedTuple):
    """A gang as its ranks know it. ``ips``: their addresses within their network, in order;
    ``port``: free on the first of them; ``gpus``: of each; ``name``: of the gang."""

    name: str
    ips: tuple[str, ...]
    port: int
    gpus: int

    def variables(self, rank: int) -> dict[str, str]:
        """What this rank's container finds in its environment.

        ``RANK`` and ``WORLD_SIZE`` count one process a node; torchrun sets its own for each process
        that it starts. ``PET_*`` are torchrun's own options, so that it needs none.
        """
        size, each = str(len(self.ips)), str(max(1, self.gpus))
        first, port, mine = self.ips[0], str(self.port), str(rank)
        return {
            "BYOC_CLUSTER_ID": self.name,
            "BYOC_NODES": size,
            "BYOC_NODE_RANK": mine,
            "BYOC_NODE_IPS": ",".join(self.ips),
            "BYOC_NODE_IP": self.ips[rank],
            "BYOC_RAY_ADDRESS": f"{first}:{RAY_PORT}",
            "MASTER_ADDR": first,
            "MASTER_PORT": port,
            "NNODES": size,
            "NODE_RANK": mine,
            "NPROC_PER_NODE": each,
            "RANK": mine,
            "LOCAL_RANK": "0",
            "WORLD_SIZE": size,
            "PET_NNODES": size,
            "PET_NODE_RANK": mine,
            "PET_NPROC_PER_NODE": each,
            "PET_MASTER_ADDR": first,
            "PET_MASTER_PORT": port,
        }


def address(instance: Instance) -> str:
    """Where others of its network reach an instance."""
    return instance.inside or instance.address


def ports(ids: Ids) -> list[int]:
    """Some ports, by chance."""
    draw = ids.secret(2 * TRIES)
    numbers = [int.from_bytes(draw[at : at + 2], "big") for at in range(0, 2 * TRIES, 2)]
    return [PORTS[number % len(PORTS)] for number in numbers]


def chosen(tried: Sequence[int], word: object) -> int:
    """The port that :data:`PROBE` found, by its last word; the first one where it said nothing."""
    code = word.get("code") if isinstance(word, dict) and word.get("reason") == "exit" else 0
    return tried[code if isinstance(code, int) and 0 <= code < len(tried) else 0]


class RankLines:
    """Puts its rank before each line of a gang's container. Safe from any thread."""

    def __init__(self, show: Callable[[int, bytes, str], None]) -> None:
        self._show = show
        self._lock = threading.Lock()
        self._ranks: dict[str, bytes] = {}
        self._parts: dict[tuple[str, int], bytes] = {}

    def add(self, container: str, rank: int) -> None:
        """Its lines are of this rank."""
        with self._lock:
            self._ranks[container] = b"[rank %d] " % rank

    def took(self, fd: int, data: bytes, container: str) -> bool:
        """Show the whole lines of what a rank wrote; False when it is none."""
        with self._lock:
            prefix = self._ranks.get(container)
            if prefix is None:
                return False
            whole, end, part = (self._parts.pop((container, fd), b"") + data).rpartition(b"\n")
            if len(part) > LONGEST:
                whole, end, part = whole + end + part, b"\n", b""
            if part:
                self._parts[container, fd] = part
        if end:
            self._show(fd, _prefixed(prefix, whole + end), container)
        return True

    def flush(self) -> None:
        """Show what was not ended by a new line."""
        with self._lock:
            left, self._parts = self._parts, {}
            ranks = dict(self._ranks)
        for (container, fd), part in left.items():
            self._show(fd, _prefixed(ranks[container], part + b"\n"), container)


def _prefixed(prefix: bytes, lines: bytes) -> bytes:
    return b"".join(prefix + line for line in lines.splitlines(keepends=True))
