"""Notices of a preemption: read where the cloud says them, and told to the client once."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time

import pytest

from tests.helpers import ROOT
from tests.runtime_agent import metadata
from tests.runtime_agent.machine import Client, Machine

NOWHERE = "http://127.0.0.1:9"
"""A proxy that must not be asked: nothing that a machine says of itself goes elsewhere."""
SOON = {"aws": 100.0, "gcp": 30.0}


def _apart() -> list[str]:
    """How to run something in a network namespace of its own; skips where that is not allowed."""
    argv = ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip")
    if subprocess.run([*argv, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no network namespace may be made here")
    return argv


@pytest.fixture
def rented(fresh: Machine) -> Machine:
    """A machine with a metadata service; what it says lies in the folder ``said``."""
    folder = fresh.home / "said"
    folder.mkdir()
    argv = [*_apart(), "env", f"http_proxy={NOWHERE}", f"all_proxy={NOWHERE}", f"PYTHONPATH={ROOT}"]
    argv += [sys.executable, metadata.__file__, str(folder), "sh", "-c"]
    fresh.wrap = [shlex.quote(word) for word in argv]
    return fresh


def preempt(machine: Machine, source: str) -> None:
    """The cloud says that it takes the machine away."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + SOON["aws"]))
    name = {"aws": "instance-action", "gcp": "preempted"}[source]
    fresh = machine.home / "fresh"
    fresh.write_text(f'{{"action": "terminate", "time": "{moment}"}}')
    fresh.replace(machine.home / "said" / name)


def watch(client: Client, source: str) -> None:
    """As the client asks once it is attached."""
    client.send({"t": "watch", "source": source, "seconds": SOON["gcp"]})


@pytest.mark.parametrize("source", [pytest.param("aws", marks=pytest.mark.slow), "gcp"])
def test_told_once_to_every_session(rented: Machine, source: str) -> None:
    """The notice reaches the client as soon as it is there, once, and a later session at once."""
    client = rented.client()
    watch(client, source)
    asked = rented.home / "said/asked"
    client.until(lambda: source == "gcp" or (asked.exists() and " 404" in asked.read_text()))
    assert client.notices == []
    preempt(rented, source)
    (notice,) = client.until(lambda: client.notices)
    assert (notice["source"], notice["sure"]) == (source, True)
    assert SOON[source] - 20 < notice["seconds"] <= SOON[source]
    assert abs(notice["at"] - time.time() - SOON[source]) < 20
    watch(client, source)
    client.until(lambda: len(client.notices) == 2)
    other = rented.client(takeover=True)
    watch(other, source)
    assert other.until(lambda: other.notices)[0] == notice


@pytest.mark.slow
def test_a_weaker_hint(rented: Machine) -> None:
    """A recommendation to leave is told as what it is, and the notice after it too."""
    (rented.home / "said/rebalance").write_text('{"noticeTime": "2026-11-21T10:00:00Z"}')
    client = rented.client()
    watch(client, "aws")
    assert not client.until(lambda: client.notices)[0]["sure"]
    preempt(rented, "aws")
    assert client.until(lambda: client.notices[1:])[0]["sure"]


def test_asked_only_when_the_client_says_so(rented: Machine) -> None:
    """A machine that cannot be preempted never asks anything."""
    client = rented.client()
    client.command("true").wait()
    client.send({"t": "watch", "source": "nobody", "seconds": 1.0})
    client.command("true").wait()
    assert not (rented.home / "said/asked").exists()
    assert "notices of 'nobody' are not known here" in rented.log


WITHOUT = """
import sys, threading, time
from byoc.runtime_agent import notices
notices.RETRY = 0.01
notices.Watcher("aws", 120.0, print)
time.sleep(0.5)
"""


def test_no_metadata_service() -> None:
    """Where nobody answers that is noted once, and nothing else happens."""
    done = subprocess.run(
        [*_apart(), sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("cannot be read now") == 1
    assert done.stderr == ""
