"""The way into the ``byoc`` command; what it needs is in :mod:`byoc.cli.entry`."""

from __future__ import annotations

import gc

from .. import _lazy


def main(args: list[str] | None = None) -> int:
    """Run ``byoc`` with ``args`` (default: the process's) and return its exit code."""
    # Starting makes no garbage, and a tenth of it would be spent looking for some. Commands that
    # last, or run the user's code, turn the collector on (byoc.cli.command).
    gc.disable()
    try:
        code: int = _lazy.load("byoc.cli.entry:run")(args)
    finally:
        if args is None and not gc.isenabled():
            # The process ends now. What it holds goes with it, without the interpreter's last
            # looks through all of it: 15 ms of a command that takes 80.
            gc.freeze()
        gc.enable()
    return code
