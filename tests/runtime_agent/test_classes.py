"""Classes in containers: hooks around the inputs, methods by name, one loop for all of it."""

from __future__ import annotations

from typing import Any

import pytest

from byoc.engine.results import value_of
from byoc.errors import NotFoundError
from tests.runtime_agent.machine import Client, Running


def model(client: Client, **options: Any) -> Running:
    """A container of the class that has everything."""
    return client.ready("classes.Model", **options)


def test_enter_hooks_run_once_and_in_order(client: Client) -> None:
    """Behaviour 6: hooks ran before the first input, those with snap first, on the main thread."""
    running = model(client)
    assert running.call(method="report") == (["snap", "async"], 3, True)
    assert running.call(method="report") == (["snap", "async"], 3, True)


def test_parameters_are_set_before_the_hooks(client: Client) -> None:
    """Behaviour 17: a container serves one set of parameters."""
    running = model(client, parameters='{"size":7}')
    assert running.call(method="report")[1] == 7


def test_one_loop_for_hooks_and_methods(client: Client) -> None:
    """What an async hook left on the loop works later, and goes on between inputs."""
    running = model(client)
    assert running.call(method="same_loop") is True
    first = running.call(method="ticked")
    client.until(lambda: running.call(method="ticked") > first, "the background task")


def test_sync_methods_run_outside_the_loop(client: Client) -> None:
    """A synchronous method may run a loop of its own, although a hook was asynchronous."""
    assert model(client).call(method="runs_its_own_loop") == "mine"


def test_methods_may_yield(client: Client) -> None:
    """A generator method gives its items and their end."""
    running = model(client)
    (ident,) = running.put((3,), method="count")
    client.until(lambda: ident in running.outcomes)
    assert [value_of(o) for o in running.items[ident]] == [0, 1, 2]


@pytest.mark.parametrize("method", ["nothing", ""])
def test_a_method_that_is_not_there(client: Client, method: str) -> None:
    """An unknown method fails its input in words, and no other."""
    running = model(client)
    error = running.error(method=method)
    assert type(error) is NotFoundError
    assert str(error).startswith("Model has no")
    assert running.call(method="same_loop") is True


def test_an_enter_hook_that_fails(client: Client) -> None:
    """It is a failed start with the hook's own exception; exit hooks do not run."""
    running = client.function("classes.Failing")
    error = running.start_error()
    assert repr(error) == repr(LookupError("no model here"))
    assert running.word is not None and running.word["code"] == 1
    assert b"must not run" not in running.out()


def test_an_enter_hook_without_end(client: Client) -> None:
    """The limit for starting holds for hooks."""
    assert client.function("classes.Endless", startup=0.3).wait()["reason"] == "timeout"


@pytest.mark.parametrize("how", ["end", "term", "term while it runs"])
def test_each_exit_hook_runs(client: Client, how: str) -> None:
    """Hooks run at the end of the input and on SIGTERM, whatever another one does."""
    running = client.ready("classes.Leaving")
    running.call(method="call")
    if how == "term while it runs":
        running.put((), method="sleep")
        client.until(running.out, "it to sleep")
    running.close() if how == "end" else running.kill("stopped", grace=20)
    word = running.wait()
    assert word["code"] == (0 if how == "end" else 143)
    client.flush()
    said = running.out().decode().replace("asleep\n", "")
    assert said == "exit first\nexit slow\nexit third\n"
    assert "LookupError: the first hook failed" in running.out(2).decode()
    assert "worker" not in running.out(2).decode()


def test_an_async_exit_hook_has_the_loop(client: Client) -> None:
    """An async exit hook runs on the loop that everything else had."""
    running = model(client)
    running.close()
    assert running.wait()["code"] == 0
    client.flush()
    assert b"left after ['snap', 'async']" in running.out()
    assert running.out(2) == b""


def test_an_exit_hook_ends_with_its_grace(client: Client) -> None:
    """A hook that does not end is killed when the grace is over."""
    running = client.ready("classes.Stubborn")
    running.kill("stopped", grace=0.5)
    client.until(lambda: b"leaving" in running.out(), "the hook")
    word = running.wait()
    assert (word["reason"], word["signal"], word["inputs"]) == ("stopped", 9, [])
