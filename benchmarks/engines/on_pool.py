"""``concurrent.futures.ProcessPoolExecutor`` with two workers, one task a message."""

from __future__ import annotations

from concurrent import futures
from typing import Any

import driver
from functions import give, noop, take


class Pool:
    """See :class:`driver.Engine`."""

    def start(self) -> None:
        self.pool = futures.ProcessPoolExecutor(2)

    def call(self, x: int) -> Any:
        return self.pool.submit(noop, x).result()

    def mapped(self, n: int, ordered: bool) -> list[Any]:
        if ordered:
            return list(self.pool.map(noop, range(n)))
        return [f.result() for f in futures.as_completed(self.queue(n, ""))]

    def queue(self, n: int, how: str) -> Any:
        return [self.pool.submit(noop, x) for x in range(n)]

    def drain(self, queued: Any) -> int:
        return len([future.result() for future in queued])

    def take(self, array: Any) -> float:
        return self.pool.submit(take, array).result()

    def give(self, size: int) -> Any:
        return self.pool.submit(give, size).result()

    def stop(self) -> None:
        self.pool.shutdown()


if __name__ == "__main__":
    driver.main(Pool())
