"""The figures by which lives are led, each with its reason. Seconds unless said otherwise."""

from __future__ import annotations

from typing import NamedTuple

from .. import limits

# --- launching ------------------------------------------------------------------------------
LAUNCH_TRIES = 3
"""How often one launch is asked for, with the same token, while its answer does not come. Three
with doubling pauses is 0.6 s: then another rung serves the user sooner."""
LAUNCH_PAUSE = 0.2
"""Before the second try; doubles."""
THROTTLE_TRIES = 4
"""How often one launch is asked for while the cloud says "too often". The pauses are at most 1, 2
and 4 s: after those another region, whose requests are counted apart, serves the user sooner."""
THROTTLE_TRIES_ALONE = 8
"""The same when there is no other offer: up to 91 s, a minute being what clouds count in."""
THROTTLE_PAUSE = 1.0
"""Longest first pause after "too often"; doubles. Each is drawn between nothing and its longest, so
that fifty clients do not come back at the same moment."""
THROTTLE_PAUSE_MAX = 30.0

# --- looking --------------------------------------------------------------------------------
UNSEEN_GRACE = 60.0
"""After a launch, for which a provider's unexplained "no such instance" may be a read that lags
behind the write: EC2 documents seconds, and others have been burnt by a minute."""
LIST_GRACE = 180.0
"""For which answers that do not know an instance prove nothing: clouds' reads may lag their writes
by a minute or two."""
LISTS = 3
"""Answers in a row that do not know an instance before it is taken for gone, over at least
:data:`LIST_GRACE`. One empty list has cost others their fleet."""

# --- ending ---------------------------------------------------------------------------------
END_WAIT = 60.0
"""To watch an instance end. Clouds take 5 to 60 s; after that its own lease, and the next sweep, go
on asking."""
ASK_AGAIN = 3.0
"""After which an instance that looks as if nobody had asked is asked to end again; doubles. Clouds
show within a second or two that one is ending, and asking twice is the same as once."""
BEGIN_WAIT = 10.0
"""That an instance that was given up has to begin to end before its client exits."""
ACCEPT_WAIT = 15.0
"""For which a cloud is asked again that cannot be reached, or does not know the instance yet: reads
lag seconds behind a launch, and an instance given up now would live until its lease ends."""
END_PAUSE = 0.2
"""Before a cloud that could not be reached is asked again; doubles to :data:`END_PAUSE_MAX`."""
END_PAUSE_MAX = 2.0

# --- nets and limits ------------------------------------------------------------------------
SWEEP_SOON = 10.0
"""Between the first sweeps of a client that lasts: what the one before it left when it died, and
what its own launches lost, shows within the first minutes."""
SWEEP_ROUNDS = 20
SWEEP_LATER = 60.0
"""Between the sweeps after those: a list a minute and cloud is far below what any cloud counts."""
WARM_GRACE = 30.0
"""After ``idle_until`` before an instance that is still there is an orphan: its agent ends it then,
and a cloud needs a while to show it."""
ORPHAN_GRACE = 90.0
"""From the first sight of an instance without a client to its end: a lease. Within it the next
command may take the instance over, and its agent ends it by itself; this is the second net."""
SHRUNK_OF = 4
"""Fewest instances of which a list can suddenly lack too many."""
SHRUNK_PART = 0.5
"""Part of its live instances that a list may lack and still be believed."""
MAX_ENDS = 16
"""Most instances without a client that one sweep ends. More at once are rather a mistake than
abandoned machines, and ``byoc reap`` ends them when somebody says so."""
MAX_LAUNCHES = 64
"""Launches for one node of one run that gave an instance, or may have: one that dies that often is
not helped by another."""
MAX_HOURLY = 256
"""The same for a whole run within an hour: every instance of a full fleet four times over."""


class Policy(NamedTuple):
    """What the reducer goes by. ``boot_poll``/``boot_poll_max``: first and longest pause between
    two looks; the others as the constants of their names."""

    max_instances: int = limits.MAX_INSTANCES
    max_launches: int = MAX_LAUNCHES
    max_hourly: int = MAX_HOURLY
    launch_tries: int = LAUNCH_TRIES
    launch_pause: float = LAUNCH_PAUSE
    throttle_tries: int = THROTTLE_TRIES
    throttle_tries_alone: int = THROTTLE_TRIES_ALONE
    throttle_pause: float = THROTTLE_PAUSE
    throttle_pause_max: float = THROTTLE_PAUSE_MAX
    unseen_grace: float = UNSEEN_GRACE
    list_grace: float = LIST_GRACE
    lists: int = LISTS
    end_wait: float = END_WAIT
    ask_again: float = ASK_AGAIN
    begin_wait: float = BEGIN_WAIT
    accept_wait: float = ACCEPT_WAIT
    end_pause: float = END_PAUSE
    end_pause_max: float = END_PAUSE_MAX
    warm_grace: float = WARM_GRACE
    orphan_grace: float = ORPHAN_GRACE
    shrunk_of: int = SHRUNK_OF
    shrunk_part: float = SHRUNK_PART
    max_ends: int = MAX_ENDS
    boot_poll: float = limits.BOOT_POLL
    boot_poll_max: float = limits.BOOT_POLL_MAX


USUAL = Policy()
