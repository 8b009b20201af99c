"""Calls that are broken off, and what their code still does then."""

import asyncio
import os
import time

import byoc

app = byoc.App("endings")
PAUSE = 0.4
"""Longer than the client waits before it says a cancellation again."""


class Notes:
    folder: str = byoc.parameter()

    def note(self, text: str) -> None:
        with open(os.path.join(self.folder, "notes"), "a") as file:
            file.write(f"{text}\n")

    @byoc.method()
    async def later(self) -> None:
        self.note("runs")
        try:
            await asyncio.sleep(60)
        finally:
            self.note("stops")
            await asyncio.sleep(PAUSE)
            self.note("stopped")

    @byoc.exit()
    def leave(self) -> None:
        self.note("exit")


@app.cls()
class Alone(Notes):
    @byoc.method()
    def now(self) -> None:
        self.note("runs")
        try:
            time.sleep(60)
        finally:
            self.note("stops")
            time.sleep(PAUSE)
            self.note("stopped")


@app.cls()
@byoc.concurrent(max_inputs=4)
class Together(Notes):
    pass


WAYS = {
    "now": lambda folder: Alone(folder=folder).now,
    "later": lambda folder: Alone(folder=folder).later,
    "together": lambda folder: Together(folder=folder).later,
}


@app.local_entrypoint()
def main(way: str, folder: str, waits: bool = True) -> None:
    method = WAYS[way](folder)
    if waits:
        method.remote()
    else:
        method.spawn()
        time.sleep(60)
