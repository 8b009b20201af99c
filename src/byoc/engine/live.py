"""An instance in use: its agent link, the files and environments on it, its containers' streams."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as LateError
from functools import partial
from typing import Any

from .. import limits
from ..clock import Clock
from ..errors import (
    ConnectionLostError,
    Error,
    ExecutionError,
    ImageBuildError,
    InstanceError,
    InvalidError,
)
from ..fleet.held import Held
from ..images import mounts
from ..images.native import EnvPlan
from ..placement.match import is_gpu
from ..resources import GpuRequest, Offer
from ..runtime_agent.bundle import Bundle
from ..runtime_agent.filestore import REMOTE_ROOT
from ..tasks import Task
from ..wire import link, messages
from . import bulk, ownuv, threads
from .agentlink import CONTROL, LOGS, AgentLink
from .events import Reporter
from .inputs import Input
from .shown import Shown
from .slots import Load, Slot
from .spec import FunctionSpec

_DISK_HINTS = ("ask for a larger disk with ephemeral_disk=", "send less, or leave files out")
INLINE_FILE = 64 * 1024
"""Files up to this size go along with the list of files: a round trip less for sources."""
INLINE_TOTAL = 512 * 1024
PIECE = 1024 * 1024
"""Larger files go in pieces of this size, at most :data:`PIECES_AHEAD` unanswered."""
PIECES_AHEAD = 8
_SENDING = threading.BoundedSemaphore(4)
"""Instances that large files are sent to at one time: the line is one, and what is on the way is
held in memory for each (the link's 16 MiB and as many pieces)."""
FIRST_STREAM = 16
ANSWER_WAIT = limits.LEASE * 4
"""Seconds for an answer; syncing files waits for the instance's disk. A lost instance answers at
once, by the link."""
NOTE_WAIT = 0.5
"""Seconds that a preemption's note in the journal is waited for: it takes a millisecond, or 10 s
while another client holds the journal."""
RELEASE_WAIT = 10.0
"""Seconds for an instance to take leave; one that does not is ended instead of kept."""

Results = Callable[[Slot, messages.Message], None]
Exited = Callable[[Slot, Mapping[str, Any]], None]


class LiveInstance:
    """One held instance with a running agent."""

    def __init__(
        self,
        held: Held,
        bundle: Bundle,
        reporter: Reporter,
        clock: Clock,
        *,
        session: str,
        lease: float,
        on_lost: Callable[[LiveInstance, InstanceError], None],
        on_leaving: Callable[[LiveInstance], None],
    ) -> None:
        self.held = held
        self.offer = held.instance.offer
        self.lost: InstanceError | None = None
        self.leaving = False
        """Its cloud takes it away in a moment: nothing new is given to it."""
        self.until = math.inf
        """The second of the clock at which it is gone then."""
        self.taken = False
        """Its cloud takes it back, or has: what it ran is not to blame for that."""
        self._reporter = reporter
        self._on_lost = on_lost
        self._on_leaving = on_leaving
        self._clock = clock
        self._lock = threading.Lock()
        self._streams = itertools.count(FIRST_STREAM)
        self._files: dict[str, mounts.FileEntry] = {}
        self._synced: list[list[Any]] | None = None
        self._envs: dict[str, dict[str, Any]] = {}
        self._sending_uv = threading.Lock()
        self._uv_sent = ""
        self._notice: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._logs = messages.Assembler()
        self._flushes: dict[int, Future[None]] = {}
        self._asides: dict[int, bulk.Aside] = {}
        self._unread = False
        self.free_gpus = list(range(self.offer.gpu_count))
        self.load = Load(self.offer.cpus, self.offer.memory)
        self._link = AgentLink(
            held,
            bundle,
            session=session,
            python=held.traits.python,
            end_command=held.traits.end_command,
            lease=lease,
            clock=clock,
            on_lost=self._is_lost,
            home=REMOTE_ROOT if held.traits.real_root else "",
        )
        self._shown = Shown(partial(self._link.used, LOGS))
        self._link.listen(LOGS, self._on_logs, later=True)

    def open(self) -> None:
        """Start or find the agent. Raises an InstanceError."""
        self._link.on_notice = self._noticed
        self._link.open()
        traits = self.held.traits
        if traits.notice_source and self.offer.market == "spot":
            head = {"t": "watch", "source": traits.notice_source, "seconds": traits.notice}
            self._link.send(CONTROL, head)

    @property
    def usable(self) -> bool:
        """Something new may be given to it."""
        return self.lost is None and not self.leaving

    @property
    def rtt(self) -> float:
        """Seconds of a round trip; 0 while it is not known."""
        rtt = self._link.rtt
        return rtt if math.isfinite(rtt) else 0.0

    @property
    def root(self) -> str:
        """The folder on the instance that stands for ``/root``."""
        return REMOTE_ROOT if self.held.traits.real_root else str(self._link.hello["home"])

    @property
    def vanished(self) -> bool:
        """Its provider said that it has ended, or does."""
        seen = self._link.seen
        return seen is not None and seen.state in ("ending", "gone")

    def note_taken(self) -> None:
        """It is lost; where its cloud has taken it without a word, that counts as a notice that
        came too late. Before another one is looked for, which is to be elsewhere."""
        seen = self._link.seen
        if seen is not None and seen.failure is not None and not self.taken:
            self.taken = True
            self._note(0.0)

    def _is_lost(self, error: InstanceError) -> None:
        self.lost = error
        self.note_taken()
        for flush in list(self._flushes.values()):
            with contextlib.suppress(InvalidStateError):  # it has just been answered
                flush.set_exception(error)
        self._on_lost(self, error)

    def _noticed(self, word: Mapping[str, Any]) -> None:
        """The agent has read that the instance is preempted, or may be soon."""
        instance, sure = self.held.instance, word.get("sure") is True
        if not sure:
            self._reporter.notice(f"instance {instance.id} may be preempted soon")
        elif not self.leaving:
            seconds, at = float(word["seconds"]), float(word["at"])
            self.leaving = self.taken = True
            self.until = self._clock.mono() + seconds
            self._notice = {"at": at, "instance": instance.id, "cloud": instance.provider}
            self._reporter.notice(
                f"instance {instance.id} is preempted in {round(seconds)} s: it gets nothing new"
            )
            threads.start("byoc-leaving", partial(self._leaves, seconds))  # not on this thread

    def _leaves(self, seconds: float) -> None:
        self._note(seconds)
        self._on_leaving(self)

    def _note(self, seconds: float) -> None:
        """Its zone is scored down, so that what comes now is elsewhere; but no input waits long for
        a journal that others write."""
        threads.start("byoc-noticed", partial(self._note_down, seconds)).join(NOTE_WAIT)

    def _note_down(self, seconds: float) -> None:
        try:
            self.held.noticed(seconds)
        except Error as error:  # the work moves all the same
            self._reporter.notice(f"a preemption could not be noted: {error.message}")

    # --- files and environments -----------------------------------------------------------

    def prepare(self, entries: Sequence[mounts.FileEntry], plan: EnvPlan) -> dict[str, Any]:
        """Files in place and the environment built. Together, unless a build may read files."""
        if plan.steps:
            self.sync(entries)
            return self.build(plan)
        building = Task("byoc-env", lambda: self.build(plan))
        self.sync(entries)
        return building.result()

    def sync(self, entries: Sequence[mounts.FileEntry]) -> None:
        """Add files to those that are on the instance; returns when they are in place."""
        with self._lock:
            files = {**self._files, **{entry.path: entry for entry in entries}}
            rows = [entry.to_json() for entry in files.values()]
            if rows == self._synced:
                return
            by_digest = {entry.digest: entry for entry in files.values()}
            head = {
                "t": "files",
                "entries": rows,
                "root": self.root,
                "real_root": self.held.traits.real_root,
            }
            inline = _small(by_digest)
            contents = [_content(by_digest[digest]) for digest in inline]
            answer = self._ask({**head, "inline": inline}, *contents)
            if answer["missing"]:
                self._send_contents([by_digest[digest] for digest in answer["missing"]])
                answer = self._ask(head)
            self._files, self._synced = files, rows  # not what failed: others would fail with it

    def _send_contents(self, entries: Sequence[mounts.FileEntry]) -> None:
        """Send large contents in pieces, with a bounded number of them on the way."""
        with _SENDING:
            self._send_pieces(entries)

    def _send_pieces(self, entries: Sequence[mounts.FileEntry]) -> None:
        waiting: deque[Future[dict[str, Any]]] = deque()
        for entry in entries:
            with entry.open() as file:
                piece = file.read(PIECE)
                while True:
                    following = file.read(PIECE)
                    head = {"t": "blobs", "parts": [[entry.digest, not following]]}
                    waiting.append(self._link.request(head, piece))
                    if len(waiting) > PIECES_AHEAD:
                        _answer(waiting.popleft())
                    if not following:
                        break
                    piece = following
        for future in waiting:
            _answer(future)

    def build(self, plan: EnvPlan) -> dict[str, Any]:
        """Have the image's environment on the instance. Raises ImageBuildError."""
        found = self._envs.get(plan.digest)
        if found is None:
            reply = self._build(plan)
            if not reply["ok"]:
                raise ImageBuildError(
                    f"the image could not be built: {reply['error']}", log=reply.get("tail", "")
                )
            found = reply["env"]
            self._envs[plan.digest] = {**found, "built": False}
        return {**found, "env": {**found["env"], **plan.env, "PATH": found["env"]["PATH"]}}

    def _build(self, plan: EnvPlan) -> dict[str, Any]:
        """The agent's answer; it gets our uv when it has none and can fetch none."""
        traits = self.held.traits
        cache = traits.cache or f"{self._link.hello['home']}/.cache/byoc"
        head = {"t": "env", "plan": plan.to_json(), "cache": cache, "uv": traits.uv}
        if not traits.uv:
            head["uv_version"] = ownuv.version()
        reply = self._link.request(head).result()
        if reply["ok"] or not reply.get("needs"):
            return reply
        program = ownuv.program(reply["needs"], reply["error"])
        with self._sending_uv:  # once, for all images
            if program.digest != self._uv_sent:
                self._reporter.build_log(b"uv is sent along: the instance could not fetch it\n")
                self._send_contents([program])
                self._uv_sent = program.digest
        return self._link.request({**head, "uv_digest": program.digest}).result()

    def _ask(self, head: Mapping[str, Any], *buffers: link.Buffer) -> dict[str, Any]:
        return _answer(self._link.request(head, *buffers))

    def take_gpus(self, wanted: Sequence[GpuRequest]) -> tuple[int, ...] | None:
        """The lowest free GPUs for one more container; None when too few are free.

        ``wanted``: the choices of a request; the one that this machine's kind fits counts.
        """
        count = next((one.count for one in wanted if is_gpu(one, self.offer.gpu)), 0)
        if count > len(self.free_gpus):
            return None
        self.free_gpus.sort()
        taken = tuple(self.free_gpus[:count])
        del self.free_gpus[:count]
        return taken

    # --- containers -----------------------------------------------------------------------

    def new_stream(self) -> int:
        """A stream number that no container of this session had."""
        return next(self._streams)  # no lock: sync holds it while it waits for the reader

    def start_function(
        self,
        slot: Slot,
        spec: FunctionSpec,
        env: Mapping[str, Any],
        plan: EnvPlan,
        code: Sequence[link.Buffer],
        on_message: Results,
        on_exit: Exited,
    ) -> None:
        """Start a container of a function; its messages and its end go to the callbacks."""
        self._open_stream(slot, on_message, on_exit)
        standard = {**_threads(spec), **_identity(self.offer, slot.name, plan)}
        variables = {**standard, **self._variables(env, slot.gpus, spec.environ())}
        source = spec.source
        batching = spec.batching
        head = {
            "t": "start",
            "name": slot.name,
            "root": self.root,
            "cwd": self._folder(env.get("workdir") or "/root"),
            "vars": variables,
            "image": plan.key,
            "generator": spec.generator,
            "parameters": spec.parameters,
            "most": spec.concurrency.most,
            "batch": [batching.size, batching.wait] if batching is not None else None,
            "limits": {"memory": spec.memory_limit},
            "module": source.module,
            "qualname": source.qualname,
            "main": source.main,
            "pickled": bool(code),
            "bulk": self._link.reaches_sockets,
            "python": list(sys.version_info[:2]),
        }
        start = {
            "t": "start",
            "kind": "function",
            "c": slot.stream,
            "name": slot.name,
            "python": env["python"],
            "timeout": spec.timeout,
            "startup_timeout": spec.startup_timeout,
            "most": spec.concurrency.most,
            "limits": {"memory": spec.memory_limit},
        }
        self._link.send(CONTROL, start)
        self._link.send(slot.stream, head, *code)

    def start_command(
        self,
        slot: Slot,
        argv: Sequence[str],
        env: Mapping[str, Any],
        variables: Mapping[str, str],
        cwd: str,
        timeout: float,
        on_exit: Exited,
    ) -> None:
        """Start a program; its output comes as logs, its end by the callback."""
        self._open_stream(slot, None, on_exit)
        head = {
            "t": "start",
            "kind": "command",
            "c": slot.stream,
            "name": slot.name,
            "argv": list(argv),
            "cwd": self._folder(cwd),
            "vars": self._variables(env, slot.gpus, {"BYOC_IS_REMOTE": "1", **variables}),
            "timeout": timeout,
        }
        self._link.send(CONTROL, head)

    def _variables(
        self, env: Mapping[str, Any], gpus: tuple[int, ...], extra: Mapping[str, str]
    ) -> dict[str, str]:
        variables = dict(env["env"])
        if self.offer.gpu_count:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        variables.update(extra)
        return variables

    def _folder(self, path: str) -> str:
        """A remote path as it is called on this instance."""
        if path == "/root" or path.startswith("/root/"):
            return self.root + path[len("/root") :]
        return path

    def _open_stream(self, slot: Slot, on_message: Results | None, on_exit: Exited) -> None:
        incoming = messages.Assembler()
        self._names[slot.stream] = slot.name
        aside = bulk.Aside(
            self._link, lambda: self._broken(slot), partial(self._link.unhandled, slot.stream)
        )
        self._asides[slot.stream] = aside

        def handle(kind: int, payload: link.Buffer) -> None:
            if kind == link.END:
                self._link.forget(slot.stream)
                self._asides.pop(slot.stream).close()
                on_exit(slot, json.loads(bytes(payload)))
            elif on_message is not None:
                for message in incoming.feed(payload):
                    aside.take(message, lambda whole: on_message(slot, whole))

        self._link.listen(slot.stream, handle)

    def _broken(self, slot: Slot) -> None:
        """A container's bulk channels do not work although it runs: its calls move."""
        with contextlib.suppress(InstanceError):  # lost, and the container with it
            self.kill(slot, "lost")

    def _send(
        self, slot: Slot, head: Mapping[str, Any], buffers: Sequence[link.Buffer] = ()
    ) -> None:
        """Send a message to a container, its large buffers beside it."""
        aside = self._asides.get(slot.stream)
        if aside is not None and buffers:
            head, buffers = aside.split(head, buffers)
        self._link.send(slot.stream, head, *buffers)

    def send_inputs(self, slot: Slot, batch: Sequence[Input]) -> None:
        """Give inputs to a container."""
        entries: list[list[Any]] = []
        buffers: list[link.Buffer] = []
        for item in batch:
            data = item.data
            if isinstance(data, bytes):
                buffers.append(data)
                entry: list[Any] = [item.id, 1]
            else:
                buffers.extend(data)
                entry = [item.id, len(data)]
            if item.call:
                entry += [item.method, item.call]
            elif item.method:
                entry.append(item.method)
            entries.append(entry)
        self._send(slot, {"t": "in", "b": entries}, buffers)

    def send_message(
        self, slot: Slot, head: Mapping[str, Any], buffers: Sequence[link.Buffer] = ()
    ) -> None:
        """Tell a container something."""
        self._send(slot, head, buffers)

    def tell_preempted(self, slot: Slot) -> None:
        """Tell a container how long its machine still runs."""
        self._link.send(slot.stream, {"t": "preempt", **self._notice})

    @property
    def preemption(self) -> Mapping[str, Any]:
        """What :meth:`tell_preempted` tells; empty until there is a notice."""
        return self._notice

    def more(self, slot: Slot, ident: int, count: int) -> None:
        """Let a generator yield so many more items."""
        self._link.send(slot.stream, {"t": "more", "id": ident, "n": count})

    def cancel(self, slot: Slot, idents: Sequence[int]) -> None:
        """Interrupt inputs, where they run."""
        head = {"t": "cancel", "ids": list(idents)}
        self._link.send(CONTROL, {**head, "c": slot.stream})
        self._link.send(slot.stream, head)

    def steal(self, slot: Slot, told: Callable[[int | None], None]) -> None:
        """Have a container skip what it has not started of all that was sent before this.

        ``told``, on the reader's thread: the place of the last input that it started; None when the
        agent knows of no such container.
        """

        def answered(future: Future[dict[str, Any]]) -> None:
            if future.exception() is None:  # else the instance is lost, and all told of that
                reply = future.result()
                told(int(reply["started"]) if reply.get("ok") else None)

        future = self._link.request({"t": "steal", "c": slot.stream})
        self._link.send(slot.stream, {"t": "go"})
        future.add_done_callback(answered)

    def send_raw(self, slot: Slot, data: bytes) -> None:
        """Give bytes to a command's stdin."""
        self._link.send_raw(slot.stream, data)

    def queued(self, slot: Slot) -> int:
        """Bytes for a container that were not sent yet."""
        return self._link.queued(slot.stream)

    def end_input(self, slot: Slot) -> None:
        """No more input: a function's container then leaves by itself."""
        self._link.end(slot.stream)

    def kill(self, slot: Slot, reason: str, grace: float = 0.0) -> None:
        """End a container: at once, or by SIGTERM first and SIGKILL after ``grace`` seconds."""
        self._link.send(CONTROL, {"t": "kill", "c": slot.stream, "reason": reason, "grace": grace})

    def fetch(self, root: str, patterns: Sequence[str], handler: Callable[[Any], None]) -> None:
        """Receive the files that match; ``handler(message)`` each piece, ``handler(None)`` last."""
        stream = self.new_stream()
        incoming = messages.Assembler()

        def handle(kind: int, payload: link.Buffer) -> None:
            if kind == link.END:
                self._link.forget(stream)
                handler(None)
                return
            for message in incoming.feed(payload):
                handler(message)

        self._link.listen(stream, handle)
        head = {"t": "fetch", "c": stream, "root": self._folder(root), "patterns": list(patterns)}
        self._link.send(CONTROL, head)

    # --- output ---------------------------------------------------------------------------

    def _on_logs(self, kind: int, payload: link.Buffer) -> None:
        found = list(self._logs.feed(payload))
        self._shown.put(partial(self._show_all, found), len(payload))
        self._shown.catch_up()

    def _show_all(self, found: Sequence[messages.Message]) -> None:
        for message in found:
            head = message.head
            if "flushed" in head:
                future = self._flushes.pop(head["flushed"], None)
                if future is not None:
                    with contextlib.suppress(InvalidStateError):  # the instance was just lost
                        future.set_result(None)
            elif "build" in head:
                self._reporter.build_log(bytes(message.buffers[0]))
            else:
                self._show(self._names.get(head["c"], ""), head["fd"], bytes(message.buffers[0]))

    def _show(self, name: str, fd: int, data: bytes) -> None:
        if self._unread:
            return
        try:
            self._reporter.log(fd, data, name)
        except (OSError, ValueError) as error:  # our own stdout was closed; the calls go on
            self._unread = True
            self._reporter.notice(f"remote output is no longer shown: {error}")

    def flush_logs(self, timeout: float) -> None:
        """Wait until all output that exists now has been reported, or ``timeout`` seconds."""
        future: Future[None] = Future()
        number = self.new_stream()
        self._flushes[number] = future
        try:
            self._link.send(CONTROL, {"t": "flush", "req": number})
            future.result(timeout)
        except LateError:
            self._reporter.notice("some of the last remote output did not arrive in time")
        except InstanceError:
            pass  # it is lost, which those who used it are told
        finally:
            self._flushes.pop(number, None)

    def show_rest(self) -> None:
        """Wait until what has arrived has been reported: as long as the terminal takes."""
        self._shown.wait()

    # --- the end --------------------------------------------------------------------------

    def release(self, idle: float, keep: bool) -> None:
        """Leave the instance warm for ``idle`` seconds, or end it. Raises when it cannot end."""
        if keep and idle > 0 and self.lost is None:
            try:
                _answer(self._link.request({"t": "release", "idle": idle}), RELEASE_WAIT)
            except InstanceError as error:
                self.lost = self.lost or error
                self._reporter.notice(
                    f"instance {self.held.instance.id} is ended instead of kept: {error.message}"
                )
        self._link.close()
        if self.lost is not None:
            self.held.lost(self.lost.message)
        elif keep and idle > 0:
            self.held.release(idle)
        else:
            self.held.end()


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _threads(spec: FunctionSpec) -> dict[str, str]:
    """How many threads numerical libraries should use: the cores asked for, at least one."""
    return dict.fromkeys(_THREADS, str(max(1, math.ceil(spec.resources.cpu))))


def _identity(offer: Offer, name: str, plan: EnvPlan) -> dict[str, str]:
    """What a container can read of itself, under byoc's names and under Modal's."""
    ours = {
        "TASK_ID": name,
        "IS_REMOTE": "1",
        "CLOUD_PROVIDER": offer.cloud,
        "REGION": offer.region,
        "IMAGE_ID": f"im-{plan.digest[:20]}",
        "ENVIRONMENT": "main",
    }
    theirs = {**ours, "CLOUD_PROVIDER": f"CLOUD_PROVIDER_{offer.cloud.upper()}"}
    named = {f"BYOC_{key}": value for key, value in ours.items()}
    return {**named, **{f"MODAL_{key}": value for key, value in theirs.items()}}


def _small(by_digest: Mapping[str, mounts.FileEntry]) -> list[str]:
    """Digests of the contents that go along at once."""
    chosen, total = [], 0
    for digest, entry in by_digest.items():
        if entry.size <= INLINE_FILE and total + entry.size <= INLINE_TOTAL:
            chosen.append(digest)
            total += entry.size
    return chosen


def _content(entry: mounts.FileEntry) -> bytes:
    with entry.open() as file:
        return file.read()


def _answer(future: Future[dict[str, Any]], timeout: float = ANSWER_WAIT) -> dict[str, Any]:
    try:
        reply = future.result(timeout)
    except LateError:
        raise ConnectionLostError(f"the agent did not answer within {timeout:g} s") from None
    if not reply["ok"]:
        if reply.get("errno") in (errno.ENOSPC, errno.EDQUOT):
            raise ExecutionError(
                f"the instance's disk is full: {reply['error']}", hints=_DISK_HINTS
            )
        raise InvalidError(str(reply["error"]))
    return reply
