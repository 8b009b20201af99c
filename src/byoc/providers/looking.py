"""Looking at many instances with few requests.

Clouds allow so many looks a second, or do not tell how many. While one request is under way the ids
that other threads ask for gather, and go together with the next: nobody waits for a timer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..tasks import attempt

Ask = Callable[[Sequence[str]], Mapping[str, Any]]
"""Ids, each once and in order -> what the cloud says of each; one that it does not know is left
out, and one that cannot be told is an exception. Raises when nothing can be told."""


class _Question:
    """What one thread wants to know. ``found``: an exception when it cannot be told."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.done = False
        self.found: Any = None

    def answer(self) -> Any:
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found


class Lookout:
    """Looks at the instances of one region. ``most``: ids that one request takes."""

    def __init__(self, ask: Ask, most: int) -> None:
        self._ask = ask
        self._most = most
        self._changed = threading.Condition()
        self._waiting: list[_Question] = []
        self._busy = False

    def look(self, id: str) -> Any:
        """What the cloud says of an instance, None when it knows none. Raises what the request
        raised."""
        question = _Question(id)
        with self._changed:
            self._waiting.append(question)
            while self._busy and not question.done:
                self._changed.wait()
            if question.done:
                return question.answer()
            self._busy = True
            batch = self._take(question)
        try:
            self._send(batch)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        return question.answer()

    def _take(self, own: _Question) -> list[_Question]:
        others = [one for one in self._waiting if one is not own]
        batch, self._waiting = [own, *others[: self._most - 1]], others[self._most - 1 :]
        return batch

    def _send(self, batch: list[_Question]) -> None:
        found = attempt(lambda: self._ask(sorted({one.id for one in batch})))
        for one in batch:
            one.found = found if isinstance(found, BaseException) else found.get(one.id)
            one.done = True
