"""Inside a container: import the user's code, take inputs, give results.

Runs in a process forked by the zygote, on its main thread (so signals and GUI toolkits work as they
would at home). Talks on one socket: messages of :mod:`byoc.wire.messages`, first ``start``, then
``in`` batches; answers ``ready`` or ``failed``, then ``out`` batches.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import io
import mmap
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Sequence

from .. import limits
from ..wire import messages
from . import payload
from .board import BOARD, LEAVING, STARTING

_OURS = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "<byoc/",
    importlib.__file__,
)
"""How the file names of frames begin that are not the user's: byoc's own, compiled here or in the
bundle, and those between us and the user's module."""


class _Leaving(BaseException):
    """Raised by our own SIGTERM handler to unwind user code."""


class Channel:
    """The socket to the agent; results are collected for a moment and sent together."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._incoming = messages.Assembler()
        self._waiting: List[messages.Message] = []
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._entries: List[List[int]] = []
        self._buffers: List[Any] = []
        self._size = 0
        self._wake = threading.Event()
        self._flusher: Optional[threading.Thread] = None
        self._writer = 0  # the thread that is writing
        self.leaving = False
        """SIGTERM came; user code may have swallowed the exception that says so."""

    def receive(self) -> Optional[messages.Message]:
        """The next message, or None when the agent closed the container's input."""
        while not self._waiting:
            data = self._link.recv(limits.CHUNK)
            if not data:
                return None
            self._waiting = list(self._incoming.feed(data))
        return self._waiting.pop(0)

    @property
    def more(self) -> bool:
        """Another message is already here."""
        return bool(self._waiting)

    def send(self, head: Dict[str, Any], buffers: Sequence[Any] = ()) -> None:
        """Send one message now."""
        with self._sending:
            self._write(messages.encode(head, buffers))

    def _write(self, parts: Sequence[Any]) -> None:
        self._writer = threading.get_ident()
        try:
            for part in parts:
                self._link.sendall(part)
        finally:
            self._writer = 0

    def asked_to_leave(self) -> None:
        """SIGTERM came: unwind the main thread, unless it is in the middle of a message."""
        self.leaving = True
        if self._writer != threading.get_ident():
            raise _Leaving

    def result(self, entry: List[int], buffers: Sequence[Any], last: bool) -> None:
        """Add a result; ``last``: nothing else is waiting to run, send what there is."""
        with self._lock:
            self._entries.append(entry)
            self._buffers.extend(buffers)
            self._size += sum(memoryview(buffer).nbytes for buffer in buffers)
        if last or self._size > limits.CHUNK:
            self.flush()
        else:
            self._flush_soon()

    def flush(self) -> None:
        """Send the collected results."""
        with self._sending:
            with self._lock:
                entries, buffers = self._entries, self._buffers
                self._entries, self._buffers, self._size = [], [], 0
            if entries:
                self._write(messages.encode({"t": "out", "b": entries}, buffers))

    def _flush_soon(self) -> None:
        """A slow input after a quick one must not hold the quick one's result back."""
        if self._flusher is None:
            flusher = threading.Thread(target=self._flush_loop, name="byoc-flush", daemon=True)
            self._flusher = flusher
            flusher.start()
        self._wake.set()

    def _flush_loop(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            time.sleep(limits.FLUSH_AFTER)
            try:
                self.flush()
            except OSError:
                return  # the agent is gone; the main thread sees it too


class Function:
    """The user's function, called in whatever way it wants to be called."""

    def __init__(self, raw: Callable[..., Any], generator: bool) -> None:
        self.raw = raw
        self.generator = generator
        self._loop: Any = None

    def run(self, args: Sequence[Any], kwargs: Dict[str, Any], item: Callable[[Any], None]) -> Any:
        """The return value; yields of a generator go to ``item`` one by one.

        A generator that comes from a function not declared as one is a value like any other.
        """
        result = self.raw(*args, **kwargs)
        if inspect.iscoroutine(result):
            return self._run_async(result)
        if not self.generator:
            return result
        if inspect.isasyncgen(result):
            return self._run_async(self._drain(result, item))
        for value in result:
            item(value)
        return None

    async def _drain(self, generator: Any, item: Callable[[Any], None]) -> None:
        async for value in generator:
            item(value)

    def _run_async(self, coroutine: Any) -> Any:
        if self._loop is None or self._loop.is_closed():
            import asyncio  # 20 ms: a zygote that has been idle has it, others pay here

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.run_until_complete(coroutine)


class Container:
    """One container's life after ``start``."""

    def __init__(self, channel: Channel, board: mmap.mmap, start: messages.Message) -> None:
        self.channel = channel
        self.board = board
        self.head = start.head
        self.buffers = start.buffers
        self.generator = bool(start.head.get("generator"))
        self._pid = os.getpid()

    def set_up(self) -> Function:
        """Environment, folder, import path, then the user's module."""
        head = self.head
        os.environ.update(head.get("vars", {}))
        os.environ["BYOC_IS_REMOTE"] = "1"
        os.environ["BYOC_TASK_ID"] = head["name"]
        os.makedirs(head["cwd"], exist_ok=True)
        os.chdir(head["cwd"])
        sys.path.insert(0, head["root"])
        sys.argv = [""]
        images = importlib.import_module("byoc.images.recipe")
        images.set_container_image(head.get("image", ""))
        if head.get("pickled"):
            self._check_python()
            return Function(payload.loads(self.buffers), self.generator)
        module = importlib.import_module(head["module"])
        if head.get("main"):
            sys.modules["__main__"] = module
        found: Any = module
        for part in head["qualname"].split("."):
            found = getattr(found, part)
        spec = getattr(found, "spec", None)
        if spec is not None:
            spec.image.raise_import_errors()
        raw = getattr(found, "raw_f", found)
        if not callable(raw):
            raise TypeError("%s.%s is not a function" % (head["module"], head["qualname"]))
        return Function(raw, self.generator)

    def _check_python(self) -> None:
        theirs = tuple(self.head["python"])
        if tuple(sys.version_info[:2]) != theirs:
            raise RuntimeError(
                "a function pickled by Python %d.%d cannot be loaded by Python %d.%d"
                % (theirs + tuple(sys.version_info[:2]))
            )

    def serve(self, function: Function) -> None:
        """Take inputs until the agent closes the channel."""
        while True:
            self._leave_if_asked()
            message = self.channel.receive()
            if message is None:
                return
            batch = message.head["b"]
            position = 0
            for index, (ident, count) in enumerate(batch):
                buffers = message.buffers[position : position + count]
                position += count
                last = index + 1 == len(batch) and not self.channel.more
                self._one(function, ident, buffers, last)
                del buffers
                self._leave_if_asked()
            del message, batch  # large arguments go before the next wait

    def _one(self, function: Function, ident: int, buffers: Sequence[Any], last: bool) -> None:
        began = time.monotonic()
        BOARD.pack_into(self.board, 0, ident, began)
        try:
            args, kwargs = payload.loads(buffers)
            value = function.run(args, kwargs, lambda item: self._item(ident, item))
            self.stay_one()
            kind, out = payload.VALUE, self._dump(value)
            if self.generator:
                kind = payload.ITEMS_END
        except _Leaving:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever user code raises goes to its caller
            self.stay_one(error)
            kind, out = payload.FAILURE, self._failure(error)
        _flush_output()
        BOARD.pack_into(self.board, 0, 0, 0.0)
        took = int((time.monotonic() - began) * 1e6)
        self.channel.result([ident, kind, len(out), took], out, last)

    def stay_one(self, error: Optional[BaseException] = None) -> None:
        """End a process that user code forked and let return: its parent speaks to the agent."""
        if os.getpid() == self._pid:
            return
        code = 0 if error is None else 1
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            code = error.code or 0
        _flush_output()
        os._exit(code & 0xFF)

    def _item(self, ident: int, value: Any) -> None:
        self.stay_one()
        out = self._dump(value)
        _flush_output()
        self.channel.result([ident, payload.ITEM, len(out), 0], out, True)
        self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self.channel.leaving:
            raise _Leaving

    @staticmethod
    def _dump(value: Any) -> List[Any]:
        try:
            return payload.dumps(value)
        except _PICKLE_ERRORS as reason:
            raise payload.Unpicklable(
                "the result, a %s, cannot be pickled: %s"
                % (type(value).__name__, payload.text_of(reason))
            ) from reason

    @staticmethod
    def _failure(error: BaseException) -> List[Any]:
        """The exception as it travels, also printed to the container's stderr as Modal does."""
        info = payload.describe(error, _OURS)
        try:
            sys.stderr.write(info["text"])
        except Exception:  # noqa: BLE001, S110 - the user closed or replaced stderr
            pass
        return payload.dump_failure(error, info)


_PICKLE_ERRORS = (
    pickle.PicklingError,
    TypeError,
    AttributeError,
    RecursionError,
    ValueError,
)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - the user closed or replaced it
            pass


def leave(code: int) -> None:
    """End the container's process: exit hooks of the user's code, output, then gone."""
    try:
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - hooks are user code and may raise anything
        traceback.print_exc()
    finally:
        _flush_output()
        os._exit(code)


def main(link: socket.socket, board_fd: int) -> int:
    """Run one container; returns its exit code."""
    board = mmap.mmap(board_fd, BOARD.size)
    os.close(board_fd)
    channel = Channel(link)

    signal.signal(signal.SIGTERM, lambda number, frame: channel.asked_to_leave())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    try:
        try:
            return _live(channel, board)
        except _Leaving:
            channel.flush()
            return 143
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the agent is gone
    finally:
        BOARD.pack_into(board, 0, LEAVING, time.monotonic())


def _live(channel: Channel, board: mmap.mmap) -> int:
    start = channel.receive()
    if start is None:
        return 0
    BOARD.pack_into(board, 0, STARTING, time.monotonic())
    container = Container(channel, board, start)
    try:
        function = container.set_up()
        container.stay_one()
    except _Leaving:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever user code raises goes to its caller
        container.stay_one(error)
        info = payload.describe(error, _OURS)
        channel.send({"t": "failed"}, payload.dump_failure(error, info))
        return 1
    BOARD.pack_into(board, 0, 0, 0.0)
    channel.send({"t": "ready", "pid": os.getpid()})
    container.serve(function)
    return 0
