"""Nothing that user code does breaks anything but its own call: an honest error, and the next call
works. Nothing is left on the machine."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import e2e_bad_start
import e2e_hostile as hostile
import pytest

from byoc import exception
from byoc.clock import SYSTEM
from byoc.engine.events import Silent
from byoc.engine.options import RunOptions
from byoc.engine.session import Session
from byoc.settings import load
from tests.helpers import processes_with, until

MIB = 1024 * 1024
QUICK = 10.0
"""Seconds within which every honest error is there, whatever else this host does."""


class Counter(Silent):
    """A reporter that counts what remote code wrote, and keeps the notices."""

    def __init__(self) -> None:
        self.bytes = 0
        self.notices: list[str] = []
        self.text = b""

    def log(self, fd: int, data: bytes, container: str = "") -> None:
        self.bytes += len(data)
        self.text = (self.text + data)[-20000:]

    def notice(self, message: str) -> None:
        self.notices.append(message)


@pytest.fixture(scope="module")
def seen(warm_home: Path) -> Iterator[Counter]:
    """One run of both apps for the whole module; what its reporter saw."""
    counter = Counter()
    settings = load(Path.cwd(), os.environ, {"idle": 60})
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(Session(settings, RunOptions(keep=True), counter))
        stack.enter_context(hostile.app.bound(session))
        stack.enter_context(e2e_bad_start.app.bound(session))
        yield counter
    assert not [notice for notice in counter.notices if "lost" in notice]


def taken(call: Any) -> tuple[BaseException, float]:
    """The exception that a call raises, and after how long."""
    begun = SYSTEM.mono()
    try:
        value = call()
    except BaseException as error:  # noqa: BLE001 - the tests ask what it is
        return error, SYSTEM.mono() - begun
    raise AssertionError(f"it returned {value!r}")


FAILURES: list[tuple[str, type[BaseException], str]] = [
    ("sys.exit", exception.ExecutionError, r"raised SystemExit\(3\)"),
    ("sys.exit in a thread", exception.ExecutionError, r"raised SystemExit\(4\)"),
    ("quit", exception.ContainerError, "exited with code 7 while it ran fails"),
    ("segfault", exception.ContainerError, "killed by SIGSEGV while it ran fails"),
    ("abort", exception.ContainerError, "killed by SIGABRT while it ran fails"),
    ("kill", exception.ContainerError, "killed by SIGKILL while it ran fails"),
    ("no memory", MemoryError, ""),
    ("close all", exception.ContainerError, "container exited with code"),
    ("recursion", RecursionError, "maximum recursion depth"),
    ("odd", hostile.Odd, "base"),
    ("interrupt", exception.ExecutionError, "raised KeyboardInterrupt"),
    ("generator exit", exception.ExecutionError, "raised GeneratorExit"),
    ("stop", StopIteration, "enough"),
    ("mute", Exception, ""),
    ("liar", hostile.Liar, "truth"),
    ("impostor", hostile.Impostor, "seven"),
    ("loud", BaseException, ""),
    ("group of odd", exception.ExecutionError, "raised BaseExceptionGroup"),
    ("a lock", exception.SerializationError, "result, a lock, cannot be pickled"),
    ("a frame", exception.SerializationError, "result, a frame, cannot be pickled"),
    ("a generator", exception.SerializationError, "result, a generator, cannot be pickled"),
    ("endless pickle", exception.SerializationError, "result, a Endless, cannot be pickled"),
    ("deep value", exception.SerializationError, "result, a list, cannot be pickled"),
    ("raise unpicklable", exception.RemoteError, "ValueError(.|\n)*could not be transferred"),
    ("chain", KeyError, "499"),
]


@pytest.mark.parametrize(
    ("how", "kind", "says"), FAILURES, ids=[failure[0] for failure in FAILURES]
)
def test_honest_errors(seen: Counter, how: str, kind: type[BaseException], says: str) -> None:
    """The call fails at once with what happened, and the next call of the function works."""
    error, seconds = taken(lambda: hostile.fails.remote(how))
    assert isinstance(error, kind)
    if kind is not Exception and kind is not BaseException:
        assert re.search(says, str(error)), str(error)
    assert seconds < QUICK
    assert isinstance(taken(lambda: hostile.fails.remote("recursion"))[0], RecursionError)
    assert hostile.fine.remote(1) == 2


def test_stack_overflow(seen: Counter) -> None:
    """The end of the C stack is a signal, or an exception where Python guards its stack."""
    error, seconds = taken(lambda: hostile.fails.remote("stack"))
    assert isinstance(error, (exception.ContainerError, RecursionError))
    assert isinstance(error, RecursionError) or "killed by SIG" in str(error)
    assert seconds < QUICK
    assert hostile.fine.remote(1) == 2


def test_map_with_deaths_in_it(seen: Counter) -> None:
    """Inputs beside those that kill their container get their values: each is answered once."""
    hows = ["recursion", "quit", "recursion", "segfault", "recursion", "sys.exit", "kill"]
    found = list(hostile.fails.map(hows, return_exceptions=True))
    kinds = [type(error) for error in found]
    assert kinds[0] is kinds[2] is kinds[4] is RecursionError
    assert kinds[1] is kinds[3] is kinds[6] is exception.ContainerError
    assert kinds[5] is exception.ExecutionError


@pytest.mark.parametrize("how", list(hostile.WORKS))
def test_containers_live_with(seen: Counter, how: str) -> None:
    """What user code does to its process spoils neither this result nor the next."""
    begun = SYSTEM.mono()
    assert hostile.works_once.remote(how, 1) == 2
    assert hostile.works.remote(how, 1) == 2
    assert hostile.works.remote("", 2) == 3
    assert list(hostile.works.map([""] * 50, range(50))) == list(range(1, 51))
    assert SYSTEM.mono() - begun < QUICK


@pytest.mark.parametrize("how", list(hostile.WORKS))
def test_large_arguments_after(seen: Counter, how: str) -> None:
    """Large arguments reach such a container, or end it with an honest error."""
    begun = SYSTEM.mono()
    hostile.sized.remote(b"", how)
    try:
        assert hostile.sized.remote(bytes(4 * MIB)) == 4 * MIB
    except exception.ContainerError:
        assert hostile.sized.remote(bytes(4 * MIB)) == 4 * MIB
    assert SYSTEM.mono() - begun < QUICK


def test_source_that_deletes_itself(seen: Counter) -> None:
    """A function that removes its own source goes on, and so does another container of it."""
    assert hostile.without_source.remote(1) == 2
    assert hostile.fine.remote(1) == 2
    assert hostile.source().exists()


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        ("raise", LookupError, "no such thing at import"),
        ("exit", exception.ExecutionError, "SystemExit(.|\n)*not today"),
        ("quit", exception.ContainerError, "exited with code 9 while .* was starting"),
        ("crash", exception.ContainerError, "SIGSEGV while .* was starting"),
        ("interrupt", exception.ExecutionError, "KeyboardInterrupt"),
        ("hang", exception.FunctionTimeoutError, "not ready within 2 s"),
        ("deep", RecursionError, ""),
    ],
)
def test_modules_that_cannot_start(
    seen: Counter, how: str, kind: type[BaseException], says: str
) -> None:
    """What happens while the module is imported is told to every call that waits for it."""
    start = e2e_bad_start.starting(how)
    calls = [start.spawn(n) for n in range(3)]
    for call in calls:
        error, seconds = taken(lambda call=call: call.get(timeout=60))
        assert isinstance(error, kind)
        assert re.search(says, str(error)), str(error)
        assert seconds < QUICK
    assert hostile.fine.remote(1) == 2


def test_unpicklable_argument(seen: Counter) -> None:
    """What cannot be sent is refused here."""
    for value in (threading.Lock(), hostile.Endless(), hostile.nested(100_000)):
        error, _ = taken(lambda value=value: hostile.fine.remote(value))
        assert isinstance(error, exception.SerializationError)
    assert hostile.fine.remote(1) == 2


# --- too much ---------------------------------------------------------------------------------


def test_deaf_code_is_timed_out(seen: Counter) -> None:
    """Code that blocks every signal and catches everything still ends at its timeout."""
    error, seconds = taken(hostile.deaf.remote)
    assert isinstance(error, exception.FunctionTimeoutError)
    assert 1.9 < seconds < QUICK
    assert hostile.fine.remote(1) == 2


def test_memory_limit(seen: Counter) -> None:
    """A container above the limit of memory= is killed and the error says the limit."""
    error, seconds = taken(lambda: hostile.hoards.remote(3000))
    assert isinstance(error, exception.ContainerError)
    assert error.reason == "oom"
    assert "memory limit of 300 MiB" in str(error)
    assert error.hints
    assert seconds < QUICK
    assert hostile.hoards.remote(20) == 20


@pytest.mark.parametrize("own_sessions", [False, True])
def test_fork_bomb(seen: Counter, own_sessions: bool) -> None:
    """A fork bomb ends its own container only, with an error that says so."""
    error, _ = taken(lambda: hostile.bomb.remote(own_sessions))
    assert isinstance(error, exception.ContainerError)
    assert error.reason == "processes"
    assert "processes" in str(error)
    assert hostile.fine.remote(1) == 2


@pytest.mark.parametrize("mib", [64, pytest.param(2048, marks=pytest.mark.slow)])
def test_print_flood(seen: Counter, mib: int) -> None:
    """However much is printed, all of it arrives and none of it piles up here."""
    before, small = seen.bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert hostile.floods.remote(mib) == mib
    until(lambda: seen.bytes - before >= mib * MIB, 30, "the rest of the output")
    assert seen.bytes - before == mib * MIB
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - small) / 1024
    assert grown < 100, f"grew by {grown:.0f} MiB"
    assert hostile.fine.remote(1) == 2


@pytest.mark.parametrize("size", [150 * MIB, pytest.param(1536 * MIB, marks=pytest.mark.slow)])
@pytest.mark.timeout(180)
def test_large_result(seen: Counter, size: int) -> None:
    """A result of any size that memory holds arrives whole."""
    value = hostile.blob.remote(size)
    assert len(value) == size
    assert value.count(0) == size
    del value
    assert hostile.fine.remote(1) == 2


def test_result_above_all_limits(seen: Counter) -> None:
    """A result that no memory holds is an honest error."""
    error, seconds = taken(lambda: hostile.blob.remote(1 << 46))
    assert isinstance(error, MemoryError)
    assert seconds < QUICK
    assert hostile.fine.remote(1) == 2


def test_endless_generator_that_is_closed(seen: Counter) -> None:
    """A generator that never ends, and swallows what is raised in it, ends when it is closed."""
    for _ in range(2):
        values = hostile.endless.remote_gen()
        assert [next(values) for _ in range(3)] == [0, 1, 2]
        values.close()
    assert hostile.fine.remote(1) == 2


@pytest.mark.slow
def test_generator_that_is_faster_than_its_reader(seen: Counter) -> None:
    """What a generator yields waits over there when nobody takes it here."""
    values = hostile.flood_of_values.remote_gen()
    assert len(next(values)) == MIB
    small = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = SYSTEM.mono()
    until(lambda: SYSTEM.mono() - begun > 5, 10, "five seconds")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - small) / 1024
    values.close()
    assert grown < 300, f"grew by {grown:.0f} MiB"
    assert hostile.fine.remote(1) == 2


@pytest.mark.parametrize("end", ["quit", "kill"])
def test_daemons(seen: Counter, end: str) -> None:
    """Processes that cut every tie to their container end with it."""
    word = f"daemon-{SYSTEM.mono()}"
    hostile.daemons.remote(word)
    until(lambda: len(processes_with(word)) >= 2, 10, "the daemons")
    assert isinstance(taken(lambda: hostile.daemons.remote(end))[0], exception.ContainerError)
    until(lambda: not processes_with(word), 10, "their end")
