"""A run whose way to its machines can be cut and forged, and eyes on the processes behind it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from byoc.clock import SYSTEM, Clock
from byoc.engine.options import RunOptions
from byoc.engine.session import Session
from byoc.fleet.dial import SshDialer
from byoc.fleet.ports import Stop, Target
from byoc.providers.local.machine import processes
from byoc.providers.local.provider import LocalProvider
from byoc.settings import load
from byoc.state import Journal
from byoc.transport.ssh import Connection
from tests.helpers import alive, processes_with, until
from tests.relay import Relay

PROGRAMS = Path(__file__).parent / "programs"
"""What a user would have written."""
LEASE = 5.0
"""Seconds: short, and long enough for a reconnect on a busy host."""

Forge = Callable[[Any], Any]
"""Puts something in the way of a stream (a ByteStream)."""


class Recorder:
    """A reporter that remembers; ``watch(name, status)`` is called at each stage."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str, str]] = []
        self.notices: list[str] = []
        self.output = b""
        self.watch: Callable[[str, str], None] = lambda name, status: None

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        self.stages.append((name, status, detail))
        self.watch(name, status)

    def log(self, fd: int, data: bytes, container: str = "") -> None:
        self.output += data

    def build_log(self, data: bytes) -> None:
        self.output += data

    def notice(self, message: str) -> None:
        self.notices.append(message)

    @property
    def losses(self) -> int:
        """How many instances were lost."""
        return sum("an instance was lost" in notice for notice in self.notices)


class Detour(SshDialer):
    """Reaches every machine through a relay of its own, and its streams through :attr:`forge`.

    ``relays``: in the order in which the machines were met first. ``connections``: how many
    authenticated connections there were. ``record``: relays keep what passes.
    ``target_of``: who answers for a machine.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.relays: list[Relay] = []
        self.connections = 0
        self.record = True
        self.forge: Forge | None = None
        self.target_of: Callable[[Target], tuple[str, int]] = lambda t: (t.address, t.port)
        self._by_target: dict[tuple[str, int], Relay] = {}
        self._lock = threading.Lock()

    def knock(self, target: Target, timeout: float, stop: Stop) -> socket.socket | None:
        return super().knock(self._around(target), timeout, stop)

    def connect(
        self, target: Target, timeout: float, door: socket.socket | None = None
    ) -> Connection:
        connection = super().connect(self._around(target), timeout, door)
        self.connections += 1
        if self.forge is not None:
            return Forged(connection, self.forge)  # type: ignore[return-value]
        return connection

    def close(self) -> None:
        """End the relays."""
        for relay in self.relays:
            relay.close()

    def _around(self, target: Target) -> Target:
        with self._lock:
            relay = self._by_target.get((target.address, target.port))
            if relay is None:
                relay = Relay(self.target_of(target), record=self.record)
                self._by_target[target.address, target.port] = relay
                self.relays.append(relay)
        address, port = relay.address
        return target._replace(address=address, port=port)


class Forged:
    """A connection whose exec streams pass through ``forge``."""

    def __init__(self, connection: Connection, forge: Forge) -> None:
        self._connection = connection
        self._forge = forge

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def exec(self, command: str, stdin_first: bytes = b"") -> Any:
        return self._forge(self._connection.exec(command, stdin_first))


class Tap:
    """A stream in which bytes can be put, in both directions, behind the agent's hello.

    ``turn``: changes what is read from the agent.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.greeted = False
        self.turn: Callable[[bytes], bytes] = lambda data: data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, n: int) -> bytes:
        data: bytes = self._stream.read(n)
        if not self.greeted:
            self.greeted = True
            return data
        return self.turn(data)

    def listen(
        self,
        on_data: Callable[[memoryview], None],
        on_end: Callable[[], None],
        on_room: Callable[[], None],
    ) -> None:
        self.greeted = True
        self._stream.listen(
            lambda data: on_data(memoryview(self.turn(bytes(data)))), on_end, on_room
        )


class Taps:
    """Makes a tap of every stream; ``begin(tap)`` prepares each."""

    def __init__(self, begin: Callable[[Tap], None] = lambda tap: None) -> None:
        self.made: list[Tap] = []
        self._begin = begin

    def __call__(self, stream: Any) -> Tap:
        tap = Tap(stream)
        self._begin(tap)
        self.made.append(tap)
        return tap


class World:
    """One data folder, its journal and its provider."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.provider = LocalProvider(home, SYSTEM, os.environ)
        self.reporter = Recorder()
        self.detour = Detour(home)

    @contextmanager
    def run(
        self, app: Any, lease: float = LEASE, keep: bool = False, clock: Clock = SYSTEM
    ) -> Iterator[Session]:
        """A run of the app, its machines reached by :attr:`detour`, told to :attr:`reporter`."""
        environ = {**os.environ, "BYOC_HOME": str(self.home)}
        settings = load(Path.cwd(), environ, {"lease": lease, "idle": 30})
        session = Session(
            settings, RunOptions(keep=keep), self.reporter, clock=clock, dialer=self.detour
        )
        with session, app.bound(session):
            yield session

    @property
    def relay(self) -> Relay:
        """The way to the first machine, once somebody has tried to reach it."""
        return until(lambda: self.detour.relays, 30, "a first connection")[0]

    def ids(self) -> list[str]:
        """The machines that have a folder, without asking (and so moving) the provider."""
        return machines(self.home)

    def ended(self, instance: str, seconds: float = 30.0) -> str:
        """Wait until a machine has ended by itself; why it did."""
        grave = self.home / "local" / "ended" / f"{instance}.json"
        until(grave.exists, seconds, f"the end of {instance}")
        return self.provider.get(instance).detail

    def journal(self) -> Journal:
        """The journal, to be closed by the caller."""
        return Journal.open(self.home, SYSTEM)


def machines(home: Path) -> list[str]:
    """The machines of a data folder that have not ended."""
    return sorted(path.name for path in (home / "local").glob("local-*"))


# --- the processes of a machine -------------------------------------------------------------


def guardian_of(home: Path, instance: str) -> int:
    """The guardian's process id."""
    return int((home / "local" / instance / "pid").read_text())


def servers_of(home: Path, instance: str) -> list[int]:
    """The processes of sshd that serve the machine's connections; they rename themselves."""
    below = processes.descendants(guardian_of(home, instance))
    return [pid for pid in below if processes.command_line(pid).startswith("sshd")]


def agent_of(instance: str) -> int:
    """The agent's process id, as this host counts."""
    return until(lambda: _agents(instance), what=f"the agent of {instance}")[0]


def zygotes_of(instance: str) -> list[int]:
    """The zygotes: the agent's children that fork containers."""
    agent = agent_of(instance)
    return [p for p in _logging(instance) if _parent(p) == agent]


def containers_of(instance: str) -> list[int]:
    """The containers' processes: the children of zygotes."""
    zygotes = zygotes_of(instance)
    return [p.pid for p in processes_with(instance) if _parent(p.pid) in zygotes]


def freeze(home: Path, instance: str) -> list[int]:
    """Stop every process of a machine, its guardian too, as a host that stands still does."""
    guardian = guardian_of(home, instance)
    stopped: set[int] = set()
    while more := {guardian, *processes.descendants(guardian)} - stopped:
        processes.send(more, signal.SIGSTOP)
        stopped |= more
    return sorted(stopped)


def thaw(pids: list[int]) -> None:
    """Let them go on."""
    processes.send(pids, signal.SIGCONT)


def kill(*pids: int) -> None:
    """SIGKILL, and wait until they are gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(alive, pids)), what=f"the end of {pids}")


def _agents(instance: str) -> list[int]:
    found = _logging(instance)
    return [pid for pid in found if _parent(pid) not in found]


def _logging(instance: str) -> list[int]:
    """Processes of a machine that write to the agent's log: the agent and its zygotes."""
    found = []
    for process in processes_with(instance):
        with suppress(OSError):  # it has ended meanwhile
            if os.readlink(f"/proc/{process.pid}/fd/1").endswith("agent.log"):
                found.append(process.pid)
    return found


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


class Puller:
    """Iterates in a thread, so that the test can look on. ``error``: what ended it, if anything."""

    def __init__(self, source: Iterable[Any]) -> None:
        self.found: list[Any] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._pull, args=(source,), daemon=True)
        self._thread.start()

    def _pull(self, source: Iterable[Any]) -> None:
        try:
            for value in source:
                self.found.append(value)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def all(self, seconds: float = 60.0) -> list[Any]:
        """Wait for the end; what came."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"no end after {seconds} s: {self.found[-3:]}"
        return self.found


def passed(seconds: float) -> None:
    """Let real time pass: the length of a cut is what the test is about."""
    begun = SYSTEM.mono()
    until(lambda: SYSTEM.mono() - begun >= seconds, seconds + 10, f"{seconds} s to pass")


sys.path.insert(0, str(PROGRAMS))  # as Python does for a script
