"""What a client may ask of the agent on the control stream, one method per message type."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List

from .. import _lazy
from ..wire.messages import Message
from . import artifacts, containers, envbuild, family, filestore, uvbin
from .host import note

if TYPE_CHECKING:
    from . import notices
    from .agent import Agent

LEFT_OUT = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "PYTHONPATH", "PYTHONHOME", "BYOC_MOMENTS")
"""Variables of the SSH session that user code must not see."""
STOP_PAUSE = 0.001
"""Seconds between telling a container to start nothing more and reading what it has started: ten
thousand times what one processor needs to see the other's write."""


class Requests:
    """Handlers; each answers with a ``reply`` that carries the request's number."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.store = filestore.FileStore(os.path.abspath("."))
        self._filing = threading.Lock()
        self._writers: Dict[str, filestore.BlobWriter] = {}
        self._watches = False
        self._notices: List[Dict[str, Any]] = []
        self.handlers: Dict[str, Callable[[Message], None]] = {
            "lease": self.lease,
            "release": self.release,
            "watch": self.watch,
            "end": self.end,
            "files": self.files,
            "blobs": self.blobs,
            "env": self.env,
            "start": self.start,
            "kill": self.kill,
            "steal": self.steal,
            "cancel": self.cancel,
            "fetch": self.fetch,
            "flush": self.flush,
        }

    def handle(self, message: Message) -> None:
        """Do one request. A failure is answered, it never ends the agent."""
        head = message.head
        handler = self.handlers.get(str(head.get("t")))
        try:
            if handler is None:
                raise ValueError("unknown request %r" % head.get("t"))
            handler(message)
        except Exception as error:  # noqa: BLE001 - a bad request must not end what others run
            note("request %.100r failed: %r" % (head.get("t"), error))
            self.fail(head, error)

    def reset(self) -> None:
        """The session is over: what it had half sent is void."""
        for writer in self._writers.values():
            writer.__exit__(None, None, None)
        self._writers.clear()

    def reply(self, head: Dict[str, Any], **fields: Any) -> None:
        """Answer a request that asked for one."""
        if "req" in head:
            self.agent.send(dict(t="reply", req=head["req"], ok=True, **fields))

    def fail(self, head: Dict[str, Any], error: BaseException, **fields: Any) -> None:
        """Answer that it did not work."""
        if "req" in head:
            text = "%s" % (error if str(error) else type(error).__name__)
            number = getattr(error, "errno", None)
            reply = dict(t="reply", req=head["req"], ok=False, error=text, errno=number, **fields)
            self.agent.send(reply)

    # --- the lease ------------------------------------------------------------------------

    def lease(self, message: Message) -> None:
        """``ttl`` seconds more."""
        self.agent.host.extend(float(message.head["ttl"]))

    def release(self, message: Message) -> None:
        """The session is over; stay warm for ``idle`` seconds."""
        self.reply(message.head)
        idle = float(message.head["idle"])
        self.in_session(lambda: self._released(idle))

    def _released(self, idle: float) -> None:
        self.agent.host.extend(idle)
        connection = self.agent.connection
        self.agent._write()
        self.agent.reset()
        if connection is not None:
            self.agent.drop(connection)

    def end(self, message: Message) -> None:
        """End the machine."""
        self.reply(message.head)
        self.agent._write()
        self.agent.end_host()

    def watch(self, message: Message) -> None:
        """Tell this session when ``source`` says that the machine is taken away, by words
        ``notice``; also what was said before."""
        if not self._watches:
            watcher = _lazy.load("byoc.runtime_agent.notices:Watcher")  # http.client takes 20 ms
            source, seconds = str(message.head["source"]), float(message.head["seconds"])
            watcher(source, seconds, lambda n: self.agent.soon(lambda: self._noticed(n)))
            self._watches = True
        for known in self._notices:
            self.agent.send(known)

    def _noticed(self, notice: notices.Notice) -> None:
        note("%r" % (notice,))
        self._notices.append(dict(t="notice", **notice._asdict()))
        if self.agent.session:
            self.agent.send(self._notices[-1])

    # --- files and environments -----------------------------------------------------------

    def files(self, message: Message) -> None:
        """Make ``entries`` the files below ``root``; answers with the digests still missing."""
        session = self.agent.session
        self._apart("byoc-files", message.head, lambda: self._files(message, session))

    def _files(self, message: Message, session: str) -> Callable[[], None]:
        """In a thread, since gigabytes may have to be copied; one at a time."""
        head = message.head
        with self._filing:
            if self.agent.session != session:
                return lambda: None  # nobody wants them any more
            for digest, data in zip(head.get("inline", []), message.buffers):
                self.store.put(digest, data)
            entries = [filestore.Entry.from_json(row) for row in head["entries"]]
            missing = self.store.missing(entries)
            if not missing:
                target = filestore.Target(head["root"], bool(head["real_root"]))
                self.store.materialize(entries, target)
        return lambda: self.reply(head, missing=missing)

    def blobs(self, message: Message) -> None:
        """Pieces of contents, in order: ``parts`` is a list of [digest, this is its last piece]."""
        for (digest, last), data in zip(message.head["parts"], message.buffers):
            writer = self._writers.pop(digest, None) or self.store.writer(digest)
            with contextlib.ExitStack() as unless_kept:
                unless_kept.push(writer)
                writer.write(data)
                if last:
                    writer.commit()
                else:
                    self._writers[digest] = writer
                    unless_kept.pop_all()
        self.reply(message.head)

    def env(self, message: Message) -> None:
        """Build (or find) an environment, in a thread; its log streams meanwhile."""
        head = message.head
        session = self.agent.session

        def log(data: bytes) -> None:
            self.in_session(lambda: self.agent.log({"build": head["req"]}, data), session)

        def build() -> Callable[[], None]:
            found = envbuild.ensure(head["plan"], head["cache"], self._uv(head), log)
            return lambda: self._built(head, found)

        self._apart("byoc-env", head, build)

    def _uv(self, head: Dict[str, Any]) -> uvbin.Wanted:
        """Which uv builds it: where the provider says, or the client's version, which the client
        may have sent as a content."""
        digest = str(head.get("uv_digest") or "")
        sent = self.store.path(digest) if digest else ""
        return uvbin.Wanted(str(head["uv"]), str(head.get("uv_version") or ""), sent, digest)

    def _apart(
        self, name: str, head: Dict[str, Any], work: Callable[[], Callable[[], None]]
    ) -> None:
        """Do the work of a request in a thread, and in the loop what it returns, or tell of its
        failure."""
        session = self.agent.session

        def run() -> None:
            try:
                then = work()
            except Exception as error:  # noqa: BLE001 - the client waits for an answer
                failed = error
                more = {"tail": getattr(error, "tail", ""), "needs": getattr(error, "needs", None)}
                then = lambda: self.fail(head, failed, **more)  # noqa: E731
            self.in_session(then, session)

        threading.Thread(target=run, name=name, daemon=True).start()

    def in_session(self, call: Callable[[], None], session: str = "") -> None:
        """From any thread: run ``call`` in the loop, unless the session is over by then."""
        wanted = session or self.agent.session

        def run() -> None:
            if self.agent.session == wanted:
                call()

        self.agent.soon(run)

    def _built(self, head: Dict[str, Any], found: Dict[str, Any]) -> None:
        try:
            self.zygote(found["python"])
        except OSError as error:
            self.fail(head, error)
            return
        self.reply(head, env=found)

    def zygote(self, python: str) -> containers.Zygote:
        """The zygote of an environment's interpreter, started when there is none."""
        agent = self.agent
        zygote = agent.zygotes.get(python)
        if zygote is None:
            zygote = containers.Zygote(python, agent.bundle, self.environment())
            agent.zygotes[python] = zygote
            made = zygote
            agent.watch(zygote.control.fileno(), lambda _: self._zygote_news(python, made))
        return zygote

    def _zygote_news(self, python: str, zygote: containers.Zygote) -> None:
        if not zygote.news():
            self.agent.watch(zygote.control.fileno(), lambda _: None, 0)
            zygote.lost()
            zygote.control.close()
            self.agent.zygotes.pop(python, None)

    @staticmethod
    def environment() -> Dict[str, str]:
        """The variables that containers start from."""
        return {k: v for k, v in os.environ.items() if k not in LEFT_OUT}

    # --- containers -----------------------------------------------------------------------

    def start(self, message: Message) -> None:
        """Start container ``c``; everything after this on its stream is for the container."""
        head = message.head
        stream = _stream(head)
        if self.agent.leaving:
            return  # the client hears in a moment that the machine is gone
        try:
            container = self._start(head)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client waits for an end
            word = {"reason": "start", "code": containers.START_FAILED, "signal": None}
            word["inputs"] = []
            word["detail"] = str(error) or type(error).__name__
            self.agent.link.end(stream, json.dumps(word).encode())
            return
        container.timeout = float(head.get("timeout") or 0)
        container.startup_timeout = float(head.get("startup_timeout") or 0)
        container.memory = int(head.get("limits", {}).get("memory") or 0) << 20
        if container.kind == "command" and container.timeout:
            container.kill_at = time.monotonic() + container.timeout
        self.agent.adopt(container)

    def _start(self, head: Dict[str, Any]) -> containers.Container:
        if head["kind"] == "command":
            env = self.environment()
            env.update(head["vars"])
            env[family.MARK] = head["name"]
            os.makedirs(head["cwd"], exist_ok=True)
            return containers.command(head["c"], head["name"], head["argv"], head["cwd"], env)
        container = containers.Container(head["c"], head["name"], "function")
        self.zygote(head["python"]).fork(container)
        return container

    def kill(self, message: Message) -> None:
        """End container ``c``: at once, or SIGTERM first and SIGKILL after ``grace`` seconds."""
        container = self.agent.containers.get(message.head["c"])
        if container is None:
            return
        grace = float(message.head.get("grace") or 0)
        reason = str(message.head.get("reason") or "stopped")
        if grace:
            container.end_within(grace, reason)
        else:
            container.kill(reason)

    def steal(self, message: Message) -> None:
        """Stop container ``c`` from starting more of what it holds, until the ``go`` that follows
        on its stream; answers with the place of the last input that it has ``started``.

        The container says what it starts before it looks whether it may. So what it had not said a
        moment after it was told to stop, it does not start.
        """
        head = message.head
        board = self._running(head).board
        if board is None:
            raise ValueError("container %d has no inputs" % head["c"])
        board.stop()

        def answer() -> None:
            if head["c"] in self.agent.containers:
                self.reply(head, started=board.started)
            else:
                self.fail(head, ValueError("container %d has ended" % head["c"]))

        self.agent.later(STOP_PAUSE, answer)

    def cancel(self, message: Message) -> None:
        """Interrupt container ``c`` if it runs one of the inputs ``ids``.

        By a signal, which a container that runs one input at a time turns into an exception in the
        user's code; others read of it on their stream and take the signal for nothing.
        """
        container = self.agent.containers.get(message.head["c"])
        if container is not None:
            container.interrupt(message.head["ids"])

    def _running(self, head: Dict[str, Any]) -> containers.Container:
        container = self.agent.containers.get(head["c"])
        if container is None:
            raise ValueError("there is no container %r" % head["c"])
        return container

    def flush(self, message: Message) -> None:
        """Answer on the log stream, after all output that is there now."""
        self.agent.read_all_logs()
        self.agent.log({"flushed": message.head["req"]}, b"")

    def fetch(self, message: Message) -> None:
        """Send the files that ``patterns`` match under ``root`` on stream ``c``."""
        head = message.head
        source = artifacts.Source(str(head["root"]), [str(p) for p in head["patterns"]])
        self.agent.feed(_stream(head), source)


def _stream(head: Dict[str, Any]) -> int:
    """The stream that a request is about. Raises ValueError when there cannot be such a one."""
    stream = head["c"]
    if type(stream) is not int or not 1 < stream < 1 << 32:
        raise ValueError("no stream: %r" % stream)
    return stream
