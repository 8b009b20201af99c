"""The smallest program: one function, called once and mapped."""

import platform

import byoc

app = byoc.App("hello")


@app.function()
def square(x: int) -> int:
    print(f"squaring {x} on Python {platform.python_version()}")
    return x * x


@app.local_entrypoint()
def main(n: int = 5) -> None:
    print("one call:", square.remote(n))
    print("a map:", list(square.map(range(n))))
