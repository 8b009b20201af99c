"""The life of instances: acquire (warm or new), hold, hand back, sweep, show, end.

The names below are loaded when first used: :mod:`byoc.fleet.watch` alone (``byoc ps``) needs
neither placement nor transport and must stay cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _lazy

if TYPE_CHECKING:
    from .core import Fleet, open_fleet
    from .held import Held
    from .watch import Row, Watch, open_watch

__all__ = ["Fleet", "Held", "Row", "Watch", "open_fleet", "open_watch"]

_HOMES = {
    "Fleet": "core",
    "Held": "held",
    "Row": "watch",
    "Watch": "watch",
    "open_fleet": "core",
    "open_watch": "watch",
}


def __getattr__(name: str) -> Any:
    """Load a public name's module when the name is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _lazy.load(f"{__name__}.{_HOMES[name]}:{name}")
