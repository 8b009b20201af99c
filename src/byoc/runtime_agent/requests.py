"""What a client may ask of the agent on the control stream, one method per message type."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict

from ..wire.messages import Message
from . import artifacts, containers, envbuild, filestore

if TYPE_CHECKING:
    from .agent import Agent

LEFT_OUT = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "PYTHONPATH", "PYTHONHOME")
"""Variables of the SSH session that user code must not see."""


class Requests:
    """Handlers; each answers with a ``reply`` that carries the request's number."""

    def __init__(self, agent: "Agent") -> None:
        self.agent = agent
        self.store = filestore.FileStore(os.path.abspath("."))
        self.writers: Dict[str, filestore.BlobWriter] = {}
        self.handlers: Dict[str, Callable[[Message], None]] = {
            "lease": self.lease,
            "release": self.release,
            "end": self.end,
            "files": self.files,
            "blobs": self.blobs,
            "env": self.env,
            "start": self.start,
            "kill": self.kill,
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
        except (OSError, ValueError, KeyError, TypeError, filestore.FileStoreError) as error:
            print("byoc: request %r failed: %r" % (head.get("t"), error), flush=True)
            self.fail(head, error)

    def reply(self, head: Dict[str, Any], **fields: Any) -> None:
        """Answer a request that asked for one."""
        if "req" in head:
            self.agent.send(dict(t="reply", req=head["req"], ok=True, **fields))

    def fail(self, head: Dict[str, Any], error: BaseException, **fields: Any) -> None:
        """Answer that it did not work."""
        if "req" in head:
            text = "%s" % (error if str(error) else type(error).__name__)
            self.agent.send(dict(t="reply", req=head["req"], ok=False, error=text, **fields))

    # --- the lease ------------------------------------------------------------------------

    def lease(self, message: Message) -> None:
        """``ttl`` seconds more."""
        self.agent.host.extend(float(message.head["ttl"]))

    def release(self, message: Message) -> None:
        """The session is over; stay warm for ``idle`` seconds."""
        self.reply(message.head)
        idle = float(message.head["idle"])
        self.agent.soon(lambda: self._released(idle))

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

    # --- files and environments -----------------------------------------------------------

    def files(self, message: Message) -> None:
        """Make ``entries`` the files below ``root``; answers with the digests still missing."""
        head = message.head
        for digest, data in zip(head.get("inline", []), message.buffers):
            self.store.put(digest, data)
        entries = [filestore.Entry.from_json(row) for row in head["entries"]]
        missing = self.store.missing(entries)
        if not missing:
            target = filestore.Target(head["root"], bool(head["real_root"]))
            self.store.materialize(entries, target)
        self.reply(head, missing=missing)

    def blobs(self, message: Message) -> None:
        """Pieces of contents, in order: ``parts`` is a list of [digest, this is its last piece]."""
        for (digest, last), data in zip(message.head["parts"], message.buffers):
            if digest not in self.writers:
                self.writers[digest] = self.store.writer(digest)
            self.writers[digest].write(data)
            if last:
                with self.writers.pop(digest) as writer:
                    writer.commit()
        self.reply(message.head)

    def env(self, message: Message) -> None:
        """Build (or find) an environment, in a thread; its log streams meanwhile."""
        head = message.head

        def log(data: bytes) -> None:
            self.agent.soon(lambda: self.agent.log({"build": head["req"]}, data))

        def build() -> None:
            try:
                found = envbuild.ensure(head["plan"], head["cache"], head["uv"], log)
            except (OSError, ValueError, KeyError, envbuild.EnvBuildError) as error:
                tail = getattr(error, "tail", "")
                failure = error
                self.agent.soon(lambda: self.fail(head, failure, tail=tail))
                return
            self.agent.soon(lambda: self._built(head, found))

        threading.Thread(target=build, name="byoc-env", daemon=True).start()

    def _built(self, head: Dict[str, Any], found: Dict[str, Any]) -> None:
        self.zygote(found["python"])
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
        if zygote.news() is None:
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
        try:
            container = self._start(head)
        except OSError as error:
            word = {"reason": "start", "code": 127, "signal": None, "input": 0}
            word["detail"] = str(error)
            self.agent.link.end(head["c"], json.dumps(word).encode())
            return
        container.timeout = float(head.get("timeout") or 0)
        container.startup_timeout = float(head.get("startup_timeout") or 0)
        if container.kind == "command" and container.timeout:
            container.kill_at = time.monotonic() + container.timeout
        self.agent.containers[container.stream] = container

    def _start(self, head: Dict[str, Any]) -> containers.Container:
        if head["kind"] == "command":
            env = self.environment()
            env.update(head["vars"])
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
            container.kill(reason, signal.SIGTERM)
            container.kill_at = time.monotonic() + grace
        else:
            container.kill(reason)

    def flush(self, message: Message) -> None:
        """Answer on the log stream, after all output that is there now."""
        agent = self.agent
        for container in list(agent.containers.values()):
            for fd in list(container.logs):
                while fd in container.logs and agent._read_log(container, fd):
                    pass
        agent.log({"flushed": message.head["req"]}, b"")

    def fetch(self, message: Message) -> None:
        """Send the files that ``patterns`` match under ``root`` on stream ``c``."""
        head = message.head
        source = artifacts.Source(head["root"], head["patterns"])
        self.agent.feed(head["c"], source)

