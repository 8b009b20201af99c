"""The SDK from a user's program to a real instance and back, in process."""

from __future__ import annotations

import array
import asyncio
import hashlib
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import e2e_calls
import pytest
from e2e_shop import prices, stock

import byoc
from byoc import exception
from byoc.clock import SYSTEM
from byoc.providers.local.provider import LocalProvider
from tests.e2e.conftest import PROGRAMS, another_python, written_module
from tests.gate import Gate
from tests.helpers import until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def calls(warm_home: Path) -> Iterator[Any]:
    """The functions of ``e2e_calls``, in one run for the whole module."""
    with e2e_calls.app.run():
        yield e2e_calls


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Where functions report and wait."""
    gate = Gate()
    yield gate
    gate.close()


# --- calling --------------------------------------------------------------------------------


def test_remote_and_local_give_the_same(calls: Any) -> None:
    """A function gives the same here and there, with positional, keyword and default arguments."""
    assert calls.add.remote(1, b=2) == calls.add.local(1, b=2) == 3
    assert calls.add.remote(1) == 11


def test_async_function(calls: Any) -> None:
    """An async function is awaited remotely, and is a coroutine locally."""
    assert calls.add_later.remote(3, 4) == 7
    assert asyncio.run(calls.add_later.local(3, 4)) == 7


def test_map_keeps_the_order_and_stops_with_the_shortest(calls: Any) -> None:
    """A map yields in the order of its inputs; several iterables are zipped."""
    assert list(calls.add.map(range(200), range(100, 500))) == list(range(100, 500, 2))


def test_map_as_completed_gives_each_once(calls: Any) -> None:
    """Without an order every result still comes exactly once."""
    assert sorted(calls.add.map(range(100), order_outputs=False)) == list(range(10, 110))


def test_map_takes_a_generator_and_keywords(calls: Any) -> None:
    """Inputs may come from a generator; ``kwargs`` go to every call."""
    assert list(calls.add.map((n for n in range(5)), kwargs={"b": 1})) == [1, 2, 3, 4, 5]


def test_map_of_nothing(calls: Any) -> None:
    """A map of no inputs has no results."""
    assert list(calls.add.map([])) == []


def test_map_raises_or_returns_a_failure(calls: Any) -> None:
    """A failing input raises, or stands in its place when asked to."""
    with pytest.raises(ValueError, match="3 is bad"):
        list(calls.fails_on.map(range(6), kwargs={"bad": 3}))
    found = list(calls.fails_on.map(range(6), kwargs={"bad": 3}, return_exceptions=True))
    assert [n for n in found if isinstance(n, int)] == [0, 1, 2, 4, 5]
    assert isinstance(found[3], ValueError)


def test_starmap(calls: Any) -> None:
    """Each item of a starmap is a sequence of positional arguments."""
    assert list(calls.add.starmap([(1, 2), [3, 4]])) == [3, 7]


def test_for_each(calls: Any) -> None:
    """for_each runs all and gives nothing; it raises the first failure unless told not to."""
    assert calls.add.for_each(range(3)) is None
    with pytest.raises(ValueError, match="1 is bad"):
        calls.fails_on.for_each(range(3), kwargs={"bad": 1})
    calls.fails_on.for_each(range(3), kwargs={"bad": 1}, ignore_exceptions=True)


def test_generators(calls: Any) -> None:
    """Both kinds of generator yield remotely what they yield locally."""
    assert list(calls.steps.remote_gen(5)) == [0, 1, 4, 9, 16]
    assert list(calls.steps_later.remote_gen(5)) == [0, 1, 4, 9, 16]


def test_generator_that_fails_gives_first_what_it_has(calls: Any) -> None:
    """What a generator yielded before it raised arrives, and then its exception."""
    found = calls.breaks_off.remote_gen(2)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ArithmeticError, match="no more"):
        next(found)


def test_closing_a_generator_ends_it(calls: Any) -> None:
    """Leaving a remote generator early ends the generator; its container serves the next."""
    found = calls.endless.remote_gen()
    pid = next(found)
    found.close()
    again = calls.endless.remote_gen()
    assert next(again) == pid
    again.close()


def test_spawn_and_get(calls: Any, gate: Gate) -> None:
    """A spawned call goes on by itself; get() waits, and gives the builtin TimeoutError."""
    call = calls.at_gate.spawn(gate.port, "spawned")
    gate.wait_for(1)
    for timeout in (0, 0.05):
        with pytest.raises(TimeoutError):
            call.get(timeout=timeout)
    gate.open()
    assert [call.get(timeout=60), call.get(timeout=0)] == ["spawned", "spawned"]
    assert byoc.FunctionCall.from_id(call.object_id).get(timeout=0) == "spawned"


def test_spawned_failure_and_gather(calls: Any) -> None:
    """A spawned call's exception comes from get(), as often as it is asked; gather raises it."""
    bad, good = calls.fails_on.spawn(1, 1), calls.fails_on.spawn(2, 1)
    for _ in range(2):
        with pytest.raises(ValueError, match="1 is bad"):
            bad.get(timeout=60)
    with pytest.raises(ValueError, match="1 is bad"):
        byoc.FunctionCall.gather(good, bad)
    assert byoc.FunctionCall.gather(good, good) == [2, 2]


def test_cancelled_call(calls: Any, gate: Gate) -> None:
    """A cancelled call raises CancelledError where it is asked for; its container can end too."""
    call = calls.at_gate.spawn(gate.port, "cancelled")
    gate.wait_for(1)
    call.cancel(terminate_containers=True)
    with pytest.raises(exception.CancelledError):
        call.get(timeout=60)
    until(lambda: not gate.inside(), 30, "the end of the container")


def test_aio_twins(calls: Any) -> None:
    """Every way to call has an asynchronous twin."""

    async def all_of_them() -> list[Any]:
        found = [await calls.add.remote.aio(1, 2)]
        found += [n async for n in calls.add.map.aio(range(3))]
        found += [n async for n in calls.add.map(range(3))]
        found += [n async for n in calls.steps.remote_gen.aio(3)]
        call = await calls.add.spawn.aio(5, 6)
        return [*found, await call.get.aio()]

    assert asyncio.run(all_of_them()) == [3, 10, 11, 12, 10, 11, 12, 0, 1, 4, 11]


def test_async_run(warm_home: Path) -> None:
    """``async with app.run()`` is a run as well."""
    app = byoc.App("async")
    f = app.function(serialized=True)(lambda_free_double)

    async def go() -> int:
        async with app.run():
            return int(await f.remote.aio(4))

    assert asyncio.run(go()) == 8


def lambda_free_double(n: int) -> int:
    """A function at the top of this module."""
    return n * 2


def test_calls_from_many_threads(calls: Any) -> None:
    """Functions may be called from any thread, many at a time; each gets its own result."""
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: calls.add.remote(n, b=n), range(200)))
    assert found == [2 * n for n in range(200)]


def test_map_that_is_left_early(calls: Any) -> None:
    """Leaving a map before its end is no error, and what comes after it works."""
    for n in calls.add.map(range(1000)):
        if n == 15:
            break
    assert calls.add.remote(1) == 11


def test_endless_map_takes_only_what_it_needs(calls: Any) -> None:
    """A map pulls from its iterator as results are taken, never without bound."""
    pulled = 0

    def numbers() -> Iterator[int]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled

    found = iter(calls.add.map(numbers()))
    assert [next(found) for _ in range(3)] == [11, 12, 13]
    found.close()
    assert pulled <= 1010


# --- timeouts, retries, deaths --------------------------------------------------------------


def test_timeout_replaces_the_container(calls: Any) -> None:
    """A call past its timeout fails, and the next one gets another container."""
    before = calls.pid_or_hang.remote(False)
    with pytest.raises(exception.FunctionTimeoutError, match="timeout of 1 s"):
        calls.pid_or_hang.remote(True)
    assert calls.pid_or_hang.remote(False) != before


def test_retries(calls: Any) -> None:
    """A failing call is tried again as often as its policy says, then its last failure counts."""
    assert calls.third_time.remote(os.urandom(4).hex()) == 3
    with pytest.raises(ConnectionError, match="always"):
        calls.never.remote()


@pytest.mark.parametrize(
    ("how", "says"), [("exit", "exited with code 3"), ("signal", "killed by SIGSEGV")]
)
def test_container_that_dies(calls: Any, how: str, says: str) -> None:
    """A call whose process dies fails with what became of it, and the next one works."""
    with pytest.raises(exception.ContainerError, match=says):
        calls.ends_itself.remote(how)
    assert calls.add.remote(1) == 11


def test_system_exit_stays_remote(calls: Any) -> None:
    """A remote sys.exit() does not end the caller's program: it is an error of the call."""
    with pytest.raises(exception.ExecutionError, match="SystemExit"):
        calls.ends_itself.remote("sys.exit")


# --- what functions find --------------------------------------------------------------------


def test_secrets_and_variables(calls: Any) -> None:
    """Variables are set before the module is imported; of several sources the later one wins."""
    found = calls.surroundings.remote()
    assert found["now"] == {
        "E2E_TOKEN": "function's",
        "E2E_WORD": "app",
        "E2E_PLACE": "image",
        "E2E_LAST": "env",
        "BYOC_IS_REMOTE": "1",
    }
    assert found["at import"] == {"E2E_TOKEN": "function's", "E2E_WORD": "app"}
    assert "E2E_TOKEN" not in os.environ


def test_local_files_and_imports(calls: Any) -> None:
    """add_local_* bring files, folders and modules; imports() needs them only over there."""
    with pytest.raises(ImportError):
        __import__("only_remote")
    assert calls.brought_along.remote() == {
        "file": "hello from a folder\n",
        "folder": "hello from a folder\n",
        "left out": "False",
        "module": "HEY!",
        "import": "imported there",
    }


def test_package(warm_home: Path) -> None:
    """A function in a package keeps its module's name and its relative imports."""
    with stock.app.run():
        assert list(stock.price.map(["tea", "cake"])) == [3, 5]
        name, file = stock.where.remote()
        with pytest.raises(prices.UnknownThingError, match="no wine today") as caught:
            stock.price.remote("wine")
    assert name == "e2e_shop.stock"
    assert file.endswith("/e2e_shop/stock.py")
    assert caught.value.thing == "wine"


def test_script_with_types_of_its_own(warm_home: Path) -> None:
    """In ``python foo.py`` the types of ``__main__`` are the same ones on both sides."""
    script = PROGRAMS / "e2e_main.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == [
        "value Point(x=2, y=1)",
        "map [0, 1, 2]",
        "caught True Point(x=101, y=0)",
    ]


def test_closure(warm_home: Path) -> None:
    """A function defined inside another one travels pickled, with what it closes over."""
    base = 40
    app = byoc.App("closure")

    @app.function(serialized=True)
    def more(n: int) -> int:
        return base + lambda_free_double(n)

    with app.run():
        assert more.remote(1) == 42


# --- another Python -------------------------------------------------------------------------


def test_source_functions_cross_python_versions(warm_home: Path, tmp_path: Path) -> None:
    """A function that travels by source runs on the image's own Python."""
    minor = another_python()
    code = f'''
import sys, byoc
app = byoc.App("other", image=byoc.Image.debian_slim("{minor}"))

@app.function()
def version(value):
    return ".".join(map(str, sys.version_info[:2])), value

@app.function()
def fails():
    raise ValueError("over there")
'''
    other = written_module(tmp_path, "e2e_other_python", code)
    with other.app.run():
        assert other.version.remote({"a": (1, 2)}) == (minor, {"a": (1, 2)})
        with pytest.raises(ValueError, match="over there"):
            other.fails.remote()


# --- exceptions -----------------------------------------------------------------------------


def test_exception_arrives_as_itself(calls: Any) -> None:
    """Type, attributes, notes and the remote frames with their source lines arrive."""
    with pytest.raises(e2e_calls.PickyError) as caught:
        calls.raises.remote(2)
    error = caught.value
    assert (error.code, error.why, error.extra) == (42, "too deep", {"level": 0})
    if sys.version_info >= (3, 11):
        assert error.__notes__ == ["look at the bottom"]
    text = "".join(traceback.format_exception(error))
    assert re.search(r'File "<ta-\w+>:.*/e2e_calls\.py", line \d+, in deep', text)
    assert text.count("deep(level - 1)") == 2
    assert "raise error from KeyError" in text


def test_exception_that_cannot_travel(calls: Any) -> None:
    """An exception that cannot be pickled arrives as a substitute that keeps its whole text."""
    with pytest.raises(exception.RemoteError, match="cannot leave") as caught:
        calls.raises_what_cannot_travel.remote()
    assert "StuckError" in str(caught.value)
    assert 'raise StuckError("cannot leave")' in str(caught.value)


def test_exception_of_a_local_class(calls: Any) -> None:
    """An exception whose class exists only inside the function arrives by its own name."""
    with pytest.raises(Exception, match="defined over there") as caught:
        calls.raises_a_local_class.remote()
    assert type(caught.value).__name__ == "LocalError"


def test_result_that_cannot_travel(calls: Any) -> None:
    """A result that cannot be pickled is named, and so is what to do."""
    with pytest.raises(exception.SerializationError, match="socket") as caught:
        calls.returns_a_socket.remote()
    assert caught.value.hints


# --- size -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "array"])
def test_large_payloads(calls: Any, kind: str) -> None:
    """64 MiB go there and come back as the type that they were, unchanged."""
    size = 64 * MIB
    value = e2e_calls.make.local(kind, size)
    digest = hashlib.sha256(value).hexdigest()
    assert calls.weigh.remote(value) == (type(value).__name__, size, digest)
    found = calls.make.remote(kind, size)
    assert type(found) is type(value)
    assert found == value


def test_many_values_of_every_plain_kind(calls: Any) -> None:
    """Plain values of every kind, nested and empty ones too, come back equal."""
    values = [
        *(None, True, -1, 2**100, 1.5, 1j, "", "ä\0\n", b"", bytearray(b"x"), (), [], {}, set()),
        *(frozenset({1}), range(3), slice(1, 2), ..., array.array("d", [1.0]), [[[]]]),
        {"a": [1, {"b": (b"\xff" * 5000, bytearray(5000))}]},
    ]
    assert list(calls.echo.map(values)) == values


# --- the instance ---------------------------------------------------------------------------


def test_next_run_finds_the_instance_warm(warm_home: Path, calls: Any) -> None:
    """A run leaves its instance for the next one, and two at a time never share one."""
    provider = LocalProvider(warm_home, SYSTEM, os.environ)
    with stock.app.run():
        stock.price.remote("tea")
        before = {one.id for one in provider.list({})}
    with stock.app.run():
        stock.price.remote("tea")
        assert {one.id for one in provider.list({})} == before
    assert len(before) == 2


def test_program_that_cannot_be_imported_there(warm_home: Path, tmp_path: Path) -> None:
    """A module that breaks when a container imports it fails its calls with its own error."""
    code = """
import byoc
app = byoc.App("broken")
if not byoc.is_local():
    raise RuntimeError("it works on my machine")

@app.function()
def f():
    return 1
"""
    broken = written_module(tmp_path, "e2e_broken", code)
    with broken.app.run():
        with pytest.raises(RuntimeError, match="it works on my machine"):
            broken.f.remote()
        with pytest.raises(RuntimeError, match="it works on my machine"):
            list(broken.f.map([1, 2]))
