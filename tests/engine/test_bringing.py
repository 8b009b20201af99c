"""Renting several instances side by side: as many as a function is worth, none twice."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from byoc.engine.base import Search
from byoc.engine.options import RunOptions
from byoc.engine.pool import Pool
from byoc.engine.session import Session
from byoc.errors import CapacityError
from byoc.resources import Offer, Resources, parse_gpu
from tests.engine.hosts import Host, World
from tests.engine.specs import spec
from tests.helpers import until


class Renting(World):
    """Instances are rented for real threads' sake; each comes when the test lets it."""

    def __init__(self, options: RunOptions) -> None:
        super().__init__()
        session = self.session
        del session._hosts_for, session._begin_bringing
        session._prepared = {}
        session._hosts = []
        session.options = options
        session._gather = lambda spec: SimpleNamespace(files=[], plan=None, code=[])  # type: ignore[assignment,return-value]
        session._ready = lambda host, files, plan: {}  # type: ignore[method-assign]
        session._acquire = self._rent  # type: ignore[method-assign]
        self.asked: list[Resources] = []
        self.let = threading.Semaphore(0)
        self.refused = 0
        self.shared = False

    def _rent(self, resources: Resources, search: Search) -> Any:
        self.asked.append(resources)
        assert self.let.acquire(timeout=20)
        if self.refused:
            self.refused -= 1
            raise CapacityError("none left")
        count = resources.gpus[0].count if resources.gpus else 0
        host: Any = Host(cores=2.0, gpus=count, shared=self.shared)
        gpu = "T4" if count else ""
        host.offer = Offer("aws", "r", "z", "t", "spot", 1.0, 2.0, 8000, gpu=gpu, gpu_count=count)
        with self.session.lock:
            self.session._hosts.append(host)
            search.claim(host)
        return host

    def live(self, pool: Pool) -> int:
        """Containers that take inputs."""
        with self.session.lock:
            return pool.live


def on_gpu(**more: Any) -> Any:
    """A function that needs a GPU of its own."""
    return spec(resources=Resources(gpus=(parse_gpu("T4"),)), **more)


def test_instances_of_one_function_come_side_by_side() -> None:
    """Eight containers with a GPU each: eight instances are asked for before the first one came."""
    world, one = Renting(RunOptions(clouds=("aws",))), on_gpu(max_containers=8)
    world.submit(one, 20)
    until(lambda: len(world.asked) == 8, 10)
    world.let.release(8)
    until(lambda: world.live(world.pool(one)) == 8, 10)
    assert len(world.session._hosts) == len(set(map(id, world.session._hosts))) == 8
    until(lambda: not world.session._bringing, 10)
    assert len(world.asked) == 8


def test_the_first_instance_tells_how_many_more_are_worth_it() -> None:
    """Without a GPU it is not known how many containers an instance takes: one comes first, then
    the rest together."""
    world, one = Renting(RunOptions(clouds=("aws",))), spec(cpu=1.0, min_containers=9)
    world.submit(one, 1)
    until(lambda: len(world.asked) == 1, 10)
    world.let.release()
    until(lambda: len(world.asked) == 5, 10)  # two on each
    world.let.release(4)
    until(lambda: world.live(world.pool(one)) == 9, 10)
    until(lambda: not world.session._bringing, 10)
    assert len(world.asked) == 5


@pytest.mark.parametrize("options", [RunOptions(), RunOptions(clouds=("local",))])
def test_this_computer_is_rented_once(options: RunOptions) -> None:
    """More instances of one and the same machine would hold no more."""
    world, one = Renting(options), on_gpu(max_containers=8)
    world.session.settings.used_clouds = lambda: ("local",)  # type: ignore[attr-defined,method-assign]
    world.shared = True
    world.submit(one, 20)
    until(lambda: len(world.asked) == 1, 10)
    world.let.release()
    until(lambda: world.live(world.pool(one)) == 1, 10)
    assert len(world.asked) == 1


def test_another_function_waits_for_what_is_being_rented() -> None:
    """It may run there as well: two functions that start together rent one instance."""
    world = Renting(RunOptions(clouds=("aws",)))
    one, other = spec(name="one"), spec(name="other")
    world.submit(one, 1)
    until(lambda: len(world.asked) == 1, 10)
    world.submit(other, 1)
    world.let.release()
    until(lambda: world.live(world.pool(one)) and world.live(world.pool(other)), 10)
    assert len(world.asked) == 1


def test_who_gets_fewer_instances_goes_on_with_them() -> None:
    """Three of four are refused: the work is done on the one, and nobody is told of a failure."""
    world, one = Renting(RunOptions(clouds=("aws",))), on_gpu(max_containers=4)
    world.submit(one, 4)
    until(lambda: len(world.asked) == 4, 10)
    world.refused = 3
    world.let.release(3)
    until(lambda: len(world.notices) == 3, 10)
    world.let.release()
    until(lambda: world.live(world.pool(one)) == 1, 10)
    assert not world.outcomes
    assert all("no further instance for f: none left" in notice for notice in world.notices)


def test_a_session_is_what_these_tests_take_it_for() -> None:
    """The names that are replaced above exist."""
    assert all(hasattr(Session, name) for name in ("_acquire", "_ready", "_gather", "_hosts_for"))
