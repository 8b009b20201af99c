"""The one mechanism by which a module of byoc is loaded late.

Start-up time is a promise (``byoc --version`` in 70 ms), so the public names, the command line's
commands and the engine are loaded when first used. Everything else imports at the top of its file.
"""

from __future__ import annotations

import importlib
from typing import Any


def load(path: str) -> Any:
    """``"byoc.engine.session:Session"`` -> that object; without a colon, the module."""
    module, _, name = path.partition(":")
    loaded = importlib.import_module(module)
    return getattr(loaded, name) if name else loaded
