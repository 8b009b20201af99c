"""A terminal that takes nothing, as behind a pager: only what wants to be shown there waits."""

from __future__ import annotations

import threading

import f_work

from tests.faults.world import World
from tests.gate import Gate
from tests.helpers import until


def test_a_terminal_that_stands_still_holds_up_no_call(world: World, gate: Gate) -> None:
    """Calls end while nothing is shown; a flood waits remotely; in the end all is shown."""
    moves = threading.Event()
    show = world.reporter.log

    def log(fd: int, data: bytes, container: str = "") -> None:
        assert moves.wait(60)
        show(fd, data, container)

    world.reporter.log = log  # type: ignore[method-assign]
    gate.open()
    with world.run(f_work.app, lease=20.0):
        assert f_work.talks.remote(10) == 10
        flood = f_work.talks.spawn(16 * 1024)
        down = world.relay
        until(lambda: down.down > 3 << 20, 30, "the window to fill")
        for n in range(20):
            assert f_work.numbered.remote(gate.port, n) == n * n
        assert world.reporter.output == b""
        assert down.down < 8 << 20
        moves.set()
        assert flood.get(timeout=60) == 16 * 1024
    assert world.reporter.output.count(b"\n") == 10 + 16 * 1024
    assert world.reporter.losses == 0
