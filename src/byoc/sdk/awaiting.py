"""Calls awaited on an event loop, without a thread for each: the ``.aio`` twins."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import _lazy
from .twins import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ..engine.calls import PendingCall
    from ..engine.inputs import Input, Outcome
    from ..engine.spec import FunctionSpec

QUICK = 256 * 1024
"""Bytes of arguments up to which sending them may happen on the event loop's own thread; more could
wait for the connection, and is sent from another thread."""


async def call(
    session: Any,
    spec: FunctionSpec,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    method: str = "",
) -> Any:
    """As ``engine.calls.call``."""
    future = asyncio.get_running_loop().create_future()
    tell = _teller(future)
    items = await _submit(session, spec, args, kwargs, method, lambda _, outcome: tell(outcome))
    try:
        outcome = await future
    except BaseException:
        session.cancel(spec, items)
        raise
    return _lazy.load("byoc.engine.results:value_of")(outcome, spec.renames)


async def outcome(pending: PendingCall, timeout: float | None) -> Outcome:
    """As ``pending.outcome``: raises the builtin TimeoutError while it is not there."""
    if timeout is not None and timeout <= 0:
        return pending.outcome(0)
    future = asyncio.get_running_loop().create_future()
    pending.watch(_teller(future))
    try:
        found: Outcome = await asyncio.wait_for(future, timeout)
    except asyncio.TimeoutError:
        raise TimeoutError("the call has no result yet") from None  # before 3.11 it is another one
    return found


async def items(
    session: Any,
    spec: FunctionSpec,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    method: str = "",
) -> AsyncIterator[Any]:
    """As ``engine.calls.items``."""
    calls, inputs = _lazy.load("byoc.engine.calls"), _lazy.load("byoc.engine.inputs")
    value_of = _lazy.load("byoc.engine.results:value_of")
    loop, some = asyncio.get_running_loop(), asyncio.Event()
    arrived: deque[Outcome] = deque()

    def sink(item: Input, outcome: Outcome) -> None:
        arrived.append(outcome)
        _on_loop(loop, some.set)

    submitted = await _submit(session, spec, args, kwargs, method, sink)
    finished, taken = False, 0
    try:
        while not finished:
            await some.wait()
            some.clear()
            while arrived and not finished:
                outcome = arrived.popleft()
                finished = outcome.kind != inputs.ITEM or outcome.error is not None
                if not finished:
                    yield value_of(outcome, spec.renames)
                    taken += 1
                    if taken % calls.MORE_EVERY == 0:
                        session.more(spec, submitted[0], calls.MORE_EVERY)
                elif outcome.kind != inputs.ITEMS_END or outcome.error is not None:
                    value_of(outcome, spec.renames)  # raises
    finally:
        if not finished:
            session.cancel(spec, submitted)


async def _submit(
    session: Any,
    spec: FunctionSpec,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    method: str,
    sink: Callable[[Input, Outcome], None],
) -> list[Input]:
    buffers = _lazy.load("byoc.engine.calls:dump_arguments")(spec, args, kwargs)

    def submit() -> list[Input]:
        found: list[Input] = session.submit(spec, [buffers], sink, method=method)
        return found

    if sum(memoryview(buffer).nbytes for buffer in buffers) > QUICK:
        return await in_thread(submit)
    return submit()


def _teller(future: asyncio.Future[Any]) -> Callable[[Any], None]:
    """Sets the future's result from any thread, if anybody still waits for it."""
    loop = future.get_loop()

    def settle(value: Any) -> None:
        if not future.done():
            future.set_result(value)

    return lambda value: _on_loop(loop, lambda: settle(value))


def _on_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(work)
    except RuntimeError:
        pass  # the loop is closed: nobody waits any more
