"""Looking at many instances with few requests.

EC2 allows about 20 looks a second in a region. While one request is under way the ids that other
threads ask for gather, and go together with the next: nobody waits for a timer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...tasks import attempt

MOST = 200
"""Values that EC2 takes in one filter."""
Found = Mapping[str, Mapping[str, Any]]
Ask = Callable[[Sequence[str]], Found]


class _Question:
    """What one thread wants to know. ``error``: what the request for it raised."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.done = False
        self.found: Mapping[str, Any] | None = None
        self.error: BaseException | None = None


class Lookout:
    """Looks at instances of one region. ``ask``: ids -> what EC2 says, those it knows not left
    out."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._changed = threading.Condition()
        self._waiting: list[_Question] = []
        self._busy = False

    def look(self, id: str) -> Mapping[str, Any] | None:
        """What EC2 says of an instance, None when it knows none. Raises what the request raised."""
        question = _Question(id)
        with self._changed:
            self._waiting.append(question)
            while self._busy and not question.done:
                self._changed.wait()
            if question.done:
                return _answer(question)
            self._busy = True
            batch = self._take(question)
        try:
            self._send(batch)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        return _answer(question)

    def _take(self, own: _Question) -> list[_Question]:
        others = [one for one in self._waiting if one is not own]
        batch, self._waiting = [own, *others[: MOST - 1]], others[MOST - 1 :]
        return batch

    def _send(self, batch: list[_Question]) -> None:
        found = attempt(lambda: self._ask(sorted({one.id for one in batch})))
        for one in batch:
            if isinstance(found, BaseException):
                one.error, one.done = found, True
            else:
                one.found, one.done = found.get(one.id), True


def _answer(question: _Question) -> Mapping[str, Any] | None:
    if question.error is not None:
        raise question.error
    return question.found
