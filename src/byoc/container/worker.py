"""Inside a container: import the user's code, take inputs, give results.

Runs in a process forked by the zygote. Talks on one socket: messages of
:mod:`byoc.wire.messages`, first ``start``, then ``in`` batches; answers ``ready`` or ``failed``,
then ``out`` batches.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import io
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any, Dict, List, Optional, Union

from .. import errors
from ..images import recipe
from ..runtime_agent import payload
from ..runtime_agent.board import CANCEL, HEADER, LEAVING, STARTING, Board
from ..sdk import context, serve
from ..wire import messages
from .channel import Channel
from .crowd import Crowd
from .loops import STOP_WAIT, Loops
from .nested import Inside
from .preempting import Preempting
from .running import Leaving, Target, Work, complain, describe, flush_output, is_later, stay_one
from .single import Single

LIKELY = ("byoc.sdk.app", "byoc.sdk.cls", "byoc.sdk.secret", "byoc.engine.calls", "asyncio")
"""What the programs of many containers import."""
TERMINATED = 128 + signal.SIGTERM
"""Exit code of a container that was told to leave, as shells have it."""


class Container:
    """One container's life."""

    work: Work

    def __init__(self, channel: Channel, board: Board) -> None:
        self.channel = channel
        self.board = board
        self.loops = Loops()
        self.leaving = False
        """SIGTERM came; user code may have swallowed the exception that says so."""
        self._runner: Optional[Union[Single, Crowd]] = None
        self._exit: List[Any] = []
        self._preempting: Optional[Preempting] = None
        self._ended = False
        self._cancelled = 0
        """The input that was interrupted last; it may still be unwinding."""
        self._patient = False
        self._pid = os.getpid()

    # --- signals --------------------------------------------------------------------------

    def heed_signals(self) -> None:
        """SIGTERM: leave. SIGUSR1: cancel the input that the board names."""
        signal.signal(signal.SIGTERM, lambda number, frame: self._asked_to_leave())
        signal.signal(signal.SIGHUP, lambda number, frame: None)  # comes with it: a machine's end
        signal.signal(signal.SIGUSR1, lambda number, frame: self._asked_to_cancel())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})

    def _asked_to_leave(self) -> None:
        """Unwind the main thread, unless it is in the middle of a message or does not run user
        code; then it hears of this when its wait ends. Once: a machine that ends asks too."""
        again, self.leaving = self.leaving, True
        if self._ended or os.getpid() != self._pid or (again and not self._patient):
            return
        self._patient = not again and self._cancelled == self.board.words[HEADER] != 0
        if self._patient:
            self._ask_later()
            return
        self.loops.wake()
        if self._runner is None or self._runner.raises:
            self.channel.masked.interrupt(Leaving())

    def _ask_later(self) -> None:
        """What was cancelled a moment ago has some time for its own ``finally``."""
        main = threading.main_thread().ident
        assert main is not None  # it runs
        later = threading.Timer(STOP_WAIT, signal.pthread_kill, (main, signal.SIGTERM))
        later.daemon = True
        later.start()

    def _asked_to_cancel(self) -> None:
        if self.leaving or not isinstance(self._runner, Single):
            return  # those that run several read of it on their stream
        ident = self.board.words[CANCEL]
        if not ident or ident != self.work.current or ident == self._cancelled:
            return  # the client says it again while the input runs; its ``finally`` is left alone
        self._cancelled = ident
        if self.work.task is not None:
            self.loops.soon(self.work.task.cancel)
        else:
            self.work.current = 0
            self.channel.masked.interrupt(errors.InputCancellation("the call was cancelled"))

    def leave_if_asked(self) -> None:
        """Raise Leaving when SIGTERM came."""
        if self.leaving:
            raise Leaving

    # --- life -----------------------------------------------------------------------------

    def live(self) -> int:
        """From the first message to the last; returns the exit code."""
        start = self.channel.receive()
        if start is None:
            return 0
        self.board.mark(STARTING, time.monotonic())
        path = self.channel.bulk.open() if start.head.get("bulk") else ""
        try:
            self._runner = self._set_up(start)
            stay_one(self._pid)
        except Leaving:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever user code raises goes to its caller
            stay_one(self._pid, error)
            info = describe(error)
            self.channel.send({"t": "failed"}, payload.dump_failure(error, info))
            return 1
        del start
        self.board.mark(0, time.monotonic())
        self.channel.send({"t": "ready", "pid": self._pid, "bulk": path})
        self._runner.serve()
        if self._preempting is not None:
            self._preempting.finish(self.leave_if_asked)
        return 0

    def _set_up(self, start: messages.Message) -> Union[Single, Crowd]:
        """Environment, the user's code, its enter hooks; then the way to run its inputs."""
        head = start.head
        _surroundings(head)
        session = Inside(self.channel, self._parent)
        context.enter_container(session)
        found = _unpickled(start) if head.get("pickled") else _imported(head)
        service = serve.service(found, head.get("parameters", ""))
        targets = {
            method: Target(target.call, target.generator, is_later(target.call))
            for method, target in service.targets.items()
        }
        if "" in targets:
            targets[""] = targets[""]._replace(generator=bool(head.get("generator")))
        name = head.get("qualname") or "the function"
        self.work = Work(name, targets, self.loops, self._item)
        self.work.credits.listen = self.channel.read_always
        self.channel.handlers["more"] = self._more
        self.channel.on_end.append(self.work.credits.end)
        self._heed_notices(service, targets)
        for hook in service.enter:
            self._hook(hook)
        self._exit = list(service.exit)
        most, batch = int(head.get("most") or 1), head.get("batch")
        if most == 1 and not batch:
            return Single(self)
        size, wait = batch or (1, 0.0)
        return Crowd(self, most, int(size), float(wait))

    def _heed_notices(self, service: serve.Service, targets: Dict[str, Target]) -> None:
        """Run the hooks of a preemption when the client tells of one, also while user code runs."""
        later = any(target.later for target in targets.values())
        self._preempting = Preempting(service.preempt, self.loops, later)
        self.channel.handlers["preempt"] = self._preempting.told
        if service.preempt:
            self.channel.read_always()

    def _parent(self) -> int:
        """The input that this thread or task works on, else the one that runs where one runs at a
        time, else 0."""
        if self._preempting is not None and self._preempting.here:
            return 0
        ident = context.input_id.get()
        if ident:
            return int(ident[len("in-") :])
        return self.work.current if isinstance(self._runner, Single) else 0

    def _hook(self, hook: Any) -> None:
        found = hook()
        if inspect.isawaitable(found):
            self.loops.run(found)

    def _item(self, ident: int, buffers: List[payload.Buffer]) -> None:
        """One yield of a generator leaves at once."""
        with self.channel.masked:
            self.channel.result((ident, payload.ITEM, len(buffers), 0), buffers, True)

    def _more(self, message: messages.Message) -> None:
        self.work.credits.give(message.head["id"], message.head["n"])

    def end(self) -> None:
        """Exit hooks, each whatever the others do. From here on SIGTERM is ignored: the agent's
        grace for all this is running."""
        self._ended = True
        self.channel.masked.forget()
        _flush(self.channel)
        self.board.mark(LEAVING, time.monotonic())
        if self._runner is None:
            return
        self.work.silent = self.leaving
        self._guarded(self._runner.stop)
        for hook in self._exit:
            self._guarded(lambda hook=hook: self._hook(hook))
        self._guarded(self.loops.close)

    def _guarded(self, step: Any) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - hooks are user code and may raise anything
            stay_one(self._pid, error)
            complain(describe(error)["text"])
        stay_one(self._pid)


def _surroundings(head: Dict[str, Any]) -> None:
    """Variables, folder and import path."""
    os.environ.update(head.get("vars", {}))
    os.environ["BYOC_IS_REMOTE"] = "1"
    os.environ["BYOC_TASK_ID"] = head["name"]
    os.makedirs(head["cwd"], exist_ok=True)
    os.chdir(head["cwd"])
    sys.path.insert(0, head["root"])
    sys.argv = [""]
    recipe.set_container_image(head.get("image", ""))


def _unpickled(start: messages.Message) -> Any:
    theirs, ours = tuple(start.head["python"]), tuple(sys.version_info[:2])
    if ours != theirs:
        raise RuntimeError(
            "a function pickled by Python %d.%d cannot be loaded by Python %d.%d" % (theirs + ours)
        )
    return payload.loads(start.buffers)


def _imported(head: Dict[str, Any]) -> Any:
    module = importlib.import_module(head["module"])
    if head.get("main"):
        sys.modules["__main__"] = module
    found: Any = module
    for part in head["qualname"].split("."):
        found = getattr(found, part)
    if not callable(found) and not type(found).__module__.startswith("byoc."):
        raise TypeError("%s.%s is not a function" % (head["module"], head["qualname"]))
    return found


def preload(name: str) -> None:
    """Import one of :data:`LIKELY`, for all containers that are forked later."""
    importlib.import_module(name)


def leave(code: int) -> None:
    """End the container's process: exit hooks of the user's code, output, then gone."""
    try:
        atexit._run_exitfuncs()
    except BaseException:  # noqa: BLE001 - hooks are user code and may raise anything
        traceback.print_exc()
    finally:
        flush_output()
        os._exit(code)


def main(link: socket.socket, board_fd: int) -> int:
    """Run one container; returns its exit code."""
    board = Board(board_fd)
    os.close(board_fd)
    container = Container(Channel(link), board)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    code = 70
    try:
        container.heed_signals()
        code = container.live()
    except Leaving:
        code = TERMINATED
    except (BrokenPipeError, ConnectionResetError):
        code = 0  # the agent is gone
    finally:
        container.end()
        _flush(container.channel)
        container.channel.bulk.close()
    return code


def _flush(channel: Channel) -> None:
    try:
        channel.flush()
    except OSError:
        pass  # the agent is gone
