"""Questions asked side by side."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from byoc.errors import AccessError, CapacityError, InternalError
from byoc.providers.aside import side_by_side
from tests.helpers import until


def test_answers_come_in_the_order_of_the_questions() -> None:
    """However many at once, and none of nothing."""
    for most in (1, 3, 50):
        assert side_by_side([lambda n=n: n * n for n in range(20)], most) == [  # type: ignore[misc]
            n * n for n in range(20)
        ]
    assert side_by_side([], 8) == []


def test_no_more_than_the_most_are_asked_at_once() -> None:
    """The third waits for one of two."""
    running, peak, gate = set[int](), [0], threading.Event()

    def ask(number: int) -> None:
        running.add(number)
        peak[0] = max(peak[0], len(running))
        gate.wait(10)
        running.discard(number)

    asker = threading.Thread(
        target=side_by_side,
        args=([lambda n=n: ask(n) for n in range(5)], 2),  # type: ignore[misc]
    )
    asker.start()
    until(lambda: len(running) == 2)
    gate.set()
    asker.join(10)
    assert peak == [2] and not asker.is_alive()


def test_the_first_refusal_is_raised_when_all_have_ended() -> None:
    """First by the order of the questions, and no answer is left to come."""
    ended: list[int] = []

    def ask(number: int) -> None:
        try:
            if number == 1:
                raise CapacityError("one")
            if number == 2:
                raise AccessError("two")
        finally:
            ended.append(number)

    with pytest.raises(CapacityError):
        side_by_side([lambda n=n: ask(n) for n in range(4)], 4)  # type: ignore[misc]
    assert sorted(ended) == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_is_an_internal_error() -> None:
    """It is told where it happened, and nobody waits for its answer."""
    with pytest.raises(InternalError):
        side_by_side([lambda: 1, lambda: int("x")], 2)


def test_a_question_without_an_answer_does_not_hold_the_program() -> None:
    """The interpreter ends while one is still asked."""
    program = (
        "import threading\n"
        "from byoc.providers.aside import side_by_side\n"
        "asked = threading.Event()\n"
        "def ask():\n"
        "    asked.set()\n"
        "    threading.Event().wait(60)\n"
        "threading.Thread(target=side_by_side, args=([ask], 1), daemon=True).start()\n"
        "asked.wait(10)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
