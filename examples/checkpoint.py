"""A long job on machines that may be taken away: it hands its state back in time.

byoc run examples/checkpoint.py
byoc run examples/checkpoint.py --cloud aws --spot
"""

import json
import tempfile
import threading
from pathlib import Path

import byoc

app = byoc.App("checkpoint")
leaving = threading.Event()


def leave(preemption: byoc.Preemption) -> None:
    print(f"{preemption.cloud} takes this machine in {preemption.seconds:.0f} s")
    leaving.set()


@app.function(on_preempt=leave, timeout=3600)
def train(state: dict[str, float], until: int) -> dict[str, float]:
    """From one state to a later one: as far as asked for, or as the machine's time allows."""
    while state["step"] < until and not leaving.is_set():
        state = {"step": state["step"] + 1, "loss": state["loss"] * 0.995}
    return state


@app.cls()
class Scorer:
    @byoc.enter()
    def load(self) -> None:
        self.scored = 0

    @byoc.method()
    def score(self, number: int) -> int:
        self.scored += 1
        return number * number

    @byoc.on_preempt()
    def tell(self) -> None:
        print(f"{self.scored} were scored here")


@app.local_entrypoint()
def main(steps: int = 900, every: int = 300) -> None:
    kept = Path(tempfile.gettempdir(), "checkpoint.json")  # yours: where it outlives the program
    state: dict[str, float] = {"step": 0, "loss": 1.0}
    while state["step"] < steps:
        state = train.remote(state, min(steps, int(state["step"]) + every))
        kept.write_text(json.dumps(state))
        print(f"kept: step {state['step']}, loss {state['loss']:.3f}")
    print("scored:", list(Scorer().score.map(range(4))))
