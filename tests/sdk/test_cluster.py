"""Declaring gangs: ``nodes=`` and ``@byoc.clustered``, what is refused, and what a rank sees."""

from __future__ import annotations

from typing import Any

import pytest

import byoc
from byoc.errors import (
    ArgumentError,
    ConflictError,
    DeprecationError,
    InvalidError,
    NotYetError,
)


def plain(x: int = 1) -> int:
    """A function."""
    return x


def nodes_of(**options: Any) -> int:
    """Of a function that is declared with these."""
    return byoc.App().function(**options)(plain).spec.nodes


def test_nodes_are_declared_in_one_of_two_ways() -> None:
    """A keyword, or a decorator below the app's, on a function or a class."""
    assert nodes_of() == 1
    assert nodes_of(nodes=4) == 4

    @byoc.App().function(gpu="H100:8", serialized=True)
    @byoc.clustered(size=3)
    def marked() -> None: ...

    @byoc.App().cls(serialized=True)
    @byoc.clustered(size=2)
    class Marked:
        @byoc.method()
        def work(self) -> None: ...

    assert (marked.spec.nodes, Marked.spec.nodes) == (3, 2)  # type: ignore[attr-defined]


def test_the_old_name_means_the_same_and_warns() -> None:
    """``experimental.clustered`` takes its size by place, as it did."""
    with pytest.warns(DeprecationError, match="byoc.clustered"):
        decorate = byoc.experimental.clustered(2)
    assert byoc.App().function(serialized=True)(decorate(lambda: None)).spec.nodes == 2
    with pytest.raises(NotYetError, match="broadcast"):
        byoc.experimental.clustered(2, broadcast=False)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"nodes": 0}, InvalidError, "between 1 and 64"),
        ({"nodes": 65}, InvalidError, "between 1 and 64"),
        ({"nodes": "two"}, InvalidError, "whole number"),
        ({"nodes": 2, "max_containers": 4}, ConflictError, "max_containers="),
        ({"nodes": 2, "min_containers": 1}, ConflictError, "min_containers="),
        ({"nodes": 2, "buffer_containers": 1}, ConflictError, "buffer_containers="),
        ({"nodes": 2, "is_generator": True}, InvalidError, "generator"),
    ],
)
def test_what_a_gang_cannot_be_is_refused(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """Where it is declared, by name, and before anything is rented."""
    with pytest.raises(error, match=said):
        nodes_of(**options)


def test_decorators_that_contradict_a_gang_are_refused() -> None:
    """Inputs run one at a time, and one number of nodes counts."""
    for decorate in (byoc.concurrent(max_inputs=2), byoc.batched(max_batch_size=2, wait_ms=1)):
        with pytest.raises(ConflictError, match="nodes=2"):
            byoc.App().function(nodes=2)(decorate(lambda x: x))
    with pytest.raises(ConflictError, match="size=3"):
        byoc.App().function(nodes=2)(byoc.clustered(size=3)(lambda: None))


def test_the_decorator_says_where_it_belongs() -> None:
    """RDMA is refused with the reason; on a method, or above the app's decorator, it says so."""
    with pytest.raises(NotYetError, match="rdma=True") as caught:
        byoc.clustered(size=2, rdma=True)
    assert "TCP" in caught.value.hints[0]
    with pytest.raises(InvalidError, match="the method work"):

        class Wrong:
            @byoc.clustered(size=2)
            @byoc.method()
            def work(self) -> None: ...

    with pytest.raises(ArgumentError, match="not a Function"):
        byoc.clustered(size=2)(byoc.App().function()(plain))  # type: ignore[type-var]


@pytest.fixture
def rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is rank 1 of 3."""
    monkeypatch.setenv("BYOC_NODE_RANK", "1")
    monkeypatch.setenv("BYOC_NODE_IPS", "10.0.0.4,10.0.0.5,10.0.0.6")
    monkeypatch.setenv("BYOC_CLUSTER_ID", "gang-1")


@pytest.mark.usefixtures("rank")
def test_a_rank_knows_itself_and_the_others() -> None:
    """By Modal's names, old and new."""
    cluster = byoc.Cluster.from_context()
    assert cluster.container_rank() == 1
    assert cluster.container_ips() == ["10.0.0.4", "10.0.0.5", "10.0.0.6"]
    info = byoc.experimental.get_cluster_info()
    assert (info.rank, info.cluster_id) == (1, "gang-1")
    assert info.container_ipv4_ips == info.container_ips
    assert repr(cluster) == "<byoc.Cluster rank 1 of 3>"
