"""The agent and functions on every Python from 3.8."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from byoc.engine.results import value_of
from byoc.runtime_agent.bundle import Bundle
from tests.conftest import new_home
from tests.house.test_agent_python import MINORS, interpreters
from tests.runtime_agent.machine import LOGS, PROGRAMS, Client, Machine

FUNCTIONS_FROM = 8


def python(minor: int) -> Path:
    """The interpreter ``3.minor``; skips the test where there is none."""
    found = interpreters().get(minor)
    if found is None:
        pytest.skip(f"no Python 3.{minor} on this machine")
    return found


@pytest.fixture(params=MINORS, ids="3.{}".format)
def machine(request: pytest.FixtureRequest, agent_bundle: Bundle) -> Iterator[Machine]:
    """A machine whose own Python is of each version in turn."""
    found = python(request.param)
    home = new_home()
    machine = Machine(home, agent_bundle, str(found))
    yield machine
    machine.close()
    shutil.rmtree(home)


def test_the_agent_on_every_python(machine: Machine) -> None:
    """Greeting, programs, files, a cut, a flood with a slow reader and the end work on each."""
    client = machine.client(end=["touch", str(machine.home / "ended")])
    program = client.command("sh", "-c", "read x; echo $x; exit 3")
    program.write(b"hello\n")
    client.pump(0)
    client.cut()
    assert client.attach()["fresh"] is False
    assert program.wait()["code"] == 3
    client.flush()
    assert program.out() == b"hello\n"
    client.slow.add(LOGS)
    flood = client.command("head", "-c", "9000000", "/dev/zero")
    client.until(lambda: len(flood.out()) > 3_000_000, "the flood")
    client.use(LOGS)
    assert flood.wait()["code"] == 0
    assert client.command("no-such-program").wait()["reason"] == "start"
    assert client.command("sleep", "1000", timeout=0.1).wait()["reason"] == "timeout"
    assert client.request({"t": "nothing"})["ok"] is False
    assert client.request({"t": "end"})["ok"]
    client.until((machine.home / "ended").exists, "the end")


def test_functions_under_an_agent_of_any_python(machine: Machine) -> None:
    """The agent's own Python and the environment's need not be the same."""
    client = machine.client()
    assert client.ready("kinds.add").call(1, 2) == 3


@pytest.mark.parametrize("minor", [m for m in MINORS if m >= FUNCTIONS_FROM])
def test_functions_on_every_python(
    shared: Machine, minor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, generators, async functions, exceptions and deaths work on each version."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    interpreter = str(python(minor))
    client = shared.client(takeover=True)

    def ready(name: str, **options: Any) -> Any:
        return client.ready(name, interpreter=interpreter, **options)

    assert ready("kinds.add_later").call([1], [2]) == [1, 2]
    generator = ready("kinds.count_later", generator=True)
    (ident,) = generator.put((3,))
    client.until(lambda: ident in generator.outcomes)
    assert [value_of(o) for o in generator.items[ident]] == [0, 1, 2]
    error: Any = ready("errors.own").error()
    assert (type(error).__name__, error.code) == ("Own", 7)
    noted: Any = ready("errors.noted").error()
    assert noted.__notes__ == ["first note", "second note"]
    assert type(ready("errors.deep").error()) is RecursionError
    assert type(ready("errors.long_chain").error()) is ValueError
    died = ready("hostile.leave")
    died.put(("segfault",))
    assert died.wait()["signal"] == 11
    stopped = ready("hostile.sleep", timeout=0.2)
    stopped.put((60,))
    assert stopped.wait()["reason"] == "timeout"


def test_a_group_from_a_newer_python(shared: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception type that only one side has arrives there as itself, else as a substitute."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    client: Client = shared.client(takeover=True)
    error = client.ready("errors.grouped_plain", interpreter=str(python(12))).error()
    expected = "ExceptionGroup" if sys.version_info >= (3, 11) else "RemoteError"
    assert type(error).__name__ == expected
    assert "several" in str(error)
