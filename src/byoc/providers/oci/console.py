"""What a machine has printed: OCI copies it on request, and keeps the copy until it is deleted."""

from __future__ import annotations

from typing import Any

from ...clock import Clock
from ...errors import ProviderError
from .codes import translated

LENGTH = 64 * 1024
"""Bytes of the end that are given."""
COPY_LENGTH = 1024 * 1024
"""Bytes that OCI's copy has at most."""
WAIT = 30.0
"""Seconds for OCI to make the copy; usually it takes five."""
POLL = 0.25
_NOTHING = frozenset({"NotAuthorizedOrNotFound", "IncorrectState", "Conflict"})
"""Answers for an instance that has no console: ended, or not started."""


def read(client: Any, instance_id: str, clock: Clock) -> str:
    """The end of the console's text; empty when there is none, or not within :data:`WAIT`."""
    try:
        with translated():
            made = client.capture_console_history({"instanceId": instance_id}).data
    except ProviderError as error:
        if error.vendor_code in _NOTHING:
            return ""
        raise
    try:
        return _content(client, made.id, clock)
    finally:
        with translated():
            client.delete_console_history(made.id)


def _content(client: Any, id: str, clock: Clock) -> str:
    until = clock.mono() + WAIT
    with translated():
        while client.get_console_history(id).data.lifecycle_state != "SUCCEEDED":
            if clock.mono() > until:
                return ""
            clock.sleep(POLL)
        found = client.get_console_history_content(id, length=COPY_LENGTH).data
    data = found if isinstance(found, bytes) else str(found).encode()
    return data[-LENGTH:].decode(errors="replace")
