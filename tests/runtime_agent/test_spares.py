"""Containers that were forked before anybody asked for them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from byoc.container import zygote
from tests.helpers import until
from tests.runtime_agent.machine import Machine, Running


def children(pid: int) -> set[int]:
    """Ids of a process's children."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(word) for word in text.split()}


def spares(machine: Machine, *containers: Running) -> set[int]:
    """The processes that wait to become containers."""
    (mother,) = children(machine.agent)
    return children(mother) - {one.pid for one in containers}


def settled(machine: Machine, *containers: Running) -> set[int]:
    """The same, once every spare has been made with all that a zygote loads."""
    (mother,) = children(machine.agent)
    asyncio = "_asyncio"

    def ready() -> set[int]:
        found = spares(machine, *containers)
        try:
            maps = [Path(f"/proc/{pid}/maps").read_text() for pid in found]
            waiting = [Path(f"/proc/{pid}/wchan").read_text() != "0" for pid in found]
        except (FileNotFoundError, ProcessLookupError):  # one that was on its way out
            return set()
        return found if found and all(asyncio in text for text in maps) and all(waiting) else set()

    return until(ready, 20, f"spares of {mother}")


def test_a_container_is_a_spare_that_waited(fresh: Machine) -> None:
    """The next container is the process that was forked ahead, and another one takes its place."""
    client = fresh.client()
    first = client.ready("kinds.pid")
    waiting = settled(fresh, first)
    second = client.ready("kinds.pid")
    assert second.pid in waiting
    assert second.call() == second.pid
    assert settled(fresh, first, second).isdisjoint(waiting)


def test_a_spare_is_as_clean_as_any(fresh: Machine) -> None:
    """Nothing of its rehearsal is left for the user's code to see."""
    client = fresh.client()
    first = client.ready("kinds.where")
    settled(fresh, first)
    second = client.ready("kinds.where")
    (folder, path, environ, argv, _), other = second.call(), first.call()
    assert (folder, path, argv) == (other[0], other[1], other[3])
    assert set(environ) == set(other[2])
    assert not any("rehearsal" in f"{key}={value}" for key, value in environ.items())
    settled(fresh, first, second)
    third = client.ready("kinds.modules")
    ours = "byoc."
    assert not [n for n in third.call() if "rehearsal" in n and not n.startswith(ours)]
    settled(fresh, first, second, third)
    opened = client.ready("kinds.fds").call()
    assert len(opened) <= 6, "stdio, its socket, that of bulk transfers, and the folder it lists"


def test_dead_spares_are_no_loss(fresh: Machine) -> None:
    """A spare that was killed is passed over, and replaced later."""
    client = fresh.client()
    first = client.ready("kinds.pid")
    (mother,) = children(fresh.agent)
    killed = settled(fresh, first)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: killed.isdisjoint(children(mother)), 10, "them to end")
    second = client.ready("kinds.pid")
    assert second.call() == second.pid
    settled(fresh, first, second)


def test_a_frozen_spare_harms_only_its_container(fresh: Machine) -> None:
    """A container that cannot begin is killed like any other, and the next one begins."""
    client = fresh.client()
    first = client.ready("kinds.pid")
    for pid in settled(fresh, first):
        os.kill(pid, signal.SIGSTOP)
        second = client.function("kinds.pid", startup=0.3)
        assert second.wait()["reason"] == "timeout"
    assert client.ready("kinds.pid").call() != first.pid


def test_a_burst_is_answered_by_spares(fresh: Machine) -> None:
    """As many as were asked for at once are kept, within reason."""
    client = fresh.client()
    first = [client.function("kinds.pid") for _ in range(zygote.MOST_SPARES + 2)]
    for one in first:
        one.wait_ready()
    until(lambda: len(settled(fresh, *first)) == zygote.MOST_SPARES, 20, "as many spares")
    second = [client.function("kinds.pid") for _ in range(zygote.MOST_SPARES)]
    assert len({one.wait_ready().pid for one in second}) == zygote.MOST_SPARES


def test_spares_die_with_their_zygote(fresh: Machine) -> None:
    """However a zygote ends, nothing of it stays."""
    first = fresh.client().ready("kinds.pid")
    waiting = settled(fresh, first)
    (mother,) = children(fresh.agent)
    os.kill(mother, signal.SIGKILL)
    for pid in waiting:
        until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 10, f"{pid} to end")  # type: ignore[misc]


def test_a_zygote_that_is_stopped_goes_on(fresh: Machine) -> None:
    """User code that stops its zygote stops neither the agent nor, for long, other containers."""
    client = fresh.client()
    first = client.ready("kinds.pid")
    (mother,) = children(fresh.agent)
    os.kill(mother, signal.SIGSTOP)
    assert first.call() == first.pid
    assert client.ready("kinds.pid").call()
    first.kill()
    assert first.wait()["reason"] == "stopped"


def test_a_full_zygote_stops_no_agent(fresh: Machine) -> None:
    """Requests that a stopped zygote does not take fail, one by one; what runs goes on."""
    client = fresh.client()
    first = client.ready("kinds.pid")
    (mother,) = children(fresh.agent)
    os.kill(mother, signal.SIGSTOP)
    many = [client.function("kinds.pid") for _ in range(400)]
    assert first.call() == first.pid
    for one in many:
        one.kill()
    details = [one.wait() for one in many]
    assert any("takes no more requests" in word.get("detail", "") for word in details)
    assert first.call() == first.pid


def test_unborn_containers_are_lost_with_their_zygote(fresh: Machine) -> None:
    """What a zygote was asked for when it died may be tried again: it is no failure to start."""
    client = fresh.client()
    client.ready("kinds.pid")
    (mother,) = children(fresh.agent)
    os.kill(mother, signal.SIGSTOP)
    unborn = client.function("kinds.pid")
    client.flush()
    os.kill(mother, signal.SIGKILL)
    assert unborn.wait()["reason"] == "lost"
