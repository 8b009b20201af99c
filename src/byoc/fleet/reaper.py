"""Ending what nobody has a use for: the hands of :mod:`byoc.fleet.reap`.

One after the other, each looked at and judged once more right before it is ended, under the lock of
its launch where this data folder knows that. Instances first; then, once they are gone, what they
have left behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from ..errors import ProviderError
from ..providers.base import TOKEN_TAG, Instance, Provider
from ..tasks import side_by_side
from .audit import Audit, Auditor, Item
from .ending import end_and_wait, passing
from .locks import UseLock
from .policy import ACCEPT_WAIT, END_PAUSE, END_PAUSE_MAX, END_WAIT, MAX_ENDS
from .reap import LIVE, NAMED, Verdict

SEEN_AT_ONCE = 16
"""Instances that are watched while they end."""

ENDED = "ended"
"""It is gone."""
ENDING = "ending"
"""Its cloud has accepted its end, and it was not gone after a minute."""
FAILED = "failed"
"""Its cloud did not accept its end."""
LEFT = "left"
"""It was left alone: a second look has found it in use, or too many would be ended at once."""
WOULD = "would end"
"""Nothing was ended, as was asked for."""


class Done(NamedTuple):
    """What became of one thing that was to be ended."""

    item: Item
    outcome: str
    detail: str = ""


class Reaped(NamedTuple):
    """``audit``: all that was found at first; ``done``: what was to be ended, and what became of
    it; ``refused``: clouds on which too many would have been ended at once, and how many."""

    audit: Audit
    done: tuple[Done, ...]
    refused: Mapping[str, int]


class Reaper:
    """Judges and ends. Nothing of what a live client holds, of a warm instance, of anything that
    byoc did not launch."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._clock = auditor.clock
        self._journal = auditor.journal

    def reap(
        self,
        names: Sequence[str] = (),
        *,
        named: str = "",
        mine: bool = False,
        however_many: bool = False,
        dry: bool = False,
    ) -> Reaped:
        """End what is to be ended. ``names``, ``mine``: see :meth:`Auditor.look`; ``named``: only
        what belongs to this run, or to those that begin with its name, and that at once;
        ``however_many``: also more than :data:`~byoc.fleet.policy.MAX_ENDS` instances of one cloud;
        ``dry``: end nothing.

        What a cloud refuses is told in the answer.
        """
        audit = self._auditor.look(names, mine=mine, named=named)
        chosen = _chosen(audit.items, named)
        refused = {} if however_many else _too_many(chosen)
        allowed = [item for item in chosen if item.thing.provider not in refused]
        done = [
            Done(item, LEFT, "too many would be ended at once")
            for item in chosen
            if item.thing.provider in refused
        ]
        if dry:
            return Reaped(audit, (*done, *(Done(item, WOULD) for item in allowed)), refused)
        first = [item for item in allowed if item.thing.kind == "instance"]
        done += self._end_instances(first, named)
        rest = [item for item in allowed if item.thing.kind != "instance"]
        if first:  # what they leave behind shows, and is nobody's, once they are gone
            rest = self._left_by(first, rest, mine, named, refused)
        done += [self._end_rest(item) for item in _in_order(rest)]
        return Reaped(audit, tuple(done), refused)

    # -- instances ----------------------------------------------------------------------------

    def _end_instances(self, items: Sequence[Item], named: str) -> list[Done]:
        locks: dict[str, UseLock] = {}
        try:
            asked = [self._ask(item, named, locks) for item in items]
            accepted = [done.item for done in asked if done.outcome == ENDING]
            seen = side_by_side([partial(self._see, item) for item in accepted], SEEN_AT_ONCE)
            after = {done.item.thing.id: done for done in seen}
            for done in seen:
                lock = locks.pop(_token(done.item), None)
                if lock is not None:
                    lock.release(remove=done.outcome == ENDED)
            return [after.get(done.item.thing.id, done) for done in asked]
        finally:
            for lock in locks.values():
                lock.release()

    def _ask(self, item: Item, named: str, locks: dict[str, UseLock]) -> Done:
        """One instance: is it still so? Then ask for its end. Keeps its lock in ``locks``."""
        token = _token(item)
        if item.case.known.here and item.verdict.word != NAMED:
            lock = UseLock.take(self._auditor.home, token)
            if lock is None:
                live = item._replace(verdict=Verdict(LIVE, "a client has taken it meanwhile"))
                return Done(live, LEFT, live.verdict.why)
            locks[token] = lock
        provider = self._provider(item)
        try:
            thing = provider.get(item.thing.id)
            if thing.state == "gone":
                outcome = ENDED if thing.detail else LEFT
                return Done(item, outcome, thing.detail or "its cloud does not show it any more")
            now = self._auditor.again(item, thing, named, locked=token in locks)
            if not now.verdict.ends:
                return Done(now, LEFT, now.verdict.why)
            self._note(item, state="ending", idle_until=0.0, detail=f"reaped: {item.verdict.why}")
            self._accepted(provider, item.thing.id)
        except ProviderError as error:
            return Done(item, FAILED, error.message)
        return Done(item, ENDING)

    def _accepted(self, provider: Provider, thing: str, patience: float = ACCEPT_WAIT) -> None:
        """Have a cloud accept an end. Raises what it raises, after ``patience`` at the latest."""
        deadline, pause = self._clock.mono() + patience, END_PAUSE
        while True:
            try:
                provider.terminate(thing)
                return
            except ProviderError as error:
                if not passing(error) or self._clock.mono() + pause > deadline:
                    raise
            self._clock.sleep(pause)
            pause = min(pause * 2, END_PAUSE_MAX)

    def _see(self, item: Item) -> Done:
        """Watch an instance end; one that goes on as if nobody had asked is asked again."""
        thing, provider = item.thing.id, self._provider(item)
        try:
            now = end_and_wait(provider, thing, self._clock, END_WAIT, asked=True)
        except ProviderError as error:
            return Done(item, ENDING, error.message)
        if now.state != "gone":
            return Done(item, ENDING, f"not gone after {END_WAIT:.0f} s")
        self._note(item, state="gone", ended=self._clock.wall(), detail=now.detail)
        return Done(item, ENDED, now.detail)

    def _note(self, item: Item, **changes: str | float | None) -> None:
        """In the journal, where it is one of this data folder's own."""
        self._journal.update_instance(item.thing.provider, item.thing.id, **changes)

    # -- what is left behind ------------------------------------------------------------------

    def _left_by(
        self,
        ended: Sequence[Item],
        rest: Sequence[Item],
        mine: bool,
        named: str,
        refused: Mapping[str, int],
    ) -> list[Item]:
        """What may be removed once those instances are gone."""
        clouds = sorted({item.thing.provider for item in (*ended, *rest)})
        found = self._auditor.look(clouds, mine=mine, named=named).items
        return [
            item
            for item in _chosen(found, named)
            if item.thing.kind != "instance" and item.thing.provider not in refused
        ]

    def _end_rest(self, item: Item) -> Done:
        try:
            self._accepted(self._provider(item), item.thing.id, END_WAIT)
        except ProviderError as error:
            return Done(item, FAILED, error.message)
        return Done(item, ENDED)

    def _provider(self, item: Item) -> Provider:
        return self._auditor.providers[item.thing.provider]


def _chosen(items: Sequence[Item], named: str) -> list[Item]:
    """What is to be ended: of a named run nothing else."""
    return [
        item for item in items if item.verdict.ends and (not named or item.verdict.word == NAMED)
    ]


def _too_many(chosen: Sequence[Item]) -> dict[str, int]:
    """The clouds on which so many instances would be ended that it is rather a mistake."""
    counted = Counter(
        item.thing.provider
        for item in chosen
        if item.thing.kind == "instance" and item.verdict.word != NAMED
    )
    return {name: count for name, count in sorted(counted.items()) if count > MAX_ENDS}


def _in_order(items: Sequence[Item]) -> list[Item]:
    """Disks and addresses, which cost money, before what may have to wait for them."""
    order = {"disk": 0, "image": 1, "address": 2}
    return sorted(items, key=lambda item: (order.get(item.thing.kind, 3), item.thing.id))


def _token(item: Item) -> str:
    thing: Instance = item.thing
    return thing.tags.get(TOKEN_TAG, "")
