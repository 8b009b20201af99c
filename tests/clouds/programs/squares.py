"""A map that takes a while, on up to two containers with a GPU each."""

import time

import byoc

app = byoc.App("squares")


@app.function(gpu="T4", max_containers=2)
def square(x: int) -> int:
    time.sleep(0.3)
    return x * x


@app.local_entrypoint()
def main(n: int = 24) -> None:
    print("sum:", sum(square.map(range(n))))
