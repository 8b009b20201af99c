"""Ending an instance, and being sure of it."""

from __future__ import annotations

from .. import limits
from ..clock import Clock
from ..errors import ThrottleError, TransientError
from ..providers.base import Instance, Provider

END_WAIT = 60.0
"""Seconds to watch an instance end. Clouds take 5 to 60 s; after that its own lease, and the next
sweep, go on asking."""

ASK_AGAIN = 3.0
"""Seconds after which an instance that looks as if nobody had asked is asked to end again; doubles.
Clouds show within a second or two that one is ending, and asking twice is the same as once."""

BEGIN_WAIT = 10.0
"""Seconds that an instance that was given up has to begin to end before its client exits."""

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

    One that goes on as if nobody had asked is asked again. Returns its last look, whose state is
    not ``gone`` when it has not ended after ``seconds``. Raises what the provider raises when it
    does not accept the request.
    """
    ask_to_end(provider, instance_id, clock)
    return _watch(provider, instance_id, clock, seconds, ("gone",), ASK_AGAIN)


def see_ending(provider: Provider, instance_id: str, clock: Clock) -> Instance:
    """See to it that an instance that was asked to end does; it is asked again until it looks so.

    Returns its last look, at the latest after :data:`BEGIN_WAIT`. Raises as :func:`end_and_wait`.
    """
    return _watch(provider, instance_id, clock, BEGIN_WAIT, ("gone", "ending"), 0.0)


def _watch(
    provider: Provider,
    instance_id: str,
    clock: Clock,
    seconds: float,
    enough: tuple[str, ...],
    patience: float,
) -> Instance:
    """Look until the instance is in one of these states, or the seconds are over. ``patience``: the
    seconds until it is asked for the first time again."""
    deadline, pause = clock.mono() + seconds, limits.BOOT_POLL
    again = clock.mono() + patience
    while True:
        try:
            now = provider.get(instance_id)
            if now.state in enough or clock.mono() > deadline:
                return now
            if now.state in ("pending", "running") and clock.mono() >= again:
                patience = max(patience * 2, ASK_AGAIN)
                again = clock.mono() + patience
                provider.terminate(instance_id)
        except (TransientError, ThrottleError):
            if clock.mono() > deadline:
                raise
        clock.sleep(pause)
        pause = min(pause * 2, limits.BOOT_POLL_MAX)
