"""The ways to call a function: what they take, what they give, when they refuse."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import pickle
import threading
import tracemalloc
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import byoc
from byoc import exception
from byoc.sdk import context
from tests.sdk.inprocess import InProcess

app = byoc.App("calling")
gate = threading.Event()


@app.function()
def add(a: int, b: int = 10) -> int:
    return a + b


@app.function()
def fails_on(n: int, bad: int = -1) -> int:
    if n == bad:
        raise ValueError(f"{n} is bad")
    return n


@app.function()
def waits(n: int) -> int:
    gate.wait(30)
    return n


@app.function()
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.function()
async def count_later(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


@app.function()
def ids() -> tuple[str | None, str | None]:
    return byoc.current_input_id(), byoc.current_function_call_id()


@app.function()
def calls(function: Any, *args: Any) -> Any:
    return function.remote(*args)


@app.cls()
class Counter:
    start: int = byoc.parameter(default=0)

    @byoc.enter()
    def come(self) -> None:
        self.value = self.start

    @byoc.method()
    def add(self, n: int) -> int:
        self.value += n
        return self.value

    @byoc.method()
    def upto(self, n: int) -> Iterator[int]:
        yield from range(self.start, n)


@pytest.fixture
def session() -> Iterator[InProcess]:
    """The app runs in this process."""
    gate.clear()
    session = InProcess()
    with app.bound(session):  # type: ignore[arg-type]
        yield session
    gate.set()


pytestmark = pytest.mark.usefixtures("session")


def test_plain_calls() -> None:
    """Behaviours 2, 3, 23: remote, map, starmap, for_each and generators, of functions."""
    assert add.remote(1) == 11
    assert list(add.map(range(3))) == [10, 11, 12]
    assert sorted(add.map([1, 2], [3, 4], order_outputs=False)) == [4, 6]
    assert list(add.map([1], kwargs={"b": 5})) == [6]
    assert list(add.starmap([(1, 2), [3, 4]])) == [3, 7]
    assert add.for_each([1, 2]) is None
    assert list(count.remote_gen(3)) == list(count_later.remote_gen(3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="1 is bad"):
        fails_on.for_each([1, 2], kwargs={"bad": 1})
    fails_on.for_each([1, 2], kwargs={"bad": 1}, ignore_exceptions=True)
    found = list(fails_on.map([1, 2], kwargs={"bad": 1}, return_exceptions=True))
    assert (str(found[0]), found[1]) == ("1 is bad", 2)


def test_methods_are_called_like_functions() -> None:
    """Behaviours 6, 17: the same ways for methods; the state is that of the object's container."""
    counter = Counter(start=5)
    assert counter.add.remote(1) == 6
    assert list(counter.add.map([1, 1])) == [7, 8]
    assert counter.add.spawn(2).get() == 10
    assert list(counter.upto.remote_gen(7)) == [5, 6]
    assert Counter(start=5).add.remote(0) == 10
    assert Counter().add.remote(0) == 0
    with pytest.raises(exception.InvalidError, match="remote_gen"):
        counter.upto.remote(1)


def test_wrong_kinds_of_calls() -> None:
    """Behaviours 3, 23: what cannot be iterated, or is of the wrong kind, is refused at once."""
    for wrong, error in (
        (lambda: add.map(3), TypeError),
        (add.map, TypeError),
        (lambda: add.starmap(3), TypeError),
        (lambda: add.for_each(3), TypeError),
        (lambda: count.remote(3), exception.InvalidError),
        (lambda: count.map([3]), exception.InvalidError),
        (lambda: count.spawn(3), exception.InvalidError),
        (lambda: add.remote_gen(3), exception.InvalidError),
    ):
        with pytest.raises(error):
            wrong()


def test_spawn_map() -> None:
    """spawn_map gives nothing, experimental_spawn_map a call with one input per item."""
    assert add.spawn_map([1, 2]) is None
    call = add.experimental_spawn_map([1, 2, 3], kwargs={"b": 1})
    assert call.num_inputs() == 3
    assert [call.get(index=n) for n in range(3)] == [2, 3, 4]
    assert list(call.iter()) == [2, 3, 4]
    assert list(call.iter(start=1, end=2)) == [3]
    again = byoc.FunctionCall.from_id(call.object_id)
    assert list(again.iter()) == [2, 3, 4]
    with pytest.raises(exception.InvalidError, match="index=3"):
        call.get(index=3)


def test_function_calls() -> None:
    """Behaviour 14: poll, builtin TimeoutError, any number of times, by id, gathered, cancelled."""
    call = waits.spawn(3)
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError):
            call.get(timeout=timeout)
    again = byoc.FunctionCall.from_id(call.object_id)
    travelled = pickle.loads(pickle.dumps(call))
    gate.set()
    assert [one.get() for one in (call, call, again, travelled)] == [3] * 4
    assert byoc.FunctionCall.gather(add.spawn(1), add.spawn(2)) == [11, 12]
    assert call.num_inputs() == 1
    with pytest.raises(exception.NotFoundError):
        byoc.FunctionCall.from_id("fc-nobody")
    with pytest.raises(exception.InvalidError):
        byoc.FunctionCall.from_id("call 3")


def test_gather_raises_the_first_failure_at_once() -> None:
    """gather does not wait for others when one has failed."""
    slow, bad = waits.spawn(1), fails_on.spawn(1, 1)
    with pytest.raises(ValueError, match="1 is bad"):
        byoc.FunctionCall.gather(slow, bad)
    with pytest.warns(exception.DeprecationError, match="gather"):
        assert byoc.functions.gather(add.spawn(1)) == [11]


def test_cancel(session: InProcess) -> None:
    """Who waits for a cancelled call gets CancelledError."""
    call = waits.spawn(1)
    call.cancel()
    with pytest.raises(exception.CancelledError):
        call.get()
    assert len(session.cancelled) == 1


def test_a_spawned_call_costs_little() -> None:
    """100,000 calls must fit: the SDK's own part of one is below 150 bytes."""
    pending = add.spawn(1)._pending  # type: ignore[attr-defined]
    gc.collect()
    tracemalloc.start()
    kept = [byoc.FunctionCall(pending) for _ in range(1000)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 1000
    assert size / 1000 < 150


def test_everything_has_an_asynchronous_twin() -> None:
    """Behaviour 18: .aio on every way to call, from functions and objects."""

    async def numbers() -> AsyncIterator[int]:
        for n in range(3):
            await asyncio.sleep(0)
            yield n

    async def everything() -> list[Any]:
        call = await add.spawn.aio(5)
        several = await add.experimental_spawn_map.aio([1, 2])
        found: list[Any] = [
            await add.remote.aio(1, 2),
            [n async for n in add.map.aio(range(3))],
            [n async for n in add.map.aio(numbers(), numbers())],
            [n async for n in add.map(range(3))],
            [n async for n in add.starmap.aio([(1, 2)])],
            [n async for n in count.remote_gen.aio(60)][-1],
            await call.get.aio(),
            await call.get.aio(timeout=0),
            await byoc.FunctionCall.gather.aio(call, call),
            [n async for n in several.iter.aio()],
            await several.num_inputs.aio(),
            await Counter(start=9).add.remote.aio(1),
            [n async for n in Counter(start=1).upto.remote_gen.aio(3)],
            await add.for_each.aio(numbers()),
            await add.spawn_map.aio([1]),
        ]
        return found

    assert asyncio.run(everything()) == [
        *(3, [10, 11, 12], [0, 2, 4], [10, 11, 12], [3], 59, 15, 15, [15, 15], [11, 12], 2, 10),
        *([1, 2], None, None),
    ]


def test_asynchronous_failures_and_timeouts() -> None:
    """Behaviours 3, 14, 18: errors and the builtin TimeoutError come out of the twins as well."""

    async def failing() -> None:
        with pytest.raises(ValueError, match="2 is bad"):
            await fails_on.remote.aio(2, 2)
        with pytest.raises(ValueError, match="2 is bad"):
            [n async for n in fails_on.map.aio(range(5), kwargs={"bad": 2})]
        call = await waits.spawn.aio(1)
        for timeout in (0, 0.01):
            with pytest.raises(TimeoutError):
                await call.get.aio(timeout=timeout)
        gate.set()
        assert await call.get.aio() == 1

    asyncio.run(failing())


def test_cancelling_a_task_cancels_its_call(session: InProcess) -> None:
    """Behaviour 18: a task that is cancelled while it waits drops its input."""

    async def go() -> None:
        task = asyncio.create_task(waits.remote.aio(1))
        await asyncio.sleep(0)  # its input is sent by then
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert [item.id for item in session.cancelled] == [1]


def test_leaving_asynchronous_iterations_early() -> None:
    """A map or generator that is left early ends; what comes after works."""

    async def go() -> list[int]:
        found = []
        results = add.map.aio(range(100_000))
        async for n in results:
            found.append(n)
            if len(found) == 3:
                break
        await results.aclose()
        items = count.remote_gen.aio(100)
        async for n in items:
            found.append(n)
            break
        await items.aclose()
        return [*found, await add.remote.aio(1)]

    assert asyncio.run(go()) == [10, 11, 12, 0, 11]


def test_many_awaited_calls_need_no_threads() -> None:
    """500 calls awaited together do not burn a thread each."""

    async def go() -> int:
        pending = [asyncio.ensure_future(add.remote.aio(n)) for n in range(500)]
        await asyncio.sleep(0)
        threads = threading.active_count()
        assert await asyncio.gather(*pending) == list(range(10, 510))
        return threads

    before = threading.active_count()
    assert asyncio.run(go()) <= before + 2


def test_blocking_calls_in_a_loop_work_and_warn() -> None:
    """Behaviour 18: a blocking call inside a running loop warns; to iterate a map is refused."""

    async def go() -> None:
        with pytest.warns(exception.AsyncUsageWarning, match=r"add\.remote\(\)"):
            assert add.remote(1) == 11
        with pytest.warns(exception.AsyncUsageWarning, match=r"\.get\(\)"):
            assert (await add.spawn.aio(1)).get() == 11
        with pytest.raises(exception.InvalidError, match="event loop") as caught:
            list(add.map([1]))
        assert "map.aio" in caught.value.hints[0]

    asyncio.run(go())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert add.remote(1) == 11


def test_a_map_that_is_never_iterated_warns() -> None:
    """Behaviour 3: nothing runs, and Python says so."""
    results = [add.map([1])]
    with pytest.warns(UserWarning, match="never iterated"):
        results.clear()


def test_wrap_returned_exceptions_has_no_effect() -> None:
    """The old switch is accepted with a warning."""
    with pytest.warns(exception.DeprecationError, match="wrap_returned_exceptions"):
        found = list(
            fails_on.map(
                [1], kwargs={"bad": 1}, return_exceptions=True, wrap_returned_exceptions=True
            )
        )
    assert isinstance(found[0], ValueError)


def test_functions_and_calls_travel() -> None:
    """Behaviour 28: a function, a method or an object passed as an argument is the same there."""
    assert calls.remote(add, 1) == 11
    assert calls.remote(Counter(start=3).add, 4) == 7
    assert calls.remote(add.with_options(timeout=5), 1) == 11


def test_context() -> None:
    """Behaviour 19: ids are those of the input; outside containers there are none."""
    assert (byoc.current_input_id(), byoc.current_function_call_id()) == (None, None)
    found = ids.remote()
    assert found[0].startswith("in-")
    assert found[1].startswith("fc-")
    assert byoc.is_local()


def test_context_variables_reach_the_threads_of_the_twins() -> None:
    """A nested call awaited inside an input is known to belong to it."""
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine")
    seen = []

    def numbers() -> Iterator[int]:
        seen.append(mine.get())
        yield 1

    async def go() -> None:
        mine.set("here")
        assert [n async for n in add.map.aio(numbers())] == [11]

    asyncio.run(go())
    assert seen == ["here"]


def test_apps_that_include_others() -> None:
    """Functions of an included app run where the including one does, and can be resolved there."""
    part, whole = byoc.App("part"), byoc.App("whole")
    function = part.function(serialized=True, name="f")(plain)
    cls = part.cls(serialized=True)(Plain)
    assert whole.include(part) is whole
    assert whole.app_id is None
    with whole.bound(InProcess()):  # type: ignore[arg-type]
        assert function.remote(1) == 1
        assert cls().get.remote(2) == 2
        assert (whole.app_id, part.app_id) == ("run-test", "run-test")
    with pytest.raises(exception.ExecutionError, match="not running"):
        function.remote(1)
    other = byoc.App("other")
    other.function(serialized=True, name="f")(plain)
    with pytest.warns(UserWarning, match="two called f"):
        whole.include(other)


def plain(x: int) -> int:
    """A function at the top of this module."""
    return x


class Plain:
    """A class at the top of this module."""

    @byoc.method()
    def get(self, x: int) -> int:
        return x


def test_in_a_container_every_app_is_bound() -> None:
    """Behaviour 28: the worker's session serves all apps of the process."""
    inside = byoc.App("inside")
    function = inside.function(serialized=True)(plain)
    session = InProcess()
    session.resolve = inside.resolve
    context.enter_container(session)
    try:
        assert function.remote(4) == 4
        assert context.sessions()[0] is session
    finally:
        context._container.clear()


@app.function()
def named(**values: Any) -> dict[str, Any]:
    return values


@app.function()
@functools.lru_cache
def cached(n: int) -> int:
    return n + 1


class Rows:
    """A data set: with an index, but without an iterator."""

    def __getitem__(self, index: int) -> int:
        return range(3)[index]


def test_any_name_can_be_an_argument() -> None:
    """Names that byoc's own methods use are free for the user's keywords."""
    values = {"self": 1, "args": 2, "spec": 3, "session": 4, "method": 5, "timeout": 6}
    assert named.remote(**values) == named.local(**values) == values
    assert named.spawn(**values).get() == values
    assert asyncio.run(named.remote.aio(**values)) == values


def test_wrapped_functions_and_indexed_inputs() -> None:
    """A function may be wrapped by what is no function; inputs may come by index alone."""
    assert cached.remote(1) == 2
    assert list(cached.map(Rows())) == [1, 2, 3]
    assert list(cached.starmap([[5]])) == [6]
    with pytest.raises(TypeError, match="map"):
        cached.map(5)


def test_the_number_of_containers_can_be_asked_for_and_changed() -> None:
    """Of a function and of an object, in what is not given as it was; old names warn."""
    assert add.get_current_stats()[:] == (4, 3, 2, 1)
    assert add.get_current_stats().num_running_inputs == 2
    add.autoscaler.update(min_containers=2, scaledown_window=5)
    add.autoscaler.update(max_containers=4)
    assert add.autoscaler.settings()[:] == (2, 4, 0, 5.0)
    with pytest.raises(exception.InvalidError, match="min_containers"):
        add.autoscaler.update(min_containers=5)
    with pytest.raises(exception.InvalidError, match="scaledown_window"):
        add.autoscaler.update(scaledown_window=1)
    with pytest.warns(exception.DeprecationError, match="keep_warm"):
        Counter(start=77).keep_warm(1)
    with pytest.warns(exception.DeprecationError, match="update_autoscaler"):
        Counter(start=77).add.update_autoscaler(buffer_containers=1)
    assert Counter(start=77).autoscaler.settings()[:] == (1, None, 1, None)
    assert Counter(start=78).autoscaler.settings().min_containers == 0
    assert asyncio.run(add.get_current_stats.aio()).backlog == 4
