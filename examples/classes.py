"""A class: loaded once in each container, then called many times.

byoc run examples/classes.py
byoc run examples/classes.py::Model.score --name large --text hello
"""

import time

import byoc

app = byoc.App("classes")


@app.cls(max_containers=2, scaledown_window=30)
class Model:
    name: str = byoc.parameter(default="small")
    seed: int = byoc.parameter(default=7)

    @byoc.enter()
    def load(self) -> None:
        time.sleep(0.1)  # stands for loading weights
        self.scale = len(self.name) * self.seed
        print(f"{self.name} is loaded")

    @byoc.method()
    def score(self, text: str) -> int:
        return self.scale * len(text)

    @byoc.exit()
    def close(self) -> None:
        print(f"{self.name} is closed")


@app.function()
@byoc.batched(max_batch_size=4, wait_ms=50)
def embed(texts: list[str]) -> list[str]:
    return [f"{text} in a batch of {len(texts)}" for text in texts]


@app.function(max_containers=1)
@byoc.concurrent(max_inputs=10)
def fetch(page: int) -> int:
    time.sleep(0.2)  # stands for waiting for a network: ten wait together
    return page


@app.local_entrypoint()
def main() -> None:
    print("one:", Model().score.remote("hello"))
    print("three:", list(Model().score.map(["a", "ab", "abc"])))
    print("large:", Model(name="large", seed=2).score.remote("hello"))
    print("with more memory:", Model.with_options(memory=512)().score.remote("hello"))
    print("batched:", next(iter(embed.map(["a", "b", "c", "d"]))))

    begun = time.monotonic()
    pages = list(fetch.map(range(10)))
    print("together:", len(pages), "pages", "at once" if time.monotonic() - begun < 1.9 else "slow")
