"""Looking at many instances with few requests.

OCI does not tell how often it may be asked, and refuses for minutes whoever asks too often. While
one request is under way, the instances that other threads ask for gather; two and more are read
from one list. Nobody waits for a timer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import ProviderError

One = Callable[[str], Any]
Many = Callable[[], Mapping[str, Any]]


class _Question:
    """What one thread wants to know. ``error``: what its request raised."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.done = False
        self.found: Any = None
        self.error: ProviderError | None = None

    def answer(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.found


class Lookout:
    """Looks at the instances of one region. ``one``: asks for an instance by id and raises when
    there is none. ``many``: every instance that can be listed, by id."""

    def __init__(self, one: One, many: Many) -> None:
        self._one = one
        self._many = many
        self._changed = threading.Condition()
        self._waiting: list[_Question] = []
        self._busy = False

    def look(self, id: str) -> Any:
        """The instance as the API shows it. Raises what the request raised."""
        question = _Question(id)
        with self._changed:
            self._waiting.append(question)
            while self._busy and not question.done:
                self._changed.wait()
            if question.done:
                return question.answer()
            if question not in self._waiting:  # whoever took it along came to grief
                self._waiting.append(question)
            self._busy = True
            batch, self._waiting = self._waiting, []
        try:
            self._ask(batch)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        return question.answer()

    def _ask(self, batch: list[_Question]) -> None:
        known: Mapping[str, Any] = {}
        failed: ProviderError | None = None
        if len({question.id for question in batch}) > 1:
            try:
                known = self._many()
            except ProviderError as error:
                failed = error
        for question in batch:
            question.error = failed
            if failed is None:
                self._settle(question, known)
            question.done = True

    def _settle(self, question: _Question, known: Mapping[str, Any]) -> None:
        """One that the list does not have is asked for by itself: lists lag behind."""
        question.found = known.get(question.id)
        if question.found is not None:
            return
        try:
            question.found = self._one(question.id)
        except ProviderError as error:
            question.error = error
