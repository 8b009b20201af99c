"""Work that takes longer than the notice of a preemption leaves."""

import time

import byoc

app = byoc.App("notified")


@app.function()
def square(number: int) -> int:
    """Slow, and says when it is done."""
    time.sleep(1.5)
    print(f"squared {number}")
    return number * number


@app.local_entrypoint()
def main() -> None:
    """More than one machine does before it is taken away."""
    print("sum", sum(square.map(range(24))))
