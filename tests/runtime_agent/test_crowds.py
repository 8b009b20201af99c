"""Several inputs of one container at once, in threads, on a loop, or by the batch."""

from __future__ import annotations

from typing import Any

import pytest

from byoc.engine.results import value_of
from byoc.errors import InvalidError, NotFoundError, SerializationError
from byoc.runtime_agent import payload
from tests.runtime_agent.machine import Client, Running

BATCH = [4, 0.05]


def values(running: Running, idents: list[int]) -> list[Any]:
    """All their values."""
    return [running.value(ident) for ident in idents]


# --- inputs at once ---------------------------------------------------------------------------


def test_sync_inputs_run_in_threads(client: Client) -> None:
    """Behaviour 19: four meet, none on the main thread, and each knows its own ids."""
    running = client.ready("classes.meet", most=4)
    idents = running.put(*[(0.01 * (4 - i),) for i in range(4)])
    found = values(running, idents)
    assert [ids for ids, _ in found] == [(f"in-{i}", f"fc-{i}") for i in idents]
    assert not any(main for _, main in found)
    again = running.put(*[(0.0,)] * 4, call="fc-own")
    assert [ids for ids, _ in values(running, again)] == [(f"in-{i}", "fc-own") for i in again]


def test_async_inputs_run_on_one_loop(client: Client) -> None:
    """Behaviour 19: four are awaited at once, on the main thread, and each knows its own ids."""
    running = client.ready("classes.gather", most=4)
    idents = running.put(*[(0.01 * (4 - i),) for i in range(4)])
    found = values(running, idents)
    assert [ids for ids, _, _ in found] == [(f"in-{i}", f"fc-{i}") for i in idents]
    assert all(main for _, main, _ in found)
    assert len({loop for _, _, loop in found}) == 1


def test_sync_and_async_methods_meet(client: Client) -> None:
    """A class may have both: threads and the loop work at the same time."""
    running = client.ready("classes.Mixed", most=4)
    idents = [running.put((), method=m)[0] for m in ["meet", "meet_later"] * 2]
    assert values(running, idents) == [False, True, False, True]


def test_no_more_than_allowed_at_once(client: Client) -> None:
    """What waits is started when something ends; nothing is lost."""
    running = client.ready("classes.at_most", most=3)
    idents = running.put(*[(0.01,)] * 30)
    assert max(values(running, idents)) == 3


def test_results_do_not_wait_for_others(client: Client) -> None:
    """A quick input's result arrives while a slow one runs."""
    running = client.ready("classes.nap", most=4)
    slow, quick = running.put((20.0,), (0.0,))
    assert running.value(quick) == 0.0
    assert slow not in running.outcomes
    running.kill()


def test_a_coroutine_from_a_plain_function(client: Client) -> None:
    """A function that returns a coroutine is awaited, though it was started in a thread."""
    running = client.ready("classes.returns_later", most=4)
    idents = running.put((1,), (2,))
    assert values(running, idents) == [(1, f"in-{idents[0]}"), (2, f"in-{idents[1]}")]


@pytest.mark.parametrize("name", ["kinds.count", "classes.count_slowly"])
def test_generators_at_once(client: Client, name: str) -> None:
    """Items of several generators arrive under their own inputs."""
    running = client.ready(name, most=4, generator=True)
    idents = running.put((150,), (2,), (3,))
    client.until(lambda: all(ident in running.outcomes for ident in idents))
    found = [[value_of(o) for o in running.items[ident]] for ident in idents]
    assert found == [list(range(n)) for n in (150, 2, 3)]


def test_failures_stay_with_their_inputs(client: Client) -> None:
    """An exception, an unknown method and a bad argument each fail one input."""
    running = client.ready("kinds.add", most=4)
    idents = running.put((1, 2), (1, "x"), (3, 4))
    (unknown,) = running.put((1, 2), method="nothing")
    assert (running.value(idents[0]), running.value(idents[2])) == (3, 7)
    with pytest.raises(TypeError):
        running.value(idents[1])
    with pytest.raises(NotFoundError):
        running.value(unknown)


def test_the_end_of_inputs_waits_for_what_runs(client: Client) -> None:
    """No more inputs: those that are there are run to their end."""
    for name in ("classes.nap", "classes.doze"):
        running = client.ready(name, most=2)
        idents = running.put(*[(0.05,)] * 5)
        running.close()
        assert running.wait()["code"] == 0
        assert values(running, idents) == [0.05] * 5


@pytest.mark.parametrize("name", ["classes.nap", "classes.doze"])
def test_a_timeout_names_only_those_over_it(client: Client, name: str) -> None:
    """Each input has its own clock; what ran beside is not blamed."""
    running = client.ready(name, most=4, timeout=1.0)
    (slow,) = running.put((20.0,))
    client.until(lambda: running.call(0.3) and running.call(0.3), "some time to pass")
    running.put((20.0,))
    word = running.wait()
    assert (word["reason"], word["inputs"]) == ("timeout", [slow])


def test_a_death_names_all_that_ran(client: Client) -> None:
    """When user code ends the process, what ran there is known, and what waited is not blamed."""
    running = client.ready("classes.dies", most=2)
    idents = running.put(*[("quit",)] * 3)
    word = running.wait()
    assert (word["code"], sorted(word["inputs"])) == (7, idents[:2])


@pytest.mark.parametrize("name", ["classes.nap", "classes.doze"])
def test_leaving_with_inputs_running(client: Client, name: str) -> None:
    """On SIGTERM nothing more is started, and what was broken off is not reported as failed."""
    running = client.ready(name, most=2)
    running.put(*[(20.0,)] * 3)
    client.until(lambda: running.out().count(b"s\n") == 2, "two to sleep")
    running.kill("stopped", grace=20)
    word = running.wait()
    assert (word["reason"], word["code"]) == ("stopped", 143)
    assert not running.outcomes


def test_async_inputs_are_cancelled(client: Client) -> None:
    """A cancelled task meets CancelledError; one that waits is never begun."""
    running = client.ready("classes.doze", most=2)
    idents = running.put((20.0,), (0.5,), (20.0,))
    client.until(lambda: running.out().count(b"dozes") == 2, "two to sleep")
    running.cancel(idents[0], idents[2])
    assert running.value(idents[1]) == 0.5
    client.until(lambda: len(running.outcomes) == 3, "all to end")
    client.flush()
    assert f"cancelled in-{idents[0]}\n" in running.out().decode()
    assert running.out().count(b"dozes") == 2
    assert {running.outcomes[i].kind for i in (idents[0], idents[2])} == {payload.FAILURE}
    assert running.call(0.01) == 0.01


# --- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classes.double", "classes.double_later"])
def test_a_full_batch_runs_at_once(client: Client, name: str) -> None:
    """Behaviour 29: as many as fit are one call, without waiting."""
    running = client.ready(name, batch=[4, 600.0])
    idents = running.put(*[(i,) for i in range(8)])
    assert values(running, idents) == [(2 * i, 4) for i in range(8)]


@pytest.mark.parametrize("name", ["classes.double", "classes.double_later"])
def test_a_batch_that_does_not_fill(client: Client, name: str) -> None:
    """Behaviour 29: the first input waits its time at most."""
    running = client.ready(name, batch=BATCH)
    idents = running.put((1,), (2,))
    assert values(running, idents) == [(2, 2), (4, 2)]


def test_a_batch_without_a_wait(client: Client) -> None:
    """With a wait of 0 what is there is a batch."""
    running = client.ready("classes.double", batch=[4, 0.0])
    idents = running.put(*[(i,) for i in range(6)])
    found = values(running, idents)
    assert [value for value, _ in found] == [2 * i for i in range(6)]
    assert running.call(5) == (10, 1)


def test_the_end_of_inputs_does_not_wait_for_more(client: Client) -> None:
    """No further input can come, so what is there is run at once."""
    running = client.ready("classes.double", batch=[4, 600.0])
    idents = running.put((1,), (2,))
    running.close()
    assert running.wait()["code"] == 0
    assert values(running, idents) == [(2, 2), (4, 2)]


def test_arguments_become_lists(client: Client) -> None:
    """Positional and named arguments each become a list; other shapes are another batch."""
    running = client.ready("classes.named", batch=[6, 0.05])
    idents = running.put_named(
        ((1, 2), {}), ((3,), {"z": 4}), ((5, 6), {}), ((7,), {"ys": 8}), ((9,), {"z": 0})
    )
    assert values(running, idents) == [
        (1, 2, None, 2),
        (3, None, 4, 2),
        (5, 6, None, 2),
        (7, 8, None, 1),
        (9, None, 0, 2),
    ]


@pytest.mark.parametrize("name", ["classes.too_few", "classes.no_list"])
def test_a_batch_with_wrong_results(client: Client, name: str) -> None:
    """Every caller gets InvalidError when it is no list of equal length."""
    running = client.ready(name, batch=BATCH)
    for ident in running.put((1,), (2,), (3,)):
        with pytest.raises(InvalidError, match="the batched function"):
            running.value(ident)


def test_a_batch_that_raises(client: Client) -> None:
    """Every caller gets the exception, which is printed once."""
    running = client.ready("classes.fails", batch=BATCH)
    for ident in running.put((1,), (2,), (3,)):
        with pytest.raises(LookupError, match="all of 3"):
            running.value(ident)
    client.flush()
    assert running.out(2).count(b"LookupError: all of 3") == 1


def test_a_batch_with_one_bad_member(client: Client) -> None:
    """A result that cannot be pickled, and an argument that cannot be unpickled, fail alone."""
    running = client.ready("classes.partly_locked", batch=BATCH)
    idents = running.put((1,), (2,), (Missing(),), (3,))
    assert (running.value(idents[0]), running.value(idents[3])) == (1, 3)
    with pytest.raises(SerializationError):
        running.value(idents[1])
    with pytest.raises(ModuleNotFoundError):
        running.value(idents[2])


class Missing:
    """Refers to a module that is only here."""

    def __reduce__(self) -> Any:
        return __import__, ("byoc_nowhere",)


def test_batched_methods(client: Client) -> None:
    """A method is batched as a function is."""
    running = client.ready("classes.Batched", batch=[4, 600.0])
    idents = running.put(*[(i,) for i in range(4)], method="double")
    assert values(running, idents) == [(2 * i, 4) for i in range(4)]


def test_several_batches_at_once(client: Client) -> None:
    """Batches run beside each other where a container may run several."""
    running = client.ready("classes.meet_by_batch", most=4, batch=[2, 0.01])
    idents = running.put(*[(i,) for i in range(8)])
    assert values(running, idents) == [2] * 8


def test_a_batch_has_one_clock(client: Client) -> None:
    """A batch over its time names all of it."""
    running = client.ready("classes.sleep_by_batch", batch=[2, 0.05], timeout=0.3)
    idents = running.put((20.0,), (20.0,), (20.0,))
    word = running.wait()
    assert (word["reason"], sorted(word["inputs"])) == ("timeout", idents[:2])
