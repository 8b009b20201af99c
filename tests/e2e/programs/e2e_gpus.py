"""Functions that say which GPUs they were given."""

import os

import byoc

app = byoc.App("gpus")


def given() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "nothing was said")


@app.function(gpu="H100")
def one(x: int) -> str:
    return given()


@app.function(gpu=["B200", "H100:2"])
def both() -> str:
    return given()


@app.function()
def none() -> str:
    return given()
