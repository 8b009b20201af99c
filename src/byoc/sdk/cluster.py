"""Gangs as programs see them: ``@byoc.clustered`` declares one, ``byoc.Cluster`` is the one that
this container belongs to.

Travels in the bundle. CPython 3.8+.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import ArgumentError, ConflictError, InvalidError, NotYetError
from . import marks, params

F = TypeVar("F")

NODES = "__byoc_nodes__"
"""On a function or class: how many containers take each input together."""
MOST = 64
"""Nodes of a gang: as many instances as one installation has at most unless a setting says more."""
_RANK, _IPS, _NAME = "BYOC_NODE_RANK", "BYOC_NODE_IPS", "BYOC_CLUSTER_ID"


def clustered(*, size: int, rdma: bool = False) -> Callable[[F], F]:
    """Decorator of a function or class, below the app's: each input is taken by ``size`` containers
    together, each on an instance of its own, and its value is rank 0's. The same as ``nodes=size``.

    ``rdma``: refused, with NotYetError: instances speak TCP with each other (docs/gangs.md). Raises
    InvalidError for a size that is none.
    """
    count = number("@byoc.clustered", "size", size)
    refuse_rdma("@byoc.clustered", rdma)

    def decorate(marked: F) -> F:
        if isinstance(marked, marks.Method):
            raise InvalidError(
                f"@byoc.clustered cannot decorate the method {marked.__name__}",
                hints=("put it on the class: all its methods run on all nodes",),
            )
        if not (isinstance(marked, type) or inspect.isfunction(marked)):
            kind = type(marked).__name__
            raise ArgumentError(
                f"@byoc.clustered decorates a function or a class, not a {kind}",
                hints=("put @byoc.clustered below the app's decorator",),
            )
        setattr(marked, NODES, count)
        return marked

    return decorate


def refuse_rdma(where: str, asked: Any) -> None:
    """No network of byoc's has it: EFA, GPUDirect and OCI's cluster networks need placement groups,
    drivers and images of their own."""
    if params.flag(where, "rdma", asked):
        raise NotYetError(
            f"{where}: rdma=True is not available in this version of byoc: no offer is launched "
            "with a network that has it",
            hints=("leave it out: the nodes reach each other by TCP within their zone",),
        )


def refuse_broadcast(asked: bool) -> None:
    """Every rank gets every input."""
    if not asked:
        raise NotYetError(
            "@byoc.experimental.clustered: broadcast=False is not available",
            hints=("leave it out: all ranks get the input, and what they return is not used",),
        )


def number(where: str, name: str, value: Any) -> int:
    """Nodes of a gang, or 1. Raises InvalidError."""
    return int(params.number(where, name, value, 1, MOST, whole=True))


def of(where: str, marked: Any, given: Any) -> int:
    """How many nodes a function or class has, by its mark and ``nodes=``."""
    known = vars(marked).get(NODES)
    if given is None:
        return int(known or 1)
    count = number(where, "nodes", given)
    if known is not None and known != count:
        raise ConflictError(
            f"{where}: nodes={count} stands beside @byoc.clustered(size={known})",
            hints=("keep one of the two",),
        )
    return count


def check(where: str, nodes: int, yields: bool, given: dict[str, Any]) -> None:
    """Refuse what a gang cannot be. ``given``: by name, what else was asked for."""
    if nodes == 1:
        return
    if yields:
        raise InvalidError(
            f"{where}: a generator cannot run on several nodes",
            hints=("return a list, or write files",),
        )
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise ConflictError(
            f"{where}: {wrong[0]} cannot stand beside nodes={nodes}: the containers of a gang take "
            "one input at a time, together",
            hints=("leave out one of the two",),
        )


@dataclass(frozen=True)
class ClusterInfo:
    """What ``byoc.experimental.get_cluster_info()`` tells. ``container_ips``: by rank."""

    rank: int
    cluster_id: str
    container_ips: list[str]

    @property
    def container_ipv4_ips(self) -> list[str]:
        """The same addresses: they are IPv4."""
        return list(self.container_ips)


class Cluster:
    """The gang of this container. Made by :meth:`from_context`."""

    def __init__(self, info: ClusterInfo) -> None:
        self._info = info

    @classmethod
    def from_context(cls) -> Cluster:
        """The gang that this container belongs to. Raises InvalidError where there is none."""
        return cls(get_cluster_info())

    @property
    def cluster_id(self) -> str:
        """The same for all its containers."""
        return self._info.cluster_id

    def container_rank(self) -> int:
        """Which one this container is, from 0."""
        return self._info.rank

    def container_ips(self) -> list[str]:
        """The addresses of all containers, by rank, by which they reach each other."""
        return list(self._info.container_ips)

    def __repr__(self) -> str:
        return f"<byoc.Cluster rank {self._info.rank} of {len(self._info.container_ips)}>"


def get_cluster_info() -> ClusterInfo:
    """Of the gang that this container belongs to. Raises InvalidError where there is none."""
    found = os.environ.get(_RANK)
    if found is None:
        raise InvalidError(
            "this process is not a container of a gang",
            hints=(
                "declare one: @app.function(nodes=2), and ask inside the function",
                "with nodes=1, or --nodes 1, a function runs alone, without a gang",
            ),
        )
    ips = os.environ.get(_IPS, "").split(",")
    return ClusterInfo(int(found), os.environ.get(_NAME, ""), ips)
