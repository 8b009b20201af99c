"""A map in whose middle machines are taken back: some items wait for the notice, or for the end.

``--held``: how many, the 51st and each 10th after it; so many machines may be taken in turn.
``--patience``: seconds that they wait; where the machine is told, it is told within them.
"""

import os
import threading

import byoc

app = byoc.App("preempted")
FIRST, EACH = 50, 10
noticed, WORK = threading.Event(), threading.Event()


def save(preemption: byoc.Preemption) -> None:
    """The hook: it says what it was told, and lets the item that waits go on."""
    where = f"{preemption.cloud} {preemption.instance_id}"
    print(f"hook: {preemption.seconds:.0f} s left on {where}", flush=True)
    noticed.set()


@app.function(max_containers=1, on_preempt=save)
def square(number: int, held: int, patience: float) -> tuple[int, str]:
    """Its square, and the container that says so."""
    if number in range(FIRST, FIRST + EACH * held, EACH) and noticed.wait(patience):
        WORK.wait(1.0)  # it works on for a while; what waits behind it is taken elsewhere now
    print(f"squared {number}")
    return number * number, os.environ["BYOC_TASK_ID"]


@app.local_entrypoint()
def main(items: int = 200, held: int = 1, patience: float = 10.0) -> None:
    """All of them, once each, by how many containers."""
    results = list(square.map(range(items), kwargs={"held": held, "patience": patience}))
    assert [value for value, _ in results] == [number * number for number in range(items)]
    print("results", len(results), "containers", len({name for _, name in results}))
