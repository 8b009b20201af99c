"""How far generators may be ahead of who reads them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional

from .. import errors
from .channel import SLICE

if TYPE_CHECKING:
    from .loops import Loops

AHEAD = 100
"""Items that a generator may have yielded and its reader not used: enough to hide a round trip,
and what a reader that stands still has to keep."""


class Credit:
    """One running generator's. ``yielded`` and ``allowed`` are each written by one thread only."""

    def __init__(self, credits: Credits, ident: int) -> None:
        self._credits = credits
        self._ident = ident
        self.yielded = 0
        self.allowed = AHEAD
        self.cancelled = False
        self.told: Optional[Callable[[], None]] = None

    def __enter__(self) -> Credit:  # noqa: PYI034 - Python 3.8 has no Self
        self._credits.running[self._ident] = self
        return self

    def __exit__(self, *exception: object) -> None:
        self._credits.running.pop(self._ident, None)

    def _must_wait(self) -> bool:
        if self.cancelled:
            raise errors.InputCancellation("nobody reads the generator any more")
        return self.yielded >= self.allowed

    def spend(self) -> None:
        """One item was yielded; wait while no further one may be."""
        self.yielded += 1
        if not self._must_wait():
            return
        self._credits.listen()
        with self._credits.changed:
            while self._must_wait():
                self._credits.changed.wait(SLICE)

    async def spend_later(self, loops: Loops) -> None:
        """The same, while the loop goes on."""
        self.yielded += 1
        if not self._must_wait():
            return
        self._credits.listen()
        while self._must_wait():
            future: Any = loops.need().create_future()
            self.told = _resolver(loops, future)
            if self._must_wait():
                await future
        self.told = None

    def tell(self) -> None:
        """It may have to wait no longer."""
        with self._credits.changed:
            self._credits.changed.notify_all()
        if self.told is not None:
            self.told()


class Credits:
    """Those of a container's generators, by input."""

    def __init__(self) -> None:
        self.running: Dict[int, Credit] = {}
        self.changed = threading.Condition()
        self.listen: Callable[[], None] = _nothing
        """Called before a wait: :meth:`give` must be called while user code runs."""

    def of(self, ident: int) -> Credit:
        """For ``with``, around a generator's run."""
        return Credit(self, ident)

    def give(self, ident: int, count: int) -> None:
        """So many more items may be yielded. For the thread that reads."""
        credit = self.running.get(ident)
        if credit is not None:
            credit.allowed += count
            credit.tell()

    def cancel(self, ident: int) -> None:
        """Nobody reads it any more: it ends at its next item."""
        credit = self.running.get(ident)
        if credit is not None:
            credit.cancelled = True
            credit.tell()

    def end(self) -> None:
        """No credit will come any more."""
        for ident in list(self.running):
            self.cancel(ident)


def _nothing() -> None:
    """Something reads anyway."""


def _resolver(loops: Loops, future: Any) -> Callable[[], None]:
    def resolve() -> None:
        if not future.done():
            future.set_result(None)

    return lambda: loops.soon(resolve)
