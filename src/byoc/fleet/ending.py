"""Ending an instance, and being sure of it."""

from __future__ import annotations

from .. import limits
from ..clock import Clock
from ..errors import ThrottleError, TransientError
from ..providers.base import Instance, Provider

END_WAIT = 60.0
"""Seconds to watch an instance end. Clouds take 5 to 60 s; after that its own lease, and the next
sweep, go on asking."""


def end_and_wait(provider: Provider, instance_id: str, clock: Clock, seconds: float) -> Instance:
    """End an instance and watch until the provider says that it is gone.

    Returns its last look, whose state is not ``gone`` when it has not ended after ``seconds``.
    Raises what the provider raises when it does not accept the request.
    """
    provider.terminate(instance_id)
    deadline = clock.mono() + seconds
    pause = limits.BOOT_POLL
    while True:
        try:
            now = provider.get(instance_id)
            if now.state == "gone" or clock.mono() > deadline:
                return now
        except (TransientError, ThrottleError):
            if clock.mono() > deadline:
                raise
        clock.sleep(pause)
        pause = min(pause * 2, limits.BOOT_POLL_MAX)
