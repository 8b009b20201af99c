"""The behaviours that a user who comes from Modal relies on, each test naming its number in the
list that byoc is held to (the thirty of Modal's semantics; those of volumes, deployed apps, web
endpoints and schedules are not part of this version)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import e2e_behaviours
import pytest

import byoc
from byoc import exception
from tests.e2e.conftest import PROGRAMS, another_python
from tests.helpers import until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def b(warm_home: Path) -> Iterator[Any]:
    """The functions of ``e2e_behaviours``, in one run for the whole module."""
    with e2e_behaviours.app.run():
        yield e2e_behaviours


def test_old_and_new_parameters_are_accepted(b: Any) -> None:
    """Behaviour 1: old names warn and work like the new ones; an unknown one is named."""
    app = byoc.App("old")
    with pytest.warns(exception.DeprecationError) as caught:
        old = b.old_style(app)
    said = " ".join(str(one.message) for one in caught)
    for name in ("concurrency_limit", "container_idle_timeout", "allow_concurrent_inputs"):
        assert name in said
    assert old.spec.max_containers == 2
    assert old.spec.scaledown_window == 60
    assert old.spec.concurrency.most == 3
    with pytest.raises(TypeError, match="max_container"):
        app.function(max_container=2)


@pytest.mark.parametrize(
    "later", [{"volumes": {"/v": object()}}, {"schedule": object()}, {"proxy": object()}]
)
def test_what_comes_later_is_refused_by_name(later: dict[str, Any]) -> None:
    """Behaviour 1: a parameter that this version lacks is refused, never ignored."""
    with pytest.raises(exception.Error, match=next(iter(later))):
        byoc.App("later").function(**later)(len)


def test_an_error_is_the_same_error(b: Any) -> None:
    """Behaviour 2: the value comes back; an exception keeps type, attributes, notes and lines."""
    assert b.add.remote(1, b=2) == 3
    with pytest.raises(b.Refused) as caught:
        b.refuse.remote("no")
    error = caught.value
    assert (error.reason, error.code, str(error)) == ("no", 7, "no (7)")
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert "raise error from KeyError" in text
    assert "e2e_behaviours.py" in text
    if sys.version_info >= (3, 11):
        assert error.__notes__ == ["written far away"]


def test_map_is_lazy_ordered_and_raises_at_once(b: Any) -> None:
    """Behaviour 3: lazy, ordered by default, as completed on request, generators as input."""
    pulled: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(3000):
            pulled.append(n)
            yield n

    results = b.maybe.map(numbers())
    assert pulled == []
    found = iter(results)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    assert len(pulled) <= 1100
    assert list(found) == list(range(3, 3000))
    assert sorted(b.maybe.map(range(100), order_outputs=False)) == list(range(100))
    assert list(b.add.map([1, 2, 3], [10, 20])) == [11, 22]
    assert list(b.add.starmap([(1, 2), (3, 4)])) == [3, 7]
    assert list(b.add.map([1], kwargs={"b": 5})) == [6]
    assert list(b.add.map([])) == []


def test_a_failing_input_of_a_map_raises_when_it_arrives(b: Any) -> None:
    """Behaviour 3: a failure does not wait for earlier inputs; or it stands in its place."""
    list(b.slow_then.map(range(1, 5)))  # containers are up
    seen: list[int] = []
    with pytest.raises(ValueError, match="five"):
        seen.extend(b.slow_then.map([*range(1, 6), 0]))
    assert 0 not in seen
    mixed = list(b.maybe.map(range(6), kwargs={"bad": 3}, return_exceptions=True))
    assert isinstance(mixed[3], ValueError)
    assert mixed[:3] + mixed[4:] == [0, 1, 2, 4, 5]


def test_the_module_is_found_again(b: Any) -> None:
    """Behaviour 4: same module name, module-level code runs again, /root is where it lies."""
    seen = b.about.remote()
    assert seen["name"] == "e2e_behaviours"
    assert seen["where"] == "remote"
    assert b.WHERE == "local"
    assert os.path.dirname(seen["file"]) == seen["cwd"] == seen["path0"]
    assert os.path.basename(seen["file"]) == "e2e_behaviours.py"
    assert seen["main_thread"]


def test_enter_runs_once_per_container(b: Any) -> None:
    """Behaviour 6: hooks run once, base class first, sync and async; the container is reused."""
    model = b.Model(size=4)
    first = model.describe.remote()
    second = model.describe.remote()
    assert first[1:4] == (4, "none", ["base", "model-4"])
    assert second[0] == first[0]
    assert (first[4], second[4]) == (1, 2)
    assert model.same_loop.remote()
    assert list(model.numbers.remote_gen()) == [0, 1, 2, 3]
    assert model.both.remote(5) == 15


def test_exit_runs_when_a_container_is_no_longer_needed(b: Any, shared: Path) -> None:
    """Behaviours 6, 25: an idle container leaves after its window, and its exit hook runs."""
    leaves = b.Leaves(folder=str(shared))
    pid = leaves.where.remote()
    notes = shared / "notes"
    until(lambda: "exit" in notes.read_text(), 30)
    assert notes.read_text().splitlines() == [f"enter {pid}", f"exit {pid}"]
    assert leaves.where.remote() != pid


def test_secrets_are_there_before_the_import(b: Any) -> None:
    """Behaviour 7: the later secret wins, env= over all, and the module sees them."""
    assert b.variables.remote() == ["function", "t", "1", "yes"]


def test_a_timeout_is_per_attempt(b: Any) -> None:
    """Behaviour 9: 300 s unless said; past it FunctionTimeoutError, no builtin TimeoutError."""
    assert b.add.spec.timeout == 300
    assert b.sleep_for.remote(0.1) == 0.1
    with pytest.raises(exception.FunctionTimeoutError) as caught:
        b.sleep_for.remote(60)
    assert not isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, exception.TimeoutError)
    assert b.sleep_for.remote(0) == 0


@pytest.mark.slow
def test_retries_are_per_input_and_for_timeouts_too(b: Any, shared: Path) -> None:
    """Behaviour 10: each input has its own attempts; a timeout is one that failed."""
    keys = [f"k{n}" for n in range(5)]
    assert list(b.third_time.map([str(shared)] * 5, keys)) == keys
    hanging = shared / "hanging"
    hanging.mkdir()
    assert b.quick_at_last.remote(str(hanging)) == 2


def test_run_takes_arguments_from_annotations(warm_home: Path) -> None:
    """Behaviour 11: flags from the signature, the right entrypoint, the exit code."""
    argv = [sys.executable, "-m", "byoc", "run", "--quiet", str(PROGRAMS / "e2e_behaviours.py")]
    done = subprocess.run(
        [*argv, "--n", "4", "--word", "hey", "--flag"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "sum 14 hey True" in done.stdout
    wrong = subprocess.run([*argv, "--n", "four"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    method = [*argv[:-1], argv[-1] + "::Model.both", "--size", "2", "--x", "5"]
    done = subprocess.run([*method], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gpus_are_checked_before_money_is_spent() -> None:
    """Behaviour 13: counts, lists and "any" are accepted; what is no GPU is refused here."""
    app = byoc.App("gpus")
    for good in ("A100-80GB:2", ["H100", "A100:2"], "any", "h100"):
        app.function(gpu=good, serialized=True, name=f"f{len(good)}")(lambda: None)
    with pytest.raises(exception.InvalidError):
        app.function(gpu="H100:zero", serialized=True)(lambda: None)


def test_spawn_and_from_id(b: Any) -> None:
    """Behaviour 14, in one run: poll, builtin TimeoutError, the value, from its id too."""
    call = b.sleep_for.spawn(0.5)
    with pytest.raises(TimeoutError):
        call.get(timeout=0)
    again = byoc.FunctionCall.from_id(call.object_id)
    assert call.object_id.startswith("fc-")
    assert again.get() == call.get() == 0.5
    assert byoc.FunctionCall.gather(b.add.spawn(1), b.add.spawn(2)) == [11, 12]


def test_parameters_have_containers_of_their_own(b: Any) -> None:
    """Behaviour 17: typed, keyword-only, a pool for each set; equal sets share one."""
    one, other = b.Model(size=1), b.Model(size=2, label="x")
    pids = one.describe.remote()[0], other.describe.remote()[0]
    assert pids[0] != pids[1]
    assert b.Model(size=1).describe.remote()[0] == pids[0]
    assert other.describe.remote()[1:3] == (2, "x")
    for wrong in ({"size": "big"}, {"nothing": 1}):
        with pytest.raises((TypeError, exception.InvalidError)):
            b.Model(**wrong).describe.remote()
    with pytest.raises(AttributeError, match="instantiate"):
        b.Model.describe.remote()


def test_everything_has_an_asynchronous_twin(b: Any) -> None:
    """Behaviour 18: .aio on calls, maps, generators and classes; async functions."""

    async def everything() -> list[Any]:
        call = await b.add.spawn.aio(5)
        return [
            await b.add_later.remote.aio(1, 2),
            [n async for n in b.add.map.aio([1, 2])],
            [n async for n in b.count_later.remote_gen.aio(3)],
            await call.get.aio(),
            (await b.Model(size=6).describe.remote.aio())[1],
        ]

    assert asyncio.run(everything()) == [3, [11, 12], [0, 1, 2], 15, 6]
    assert asyncio.run(b.add_later.local(1, 2)) == 3


def test_inputs_run_together(b: Any) -> None:
    """Behaviour 19: sync inputs in threads, async ones on one loop; ids tell them apart."""
    rows = list(b.in_threads.map(range(16)))
    assert [row[0] for row in rows] == list(range(16))
    assert max(row[1] for row in rows) > 1
    assert len({row[3] for row in rows}) == 16
    assert len({row[4] for row in rows}) == 1
    later = list(b.on_one_loop.map(range(16)))
    assert max(row[1] for row in later) > 1
    assert all(row[2] and row[3] for row in later)
    assert len({row[4] for row in later}) == 16
    assert byoc.current_input_id() is None
    assert byoc.current_function_call_id() is None
    _, input_id, call_id = b.ids.remote()
    assert isinstance(input_id, str)
    assert isinstance(call_id, str)


def test_imports_are_for_the_image(b: Any) -> None:
    """Behaviour 21: a missing module inside imports() harms only who runs in that image."""
    image = byoc.Image.debian_slim()
    with image.imports():
        import no_such_module_anywhere  # noqa: F401
    assert byoc.is_local()
    assert b.about.remote()["where"] == "remote"


def test_generators_stream(b: Any) -> None:
    """Behaviour 23: yields come one by one; map and remote refuse generators."""
    found = b.count_to.remote_gen(10**9)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    found.close()
    assert list(b.count_later.remote_gen(4)) == [0, 1, 2, 3]
    with pytest.raises(exception.InvalidError, match="remote_gen"):
        b.count_to.remote(3)


@pytest.mark.slow
def test_payloads_may_be_large(b: Any) -> None:
    """Behaviour 26: a quarter of a GiB goes there and comes back."""
    size = 256 * MIB
    assert b.size_of.remote(bytes(size)) == size
    assert len(b.make.remote(size)) == size


def test_functions_call_functions(b: Any) -> None:
    """Behaviour 28: remote, map, spawn, generators, classes from inside; errors as themselves."""
    assert b.sum_of_squares.remote(5) == 30
    assert b.fib.remote(6) == 8
    assert b.gathers.remote(5) == 30
    assert b.passes_on.remote(b.square, 7) == 49
    assert b.catches.remote() == ("nested", 7)
    assert b.uses_class.remote(9) == 9
    assert b.streams.remote(4) == [0, 1, 2, 3]
    call = b.spawns.remote(6)
    assert call.get() == 36
    assert b.fetches.remote(b.square.spawn(8).object_id) == 64


def test_local_batched_and_variants(b: Any) -> None:
    """Behaviour 29: .local() here, batches there, with_options gives containers of their own."""
    assert b.add.local(1) == 11
    assert b.Model(size=2).both.local(3) == 9
    rows = list(b.batch.map(range(8), [10] * 8))
    assert [row[0] for row in rows] == [n * 10 for n in range(8)]
    assert max(row[1] for row in rows) > 1
    assert b.batch.remote(3, 2) == (6, 1)
    with pytest.raises(exception.InvalidError):
        b.wrong_length.remote(1)
    variant = b.ids.with_options(timeout=7, max_containers=1)
    assert variant.spec.timeout == 7
    assert variant.remote()[0] != b.ids.remote()[0]
    assert b.in_threads.with_concurrency(max_inputs=2).spec.concurrency.most == 2


def test_the_tree_of_exceptions_and_the_environment(b: Any) -> None:
    """Behaviour 30: modal.exception's names and bases; what a container can read of itself."""
    tree = byoc.exception
    for child, parent in [
        ("InvalidError", "Error"),
        ("NotFoundError", "Error"),
        ("ExecutionError", "Error"),
        ("RemoteError", "Error"),
        ("TimeoutError", "Error"),
        ("FunctionTimeoutError", "TimeoutError"),
        ("OutputExpiredError", "TimeoutError"),
        ("SerializationError", "Error"),
        ("DeserializationError", "Error"),
        ("ImageBuildError", "RemoteError"),
        ("ConflictError", "InvalidError"),
        ("AuthError", "Error"),
        ("InternalFailure", "Error"),
        ("ResourceExhaustedError", "Error"),
    ]:
        assert issubclass(getattr(tree, child), getattr(tree, parent)), child
    assert issubclass(tree.DeprecationError, UserWarning)
    assert issubclass(tree.InputCancellation, BaseException)
    assert not issubclass(tree.InputCancellation, Exception)
    seen = b.about.remote()["environ"]
    for name in ("TASK_ID", "IS_REMOTE", "CLOUD_PROVIDER", "REGION", "IMAGE_ID"):
        assert seen[f"BYOC_{name}"], name
        assert seen[f"MODAL_{name}"], name
    assert seen["BYOC_TASK_ID"].startswith("ta-")


def test_pickled_functions_need_the_same_python() -> None:
    """Behaviour 30: serialized=True with another Python is refused where it is declared."""
    other = byoc.Image.debian_slim(python_version=another_python())
    app = byoc.App("pickled", image=other)
    with pytest.raises(exception.Error, match="Python"):
        app.function(serialized=True)(lambda: 1)


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("exit", exception.ExecutionError),
        ("os_exit", exception.ContainerError),
        ("segfault", exception.ContainerError),
        ("kill", exception.ContainerError),
        ("recursion", RecursionError),
        ("lambda", None),
        ("lock", exception.SerializationError),
        ("flood", None),
        ("thread", None),
        ("keyboard", exception.ExecutionError),
        ("close", None),
    ],
)
def test_nothing_breaks_it(b: Any, how: str, error: type[BaseException] | None) -> None:
    """Hostile code ends in an honest error or its value, and the next call works."""
    begun = time.monotonic()
    if error is None:
        value = b.hostile.remote(how)
        assert value() == 1 if how == "lambda" else value == how
    else:
        with pytest.raises(error):
            b.hostile.remote(how)
    assert time.monotonic() - begun < 50
    assert b.hostile.remote("nothing") == "nothing"


def test_warnings_come_once() -> None:
    """Behaviour 1: the same old name at the same place warns once."""
    app = byoc.App("once")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for n in range(3):
            app.function(concurrency_limit=2, name=f"f{n}", serialized=True)(lambda: None)
    assert len([one for one in caught if "concurrency_limit" in str(one.message)]) == 1
