"""An agent as an instance has it, over plain pipes in place of SSH, and a small client of it."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import select
import shlex
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from byoc.engine.inputs import Outcome
from byoc.engine.results import failure_of, value_of
from byoc.runtime_agent import payload
from byoc.runtime_agent.bundle import Bundle
from byoc.wire import VERSION, link, messages
from tests.helpers import ROOT, alive, gone, until

T = TypeVar("T")
PROGRAMS = ROOT / "tests/runtime_agent/programs"
CONTROL, LOGS = 0, 1
PATIENCE = 20.0
"""Seconds for whatever a test waits for; a busy host takes a few."""
_sessions = itertools.count(1)


class Machine:
    """A home folder in which the agent is started by the command that SSH would run."""

    def __init__(self, home: Path, bundle: Bundle, python: str = sys.executable) -> None:
        self.home = home
        self.bundle = bundle
        self.python = python
        self.shell = ""
        """What the shell does before it becomes the agent's command."""
        self.wrap: list[str] = []
        """Quoted words before the command, which is their last argument: what runs it."""
        self.clients: list[Client] = []

    def channel(self, bundle: Bundle | None = None) -> subprocess.Popen[bytes]:
        """What an SSH exec of the agent's command is: a process with pipes."""
        environ = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "SSH_CONNECTION": "hidden from user code",
        }
        command = (bundle or self.bundle).command(self.python)
        if self.wrap:
            command = " ".join(["exec", *self.wrap, shlex.quote(command)])
        pipe = subprocess.PIPE
        with (self.home / "boot.err").open("ab") as errors:
            return subprocess.Popen(
                ["sh", "-c", self.shell + command],
                stdin=pipe,
                stdout=pipe,
                stderr=errors,
                env=environ,
                cwd=self.home,
                bufsize=0,
            )

    def client(self, **hello: Any) -> Client:
        """A client that is attached."""
        client = Client(self, **hello)
        answer = client.attach()
        assert "error" not in answer, answer
        return client

    @property
    def log(self) -> str:
        """What the agents of this machine wrote for a person to read."""
        path = self.home / ".byoc/agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def agent(self) -> int:
        """Process id of the agent that was started last."""
        return int(re.findall(r"byoc: agent \w+, pid (\d+)", self.log)[-1])

    def rss(self) -> int:
        """Resident bytes of the agent."""
        text = Path(f"/proc/{self.agent}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024

    def lease(self) -> float:
        """Seconds from now until the deadline that the dead-man sees."""
        return float((self.home / ".byoc/lease").read_text()) - time.monotonic()

    def close(self) -> None:
        """Kill the agent; nothing that it started may be left."""
        for client in self.clients:
            client.cut()
        if self.log and alive(self.agent):
            os.kill(self.agent, signal.SIGKILL)
        gone(str(self.home))


class Client:
    """One session's client. Not a thread: bytes move while something is waited for."""

    def __init__(self, machine: Machine, **hello: Any) -> None:
        self.machine = machine
        self.hello = {
            "v": VERSION,
            "session": f"session-{next(_sessions)}",
            "takeover": False,
            "end": [],
            "ttl": 60.0,
            **hello,
        }
        self.link = link.Link()
        self.replies: dict[int, Mapping[str, Any]] = {}
        self.logs: defaultdict[tuple[int, int], bytearray] = defaultdict(bytearray)
        self.build_log = bytearray()
        self.flushed: list[int] = []
        self.notices: list[dict[str, Any]] = []
        self.running: dict[int, Running] = {}
        self.slow: set[int] = set()
        """Streams of which nothing is consumed for now."""
        self.unused: defaultdict[int, int] = defaultdict(int)
        self.bad = b""
        """Where the agent's frames stopped being frames."""
        self._assemblers = {CONTROL: messages.Assembler(), LOGS: messages.Assembler()}
        self._numbers = itertools.count(1)
        self._streams = itertools.count(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._out = b""
        machine.clients.append(self)

    # --- the connection -------------------------------------------------------------------

    def attach(self, bundle: Bundle | None = None, **changes: Any) -> dict[str, Any]:
        """Make a connection; the agent's answer. Frames flow when it is not an error."""
        hello = {**self.hello, "received": self.link.received_seq, **changes}
        process = self.machine.channel(bundle)
        assert process.stdin and process.stdout
        greeting = json.dumps(hello).encode() + b"\n"
        process.stdin.write((bundle or self.machine.bundle).stdin + greeting)
        line = process.stdout.readline()
        assert line, (self.machine.home / "boot.err").read_text() + self.machine.log
        answer: dict[str, Any] = json.loads(line)
        if answer.get("error"):
            _close(process)
            return answer
        self.cut()
        self.link.resume(answer["received"])
        for end in (process.stdin, process.stdout):
            os.set_blocking(end.fileno(), False)
        self._process = process
        return answer

    def cut(self) -> None:
        """Close the pipes without a word; what was on the way is lost."""
        if self._process is not None:
            _close(self._process)
        self._process, self._out = None, b""

    @property
    def connected(self) -> bool:
        """The agent has not closed the channel, as far as was read."""
        return self._process is not None

    def pump(self, seconds: float) -> None:
        """Move bytes both ways, once, waiting at most so long for any to come."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return
        self._out = self._out or b"".join(self.link.outgoing())
        writers = [process.stdin] if self._out else []
        readable, writable, _ = select.select([process.stdout], writers, [], seconds)
        if writable:
            try:
                self._out = self._out[os.write(process.stdin.fileno(), self._out[:65536]) :]
            except BrokenPipeError:
                self._out = b""  # reading says so too
        if readable:
            data = os.read(process.stdout.fileno(), 1 << 18)
            if not data:
                self.cut()
            for event in self.link.received(data):
                self._take(event)

    def until(self, condition: Callable[[], T], what: str = "", seconds: float = PATIENCE) -> T:
        """Move bytes until ``condition`` holds; raises AssertionError with the agent's log."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            left = deadline - time.monotonic()
            assert left > 0, f"waited {seconds:g} s for {what or condition}\n{self.machine.log}"
            if not self.connected:
                what = f"{what or condition}, with no channel, after\n{self.machine.log}"
                return until(condition, left, what)
            self.pump(min(left, 0.05))

    def gone(self) -> None:
        """Wait until the agent has closed the channel."""
        self.until(lambda: not self.connected, "the channel to be closed")

    def _take(self, event: link.Event) -> None:
        if event.stream in (CONTROL, LOGS):
            for message in self._assemblers[event.stream].feed(event.payload):
                self._message(message)
        elif event.stream in self.running:
            self.running[event.stream].take(event)
        if event.kind == link.DATA:
            self.unused[event.stream] += len(event.payload)
        if event.stream not in self.slow:
            self.use(event.stream)

    def use(self, stream: int) -> None:
        """Consume what came of a stream."""
        self.slow.discard(stream)
        self.link.consumed(stream, self.unused.pop(stream, 0))

    def _message(self, message: messages.Message) -> None:
        head = message.head
        if head.get("t") == "reply":
            self.replies[head["req"]] = head
        elif "flushed" in head:
            self.flushed.append(head["flushed"])
        elif head.get("t") == "notice":
            self.notices.append(dict(head))
        elif "build" in head:
            self.build_log += message.buffers[0]
        else:
            self.logs[head["c"], head["fd"]] += message.buffers[0]

    # --- asking ---------------------------------------------------------------------------

    def send(self, head: Mapping[str, Any], *buffers: link.Buffer) -> None:
        """A message on the control stream."""
        self.link.send(CONTROL, *messages.encode(dict(head), buffers))

    def ask(self, head: Mapping[str, Any], *buffers: link.Buffer) -> int:
        """Send a request; its number, under which the reply will be found."""
        number = next(self._numbers)
        self.send({**head, "req": number}, *buffers)
        return number

    def request(self, head: Mapping[str, Any], *buffers: link.Buffer) -> Mapping[str, Any]:
        """Send a request and wait for its reply."""
        number = self.ask(head, *buffers)
        return self.until(lambda: self.replies.get(number), f"the reply to {head['t']}")

    def flush(self) -> None:
        """Wait until all output that exists now is here."""
        number = self.ask({"t": "flush"})
        self.until(lambda: number in self.flushed, "the flush")

    def function(
        self,
        name: str,
        *,
        interpreter: str = sys.executable,
        timeout: float = 30.0,
        startup: float = 30.0,
        memory: int = 0,
        code: Sequence[link.Buffer] = (),
        **head: Any,
    ) -> Running:
        """Start a container of ``module.function``; ``head`` goes into what it is told first."""
        module, _, qualname = name.partition(".")
        running = self._open()
        start = {"t": "start", "kind": "function", "c": running.stream, "name": running.name}
        limits = {"timeout": timeout, "startup_timeout": startup, "limits": {"memory": memory}}
        self.send({**start, **limits, "python": interpreter})
        first = {
            "t": "start",
            "name": running.name,
            "root": str(PROGRAMS),
            "cwd": str(self.machine.home / "work"),
            "vars": {},
            "image": "",
            "generator": False,
            "module": module,
            "qualname": qualname,
            "main": False,
            "pickled": bool(code),
            "python": list(sys.version_info[:2]),
        }
        running.send({**first, **head}, *code)
        return running

    def ready(self, name: str, **options: Any) -> Running:
        """Start a container and wait until it takes inputs."""
        return self.function(name, **options).wait_ready()

    def command(self, *argv: str, **changes: Any) -> Running:
        """Start a program."""
        running = self._open()
        start = {"t": "start", "kind": "command", "c": running.stream, "name": running.name}
        start |= {"argv": argv, "cwd": str(self.machine.home / "work"), "vars": {}, **changes}
        self.send(start)
        return running

    def _open(self) -> Running:
        running = Running(self, next(self._streams))
        self.running[running.stream] = running
        return running


class Running:
    """One container as its client sees it."""

    def __init__(self, client: Client, stream: int) -> None:
        self.client = client
        self.stream = stream
        # as the engine's: no other container on this computer has it, whose end would end this one
        self.name = f"ta-{secrets.token_hex(5)}"
        self.is_ready = False
        self.failure: Sequence[link.Buffer] | None = None
        self.outcomes: dict[int, Outcome] = {}
        self.items: defaultdict[int, list[Outcome]] = defaultdict(list)
        self.pid = 0
        self.word: dict[str, Any] | None = None
        self.received: list[messages.Message] = []
        self.reads = True
        """Items of generators count as used when they come."""
        self._assembler = messages.Assembler()
        self._inputs = itertools.count(1)

    def take(self, event: link.Event) -> None:
        """Bytes or the end of its stream."""
        assert self.word is None, "something came after the last word"
        if event.kind == link.END:
            self.word = json.loads(bytes(event.payload))
            return
        for message in self._assembler.feed(event.payload):
            kind = message.head.get("t")
            if kind == "ready":
                self.is_ready, self.pid = True, message.head["pid"]
            elif kind == "failed":
                self.failure = message.buffers
            elif kind == "out":
                self._results(message)
            else:
                self.received.append(message)

    def _results(self, message: messages.Message) -> None:
        position = 0
        for ident, kind, count, _ in message.head["b"]:
            outcome = Outcome(kind, message.buffers[position : position + count], where=self.name)
            position += count
            if kind == payload.ITEM:
                self.items[ident].append(outcome)
                if self.reads:
                    self.send({"t": "more", "id": ident, "n": 1})
            else:
                assert ident not in self.outcomes, "a second outcome of one input"
                self.outcomes[ident] = outcome

    # --- asking ---------------------------------------------------------------------------

    def send(self, head: Mapping[str, Any], *buffers: link.Buffer) -> None:
        """A message to the container."""
        self.client.link.send(self.stream, *messages.encode(dict(head), buffers))

    def put(self, *arguments: tuple[Any, ...], method: str = "", call: str = "") -> list[int]:
        """Send one batch of inputs; their numbers."""
        return self.put_named(*[(args, {}) for args in arguments], method=method, call=call)

    def put_named(
        self, *arguments: tuple[tuple[Any, ...], dict[str, Any]], method: str = "", call: str = ""
    ) -> list[int]:
        """The same with keyword arguments: each is a pair of positional and named ones."""
        batch = [(next(self._inputs), payload.dumps(both)) for both in arguments]
        names = [method, call] if call else [method] if method else []
        entries = [[ident, len(buffers), *names] for ident, buffers in batch]
        self.send({"t": "in", "b": entries}, *[b for _, buffers in batch for b in buffers])
        return [ident for ident, _ in batch]

    def cancel(self, *idents: int) -> None:
        """Interrupt inputs, by both ways."""
        head = {"t": "cancel", "ids": list(idents)}
        self.client.send({**head, "c": self.stream})
        self.send(head)

    def steal(self) -> int:
        """Have it skip what it has not started; the place of the last input that it has."""
        number = self.client.ask({"t": "steal", "c": self.stream})
        self.send({"t": "go"})
        reply = self.client.until(lambda: self.client.replies.get(number), "the reply to a steal")
        assert reply["ok"], reply
        return int(reply["started"])

    def start_error(self) -> BaseException:
        """Wait until it has failed to start; the exception that says why."""
        self.wait()
        assert self.failure is not None, self.word
        return failure_of(self.failure, self.name)

    def call(self, *args: Any, method: str = "") -> Any:
        """One input; its value or its exception."""
        return self.value(self.put(args, method=method)[0])

    def value(self, ident: int) -> Any:
        """Wait for an input's value; raises its exception."""
        self.client.until(lambda: ident in self.outcomes or self.word, f"input {ident}")
        assert ident in self.outcomes, self.word
        return value_of(self.outcomes[ident])

    def error(self, *args: Any, method: str = "") -> BaseException:
        """One input; the exception that it raises."""
        try:
            value = self.call(*args, method=method)
        except Exception as error:  # noqa: BLE001 - whatever user code raises is what is wanted
            return error
        raise AssertionError(f"it returned {value!r}")

    def wait_ready(self) -> Running:
        """Wait until it takes inputs."""
        self.client.until(lambda: self.is_ready or self.word, f"{self.name} to be ready")
        assert self.is_ready, self.word
        return self

    def wait(self) -> dict[str, Any]:
        """Wait until it is gone; its last word."""
        self.client.until(lambda: self.word, f"the end of {self.name}")
        assert self.word is not None
        return self.word

    def out(self, fd: int = 1) -> bytes:
        """What it has written and what has arrived of that."""
        return bytes(self.client.logs[self.stream, fd])

    def write(self, data: bytes) -> None:
        """Bytes for a program's stdin."""
        self.client.link.send(self.stream, data)

    def close(self) -> None:
        """No more inputs."""
        self.client.link.end(self.stream, b"")

    def kill(self, reason: str = "stopped", grace: float = 0.0) -> None:
        """Ask the agent to end it."""
        head = {"t": "kill", "c": self.stream, "reason": reason, "grace": grace}
        self.client.send(head)


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close our ends, and reap the process when it has noticed."""
    assert process.stdin and process.stdout
    process.stdin.close()
    process.stdout.close()
    until(lambda: process.poll() is not None, PATIENCE, "the boot process to end")
