"""Answers that come late, at the worst moment: nobody waits for somebody who waits for him."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import f_work

import byoc
from tests.faults.world import Taps, World
from tests.gate import Gate
from tests.helpers import until


def test_one_function_is_set_up_while_another_one_runs(
    world: World, gate: Gate, tmp_path: Path
) -> None:
    """While one function's files are on their way, calls of another one begin and end."""
    (tmp_path / "file").write_bytes(os.urandom(1024))
    image = byoc.Image.debian_slim().add_local_file(tmp_path / "file", "/root/file")
    app = byoc.App("two")
    light = app.function()(f_work.at_gate.raw_f)
    heavy = app.function(image=image)(f_work.heavy)
    taps = world.detour.forge = Taps()
    answers = threading.Event()

    def late(data: bytes) -> bytes:
        answers.wait(30)
        return data

    with world.run(app):
        first = light.spawn(gate.port, "first")
        gate.wait_for(1)
        taps.made[0].turn = late
        sent = world.relay.up
        other = heavy.spawn(gate.port, "other")
        until(lambda: world.relay.up > sent + 1024, 30, "the files to be on their way")
        gate.let_go()  # its result is among what comes late
        spawning = threading.Thread(target=lambda: light.spawn(gate.port, "second"), daemon=True)
        spawning.start()
        spawning.join(10)
        assert not spawning.is_alive()
        answers.set()
        gate.open()
        assert first.get(timeout=20) == "first done"
        assert other.get(timeout=20) == "other heavy"
    assert sorted(gate.begun) == ["first", "other", "second"]
