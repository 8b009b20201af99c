"""The journal as a ledger: the one mapping between lives and the rows of intents and instances.

A life's decisions need little; its rows keep what people and connections need besides (address,
host key, price). What only one process knows of a life (:func:`~byoc.fleet.life.at_rest`) is on no
disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..providers.base import RUN_TAG, TOKEN_TAG, Instance
from ..resources import Offer
from ..state import InstanceRow, Intent, Journal
from .events import (
    BOOTING,
    CLOSED,
    DRAINING,
    ENDING,
    GONE,
    HELD,
    IDLE,
    INTENDED,
    MADE,
    REFUSED,
    UNSURE,
    Life,
    Seen,
)

LONG_AGO = 1.0
"""A second of the epoch for what was closed at a time that nobody wrote down."""

_ROW_STATES = {
    "draining": DRAINING,
    "ending": ENDING,
    "lost": ENDING,
    "gone": GONE,
}
_STATES = {HELD: "running", DRAINING: "draining", IDLE: "idle", GONE: "gone"}
_INTENT_STATES = {INTENDED: "open", UNSURE: "open", REFUSED: "failed"}


class Rows(NamedTuple):
    """What the journal has of a life."""

    intent: Intent | None = None
    row: InstanceRow | None = None


def seen_of(instance: Instance) -> Seen:
    """The part of an instance that decisions need."""
    return Seen(
        token=instance.tags.get(TOKEN_TAG, ""),
        id=instance.id,
        state=instance.state,
        told=bool(instance.detail) or instance.failure is not None,
        origin=instance.origin,
        run=instance.tags.get(RUN_TAG, ""),
        region=instance.offer.region,
        started=instance.started,
    )


def life_of(token: str, rows: Rows) -> Life:
    """The life that these rows tell of; there is at least one of them."""
    intent, row = rows
    if row is not None:
        return _of_row(token, intent, row)
    assert intent is not None
    life = Life(
        token,
        intent.provider,
        intent.offer.region,
        id=intent.instance_id,
        run=intent.run,
        node=intent.node,
        created=intent.created,
        deadline=intent.deadline,
        missing=intent.missing,
        missed=intent.missed,
        why=intent.detail,
    )
    if intent.state == "open":
        return life._replace(state=UNSURE if intent.detail else INTENDED, id="")
    if intent.state == "launched" and intent.instance_id:
        return life._replace(state=BOOTING)
    state = REFUSED if intent.state == "failed" else GONE
    return life._replace(state=state, ended=max(intent.created, LONG_AGO))


def _of_row(token: str, intent: Intent | None, row: InstanceRow) -> Life:
    state = _ROW_STATES.get(row.state, HELD if row.reached else BOOTING)
    if row.state == "idle" and row.reached and row.idle_until > 0:
        state = IDLE
    return Life(
        token,
        row.provider,
        row.offer.region,
        state,
        id=row.id,
        run=row.run,
        node=row.node,
        created=intent.created if intent else row.started,
        deadline=intent.deadline if intent else 0.0,
        reached=row.reached,
        idle_until=row.idle_until if state == IDLE else 0.0,
        ended=max(row.ended, LONG_AGO) if state == GONE else 0.0,
        orphaned=row.orphaned if state != GONE else 0.0,
        missing=row.missing,
        missed=row.missed,
        why=row.detail,
        lost=row.state == "lost",
    )


def rows_of(life: Life, known: Rows, instance: Instance | None = None) -> Rows:
    """The rows as the life wants them. ``known``: as they are; ``instance``: as it was just seen,
    whose address and the like are taken over."""
    intent = known.intent
    if intent is not None:
        intent = intent._replace(
            state=_intent_state(life),
            instance_id=life.id or intent.instance_id,
            detail=_intent_detail(life, intent),
            deadline=life.deadline or intent.deadline,
            node=life.node,
            missing=life.missing if life.state in (INTENDED, UNSURE) else 0,
            missed=life.missed if life.state in (INTENDED, UNSURE) else 0.0,
        )
    if not life.id or life.state not in (*MADE, GONE):
        return Rows(intent, None)
    row = known.row
    if instance is not None and instance.state != "gone":  # of one that is gone little is told
        row = row_of(instance, intent, row)
    elif row is None:
        if intent is None:
            return Rows()
        row = _blank(life.provider, life.id, intent.offer, intent)
    return Rows(intent, _filled(life, row, instance))


def _intent_state(life: Life) -> str:
    if life.state == BOOTING:  # of one that has no client there is nothing to follow but its row
        return "closed" if life.orphaned else "launched"
    return _INTENT_STATES.get(life.state, "closed")


def _intent_detail(life: Life, intent: Intent) -> str:
    if life.state in (HELD, DRAINING, IDLE):
        return "reached"
    if life.state == INTENDED:  # with a detail it would be one that nobody asks for any more
        return ""
    return life.why or (intent.detail if life.state in (*CLOSED, ENDING) else "")


def _filled(life: Life, row: InstanceRow, instance: Instance | None) -> InstanceRow:
    if life.state == BOOTING:
        state = row.state if row.state in ("pending", "running") else "pending"
    elif life.state == ENDING:
        state = "lost" if life.lost else "ending"
    else:
        state = _STATES[life.state]
    detail = life.why
    if instance is not None and instance.detail and instance.detail not in detail:
        detail = "; ".join(text for text in (detail, instance.detail) if text)
    return row._replace(
        token=life.token,
        state=state,
        run=life.run,
        node=life.node,
        reached=life.reached,
        idle_until=life.idle_until,
        ended=life.ended,
        orphaned=life.orphaned,
        missing=life.missing,
        missed=life.missed,
        detail=detail,
    )


def row_of(
    instance: Instance, intent: Intent | None = None, row: InstanceRow | None = None
) -> InstanceRow:
    """The journal's row for an instance: what was known stays, what the provider says is added.

    The host key that an intent or the journal pinned wins over what the provider tells.
    """
    old = row or _blank(instance.provider, instance.id, instance.offer, intent)
    waiting = old.state in ("idle", "lost", "draining") and instance.state == "running"
    return old._replace(
        offer=instance.offer,
        token=instance.tags.get(TOKEN_TAG, ""),
        host_key=old.host_key or instance.host_key,
        address=instance.address or old.address,
        port=instance.port or old.port,
        user=instance.user or old.user,
        run=old.run or instance.tags.get(RUN_TAG, ""),
        state=old.state if waiting else instance.state,
        started=instance.started or old.started,
        detail=instance.detail or old.detail,
    )


def _blank(provider: str, instance_id: str, offer: Offer, intent: Intent | None) -> InstanceRow:
    host_key, started = (intent.host_key, intent.created) if intent else ("", 0.0)
    return InstanceRow(
        provider, instance_id, offer, host_key=host_key, price=offer.price, started=started
    )


# --- reading --------------------------------------------------------------------------------


def read(journal: Journal, tokens: Sequence[str], run: str = "") -> dict[str, Rows]:
    """The rows of these tokens, and of that run, by token."""
    intents = journal.launches(tokens, run)
    wanted = dict.fromkeys((*tokens, *(one.token for one in intents)))
    return _joined(intents, journal.launched(list(wanted)))


def read_open(journal: Journal, tokens: Iterable[str] = (), run: str = "") -> dict[str, Rows]:
    """The rows of all lives that may cost money, and of these tokens and that run besides."""
    intents, rows = journal.intents(), journal.instances()
    wanted = [one.token for one in intents] + [one.token for one in rows if one.token]
    return read(journal, list(dict.fromkeys((*wanted, *tokens))), run)


def _joined(intents: Iterable[Intent], rows: Iterable[InstanceRow]) -> dict[str, Rows]:
    found: dict[str, Rows] = {one.token: Rows(one) for one in intents}
    for row in rows:
        if row.token:
            found[row.token] = found.get(row.token, Rows())._replace(row=row)
    return found


def lives_of(found: Mapping[str, Rows]) -> dict[str, Life]:
    """The lives that rows tell of, by token."""
    return {token: life_of(token, rows) for token, rows in found.items()}
