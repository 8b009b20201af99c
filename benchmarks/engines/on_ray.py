"""Ray with two CPUs: tasks, or with the argument ``actor`` two actors."""

from __future__ import annotations

import itertools
import logging
import os
import sys
from typing import Any

import driver
import functions
import ray

WAIT_FOR = 500
"""Results taken at once by an unordered map: fewer make it slower."""


class Ray:
    """See :class:`driver.Engine`."""

    def start(self) -> None:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            _temp_dir=os.environ["RAY_FOLDER"],
        )
        self.noop = ray.remote(functions.noop)
        self.taking = ray.remote(functions.take)
        self.giving = ray.remote(functions.give)

    def call(self, x: int) -> Any:
        return ray.get(self.noop.remote(x))

    def mapped(self, n: int, ordered: bool) -> list[Any]:
        waiting = self.queue(n, "")
        if ordered:
            return list(ray.get(waiting))
        found: list[Any] = []
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=min(WAIT_FOR, len(waiting)))
            found += ray.get(done)
        return found

    def queue(self, n: int, how: str) -> Any:
        return [self.noop.remote(x) for x in range(n)]

    def drain(self, queued: Any) -> int:
        return len(ray.get(queued))

    def take(self, array: Any) -> float:
        return float(ray.get(self.taking.remote(array)))

    def give(self, size: int) -> Any:
        return ray.get(self.giving.remote(size))

    def stop(self) -> None:
        ray.shutdown()


class Worker:
    """The actor's class: the functions as methods."""

    def noop(self, x: int) -> int:
        return functions.noop(x)

    def take(self, array: Any) -> float:
        return functions.take(array)

    def give(self, size: int) -> Any:
        return functions.give(size)


class RayActors(Ray):
    """Two actors that take turns."""

    def start(self) -> None:
        super().start()
        made = ray.remote(num_cpus=1)(Worker)
        self.actors = [made.remote() for _ in range(2)]

    def call(self, x: int) -> Any:
        return ray.get(self.actors[0].noop.remote(x))

    def queue(self, n: int, how: str) -> Any:
        return [actor.noop.remote(x) for x, actor in zip(range(n), itertools.cycle(self.actors))]

    def take(self, array: Any) -> float:
        return float(ray.get(self.actors[0].take.remote(array)))

    def give(self, size: int) -> Any:
        return ray.get(self.actors[0].give.remote(size))


if __name__ == "__main__":
    driver.main(RayActors() if "actor" in sys.argv[1:] else Ray())
