"""Maps: many inputs, in order or as they finish, with failures and retries.

byoc run examples/mapping.py --n 12
"""

from collections import Counter
from collections.abc import Iterator

import byoc

app = byoc.App("mapping")
again = byoc.Retries(max_retries=2, initial_delay=0.0)
tries: Counter[str] = Counter()


@app.function()
def shift(x: int, y: int = 0, *, by: int = 0) -> int:
    if x == 13:
        raise ValueError("13 brings bad luck")
    return x + y + by


@app.function(retries=again, max_containers=1)
def third_time(key: str) -> str:
    """Fails twice for each key, as a flaky service does; its container lives on meanwhile."""
    tries[key] += 1
    if tries[key] < 3:
        raise ConnectionError(f"{key} is not ready yet")
    return f"{key} at attempt {tries[key]}"


def numbers(n: int) -> Iterator[int]:
    """Inputs may come from a generator: it is asked as the map goes on."""
    yield from range(n)


@app.local_entrypoint()
def main(n: int = 5) -> None:
    print("in order:", list(shift.map(numbers(n))))
    print("as they finish:", sorted(shift.map(range(n), order_outputs=False)))
    print("two iterables:", list(shift.map([1, 2, 3], [10, 20, 30], kwargs={"by": 100})))
    print("tuples:", list(shift.starmap([(1, 10), (2, 20)])))

    try:
        print(list(shift.map([12, 13, 14])))
    except ValueError as error:
        print("a failure:", error)
    print("failures in place:", list(shift.map([12, 13, 14], return_exceptions=True)))
    shift.for_each(range(n))
    print("retried:", third_time.remote("this"))
