"""Doing things side by side: results in order, errors kept until all have ended."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from byoc.tasks import Task, side_by_side


def test_results_come_in_order_and_no_more_run_than_allowed() -> None:
    """Twenty works, four at a time."""
    guard, running, most = threading.Lock(), [0], [0]
    meet = threading.Barrier(4, timeout=10)

    def work(number: int) -> int:
        with guard:
            running[0] += 1
            most[0] = max(most[0], running[0])
        meet.wait()
        with guard:
            running[0] -= 1
        return number * number

    works = [lambda number=number: work(number) for number in range(20)]
    assert side_by_side(works, 4) == [number * number for number in range(20)]
    assert most[0] == 4
    assert side_by_side([], 0) == []


def test_first_error_is_raised_when_all_have_ended() -> None:
    """One that fails keeps none of the others from being done."""
    done: list[int] = []

    def work(number: int) -> None:
        if number in (1, 2):
            raise ValueError(number)
        done.append(number)

    works = [lambda number=number: work(number) for number in range(6)]
    with pytest.raises(ValueError, match="1"):
        side_by_side(works, 2)
    assert sorted(done) == [0, 3, 4, 5]


def test_task_raises_what_its_work_raised() -> None:
    """The error arrives in the thread that waits."""
    with pytest.raises(ZeroDivisionError):
        Task("t", lambda: 1 // 0).result()
    assert Task("t", lambda: 7).result() == 7


def test_an_exception_may_be_a_value() -> None:
    """What work gives is given on, whatever it is; only what it raises is raised."""
    error = ValueError("as a value")
    assert side_by_side([lambda: error, lambda: None], 2) == [error, None]
    assert Task("t", lambda: error).result() is error


def test_work_that_never_ends_does_not_hold_the_program() -> None:
    """The interpreter ends while a task is still under way."""
    program = (
        "import threading\n"
        "from byoc.tasks import side_by_side\n"
        "asked = threading.Event()\n"
        "def ask():\n"
        "    asked.set()\n"
        "    threading.Event().wait(60)\n"
        "threading.Thread(target=side_by_side, args=([ask], 1), daemon=True).start()\n"
        "asked.wait(10)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
