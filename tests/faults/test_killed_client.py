"""The client dies at any place of a run: its machine ends by itself, and the next run works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from byoc.clock import SYSTEM
from byoc.state import Journal
from tests.conftest import end_instances, new_home
from tests.faults.world import PROGRAMS, machines
from tests.gate import Gate
from tests.helpers import gone, processes_with, until

PLACES = (
    *("place:start", "place:done", "boot:start", "preload", "boot:done"),
    *("connect:start", "connect:done", "image:start", "image:done", "run:start"),
    *("call", "run:done", "leave"),
)
LAUNCHED = PLACES[PLACES.index("preload") :]
"""Places at which there is a machine."""
WARM_PLACES = ("connect:done", "call", "leave")
"""Places at which a client that had found its instance warm dies too."""
SETTINGS = {"BYOC_LEASE": "4", "BYOC_BOOT_LEASE": "8", "BYOC_IDLE": "4"}
ENDS_WITHIN = 60.0
"""Seconds; the leases are 8 at most, the rest is for a busy host that runs all cases at once."""


@dataclass
class Case:
    """One client that dies at ``place``, and what came of it."""

    place: str
    warm: bool
    home: Path = field(default_factory=new_home)
    first_exit: int | None = None
    reasons: list[str] = field(default_factory=list)
    left: str = ""
    next_run: tuple[int, str] = (-1, "")

    def client(self, place: str, gate: Gate, keep: bool = True) -> subprocess.Popen[str]:
        """A client in a process of its own."""
        keep_it = {"BYOC_IDLE": "60"} if keep and place == "none" else {}
        environ = {**os.environ, **SETTINGS, **keep_it, "BYOC_HOME": str(self.home)}
        environ["BYOC_KEEP"] = str(keep).lower()
        return subprocess.Popen(
            [sys.executable, str(PROGRAMS / "f_client.py"), place, str(gate.port)],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _all_at_once(cases: list[Case]) -> None:
    """Every client lives and dies at the same time as the others: the leases overlap."""
    before, blocked, after = Gate(open=True), Gate(), Gate(open=True)
    _finish([case.client("none", before) for case in cases if case.warm])
    calling = [case for case in cases if case.place == "call"]
    clients = [case.client(case.place, blocked if case in calling else before) for case in cases]
    blocked.wait_for(len(calling), ENDS_WITHIN)
    for case, client in zip(cases, clients, strict=True):
        if case.place == "call":
            client.kill()
    for case, (code, _) in zip(cases, _finish(clients), strict=True):
        case.first_exit = code
    for case in cases:
        try:
            until(lambda case=case: not machines(case.home), ENDS_WITHIN)
            gone(str(case.home), ENDS_WITHIN)
        except AssertionError as error:
            case.left = f"{error}; {machines(case.home)}; {processes_with(str(case.home))}"
        graves = (case.home / "local" / "ended").glob("*.json")
        case.reasons = [json.loads(grave.read_text())["reason"] for grave in graves]
    followers = [case.client("none", after, keep=False) for case in cases]
    for case, result in zip(cases, _finish(followers), strict=True):
        case.next_run = result
    for gate in (before, blocked, after):
        gate.close()


def _finish(clients: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    found = []
    for client in clients:
        out, err = client.communicate(timeout=ENDS_WITHIN)
        found.append((client.returncode, out + err))
    return found


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[tuple[str, bool], Case]]:
    """All cases, done."""
    every = [Case(place, False) for place in PLACES] + [Case(place, True) for place in WARM_PLACES]
    try:
        _all_at_once(every)
        yield {(case.place, case.warm): case for case in every}
    finally:
        for case in every:
            end_instances(case.home)
            gone(str(case.home))
            shutil.rmtree(case.home)


EVERY = [(place, False) for place in PLACES] + [(place, True) for place in WARM_PLACES]
IDS = [f"{place}{' warm' if warm else ''}" for place, warm in EVERY]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("place", "warm"), EVERY, ids=IDS)
def test_client_killed(cases: dict[tuple[str, bool], Case], place: str, warm: bool) -> None:
    """Its machine and every process end by their own leases; nothing stays open in the journal."""
    case = cases[place, warm]
    assert case.first_exit == -signal.SIGKILL, "the client did not die where it should"
    assert not case.left
    assert len(case.reasons) == (place in LAUNCHED)
    assert set(case.reasons) <= {"lease expired", "shutdown"}  # by the guardian, or the agent
    assert case.next_run == (0, "client done\n")
    journal = Journal.open(case.home, SYSTEM)
    try:
        assert journal.intents() == []
        assert [row.state for row in journal.instances(("pending", "running", "idle"))] == []
        assert [run.status for run in journal.runs()].count("lost") == 1
        assert journal.runs(status="running") == []
    finally:
        journal.close()


@pytest.mark.slow
def test_client_that_sleeps_past_its_lease(byoc_home: Path, gate: Gate) -> None:
    """A client that wakes after its machine has ended finds another one for its call."""
    case = Case("none", warm=False, home=byoc_home)
    client = case.client("none", gate, keep=False)
    gate.wait_for(1)
    os.kill(client.pid, signal.SIGSTOP)
    until(lambda: not machines(byoc_home), ENDS_WITHIN, "the machine's end by its lease")
    os.kill(client.pid, signal.SIGCONT)
    gate.wait_for(2, ENDS_WITHIN)
    gate.open()
    assert _finish([client]) == [(0, "client done\n")]
