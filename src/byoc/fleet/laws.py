"""What always holds of a ledger, whatever happened: checked by tests and by the simulation.

The counterpart of :mod:`byoc.fleet.life`, which has to keep it so. Pure.
"""

from __future__ import annotations

from .events import (
    CLOSED,
    DRAINING,
    EDGES,
    ENDING,
    GONE,
    HELD,
    IDLE,
    INTENDED,
    MADE,
    OPEN,
    UNSURE,
    Ledger,
    Life,
    Step,
)


def validate(ledger: Ledger) -> list[str]:
    """The invariants that a ledger breaks, each as a sentence; none when all is well."""
    broken = [
        f"{life.token}: {text}"
        for token, life in ledger.items()
        for text, holds in _laws(token, life)
        if not holds
    ]
    owners: dict[tuple[str, str], str] = {}
    for life in ledger.values():
        if life.id and life.state in OPEN:
            first = owners.setdefault((life.provider, life.id), life.token)
            if first != life.token:
                broken.append(f"{life.token}: {life.id} is also the instance of {first}")
    return broken


def _laws(token: str, life: Life) -> tuple[tuple[str, bool], ...]:
    made = life.state in MADE
    return (
        ("it stands under another token", token == life.token),
        (f"there is no state {life.state!r}", life.state in EDGES and bool(life.state)),
        ("an instance is known of it, and of it alone", bool(life.id) or not made),
        ("a launch under way has no instance", not life.id or life.state not in (INTENDED, UNSURE)),
        (
            "idle until some time, and nothing else is",
            (life.state == IDLE) == (life.idle_until > 0),
        ),
        ("closed at some time, and nothing else is", (life.state in CLOSED) == (life.ended > 0)),
        ("held and not reached", life.state not in (HELD, DRAINING, IDLE) or life.reached > 0),
        ("missing since some time, or not", (life.missing > 0) == (life.missed > 0)),
        ("only what is to end is lost", not life.lost or life.state == ENDING),
        ("only what lives has no client", not life.orphaned or life.state != GONE),
    )


def leaps(before: Ledger, done: Step) -> list[str]:
    """The changes of a step that are no declared edge of the state machine."""
    found = []
    for life in done.changes:
        old = before[life.token].state if life.token in before else ""
        if life.state != old and life.state not in EDGES[old]:
            found.append(f"{life.token}: from {old or 'nothing'} to {life.state}")
    return found
