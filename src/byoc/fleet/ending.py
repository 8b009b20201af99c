"""Ending an instance, and being sure of it: the ends and looks that the reducer asks for, done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..clock import Clock
from ..errors import ProviderError, ThrottleError, TransientError
from ..providers.base import Instance, Provider
from .book import Book, Teller
from .events import (
    GONE,
    HELD,
    Command,
    End,
    EndAccepted,
    Ended,
    EndFailed,
    Event,
    Life,
    Look,
    Looked,
    LookFailed,
)
from .hours import Hours
from .ledger import seen_of
from .life import after, step
from .policy import USUAL


def follow(
    teller: Teller, provider: Provider, clock: Clock, commands: Sequence[Command]
) -> Instance | None:
    """Do what is to be done to end one instance, until nothing is; returns its last look.

    The last refusal is raised when the provider does not accept the end, or cannot be asked any
    more.
    """
    last: Instance | None = None
    error: ProviderError | None = None
    while (
        todo := next((one for one in commands if isinstance(one, (End, Look))), None)
    ) is not None:
        clock.sleep(max(0.0, todo.at - teller.now()))
        error = None
        try:
            if isinstance(todo, End):
                provider.terminate(todo.id)
                commands = teller.tell(EndAccepted(todo.token))
            else:
                last = provider.get(todo.id)
                commands = teller.tell(Looked(todo.token, seen_of(last)), last)
        except ProviderError as refused:
            error = refused
            commands = teller.tell(_failed(todo, refused))
            if not passing(refused):
                raise
    if error is not None:
        raise error
    return last


class Ender(NamedTuple):
    """Whom to ask for the end of instances, and whom to tell what came of it."""

    book: Book
    provider: Provider
    clock: Clock

    def see(
        self, token: str, instance_id: str, commands: Sequence[Command], seconds: float = 0.0
    ) -> tuple[bool, Instance | None]:
        """:func:`follow` the commands; whether the instance is gone, and its last look. One that
        the journal does not know is ended all the same, and watched for so many seconds."""
        last = follow(self.book, self.provider, self.clock, commands)
        life = self.book.life(token)
        if life is not None:
            return life.state == GONE, last
        last = end_and_wait(self.provider, instance_id, self.clock, seconds)
        return last.state == "gone", last


def _failed(todo: End | Look, error: ProviderError) -> Event:
    if isinstance(todo, End):
        return EndFailed(todo.token, again=passing(error))
    return LookFailed(todo.token)


def passing(error: ProviderError) -> bool:
    """Whether asking again may help."""
    return isinstance(error, (TransientError, ThrottleError))


def end_and_wait(
    provider: Provider, instance_id: str, clock: Clock, seconds: float, *, asked: bool = False
) -> Instance:
    """End an instance without its journal, and watch until its provider says that it is gone.

    ``asked``: its cloud has accepted its end already. One that goes on as if nobody had asked is
    asked again. Returns its last look, whose state is not ``gone`` when it has not ended after
    ``seconds``. Raises what the provider raises when it does not accept the request, or cannot be
    asked any more.
    """
    alone = _Alone(provider.name, instance_id, clock, seconds)
    commands = alone.tell(Ended(instance_id))
    if asked:
        commands = alone.tell(EndAccepted(instance_id))
    last = follow(alone, provider, clock, commands)
    return last if last is not None else provider.get(instance_id)


class _Alone:
    """The life of one instance that nobody wrote down."""

    def __init__(self, provider: str, instance_id: str, clock: Clock, seconds: float) -> None:
        self._hours = Hours(clock)
        life = Life(instance_id, provider, "", HELD, instance_id, created=0.0, reached=self.now())
        self._ledger = {instance_id: life}
        self._policy = USUAL._replace(end_wait=seconds)

    def now(self) -> float:
        return self._hours.now()

    def tell(self, event: Event, instance: Instance | None = None) -> tuple[Command, ...]:
        done = step(self._ledger, event, self.now(), self._policy)
        self._ledger = after(self._ledger, done)
        return done.commands
