"""A small real cloud in files, and a way to reach its machines, under a clock that tests turn.

It is a state machine, not a mock: what it was asked is remembered in its folder, so that a process
that dies and the one that comes after it see the same instances. Faults are ordinary data.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from byoc.clock import Clock
from byoc.errors import ConnectionLostError, HostKeyError, ProviderError, TransientError
from byoc.fleet.core import Fleet
from byoc.fleet.ports import Stop, Target
from byoc.providers.base import (
    OWNER_TAG,
    RUN_TAG,
    TOKEN_TAG,
    Finding,
    HostKey,
    Instance,
    LaunchRequest,
    Survey,
    Traits,
)
from byoc.providers.tags import holds
from byoc.resources import Offer
from byoc.settings import Settings
from byoc.state import Journal


class HandClock:
    """A clock that moves when somebody sleeps; ``wall`` and ``mono`` move together."""

    def __init__(self, at: float = 1_000_000.0) -> None:
        self.at = at

    def wall(self) -> float:
        return self.at

    def mono(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


class CountingIds:
    """Ids in order, so that a test can name them."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}-{self.count:010d}"

    def secret(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")


def offer(
    cloud: str = "sim",
    type: str = "small",
    price: float | None = 1.0,
    cpus: float = 4,
    memory: int = 8192,
    gpu: str = "",
    gpu_count: int = 0,
    market: str = "on-demand",
    zone: str = "a",
    region: str = "region",
) -> Offer:
    return Offer(cloud, region, zone, type, market, price, cpus, memory, 10_000, gpu, gpu_count)


@dataclass
class Fault:
    """What happens to one launch. ``error``: raised instead of the answer; ``made``: although the
    instance was made; ``boot``: seconds until it answers (None: never); ``dies``: it ends while
    booting; ``fails``: the cloud accepts it and then cannot make it; ``wrong_key``: another machine
    answers in its place; ``report``: what an examination of its GPUs gives beside what is good."""

    error: ProviderError | None = None
    made: bool = False
    boot: float | None = 0.0
    dies: str = ""
    fails: ProviderError | None = None
    wrong_key: bool = False
    report: dict[str, Any] | None = None


class FileCloud:
    """The provider.

    ``script``: one fault per launch call to come; then all goes well, but for what ``refuses`` says
    of each offer. ``surveys``: what it tells of a region, an error raised, or a function that does
    either; with any of them it sells by region. ``lag``: seconds until a launched machine is shown
    and can be ended. ``overheard``: calls to terminate that it accepts and does not act on.
    ``launched``: the offers that were asked for; ``listed``: the regions of each
    list call.
    """

    def __init__(self, folder: Path, clock: Clock, name: str = "sim") -> None:
        self.name = name
        self.clock = clock
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sold = [offer(cloud=name)]
        self.script: list[Fault] = []
        self.down: ProviderError | None = None
        self.deaf_to_terminate = False
        self.overheard = 0
        self.lag = 0.0
        self.hides: set[str] = set()
        self.calls: list[str] = []
        self.refuses: Callable[[Offer], ProviderError | None] = lambda offer: None
        self.surveys: dict[str, Survey | ProviderError | Callable[[], Survey]] = {}
        self.self_end = "gone"
        self.printed = ""
        self.launched: list[str] = []
        self.requests: list[LaunchRequest] = []
        self.listed: list[tuple[str, ...]] = []
        self._failures: dict[str, ProviderError] = {}
        self._threads = threading.Lock()  # the file's own lock is between processes

    # -- the contract -------------------------------------------------------------------------

    @property
    def traits(self) -> Traits:
        regional = bool(self.surveys)
        return Traits(("shutdown",), regional=regional, self_end=self.self_end, origins=True)

    def offers(self) -> list[Offer]:
        self._called("offers")
        return list(self.sold)

    def launch(self, request: LaunchRequest) -> Instance:
        self._called("launch")
        self.launched.append(request.offer.key())
        self.requests.append(request)
        fault = self.script.pop(0) if self.script else Fault(self.refuses(request.offer))
        if fault.error is not None and not fault.made:
            raise fault.error
        with self._machines() as machines:
            known = machines.get(request.token)
            if known is None or known["state"] == "gone":
                machines[request.token] = self._new(request, fault, len(machines))
            machine = dict(machines[request.token])
        if fault.fails is not None:
            self._failures[machine["id"]] = fault.fails
        if fault.error is not None:
            raise fault.error
        return self._instance(machine)

    def get(self, instance_id: str) -> Instance:
        self._called("get")
        for machine in self._all():
            if machine["id"] == instance_id and self._shown(machine):
                return self._instance(machine)
        return Instance(self.name, instance_id, "gone", self.sold[0], {})

    def survey(self, region: str, offers: Sequence[Offer]) -> Survey:
        self._called("survey")
        told = self.surveys.get(region, Survey(region))
        if isinstance(told, ProviderError):
            raise told
        return told if isinstance(told, Survey) else told()

    def console(self, instance_id: str) -> str:
        self._called("console")
        return self.printed

    def list(
        self, tags: Mapping[str, str], regions: Sequence[str] = (), everything: bool = False
    ) -> list[Instance]:
        self._called("list")
        self.listed.append(tuple(regions))
        found = [self._instance(machine) for machine in self._all() if self._shown(machine)]
        return [
            one
            for one in found
            if one.state != "gone"
            and one.id not in self.hides
            and (not regions or one.offer.region in regions)
            and holds(one.tags, tags)
        ]

    def terminate(self, instance_id: str) -> None:
        self._called("terminate")
        if self.deaf_to_terminate or self.overheard > 0:
            self.overheard -= 1
            return
        if any(one["id"] == instance_id and not self._shown(one) for one in self._all()):
            raise TransientError(f"{instance_id} cannot be ended yet")
        self.end(instance_id, "terminated")

    def mark(self, instance_id: str, tags: Mapping[str, str]) -> None:
        """Not among ``calls``: a thread of the fleet asks for it whenever it comes to it."""
        if self.down is not None:
            raise self.down
        with self._machines() as machines:
            for machine in machines.values():
                if machine["id"] == instance_id and machine["state"] != "gone":
                    machine["tags"].update(tags)

    def check(self) -> list[Finding]:
        return []

    # -- what only tests do -------------------------------------------------------------------

    def stop(self, instance_id: str) -> None:
        """It has shut itself down, and is still paid for."""
        with self._machines() as machines:
            for machine in machines.values():
                if machine["id"] == instance_id:
                    machine.update(state="ending", detail="stopped by itself")

    def forge(self, owner: str, token: str) -> None:
        """Somebody makes a machine by hand and puts byoc's tags on it; its id is ``forged``."""
        tags = {OWNER_TAG: owner, TOKEN_TAG: token, RUN_TAG: "run-forged"}
        request = LaunchRequest("", self.sold[0], tags, HostKey("", ""), "", 0.0)
        with self._machines() as machines:
            machines["forged"] = {**self._new(request, Fault(), 99), "id": "forged"}

    def end(self, instance_id: str, why: str) -> None:
        with self._machines() as machines:
            for machine in machines.values():
                if machine["id"] == instance_id and machine["state"] != "gone":
                    machine.update(state="gone", detail=why)

    def preempt(self, instance_id: str, failure: ProviderError) -> None:
        """Take it away, and say why."""
        self._failures[instance_id] = failure
        self.end(instance_id, failure.message)

    def live(self) -> list[Instance]:
        return [one for one in map(self._instance, self._all()) if one.state != "gone"]

    def ever(self) -> int:
        """How many instances were ever made."""
        return len(self._all())

    def machine_at(self, address: str, port: int) -> dict[str, Any] | None:
        for machine in self._all():
            if (machine["address"], machine["port"]) == (address, port):
                return machine
        return None

    # -- inside -------------------------------------------------------------------------------

    def _shown(self, machine: dict[str, Any]) -> bool:
        return bool(self.clock.wall() - machine["started"] >= self.lag)

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.down is not None:
            raise self.down

    def _new(self, request: LaunchRequest, fault: Fault, number: int) -> dict[str, Any]:
        key = "ssh-ed25519 AAAAanother" if fault.wrong_key else request.host_key.public
        return {
            "id": f"{self.name}-{number}",
            "token": request.token,
            "tags": dict(request.tags),
            "offer": request.offer._asdict(),
            "address": f"192.0.2.{number + 1}",  # documentation addresses: nothing is there
            "port": 22,
            "host_key": key,
            "started": self.clock.wall(),
            "ready": None if fault.boot is None else self.clock.wall() + fault.boot,
            "dies": fault.dies,
            "report": fault.report or {},
            "state": "running",
            "detail": "",
        }

    def _instance(self, machine: dict[str, Any]) -> Instance:
        ready, state, detail = machine["ready"], machine["state"], machine["detail"]
        died = machine["dies"] and self.clock.wall() > machine["started"]
        if state == "running" and died:
            state, detail = "gone", machine["dies"]
        failure = self._failures.get(machine["id"])
        if failure is not None and self.clock.wall() > machine["started"]:
            state, detail = "gone", failure.message
        if state == "running" and (ready is None or self.clock.wall() < ready):
            state = "pending"
        return Instance(
            self.name,
            machine["id"],
            state,
            Offer(**machine["offer"]),
            machine["tags"],
            machine["address"],
            machine["port"],
            "user",
            "",
            machine["started"],
            detail,
            failure if state == "gone" else None,
            origin=machine["token"],
        )

    def _all(self) -> list[dict[str, Any]]:
        with self._machines() as machines:
            return list(machines.values())

    @contextmanager
    def _machines(self) -> Iterator[dict[str, dict[str, Any]]]:
        with self._threads, open(self.folder / "machines.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.folder / "machines.json"
            machines = json.loads(path.read_text()) if path.exists() else {}
            before = json.dumps(machines)
            yield machines
            if json.dumps(machines) != before:
                path.write_text(json.dumps(machines))


class FakeStream:
    """A command's output, once."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def write_eof(self) -> None:
        return None

    def read(self, n: int, timeout: float | None = None) -> bytes:
        data, self.data = self.data, b""
        return data

    def stderr(self) -> str:
        return ""

    def close(self) -> None:
        return None


def good_gpus(offer: Mapping[str, Any]) -> dict[str, Any]:
    """What a sound machine with an offer's GPUs reports."""
    one = {"name": f"NVIDIA {offer['gpu']}", "memory": offer["gpu_memory"] or None}
    gpus = [{**one, "index": str(n), "bus": f"{n}"} for n in range(offer["gpu_count"])]
    return {"driver": "570.133.20", "gpus": gpus, "trouble": None, "kernel": [], "cuda": None}


class FakeConnection:
    """An open connection: whether it lives, and what an examination of the GPUs says."""

    def __init__(self, target: Target, machine: Mapping[str, Any]) -> None:
        self.target = target
        self.alive = True
        self._machine = machine

    def exec(self, command: str, stdin_first: bytes = b"") -> FakeStream:
        report = {**good_gpus(self._machine["offer"]), **self._machine["report"]}
        return FakeStream(json.dumps(report).encode() + b"\n")

    def close(self) -> None:
        self.alive = False


class CloudDialer:
    """Reaches the machines of file clouds, and checks their host keys as SSH would."""

    def __init__(self, clouds: list[FileCloud], clock: Clock) -> None:
        self.clouds = clouds
        self.clock = clock
        self.made = 0
        self.connected: list[FakeConnection] = []
        self.cut: set[str] = set()

    def authorized_key(self) -> str:
        return "ssh-ed25519 AAAAclient"

    def new_host_key(self) -> HostKey:
        self.made += 1
        return HostKey("private", f"ssh-ed25519 AAAA{os.getpid()}-{self.made}")

    def ready(self, cloud: str) -> None:
        return None

    def preload(self) -> None:
        return None

    def knock(self, target: Target, timeout: float, stop: Stop) -> socket.socket | None:
        if self._machine(target) is None:
            self.clock.sleep(min(timeout, 0.01))
            return None
        return socket.socket()

    def connect(self, target: Target, timeout: float, door: socket.socket | None = None) -> Any:
        if door is not None:
            door.close()
        machine = self._machine(target)
        if machine is None:
            self.clock.sleep(timeout)
            raise ConnectionLostError(f"nothing answers at {target.address}")
        if machine["host_key"] != target.host_key:
            raise HostKeyError("the machine that answered is not the one that was booted")
        connection = FakeConnection(target, machine)
        self.connected.append(connection)
        return connection

    def _machine(self, target: Target) -> dict[str, Any] | None:
        for cloud in self.clouds:
            machine = cloud.machine_at(target.address, target.port)
            if machine is None or machine["id"] in self.cut:
                continue
            if cloud.get(machine["id"]).state == "running":
                return machine
        return None


class Watcher:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str, str]] = []
        self.notices: list[str] = []

    def stage(self, name: str, status: str, detail: str = "", seconds: float = 0.0) -> None:
        self.stages.append((name, status, detail))

    def notice(self, message: str) -> None:
        self.notices.append(message)


@dataclass
class World:
    """One installation and its clouds."""

    home: Path
    clock: Clock = field(default_factory=HandClock)
    clouds: list[FileCloud] = field(default_factory=list)
    watcher: Watcher = field(default_factory=Watcher)
    settings: dict[str, Any] = field(default_factory=dict)
    wrap_journal: Callable[[Journal], Any] = lambda journal: journal
    journals: list[Journal] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.clouds:
            self.clouds.append(FileCloud(self.home.parent / "cloud", self.clock))
        self.dialer = CloudDialer(self.clouds, self.clock)

    @property
    def cloud(self) -> FileCloud:
        return self.clouds[0]

    def fleet(self, home: Path | None = None) -> Fleet:
        """A fleet as a new process would open it."""
        names = tuple(cloud.name for cloud in self.clouds)
        settings = Settings(**{"home": home or self.home, "clouds": names} | self.settings)
        journal = Journal.open(settings.home, self.clock)
        self.journals.append(journal)
        return Fleet(
            settings,
            self.wrap_journal(journal),
            {cloud.name: cloud for cloud in self.clouds},
            self.dialer,
            self.watcher,
            self.clock,
        )

    def close(self) -> None:
        for journal in self.journals:
            journal.close()
