"""The summary of an emulated run, for programs and for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .faults import Call
from .ledger import Entry
from .world import EmulatedWorld

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes."""


class Ending(NamedTuple):
    """How a run ended: at which second, with which code, and what was there at that time."""

    at: float
    code: int
    alive: Sequence[Entry] = ()
    leftovers: Sequence[dict[str, str]] = ()


def ending(world: EmulatedWorld, code: int) -> Ending:
    """The state of the accounts now, before anything is ended for them."""
    left = [
        {"cloud": facade.cloud, **thing}
        for facade in world.facades()
        for thing in facade.leftovers()
    ]
    return Ending(world.now(), code, tuple(world.ledger.alive()), tuple(left))


def summary(world: EmulatedWorld, end: Ending) -> dict[str, Any]:
    """The report as JSON can hold it; ``docs/emulator.md`` describes it."""
    instances = [instance(entry, end.at) for entry in world.ledger.all()]
    dollars = [one["dollars"] for one in instances if one["dollars"] is not None]
    return {
        "schema_version": SCHEMA_VERSION,
        "seed": world.seed,
        "seconds": round(end.at, 3),
        "exit_code": end.code,
        "calls": world.log.counts(),
        "refused": [_refused(call) for call in world.log.refused()],
        "instances": instances,
        "booted": len(instances),
        "alive": [f"{entry.cloud}/{entry.id}" for entry in end.alive],
        "leftovers": list(end.leftovers),
        "billed_seconds": round(sum(one["seconds"] for one in instances), 3),
        "dollars": round(sum(dollars), 6),
        "events": [{**done._asdict(), "at": round(done.at, 3)} for done in world.happenings.done()],
        "events_missed": [
            {"cloud": event.cloud, "action": event.action, "after": event.after, "at": event.at}
            for event in world.happenings.missed()
        ],
        "faults_unused": [
            {"cloud": rule.cloud, "op": rule.op, "error": rule.error} for rule in world.unused()
        ],
        "problems": world.problems(),
    }


def instance(entry: Entry, now: float) -> dict[str, Any]:
    """One instance: what it was, when it lived, what it cost."""
    dollars = entry.dollars(now)
    facts = {key: entry.facts.get(key, "") for key in ("name", "region", "zone", "type", "market")}
    gone = entry.gone if entry.gone is not None and entry.gone <= now else None
    return {
        "cloud": entry.cloud,
        "id": entry.id,
        **facts,
        "launched_at": round(entry.made, 3),
        "ended_at": None if gone is None else round(gone, 3),
        "state": "alive" if gone is None else "gone",
        "seconds": round(entry.seconds(now), 3),
        "price": entry.price,
        "dollars": None if dollars is None else round(dollars, 6),
        "moments": {name: round(at, 3) for name, at in entry.moments.items()},
    }


def _refused(call: Call) -> dict[str, Any]:
    return {
        "at": round(call.at, 3),
        "cloud": call.cloud,
        "op": call.op,
        "code": call.refused,
        "message": call.message,
        "by": call.by,
        **{key: value for key, value in call.facts.items() if value},
    }
