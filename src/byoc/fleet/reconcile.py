"""What the providers' lists mean for the journal: a pure function, no request and no clock.

Rules: unknown is not failed, absent is not gone. An intent without an
instance is closed only after :data:`LIST_GRACE`; an instance that a list lacks is asked for by id;
one that was ended but is still listed is ended again. What another live client holds is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from ..providers.base import RUN_TAG, TOKEN_TAG, Instance
from ..state import InstanceRow, Intent

LIST_GRACE = 180.0
"""Seconds after which an instance that no list shows does not exist: clouds' reads may lag their
writes by a minute or two."""


class View(NamedTuple):
    """What the journal says: intents still to be followed, and live instances."""

    intents: Sequence[Intent]
    rows: Sequence[InstanceRow]


class Put(NamedTuple):
    """Write this row: an instance that was unknown, adopted, or has changed."""

    row: InstanceRow


class CloseIntent(NamedTuple):
    """The intent needs no following any more."""

    token: str
    state: str
    instance_id: str
    detail: str


class Ask(NamedTuple):
    """The list lacks this instance: ask the provider for it by id."""

    row: InstanceRow


class EndAgain(NamedTuple):
    """Ended before and still there: end it again."""

    row: InstanceRow


Change = Put | CloseIntent | Ask | EndAgain


def reconcile(
    view: View,
    listed: Mapping[str, Sequence[Instance]],
    held: AbstractSet[str],
    now: float,
    stays: AbstractSet[str] = frozenset(),
) -> list[Change]:
    """The changes that bring the journal in line with what the providers list.

    ``listed``: provider -> its instances of this owner; a provider that could not be asked is
    absent, and nothing is concluded about it. ``held``: lock names (launch tokens) that other
    live clients hold. ``now``: seconds since the epoch. ``stays``: providers whose machines still
    cost money after they have shut themselves down; such a one is told as ``ending`` with a detail
    and has to be ended.
    """
    here = {(i.provider, i.id): i for instances in listed.values() for i in instances}
    rows = {(row.provider, row.id): row for row in view.rows}
    tokens = {(i.provider, i.tags.get(TOKEN_TAG, "")): i for i in here.values()}
    ours = [one for one in view.intents if one.provider in listed and one.token not in held]
    changes: list[Change] = []
    followed: dict[tuple[str, str], Intent] = {}
    for intent in ours:
        found = tokens.get((intent.provider, intent.token))
        if found is not None:
            followed[found.provider, found.id] = intent
        changes += _intent(intent, found, now)
    for key, instance in here.items():
        if instance.tags.get(TOKEN_TAG, "") not in held:
            row = rows.get(key)
            changes += _listed(instance, row, followed.get(key))
            if instance.provider in stays and instance.state == "ending" and instance.detail:
                changes.append(EndAgain(row or row_of(instance, followed.get(key))))
    return changes + _unlisted(view.rows, listed, here.keys(), held)


def _unlisted(
    rows: Sequence[InstanceRow],
    listed: Mapping[str, Sequence[Instance]],
    here: AbstractSet[tuple[str, str]],
    held: AbstractSet[str],
) -> list[Change]:
    """What the journal has and the list of its provider lacks."""
    return [
        Ask(row)
        for row in rows
        if row.provider in listed and (row.provider, row.id) not in here and row.token not in held
    ]


def _intent(intent: Intent, found: Instance | None, now: float) -> list[Change]:
    if found is not None:
        return [CloseIntent(intent.token, "closed", found.id, "adopted after its client ended")]
    if intent.instance_id:
        return [CloseIntent(intent.token, "closed", intent.instance_id, "its instance is gone")]
    if now - intent.created > LIST_GRACE:
        return [CloseIntent(intent.token, "closed", "", "no instance appeared")]
    return []


def _listed(instance: Instance, row: InstanceRow | None, intent: Intent | None) -> list[Change]:
    if row is None:
        return [Put(row_of(instance, intent))]
    if row.state == "ending":
        return [] if instance.state == "ending" else [EndAgain(row)]
    fresh = row_of(instance, intent, row)
    return [] if fresh == row else [Put(fresh)]


def row_of(
    instance: Instance, intent: Intent | None = None, row: InstanceRow | None = None
) -> InstanceRow:
    """The journal's row for an instance: what was known stays, what the provider says is added.

    The host key that an intent or the journal pinned wins over what the provider tells.
    """
    old = row or _blank(instance, intent)
    waiting = old.state in ("idle", "lost") and instance.state == "running"
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


def _blank(instance: Instance, intent: Intent | None) -> InstanceRow:
    return InstanceRow(
        instance.provider,
        instance.id,
        instance.offer,
        host_key=intent.host_key if intent else "",
        price=instance.offer.price,
    )
