"""Hooks of a preemption, in containers: beside the input, once, whatever they do."""

from __future__ import annotations

import os
import time

import pytest

import byoc
from byoc import Function
from byoc.runtime_agent import payload
from tests.runtime_agent.machine import Client, Running

PATIENCE = 20.0


def tell(running: Running, seconds: float = 60.0) -> None:
    """As the client does when it hears that the machine is taken back."""
    running.send({"t": "preempt", "at": time.time() + seconds, "instance": "i-1", "cloud": "aws"})


def printed(running: Running, fd: int = 1) -> str:
    """Its output until now."""
    running.client.flush()
    return running.out(fd).decode()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wait", {}),
        ("wait", {"most": 2}),
        ("without_arguments", {}),
        ("with_async_hook", {}),
        ("with_broken_hook", {}),
    ],
)
def test_the_hook_runs_beside_the_input(client: Client, name: str, options: dict[str, int]) -> None:
    """The input that waits for its hook ends with it, in all ways of running inputs."""
    running = client.ready(f"preempted.{name}", **options)
    (ident,) = running.put((PATIENCE,))
    tell(running)
    assert running.value(ident) is True


def test_it_runs_once_and_is_told_what_there_is(client: Client) -> None:
    """A second word changes nothing; the hook has a thread of its own, and knows its machine."""
    running = client.ready("preempted.busy")
    (ident,) = running.put((PATIENCE,))
    tell(running)
    tell(running)
    assert running.value(ident) == 1
    assert printed(running) == "hook of i-1 aws in byoc-preempt\n"


def test_a_hook_that_raises_is_told_and_changes_nothing(client: Client) -> None:
    """Its traceback is in the container's output, and inputs go on."""
    running = client.ready("preempted.with_broken_hook")
    (ident,) = running.put((PATIENCE,))
    tell(running)
    assert running.value(ident) is True
    assert running.call(0) is True
    client.until(lambda: "the disk is full" in printed(running, 2))
    assert "an on_preempt hook failed" in printed(running, 2)


def test_an_idle_container_ends_after_its_hook(client: Client) -> None:
    """Told and given no more inputs, it stays until the hook has ended, and no longer."""
    running = client.ready("preempted.idle")
    assert running.call() == "done"
    tell(running, 2.0)
    running.close()
    assert running.wait()["code"] == 0
    assert printed(running) == "slow hook begins\nslow hook ends\n"


def test_a_hook_without_end_is_not_waited_for(client: Client) -> None:
    """When the machine's time is up the container ends, and says why."""
    running = client.ready("preempted.with_endless_hook")
    assert running.call() == "done"
    tell(running, 0.5)
    running.close()
    assert running.wait()["code"] == 0
    assert "still ran when the machine's time was up" in printed(running, 2)


def test_without_a_hook_nothing_happens(client: Client) -> None:
    """The word is passed over, before, during and after an input."""
    running = client.ready("preempted.without_hook")
    tell(running)
    (ident,) = running.put((0.1,))
    tell(running)
    assert running.value(ident) == "done"
    tell(running)
    assert running.call(0) == "done"


def test_an_async_hook_of_a_class_runs_on_its_loop(client: Client) -> None:
    """It sees the object's state as it is, beside a method that runs; exit hooks come after it."""
    running = client.ready("preempted.Trainer")
    (ident,) = running.put((PATIENCE,), method="train")
    client.until(lambda: running.out() == b"training\n")
    tell(running)
    assert running.value(ident) == "told"
    running.close()
    assert running.wait()["code"] == 0
    shown = printed(running)
    assert shown.splitlines()[1:] == [
        "saved at a step: True with time left: True",
        "closed after the hook: True",
    ]


def test_hooks_of_base_classes_run_first(client: Client) -> None:
    """As the other hooks of a class do."""
    running = client.ready("preempted.Derived")
    assert running.call(method="step") == 1
    tell(running)
    running.close()
    running.wait()
    assert printed(running) == "first\nsecond\n"


def pickled_by_value() -> Function:
    """A function, and its hook, that are found by no name."""
    marks: list[str] = []

    def hook() -> None:
        marks.append("told")

    def wait(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not marks and time.monotonic() < until:
            os.sched_yield()
        return bool(marks)

    decorate = byoc.App("pickled").function(serialized=True, on_preempt=hook)
    return decorate(wait)


def test_the_hook_of_a_pickled_function_travels_with_it(client: Client) -> None:
    """A function without a file brings its hook, and shares with it what both refer to."""
    code = payload.dumps(pickled_by_value().raw_f, by_value=True)
    running = client.ready("nowhere.nothing", code=code)
    (ident,) = running.put((PATIENCE,))
    tell(running)
    assert running.value(ident) is True
