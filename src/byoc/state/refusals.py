"""How long a refusal is kept when it comes again."""

from __future__ import annotations

from .records import Refusal

LONGEST = 3600.0
"""Seconds that doubling leads to at most. Stockouts last hours, but an offer that has come back is
found only by asking: one question an hour costs nothing, a cheap offer missed all day does."""
KEPT = 3600.0
"""Seconds after its end for which a refusal is still known: one that comes again within them is the
same shortage going on, a later one is a new one."""


def again(old: Refusal | None, new: Refusal) -> Refusal:
    """``new`` as it is to be kept, given what was kept under its key.

    Refused again after it had ended: it holds twice as long as the last time, up to
    :data:`LONGEST`; a table's own time that is longer (24 h for a type that is not sold) stays as
    it is. Refused again while it held is the same news from another launch under way: nothing
    doubles, what holds longer is not cut short, and of two amounts of a quota the smaller counts.
    """
    if old is None or new.at >= old.until + KEPT:
        return new
    if new.at < old.until:
        amount = min(old.amount, new.amount)
        return new._replace(times=old.times, until=max(old.until, new.until), amount=amount)
    seconds = new.until - new.at
    doubled = min(seconds * 2.0 ** min(old.times, 30), max(LONGEST, seconds))
    return new._replace(times=old.times + 1, until=new.at + doubled)
