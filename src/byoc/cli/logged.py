"""What byoc's own parts log (an answer of a cloud that no table knows) becomes lines of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .console import Console

_OURS = "byoc"
"""The logger above all of byoc's; other libraries' and the user's own are left alone."""


class _Teller(logging.Handler):
    """Says each record once, with the last line of its exception."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        if text not in self._told:
            self._told.add(text)
            self._console.say(f"warning: {text}")


@contextmanager
def told(console: Console) -> Iterator[None]:
    """While a command works."""
    logger, teller = logging.getLogger(_OURS), _Teller(console)
    before = logger.propagate
    logger.addHandler(teller)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(teller)
        logger.propagate = before
