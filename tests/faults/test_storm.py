"""Everything at once: calls of every kind while parts of a machine die, stop, or lose the line."""

from __future__ import annotations

import random
import resource
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import f_storm
import pytest

from byoc.clock import SYSTEM
from byoc.engine.session import Session
from byoc.errors import Error
from byoc.providers.local.machine import processes
from tests.faults.world import World, agent_of, containers_of, passed, zygotes_of
from tests.helpers import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        not Path("/proc/self/fd").exists(), reason="the parts of a machine are found by /proc"
    ),
]
STORM = 15.0
"""Seconds of it."""
CALM = 90.0
"""Seconds in which all that was called has to be answered afterwards."""
GROWTH = 96 * 1024
"""KiB by which this process may grow: a few windows of large values under way."""


class Storm:
    """Things that happen to a machine, one after the other, in a thread."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._random = random.Random(seed)
        self.over = threading.Event()
        self.happened: list[str] = []
        self._thread = threading.Thread(target=self._rage, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until the weather is fine again."""
        self._thread.join(STORM + 60)
        assert not self._thread.is_alive()

    def _rage(self) -> None:
        acts = [self._kill_container] * 4 + [self._stop_container] * 2
        acts += [self._kill_zygote, self._stop_zygote, self._stop_agent, self._kill_agent]
        acts += [self._cut, self._reset, self._freeze]
        until_then = SYSTEM.mono() + STORM
        while SYSTEM.mono() < until_then:
            act = self._random.choice(acts)
            with suppress(AssertionError, IndexError, OSError, ValueError):  # nothing there to hit
                act()
                self.happened.append(act.__name__)
            passed(self._random.uniform(0.05, 0.6))
        self.over.set()

    def _machine(self) -> str:
        return self._world.ids()[0]

    def _kill_container(self) -> None:
        processes.send([self._random.choice(containers_of(self._machine()))], signal.SIGKILL)

    def _kill_zygote(self) -> None:
        processes.send([self._random.choice(zygotes_of(self._machine()))], signal.SIGKILL)

    def _kill_agent(self) -> None:
        processes.send([agent_of(self._machine())], signal.SIGKILL)

    def _stop_container(self) -> None:
        self._stop(self._random.choice(containers_of(self._machine())))

    def _stop_zygote(self) -> None:
        self._stop(self._random.choice(zygotes_of(self._machine())))

    def _stop_agent(self) -> None:
        self._stop(agent_of(self._machine()))

    def _stop(self, pid: int) -> None:
        processes.send([pid], signal.SIGSTOP)
        passed(self._random.uniform(0.05, 0.7))
        processes.send([pid], signal.SIGCONT)

    def _cut(self) -> None:
        self._world.relay.cut()

    def _reset(self) -> None:
        self._world.relay.reset()

    def _freeze(self) -> None:
        self._world.relay.freeze()
        passed(self._random.uniform(0.1, 1.0))
        self._world.relay.heal()


class Caller:
    """Calls something again and again, in a thread, until the storm is over and once more.

    ``wrong``: what is neither the right answer nor an honest error.
    """

    def __init__(self, name: str, storm: Storm, once: Callable[[int], None]) -> None:
        self.name = name
        self.rounds = 0
        self.wrong: BaseException | None = None
        self._storm = storm
        self._once = once
        self._thread = threading.Thread(target=self._call, name=name, daemon=True)
        self._thread.start()

    def _call(self) -> None:
        try:
            last = False
            while not last:
                last = self._storm.over.is_set()
                self._once(self.rounds)
                self.rounds += 1
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.wrong = error

    def wait(self) -> None:
        """Until its last call was answered."""
        self._thread.join(CALM)
        assert not self._thread.is_alive(), f"{self.name} was not answered ({self.rounds} rounds)"
        if self.wrong is not None:
            raise self.wrong


def right_or_told(found: Any, wanted: Any) -> None:
    """The value, or an error of ours that says what happened."""
    assert found == wanted or isinstance(found, Error), f"{found!r} where {wanted!r} was due"


def answer(call: Callable[[], Any]) -> Any:
    """What a call gives: its value, or the error that it raises."""
    try:
        return call()
    except Error as error:
        return error


def maps(function: Any, wanted: Callable[[int], int], count: int, **options: Any) -> Any:
    """A caller's round: one map."""

    def once(_: int) -> None:
        found = list(function.map(range(count), return_exceptions=True, **options))
        assert len(found) == count
        for n, value in enumerate(found):
            right_or_told(value, wanted(n))

    return once


def spawns(_: int) -> None:
    pending = [f_storm.square.spawn(n) for n in range(20)]
    for n, call in enumerate(pending):
        right_or_told(answer(lambda call=call: call.get(timeout=CALM)), n * n)  # type: ignore[misc]


def nests(_: int) -> None:
    for n in range(8):
        wanted = n * n + sum(i * i for i in range(n % 4))
        right_or_told(answer(lambda n=n: f_storm.outer.remote(n)), wanted)  # type: ignore[misc]


def generates(_: int) -> None:
    found: list[int] = []
    with suppress(Error):
        for value in f_storm.counts.remote_gen(150):
            found += [value]
        assert len(found) == 150
    assert found == list(range(len(found)))


def abandons(_: int) -> None:
    """Generators and maps that are left half way."""
    with suppress(Error):
        for value in f_storm.counts.remote_gen(1000):
            if value == 5:
                break
    with suppress(Error):
        for n, value in enumerate(f_storm.square.map(range(100))):
            assert value == n * n
            if n == 10:
                break


def moves(round_: int) -> None:
    data = bytes([round_ % 251]) * (3 << 20) + b"end"
    right_or_told(answer(lambda: f_storm.large.remote(data)), data[::-1])


def callers(storm: Storm) -> list[Caller]:
    """One of each kind."""
    kinds: dict[str, Callable[[int], None]] = {
        "map": maps(f_storm.square, lambda n: n * n, 200),
        "retried": maps(f_storm.persistent, lambda n: n + 1, 60),
        "concurrent": maps(f_storm.together, lambda n: -n, 100),
        "batched": maps(f_storm.by_batch, lambda n: n * 3, 100),
        "spawn": spawns,
        "nested": nests,
        "generator": generates,
        "left": abandons,
        "large": moves,
    }
    return [Caller(name, storm, once) for name, once in kinds.items()]


def settled(session: Session) -> bool:
    """Nothing is queued or held anywhere."""
    with session.lock:
        for pool in session._pools.values():
            pool.validate()
        return all(pool.idle for pool in session._pools.values())


@pytest.mark.parametrize("seed", [1, 2])
def test_every_call_is_answered_in_a_storm(world: World, seed: int) -> None:
    """Whatever dies, stops or is cut: every call has its value or an honest error, once, nothing
    is left behind, and the client does not grow."""
    world.detour.record = False
    with world.run(f_storm.app, lease=30.0) as session:
        assert f_storm.square.remote(3) == 9
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        storm = Storm(world, seed)
        calling = callers(storm)
        storm.wait()
        for caller in calling:
            caller.wait()
        until(lambda: settled(session), 30, "nothing to be held")
        assert f_storm.square.remote(4) == 16
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(storm.happened) > 5
    assert grown < GROWTH, f"{grown} KiB"
    assert world.reporter.losses <= storm.happened.count("_kill_agent"), world.reporter.notices
