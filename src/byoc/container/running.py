"""Running one input, or a batch of them: arguments in, user code, outcome out.

Nothing that user code raises escapes from here but the container's own end.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pickle
import sys
import threading
import types
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from .. import errors, limits
from ..runtime_agent import payload
from ..sdk import context
from .credits import Credits
from .loops import Loops

_OURS = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "<byoc/",
    importlib.__file__,
)
"""How the file names of frames begin that are not the user's: byoc's own, compiled here or in the
bundle, and those between us and the user's module."""
_PICKLE_ERRORS = (
    pickle.PicklingError,
    TypeError,
    AttributeError,
    RecursionError,
    ValueError,
)
_PLAIN = frozenset({type(None), bool, int, float})
"""Types of values that pickle as themselves, with no buffer beside."""

Outcome = Tuple[int, List[payload.Buffer]]
"""(kind, buffers) of a finished input."""
Arguments = Tuple[Tuple[Any, ...], Dict[str, Any]]


class Leaving(BaseException):
    """Raised by our own SIGTERM handler to unwind user code."""


class Input(NamedTuple):
    """One input as it came. ``place``: the how many-eth of the stream, from 1. ``call``: the id of
    its call where it has one of its own. ``arrived``: seconds of CLOCK_MONOTONIC."""

    place: int
    ident: int
    buffers: Sequence[payload.Buffer]
    method: str = ""
    call: str = ""
    arrived: float = 0.0


class Target(NamedTuple):
    """Something that can be called by name. ``later``: it is asynchronous."""

    call: Callable[..., Any]
    generator: bool
    later: bool


def is_later(call: Callable[..., Any]) -> bool:
    """Calling it gives a coroutine or an asynchronous generator."""
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)
        for one in (call, getattr(call, "__call__", None))  # noqa: B004 - the method itself
    )


class Work:
    """What a container can run."""

    def __init__(
        self,
        name: str,
        targets: Dict[str, Target],
        loops: Loops,
        send_item: Callable[[int, List[payload.Buffer]], None],
    ) -> None:
        self.name = name
        self.targets = targets
        self.loops = loops
        self.credits = Credits()
        self.current = 0
        """The input whose code the main thread runs, while it may be interrupted."""
        self.task: Any = None
        """The task in which that code runs, when it is asynchronous."""
        self.left: List[Any] = []
        """Such tasks, broken off, that have not ended yet."""
        self.silent = False
        """The container is leaving: what that breaks off is no news."""
        self._send_item = send_item
        self._pid = os.getpid()
        _forked.clear()
        self._set_input = context.input_id.set
        self._set_call = context.call_id.set

    def target(self, method: str) -> Target:
        """What to call. Raises NotFoundError."""
        found = self.targets.get(method)
        if found is None:
            what = "method %r" % method if method else "function of its own"
            raise errors.NotFoundError("%s has no %s" % (self.name, what))
        return found

    def name_input(self, ident: int, call: str) -> None:
        """What ``current_input_id()`` and its sister say from now on, in this thread or task."""
        self._set_input(f"in-{ident}")
        self._set_call(call or f"fc-{ident}")

    def name_none(self) -> None:
        """They say None again."""
        self._set_input(None)
        self._set_call(None)

    # --- one input ------------------------------------------------------------------------

    def run(self, ident: int, method: str, buffers: Sequence[payload.Buffer]) -> Outcome:
        """Run it on this thread."""
        try:
            return self._run(ident, self.target(method), buffers)
        except errors.NotFoundError as error:
            return self.failure(error)

    def _run(self, ident: int, target: Target, buffers: Sequence[payload.Buffer]) -> Outcome:
        """Interrupted by a cancellation where this is the main thread."""
        try:
            args, kwargs = payload.loads(buffers)
            self.current = ident
            try:
                value = target.call(*args, **kwargs)
                if type(value) not in _PLAIN:
                    value = self._followed(ident, target, value)
            finally:
                self.current = 0
            if _forked:
                stay_one(self._pid)
            kind = payload.ITEMS_END if target.generator else payload.VALUE
            return kind, self.dump(value)
        except Leaving:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever user code raises goes to its caller
            return self.failure(error)

    def run_here(self, ident: int, method: str, buffers: Sequence[payload.Buffer]) -> Outcome:
        """Run it on the main thread, on the loop where it is asynchronous."""
        target = self.targets.get(method)
        if target is None:
            return self.run(ident, method, buffers)
        if not target.later:
            return self._run(ident, target, buffers)
        try:
            self.current = ident
            try:
                found: Outcome = self.wait_for(self.run_later(ident, method, buffers))
            finally:
                self.current = 0
            return found
        except Leaving:
            raise
        except BaseException as error:  # noqa: BLE001 - user code may even stop the loop
            return self.failure(error)

    def _followed(self, ident: int, target: Target, value: Any) -> Any:
        """The value that a coroutine or a generator comes to, or the value itself.

        A generator that comes from a function not declared as one is a value like any other.
        """
        if isinstance(value, types.CoroutineType):
            return self.wait_for(value)
        if not target.generator:
            return value
        if isinstance(value, types.AsyncGeneratorType):
            return self.wait_for(self._drain(ident, value))
        self._iterate(ident, value)
        return None

    def _iterate(self, ident: int, generator: Iterable[Any]) -> None:
        with self.credits.of(ident) as credit:
            try:
                for item in generator:
                    self._item(ident, item)
                    credit.spend()
            finally:
                close = getattr(generator, "close", None)
                if close is not None:
                    close()

    def wait_for(self, coroutine: Any) -> Any:
        """Run it to its end on the loop. On the main thread a cancellation cancels its task."""
        if threading.current_thread() is not threading.main_thread():
            return self.loops.run_elsewhere(coroutine)
        loop = self.loops.need()
        self.task = task = loop.create_task(coroutine)
        try:
            return loop.run_until_complete(task)
        finally:
            self.task = None
            if not task.done():  # the container is leaving, or user code stopped the loop
                task.cancel()
                self.left.append(task)

    async def run_later(
        self, ident: int, method: str, buffers: Sequence[payload.Buffer]
    ) -> Outcome:
        """The same on the loop, for what is asynchronous."""
        try:
            target = self.target(method)
            args, kwargs = payload.loads(buffers)
            value = target.call(*args, **kwargs)
            if isinstance(value, types.AsyncGeneratorType) and target.generator:
                await self._drain(ident, value)
                value = None
            elif inspect.isawaitable(value):
                value = await value
            self.stay_one()
            kind = payload.ITEMS_END if target.generator else payload.VALUE
            return kind, self.dump(value)
        except Leaving:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever user code raises goes to its caller
            return self.failure(error)

    async def _drain(self, ident: int, generator: Any) -> None:
        with self.credits.of(ident) as credit:
            try:
                async for value in generator:
                    self._item(ident, value)
                    await credit.spend_later(self.loops)
            finally:
                await generator.aclose()

    def _item(self, ident: int, value: Any) -> None:
        self.stay_one()
        out = self.dump(value)
        flush_output()
        self._send_item(ident, out)

    # --- batches --------------------------------------------------------------------------

    def run_batch(self, batch: Sequence[Input], arguments: Sequence[Arguments]) -> List[Outcome]:
        """Run inputs of one shape by one call; an outcome for each."""
        try:
            args, kwargs = _columns(arguments)
            value = self.target(batch[0].method).call(*args, **kwargs)
            if isinstance(value, types.CoroutineType):
                value = self.wait_for(value)
            self.stay_one()
            return self._shares(batch, value)
        except Leaving:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever user code raises goes to its callers
            return [self.failure(error)] * len(batch)

    def run_batch_here(
        self, batch: Sequence[Input], arguments: Sequence[Arguments]
    ) -> List[Outcome]:
        """The same on the main thread, for what is asynchronous."""
        try:
            found: List[Outcome] = self.wait_for(self.run_batch_later(batch, arguments))
            return found
        except Leaving:
            raise
        except BaseException as error:  # noqa: BLE001 - user code may even stop the loop
            return [self.failure(error)] * len(batch)

    async def run_batch_later(
        self, batch: Sequence[Input], arguments: Sequence[Arguments]
    ) -> List[Outcome]:
        """The same on the loop."""
        try:
            args, kwargs = _columns(arguments)
            value = await self.target(batch[0].method).call(*args, **kwargs)
            self.stay_one()
            return self._shares(batch, value)
        except Leaving:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever user code raises goes to its callers
            return [self.failure(error)] * len(batch)

    def _shares(self, batch: Sequence[Input], values: Any) -> List[Outcome]:
        name = self.name + ("." + batch[0].method if batch[0].method else "")
        if not isinstance(values, list):
            raise errors.InvalidError(
                "the batched function %s must return a list, not %s" % (name, type(values).__name__)
            )
        if len(values) != len(batch):
            raise errors.InvalidError(
                "the batched function %s was given %d inputs and must return as many results, "
                "not %d" % (name, len(batch), len(values))
            )
        return [self._share(value) for value in values]

    def _share(self, value: Any) -> Outcome:
        try:
            return payload.VALUE, self.dump(value)
        except BaseException as error:  # noqa: BLE001 - pickling runs the user's code
            return self.failure(error)

    # --- outcomes -------------------------------------------------------------------------

    def dump(self, value: Any) -> List[payload.Buffer]:
        """A result as buffers. Raises Unpicklable, or whatever else pickling raises."""
        if type(value) in _PLAIN:
            return [pickle.dumps(value, 5)]
        try:
            buffers = payload.dumps(value)
        except _PICKLE_ERRORS as reason:
            raise payload.Unpicklable(
                "the result, a %s, cannot be pickled: %s"
                % (type(value).__name__, payload.text_of(reason))
            ) from reason
        size = sum(len(buffer) for buffer in buffers)
        if size >= limits.MAX_MESSAGE:
            raise payload.Unpicklable(
                "the result, a %s, has %d bytes, which is more than can be sent"
                % (type(value).__name__, size)
            )
        return buffers

    def failure(self, error: BaseException) -> Outcome:
        """The exception as it travels, also printed to the container's stderr as Modal does."""
        self.stay_one(error)
        info = describe(error)
        if not self.silent and not isinstance(error, errors.InputCancellation):
            complain(info["text"])
        return payload.FAILURE, payload.dump_failure(error, info)

    def stay_one(self, error: Optional[BaseException] = None) -> None:
        """See :func:`stay_one`."""
        stay_one(self._pid, error)


def stay_one(pid: int, error: Optional[BaseException] = None) -> None:
    """End a process that user code forked and let return: its parent, ``pid``, is the container."""
    if os.getpid() == pid:
        return
    code = 0 if error is None else 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    flush_output()
    os._exit(code & 0xFF)


def describe(error: BaseException) -> Dict[str, Any]:
    """An exception of user code as data, without frames of ours."""
    return payload.describe(error, _OURS)


def complain(text: str) -> None:
    """Print to the container's stderr."""
    try:
        sys.stderr.write(text)
    except Exception:  # noqa: BLE001, S110 - the user closed or replaced stderr
        pass


def _columns(arguments: Sequence[Arguments]) -> Arguments:
    """One list per argument, from many calls of one shape."""
    args = tuple(list(column) for column in zip(*(args for args, _ in arguments)))
    return args, {name: [kwargs[name] for _, kwargs in arguments] for name in arguments[0][1]}


def shape(arguments: Arguments) -> Tuple[int, Iterable[str]]:
    """Inputs can be in one batch when this is equal."""
    return len(arguments[0]), frozenset(arguments[1])


def flush_output() -> None:
    """What was printed leaves before what comes of it."""
    try:
        sys.stdout.flush()
    except Exception:  # noqa: BLE001, S110 - the user closed or replaced it
        pass
    try:
        sys.stderr.flush()
    except Exception:  # noqa: BLE001, S110 - the user closed or replaced it
        pass


_forked: List[int] = []
"""Not empty in a process that user code forked. Asking the system each time would cost a tenth of
what a small input costs."""
os.register_at_fork(after_in_child=lambda: _forked.append(1))
