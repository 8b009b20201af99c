"""What providers do alike with tags."""

from __future__ import annotations

from collections.abc import Mapping

from .base import ANY


def holds(found: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    """Whether tags hold all that is wanted; :data:`~byoc.providers.base.ANY` is any value."""
    known = found or {}
    return all(
        key in known and (value == ANY or known[key] == value) for key, value in wanted.items()
    )
