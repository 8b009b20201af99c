"""One map over many instances, each with one container."""

import os
import socket

import byoc

app = byoc.App("crowd")


@app.function(gpu="T4", max_containers=50)
def where(x: int, wait: float) -> tuple[int, str, int]:
    import time

    time.sleep(wait)  # until all the others have theirs
    return x, socket.gethostname(), os.getpid()


@app.local_entrypoint()
def main(n: int = 50, wait: float = 20.0) -> None:
    import resource
    import time

    begun = time.perf_counter()
    found = list(where.map(range(n), [wait] * n))
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert [x for x, _, _ in found] == list(range(n))
    print("hosts:", len({host for _, host, _ in found}))
    print(f"seconds: {time.perf_counter() - begun:.1f}")
    print(f"client: {used.ru_utime + used.ru_stime:.1f} s of a core, {used.ru_maxrss // 1024} MiB")
