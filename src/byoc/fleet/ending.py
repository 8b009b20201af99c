"""Ending an instance, and being sure of it."""

from __future__ import annotations

from .. import limits
from ..clock import Clock
from ..errors import ThrottleError, TransientError
from ..providers.base import Instance, Provider

END_WAIT = 60.0
"""Seconds to watch an instance end. Clouds take 5 to 60 s; after that its own lease, and the next
sweep, go on asking."""

ACCEPT_WAIT = 15.0
"""Seconds for which a cloud is asked again that cannot be reached, or does not know the instance
yet: reads lag seconds behind a launch, and an instance given up now would live until its lease
ends."""
_PAUSE, _PAUSE_MAX = 0.2, 2.0
"""Seconds before the second time; doubles."""


def ask_to_end(provider: Provider, instance_id: str, clock: Clock) -> None:
    """Have the provider accept that an instance ends. Raises what it raises, at the latest after
    :data:`ACCEPT_WAIT`."""
    deadline, pause = clock.mono() + ACCEPT_WAIT, _PAUSE
    while True:
        try:
            provider.terminate(instance_id)
            return
        except (TransientError, ThrottleError):
            if clock.mono() + pause > deadline:
                raise
        clock.sleep(pause)
        pause = min(pause * 2, _PAUSE_MAX)


def end_and_wait(provider: Provider, instance_id: str, clock: Clock, seconds: float) -> Instance:
    """End an instance and watch until the provider says that it is gone.

    Returns its last look, whose state is not ``gone`` when it has not ended after ``seconds``.
    Raises what the provider raises when it does not accept the request.
    """
    ask_to_end(provider, instance_id, clock)
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
