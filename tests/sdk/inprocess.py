"""A session that runs inputs in threads of this process: what the SDK needs of one, and no more.

Arguments and results are really pickled, and what runs is what a container would run.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from byoc.clock import SYSTEM, Clock
from byoc.engine.inputs import FAILURE, ITEM, ITEMS_END, VALUE, Input, Outcome, Sink
from byoc.engine.spec import FunctionSpec
from byoc.runtime_agent import payload
from byoc.sdk import context, serve


class InProcess:
    """Each spec is served once; its inputs run one after the other, in one thread."""

    clock: Clock = SYSTEM
    run_id = "run-test"

    def __init__(self) -> None:
        self.calls: dict[str, Any] = {}
        self.resolve: Callable[[str, str, str], FunctionSpec] | None = None
        self.kept: Callable[[], list[FunctionSpec]] = list
        self.tuned: dict[int, FunctionSpec] = {}
        self.cancelled: list[Input] = []
        self.allowed = 0
        self._services: dict[int, tuple[FunctionSpec, serve.Service, ThreadPoolExecutor]] = {}
        self._next = 0
        self._lock = threading.Lock()

    def submit(
        self,
        spec: FunctionSpec,
        payloads: Sequence[Sequence[Any]],
        sink: Sink,
        register: Callable[[Input], None] | None = None,
        method: str = "",
        spawned: Sequence[str] = (),
    ) -> list[Input]:
        """As ``engine.inputs.Runner``."""
        found = []
        for buffers in payloads:
            with self._lock:
                self._next += 1
                item = Input(self._next, [bytes(b) for b in buffers], sink, method)
            if register is not None:
                register(item)
            found.append(item)
        _, service, threads = self._service(spec)
        for item in found:
            threads.submit(self._run, service, item)
        return found

    def _service(
        self, spec: FunctionSpec
    ) -> tuple[FunctionSpec, serve.Service, ThreadPoolExecutor]:
        with self._lock:
            if id(spec) not in self._services:
                again = self.resolve(spec.name, spec.parameters, spec.variant)
                assert again is spec, "a container would find another spec"
                service = serve.service(spec.raw, spec.parameters)
                for hook in service.enter:
                    _done(hook())
                self._services[id(spec)] = spec, service, ThreadPoolExecutor(1)
            return self._services[id(spec)]

    def _run(self, service: serve.Service, item: Input) -> None:
        target = service.targets[item.method]
        context.input_id.set(f"in-{item.id}")
        context.call_id.set(f"fc-{item.id}")
        try:
            args, kwargs = payload.loads(item.buffers)
            value = _done(target.call(*args, **kwargs))
            if target.generator:
                for one in value if hasattr(value, "__iter__") else _drained(value):
                    item.sink(item, Outcome(ITEM, payload.dumps(one)))
                item.finish(Outcome(ITEMS_END))
                return
            item.finish(Outcome(VALUE, payload.dumps(value)))
        except BaseException as error:  # noqa: BLE001 - goes to the caller
            info = payload.describe(error, ())
            item.finish(Outcome(FAILURE, payload.dump_failure(error, info), where="ta-test"))

    def cancel(self, spec: Any, items: Sequence[Input], kill: bool = False) -> None:
        """Remembered; what runs goes on."""
        self.cancelled += items

    def settings_of(self, spec: FunctionSpec) -> FunctionSpec:
        """As ``engine.session.Session``."""
        return self.tuned.get(id(spec), spec)

    def tune(self, spec: FunctionSpec, changes: dict[str, Any]) -> None:
        """Remembered."""
        self.tuned[id(spec)] = replace(self.settings_of(spec), **changes)

    def stats_of(self, spec: FunctionSpec) -> tuple[int, int, int, int]:
        """Made up."""
        return 4, 3, 2, 1

    def more(self, spec: Any, item: Input, count: int) -> None:
        """Counted."""
        self.allowed += count

    def ask(self, call: str, sink: Sink) -> Input | None:
        """There is nobody else to ask."""
        return None


def _done(value: Any) -> Any:
    if not inspect.isawaitable(value):
        return value

    async def whole() -> Any:
        return await value

    return asyncio.run(whole())


def _drained(generator: Any) -> list[Any]:
    async def whole() -> list[Any]:
        return [one async for one in generator]

    return asyncio.run(whole())
