"""What providers do alike with tags."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import ProviderError
from .base import ANY

MARK_TRIES = 5
"""How often tags are read and written until nobody has changed them in between."""


def holds(found: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    """Whether tags hold all that is wanted; :data:`~byoc.providers.base.ANY` is any value."""
    known = found or {}
    return all(
        key in known and (value == ANY or known[key] == value) for key, value in wanted.items()
    )


def rewritten(write: Callable[[], None], raced: Callable[[ProviderError], bool]) -> None:
    """For clouds that replace tags as a whole: ``write`` reads and writes them; it is done again
    when somebody else was faster, which ``raced`` tells by the refusal. Raises any other refusal,
    and the last one."""
    for left in reversed(range(MARK_TRIES)):
        try:
            write()
            return
        except ProviderError as error:
            if not (left and raced(error)):
                raise
