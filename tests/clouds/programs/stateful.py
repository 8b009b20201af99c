"""A class with state; its machines are taken back while a generator, and then a call, run."""

import os
import threading
from collections.abc import Iterator

import byoc

app = byoc.App("stateful")
PATIENCE = 15.0


@app.cls(max_containers=1)
class Counter:
    """Counts what it was asked, and says what it had when its machine is taken."""

    @byoc.enter()
    def load(self) -> None:
        self.count = 0
        self.leaving = threading.Event()

    @byoc.method()
    def add(self, number: int, wait: bool) -> tuple[int, str]:
        """The count, and who counted; ``wait``: only when the machine is about to go."""
        self.count += number
        if wait:
            assert self.leaving.wait(PATIENCE)
        return self.count, os.environ["BYOC_TASK_ID"]

    @byoc.method()
    def numbers(self, n: int) -> Iterator[str]:
        """Yields the first one now, and the others when the machine is about to go."""
        for number in range(n):
            self.count += 1
            yield os.environ["BYOC_TASK_ID"]
            if number == 0:
                assert self.leaving.wait(PATIENCE)

    @byoc.on_preempt()
    def save(self, preemption: byoc.Preemption) -> None:
        print(f"saved {self.count} with {preemption.seconds > 0}", flush=True)
        self.leaving.set()


@app.local_entrypoint()
def main() -> None:
    """Three machines, one after the other."""
    counter = Counter()
    first = list(counter.numbers.remote_gen(5))
    assert len(first) == 5 and len(set(first)) == 1, first
    count, second = counter.add.remote(7, False)
    assert count == 7 and second not in first
    assert counter.add.remote(1, True) == (8, second)
    count, third = counter.add.remote(2, False)
    assert count == 2 and third not in (*first, second)
    print("three machines")
