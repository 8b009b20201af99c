"""The page of memory that a container and the agent share: what runs now, and since when.

It lets the agent enforce a timeout, and say which input a dead container was running, without a
message per input.
"""

from __future__ import annotations

import struct

BOARD = struct.Struct("<Qd")
"""The input that runs now (0: none), and the CLOCK_MONOTONIC second at which it began."""
STARTING = 2**64 - 1
"""Instead of an input: the container is being set up."""
LEAVING = 2**64 - 2
"""Instead of an input: it takes no more inputs and runs its exit hooks."""
