"""Loading paramiko, at half its price.

paramiko imports invoke for ``Match exec`` lines of ssh_config files, which byoc never reads; invoke
brings unittest.mock and asyncio. Measured: 130 ms of CPU with it, 75 ms without. paramiko itself
treats invoke as optional at run time (``paramiko.config``).
"""

from __future__ import annotations

import functools
import sys
from typing import Any


@functools.cache
def load() -> Any:
    """The paramiko package, loaded without invoke unless that is loaded already."""
    hide = "invoke" not in sys.modules and "paramiko" not in sys.modules
    if hide:
        sys.modules["invoke"] = None  # type: ignore[assignment]  # makes its import fail
    try:
        import paramiko  # here: see the top
    finally:
        if hide:
            del sys.modules["invoke"]
    return paramiko
