"""What a function sees of its GPUs."""

import os
import subprocess

import byoc

app = byoc.App("gpus")


@app.function(gpu="T4")
def look() -> tuple[str, str]:
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    return listed.stdout, os.environ["CUDA_VISIBLE_DEVICES"]


@app.local_entrypoint()
def main() -> None:
    listed, visible = look.remote()
    print(listed.strip())
    print("visible:", visible)
