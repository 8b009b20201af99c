"""What the end of a container means for each input that it held."""

from __future__ import annotations

from typing import Any

import pytest

from byoc.engine.ends import MAX_LOSSES, bereaved, fail_waiting, finish
from byoc.engine.inputs import FAILURE, VALUE, Input, Outcome
from byoc.engine.pool import Pool
from byoc.engine.slots import READY, STARTING
from byoc.engine.spec import Concurrency
from byoc.errors import ConnectionLostError, ContainerError, Error, FunctionTimeoutError
from byoc.runtime_agent.payload import ITEM
from tests.engine.bench import Bench
from tests.engine.specs import spec

LOST = ConnectionLostError("the instance did not answer")


@pytest.fixture
def bench() -> Bench:
    """A pool without retries."""
    return Bench(Pool(spec(memory_limit=64)))


def error_of(bench: Bench, item: Input) -> Error:
    """What an input failed with."""
    error = bench.outcomes[item.id].error
    assert isinstance(error, Error)
    return error


@pytest.mark.parametrize(
    ("word", "kind", "text"),
    [
        ({"reason": "exit", "code": 7}, ContainerError, "exited with code 7 while it ran f"),
        ({"reason": "signal", "signal": 9}, ContainerError, "killed by SIGKILL while it ran f"),
        ({"reason": "signal", "signal": 11}, ContainerError, "killed by SIGSEGV"),
        ({"reason": "signal", "signal": 40}, ContainerError, "killed by signal 40"),
        ({"reason": "timeout"}, FunctionTimeoutError, "f ran longer than its timeout of 300 s"),
        ({"reason": "memory"}, ContainerError, "more than its memory limit of 64 MiB"),
        ({"reason": "processes"}, ContainerError, "too many processes"),
        ({"reason": "garbage"}, ContainerError, "was lost while it ran f"),
    ],
)
def test_a_death_is_explained_to_the_input_that_ran(
    bench: Bench, word: dict[str, Any], kind: type[Error], text: str
) -> None:
    """The input that ran fails with the reason; those that waited behind it are served again."""
    items = bench.submit(3)
    slot = bench.slot()
    slot.depth = 3
    bench.feed()
    bench.exit(slot, word.pop("reason"), 2, **word)
    error = error_of(bench, items[1])
    assert type(error) is kind
    assert text in str(error)
    assert [item.id for item in bench.pool.pending] == [1, 3]
    assert not items[0].losses


def test_all_that_ran_share_the_blame_of_a_crash() -> None:
    """Of several that ran at once any may have done it; those that waited go on."""
    bench = Bench(Pool(spec(concurrency=Concurrency(2, 2))))
    items = bench.submit(3)
    slot = bench.slot()
    slot.depth = 3
    bench.feed()
    bench.exit(slot, "signal", 1, 2, signal=11)
    assert [item.done for item in items] == [True, True, False]


def test_a_timeout_is_that_of_whoever_was_too_slow() -> None:
    """Of several that ran at once only those over their limit have timed out."""
    bench = Bench(Pool(spec(retries=1, concurrency=Concurrency(2, 2))))
    first, second = bench.submit(2)
    slot = bench.slot()
    slot.depth = 2
    bench.feed()
    bench.exit(slot, "timeout", first.id)
    assert (first.failures, second.failures) == (1, 0)
    assert [retry.input for retry in bench.retries] == [first]
    assert list(bench.pool.pending) == [second]


@pytest.mark.parametrize(
    ("word", "kind", "text"),
    [
        ({"reason": "exit", "code": 3}, ContainerError, "code 3 while f was starting"),
        ({"reason": "timeout"}, FunctionTimeoutError, "was not ready within 300 s"),
        ({"reason": "start", "code": 127, "detail": "no fork"}, ContainerError, "no fork"),
    ],
)
def test_a_start_that_fails_fails_all_that_wait(
    bench: Bench, word: dict[str, Any], kind: type[Error], text: str
) -> None:
    """Starting again would fail again: everything that waits is told why, once."""
    items = bench.submit(3)
    slot = bench.slot(state=STARTING)
    bench.exit(slot, word.pop("reason"), **word)
    for item in items:
        error = error_of(bench, item)
        assert type(error) is kind
        assert text in str(error)
    assert bench.pool.idle


def test_a_start_that_was_lost_with_others_is_repeated(bench: Bench) -> None:
    """A container that went down with its zygote is no failed start, unless it goes on so."""
    (item,) = bench.submit(1)
    for _ in range(MAX_LOSSES - 1):
        bench.exit(bench.slot(state=STARTING), "lost")
        assert not item.done
    bench.exit(bench.slot(state=STARTING), "lost")
    assert "lost while f was starting" in str(error_of(bench, item))


def test_a_container_that_keeps_dying_between_inputs_is_given_up(bench: Bench) -> None:
    """Inputs that never run because their containers die first fail in the end, with the reason."""
    (item,) = bench.submit(1)
    for _ in range(MAX_LOSSES):
        assert not item.done
        slot = bench.slot()
        bench.feed()
        bench.exit(slot, "exit", code=9)
    assert "code 9" in str(error_of(bench, item))
    assert bench.pool.idle


def test_a_machine_that_takes_its_leave_costs_no_attempt(bench: Bench) -> None:
    """Behaviour 27: inputs of a machine that ends politely run elsewhere, as often as it takes."""
    (item,) = bench.submit(1)
    for _ in range(MAX_LOSSES * 2):
        slot = bench.slot()
        bench.feed()
        bench.exit(slot, "ended", item.id)
        bench.exit(bench.slot(state=STARTING), "ended")
    assert (item.done, item.failures, item.losses) == (False, 0, 0)


def test_a_bystander_of_a_cancelled_input_is_not_cancelled(bench: Bench) -> None:
    """Killing a container for one input's sake gives the one that ran there back."""
    first, second = bench.submit(2)
    slot = bench.slot()
    slot.depth = 2
    bench.feed()
    assert bench.pool.drop([second]) == {slot: [second]}
    bench.exit(slot, "cancelled", first.id)
    assert [item.id for item in bench.pool.pending] == [first.id]
    assert (first.losses, first.failures) == (0, 0)
    assert second.done
    assert not bench.outcomes


def test_an_instance_that_is_lost_too_often_is_an_honest_failure(bench: Bench) -> None:
    """An input that loses one instance after the other fails with the instance's error."""
    (item,) = bench.submit(1)
    for _ in range(MAX_LOSSES):
        slot = bench.slot()
        bench.feed()
        bench.lose(slot, LOST)
    assert error_of(bench, item) is LOST


def test_a_generator_that_has_yielded_is_not_begun_again(bench: Bench) -> None:
    """Items that the caller has would come twice: the call fails with what happened."""
    (item,) = bench.submit(1)
    slot = bench.slot()
    bench.feed()
    bench.answer(slot, [item.id], ITEM)
    bench.lose(slot, LOST)
    assert error_of(bench, item) is LOST


def test_a_value_that_came_is_not_taken_back(bench: Bench) -> None:
    """A container that names an input which another one has answered since blames nobody."""
    (item,) = bench.submit(1)
    slot = bench.slot()
    bench.feed()
    bench.exit(slot, "lost")
    other = bench.slot()
    bench.feed()
    bench.answer(other, [item.id])
    assert bench.outcomes[item.id].kind == VALUE
    assert finish([item], Outcome(FAILURE)) == []
    assert fail_waiting(bench.pool, Outcome(FAILURE)) == []


def test_retries_are_for_timeouts_and_crashes_too() -> None:
    """Behaviour 10: whatever way an attempt fails, its next one comes; cancellation is none."""
    bench = Bench(Pool(spec(retries=3)))
    (item,) = bench.submit(1)
    for reason in ("timeout", "signal", "exit"):
        slot = bench.slot()
        bench.feed()
        bench.exit(slot, reason, item.id, code=1, signal=9)
        bench.again(bench.retries[0])
    assert item.failures == 3
    bench.feed()
    slot = bench.slot()
    bench.feed()
    bench.pool.drop([item])
    bench.exit(slot, "cancelled", item.id)
    assert not bench.retries
    assert bench.pool.idle


def test_those_that_start_together_are_lost_together(bench: Bench) -> None:
    """Many containers whose start one event ends are one lost start, not many."""
    (item,) = bench.submit(1)
    together = [bench.slot(state=STARTING) for _ in range(2 * MAX_LOSSES)]
    for slot in together:
        bench.exit(slot, "lost")
    assert not item.done
    for _ in range(MAX_LOSSES - 1):
        assert not item.done
        bench.exit(bench.slot(state=STARTING), "lost")
    assert item.done


@pytest.mark.parametrize("number", [9, 15])
def test_a_start_that_was_killed_from_outside_is_repeated(bench: Bench, number: int) -> None:
    """A container killed before it said anything is started again, a few times; one that became
    ready begins the count anew."""
    (item,) = bench.submit(1)
    for _ in range(2):
        for _ in range(MAX_LOSSES - 1):
            bench.exit(bench.slot(state=STARTING), "signal", signal=number)
        bench.pool.set_state(bench.slot(state=STARTING), READY, bench.now)
    for _ in range(MAX_LOSSES):
        assert not item.done
        bench.exit(bench.slot(state=STARTING), "signal", signal=number)
    assert "while f was starting" in str(error_of(bench, item))


def test_a_crash_of_what_is_imported_is_told_at_once(bench: Bench) -> None:
    """A signal that code sends to itself would come again."""
    (item,) = bench.submit(1)
    bench.exit(bench.slot(state=STARTING), "signal", signal=11)
    assert "SIGSEGV" in str(error_of(bench, item))


def test_instances_that_die_at_birth_end_in_an_error(bench: Bench) -> None:
    """What waits is told why when instances are lost in a row before any container was ready."""
    (item,) = bench.submit(1)
    for _ in range(MAX_LOSSES - 1):
        bench.settle(bereaved(bench.pool, LOST, left=False))
    assert not item.done
    bench.settle(bereaved(bench.pool, LOST, left=False))
    told = error_of(bench, item)
    assert isinstance(told, ConnectionLostError)
    assert "3 instances in a row were lost" in str(told) and LOST.message in str(told)
