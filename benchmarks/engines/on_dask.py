"""dask.distributed's ``LocalCluster`` with two worker processes, as its manual starts it."""

from __future__ import annotations

import logging
from typing import Any

import distributed
import driver
from functions import give, noop, take


class Dask:
    """See :class:`driver.Engine`. ``pure=False``: nothing is taken from a cache."""

    def start(self) -> None:
        logging.disable(logging.WARNING)
        self.cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.client = distributed.Client(self.cluster)

    def call(self, x: int) -> Any:
        return self.client.submit(noop, x, pure=False).result()

    def mapped(self, n: int, ordered: bool) -> list[Any]:
        queued = self.queue(n, "")
        if ordered:
            return list(self.client.gather(queued))
        return [value for _, value in distributed.as_completed(queued, with_results=True)]

    def queue(self, n: int, how: str) -> Any:
        return self.client.map(noop, range(n), pure=False)

    def drain(self, queued: Any) -> int:
        return len(self.client.gather(queued))

    def take(self, array: Any) -> float:
        return float(self.client.submit(take, array, pure=False).result())

    def give(self, size: int) -> Any:
        return self.client.submit(give, size, pure=False).result()

    def stop(self) -> None:
        self.client.close()
        self.cluster.close()


if __name__ == "__main__":
    driver.main(Dask())
