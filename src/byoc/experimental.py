"""``byoc.experimental``: what of ``modal.experimental`` has found its place here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .notices import deprecated
from .sdk import cluster
from .sdk.cluster import ClusterInfo, get_cluster_info

__all__ = ["ClusterInfo", "clustered", "get_cluster_info"]

F = TypeVar("F")


def clustered(size: int, broadcast: bool = True, rdma: bool = False) -> Callable[[F], F]:
    """The old name of :func:`byoc.clustered`. ``broadcast=False``, inputs for rank 0 alone, never
    worked; it is refused."""
    cluster.refuse_broadcast(broadcast)
    deprecated("byoc.experimental.clustered", "write @byoc.clustered(size=...)")
    return cluster.clustered(size=size, rdma=rdma)
