"""What containers use is watched: those that use too much are ended, and only those."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from byoc.runtime_agent import family, guard
from tests.helpers import alive, until
from tests.runtime_agent.machine import Client

MB = 1024 * 1024
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


# --- memory -----------------------------------------------------------------------------------


def test_memory_limit(client: Client) -> None:
    """A container above its limit is killed for it, with the input that it ran; others go on."""
    running = client.ready("greedy.hoard", memory=150)
    other = client.ready("greedy.hoard", memory=150)
    (ident,) = running.put((600, 60.0))
    word = running.wait()
    assert (word["reason"], word["signal"]) == ("memory", signal.SIGKILL)
    assert ident in inputs_of(word)
    assert 150 < int(word["detail"]) < 700
    assert other.call(60) == 60 * MB


def inputs_of(word: dict[str, object]) -> list[object]:
    """Which inputs a last word blames."""
    found = word.get("inputs", [word.get("input")])
    assert isinstance(found, list)
    return found


def test_memory_of_children_counts(client: Client) -> None:
    """What the container's processes use counts together."""
    running = client.ready("greedy.hoard_below", memory=250)
    running.put((4, 100))
    assert running.wait()["reason"] == "memory"


def test_shared_memory_counts_once(client: Client) -> None:
    """Children that read their parent's memory do not make it more."""
    running = client.ready("greedy.share", memory=200)
    assert running.call(5, 100, 0.3) == [0] * 5


def test_no_limit(client: Client) -> None:
    """Without a limit memory is not watched."""
    assert client.ready("greedy.hoard").call(300, 0.3) == 300 * MB


# --- processes --------------------------------------------------------------------------------


@pytest.mark.parametrize("own_sessions", [False, True])
def test_fork_bomb(client: Client, own_sessions: bool) -> None:
    """A container that makes too many processes is killed with all of them, wherever they went."""
    other = client.ready("greedy.add")
    running = client.ready("greedy.bomb")
    (ident,) = running.put((2 * guard.PROCESSES, own_sessions))
    client.until(lambda: running.word, "the end of the bomb", seconds=40)
    assert running.word is not None
    assert running.word["reason"] == "processes"
    assert ident in inputs_of(running.word)
    assert other.call(1, 2) == 3
    below = {other.pid, *family.descendants([other.pid])}
    zygote = family.parent(other.pid)
    until(lambda: descendants_beyond(zygote, below) <= 8, 10, "the end of the bomb's processes")


def descendants_beyond(root: int, known: set[int]) -> int:
    """How many more live below ``root``."""
    return sum(alive(pid) for pid in family.descendants([root]) - known)


@pytest.mark.parametrize("way", ["fork", "exec", "renamed"])
@pytest.mark.parametrize("end", ["close", "kill"])
def test_daemons_end_with_their_container(client: Client, way: str, end: str) -> None:
    """A process that cut every tie to its container ends with that, and with no other."""
    running, other = client.ready("greedy.daemon"), client.ready("greedy.daemon")
    mine, theirs = running.call(way), other.call(way)
    until(lambda: family.parent(mine) == running.pid, 10, "its adoption")
    running.close() if end == "close" else running.kill()
    running.wait()
    until(lambda: not alive(mine), 10, "the end of the daemon")
    assert alive(theirs)
    other.kill()
    other.wait()
    until(lambda: not alive(theirs), 10, "the end of the other daemon")


def test_daemons_of_a_program(client: Client) -> None:
    """What a program left running ends with it, also in a session of its own."""
    script = "setsid sleep 1000 & echo $!; wait 0.1; exec 1>&- 2>&-"
    program = client.command("sh", "-c", f"({script}); sleep 0.2")
    assert program.wait()["code"] == 0
    client.flush()
    pid = int(program.out())
    until(lambda: not alive(pid), 10, "the end of the daemon")


def test_daemons_of_a_lost_zygote(client: Client) -> None:
    """When a zygote is killed, the programs that its containers left running end as well."""
    running = client.ready("greedy.daemon")
    pid = running.call("exec")
    os.kill(family.parent(running.pid), signal.SIGKILL)
    assert running.wait()["reason"] == "lost"
    until(lambda: not alive(pid), 10, "the end of the daemon")


# --- the kernel -------------------------------------------------------------------------------


def test_the_kernel_takes_containers_first(client: Client) -> None:
    """Containers, and what they start, stand before the agent when the kernel needs memory."""
    agent = int(Path(f"/proc/{client.machine.agent}/oom_score_adj").read_text())
    if agent >= family.SCORE:
        pytest.skip("this test runs with a score of its own")
    assert client.ready("greedy.score").call() == [family.SCORE] * 2
    program = client.command("cat", "/proc/self/oom_score_adj")
    program.wait()
    client.flush()
    assert int(program.out()) in (agent, family.SCORE)  # it may be quicker than the agent


@pytest.fixture
def cage() -> Iterator[Path]:
    """A memory cgroup of 64 MiB, below our own."""
    rows = [line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next((path for _, names, path in rows if names == "memory"), None)
    folder = Path(f"/sys/fs/cgroup/memory{own}/byoc-test-{os.getpid()}")
    try:
        if own is None:
            raise OSError("no memory cgroups")
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(64 * MB))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made: {error}")
    yield folder
    until(lambda: not (folder / "tasks").read_text(), 10, "the cgroup to be empty")
    folder.rmdir()


def test_end_by_the_kernel(client: Client, cage: Path) -> None:
    """A container that the kernel killed because memory ran out is reported so."""
    running = client.ready("greedy.hoard")
    (cage / "tasks").write_text(str(running.pid))
    (ident,) = running.put((300,))
    word = running.wait()
    assert (word["reason"], word["signal"]) == ("oom", signal.SIGKILL)
    assert ident in inputs_of(word)
    killed = client.ready("greedy.hoard")
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait()["reason"] == "signal"


# --- what watching costs ----------------------------------------------------------------------


class Still:
    """A container as the guard sees it."""

    def __init__(self, runs: bool) -> None:
        self.name, self.detail, self.killed_for = "ta-x", "", ""
        self.pid, self.memory, self.runs = os.getpid(), 0, runs
        self.status: int | None = None

    def busy(self) -> bool:
        return self.runs

    def kill(self, reason: str) -> None:
        self.killed_for = reason


def test_looks_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is due without containers, a look in seconds while they wait, a few each second while
    one runs, more while processes are made."""
    watch, still = guard.Guard(), Still(False)
    made = [guard.FEW + 1]
    monkeypatch.setattr(watch, "_made_since", lambda: made[0])
    now = time.monotonic()
    assert watch.look([], now) == math.inf
    assert watch.look([still], now) == now + guard.IDLE_LOOK
    assert watch.idle
    soon = watch.stir()
    assert now <= soon - guard.BUSY_LOOK < now + 10
    still.runs = True
    assert watch.look([still], soon) == pytest.approx(soon + guard.BUSY_LOOK)
    assert not watch.idle
    assert watch.look([still], soon) == pytest.approx(soon + guard.BUSY_LOOK)  # not yet due
    made[0] = guard.FEW
    for pause in (2 * guard.BUSY_LOOK, 4 * guard.BUSY_LOOK, guard.CALM_LOOK, guard.CALM_LOOK):
        now += 100
        assert watch.look([still], now) == pytest.approx(now + pause)
        assert watch._pause == pytest.approx(pause)
    made[0] = guard.FEW + 1
    watch.look([still], now + 100)
    assert watch._pause == guard.BUSY_LOOK


def test_children_without_the_kernels_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that do not list children give the same answer, by the parents."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        with_list = family.descendants([os.getpid()])
        monkeypatch.setattr(family, "_KNOWN", False)
        assert pid in family.descendants([os.getpid()])
        assert pid in with_list
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
