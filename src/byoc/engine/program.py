"""What a program on an instance reads, and what its end means."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from typing import Any

from ..errors import ContainerError, FunctionTimeoutError, InstanceError
from .live import LiveInstance
from .slots import Slot

STDIN_AHEAD = 1024 * 1024
"""Bytes of stdin sent ahead of what the remote program has read."""
_MISSING = 127


def feed(host: LiveInstance, slot: Slot, stdin: Any) -> None:
    """Pass stdin on as the remote program reads it."""
    try:
        while True:
            data = os.read(stdin.fileno(), 65536)
            if not data:
                break
            host.send_raw(slot, data)
            while host.queued(slot) > STDIN_AHEAD and host.lost is None:
                select.select([], [], [], 0.05)
        host.end_input(slot)
    except (InstanceError, OSError, ValueError):
        pass  # the program or the instance is gone; its end is reported elsewhere


def exit_code(word: Mapping[str, Any], program: str, timeout: float) -> int:
    """What ``byoc`` exits with; raises when the program did not end by itself."""
    reason = word.get("reason")
    if reason == "start":
        raise ContainerError(
            f"{program} cannot be started: {word.get('detail')}",
            reason="start",
            exit_code=_MISSING,
            hints=("is it installed on the instance?",),
        )
    if reason == "timeout":
        raise FunctionTimeoutError(f"{program} ran longer than its timeout of {timeout:g} s")
    if reason == "signal":
        return 128 + int(word.get("signal") or 0)
    if reason == "exit":
        return int(word.get("code") or 0)
    raise ContainerError(f"{program} was ended: {reason}", reason=str(reason))
