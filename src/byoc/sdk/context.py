"""Where the code is running."""

from __future__ import annotations

from ..images.recipe import in_container


def is_local() -> bool:
    """True on the client; False inside a function's container, also while it imports."""
    return not in_container()
