"""An instance in the hands of one run."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from ..clock import Clock
from ..errors import InstanceError, ProviderError
from ..providers.base import Instance, Provider, Traits
from ..state import Journal
from ..tasks import attempt
from ..transport.ssh import Connection
from .book import Book
from .closing import Closing
from .ending import Ender
from .events import Command, Ended, Lost, Noticed, Released
from .leases import Keeper
from .locks import UseLock, key_of
from .policy import END_WAIT
from .ports import Dialer, Reporter, Target, target_of
from .recall import note_loss, note_taken


class Surroundings(NamedTuple):
    """What a held instance works with; one set per fleet and provider."""

    provider: Provider
    journal: Journal
    dialer: Dialer
    reporter: Reporter
    clock: Clock
    connect_timeout: float
    book: Book
    closing: Closing
    leases: Keeper


class Held:
    """An instance that this process may use and nobody else does. Made by ``Fleet.acquire``.

    End it by exactly one of :meth:`release`, :meth:`end` and :meth:`lost`; the first one counts.
    Connections got from :meth:`connect` are the caller's to close. ``warm``: it was there already.
    ``connecting``: seconds that acquire itself spent on authenticating the first connection.
    ``health``: a line about its GPUs, where they were examined.
    """

    def __init__(
        self,
        instance: Instance,
        host_key: str,
        around: Surroundings,
        lock: UseLock,
        *,
        first: Connection,
        connecting: float,
        warm: bool,
        keep: bool,
        health: str = "",
    ) -> None:
        self.instance = instance
        self.host_key = host_key
        self.warm = warm
        self.connecting = connecting
        self.health = health
        self._around = around
        self._lock = lock
        self._keep = keep
        self._first: Connection | None = first
        self._done = False
        self._guard = threading.Lock()

    @property
    def _token(self) -> str:
        return key_of(self.instance)

    @property
    def traits(self) -> Traits:
        """What differs on this provider."""
        return self._around.provider.traits

    def connect(self, timeout: float | None = None) -> Connection:
        """An authenticated connection, the instance's host key checked against the pinned one.

        The first call returns the connection that acquire made; later calls, after a cut, make new
        ones. ``timeout``: seconds, None for the setting. Raises ConnectionLostError when nothing
        answers and HostKeyError when another machine does.
        """
        with self._guard:
            first, self._first = self._first, None
        if first is not None and first.alive:
            return first
        return self._around.dialer.connect(
            self.target, self._around.connect_timeout if timeout is None else timeout
        )

    @property
    def target(self) -> Target:
        """Where it answers and the key it must prove; for ``byoc ssh``."""
        return target_of(self.instance, self.host_key)

    def look(self) -> Instance:
        """The instance as its provider sees it now: is it gone, and why? Raises ProviderError."""
        return self._around.provider.get(self.instance.id)

    def noticed(self, seconds: float) -> None:
        """Its cloud takes it back in so many seconds, 0 when it already has: what is rented now is
        to be somewhere else first, and it is not kept warm."""
        self._around.book.tell(Noticed(self._token, seconds))
        note_taken(self._around.journal, self._around.clock, self.instance.offer)

    def release(self, idle: float) -> None:
        """Give it up: it stays warm for ``idle`` seconds under its agent's own clock.

        Ends it at once when ``idle`` is 0 or it was acquired with ``keep=False``.
        """
        if idle <= 0 or not self._keep:
            self.end()
            return
        if not self._finish():
            return
        until = self._around.book.now() + idle
        try:
            commands = self._around.book.tell(Released(self._token, until))
        except BaseException:  # a journal that cannot be written: others need not wait for this one
            self._around.leases.drop(self.instance)
            self._lock.release()
            raise
        if commands:  # its cloud takes it away: nobody is to rely on it
            self._end(commands)
            return
        try:
            self._around.leases.idle(self.instance, until)
        finally:
            self._lock.release()

    def end(self) -> None:
        """End the instance and wait until its provider says that it is gone.

        Raises InstanceError when it has not ended after a minute, or ProviderError when the
        provider refuses; its lease still ends it, and the next sweep asks again.
        """
        if self._finish():
            self._end(self._around.book.tell(Ended(self._token)))

    def _end(self, commands: Sequence[Command]) -> None:
        self._around.leases.drop(self.instance)
        book, provider, clock = self._around.book, self._around.provider, self._around.clock
        gone = False
        try:
            self._around.closing.ends(self.instance.provider, self.instance.offer.region)
            ender = Ender(book, provider, clock)
            gone, _ = ender.see(self._token, self.instance.id, commands, END_WAIT)
            if not gone:
                raise InstanceError(
                    f"instance {self.instance.id} has not ended after {END_WAIT:.0f} s",
                    hints=("see `byoc ps`; it ends by its own lease at the latest",),
                )
        finally:
            self._lock.release(remove=gone)
        book.check(self._token)

    def lost(self, reason: str) -> None:
        """Note that it stopped answering, and ask its provider to end it.

        The machine may live on where only the network is cut: its work is given to another one, so
        it must not go on. When the provider cannot be asked either, its lease ends it.
        """
        if not self._finish():
            return
        self._around.leases.drop(self.instance)
        book, around = self._around.book, self._around
        gone = False
        try:
            commands = book.tell(Lost(self._token, reason))
            ender = Ender(book, around.provider, around.clock)
            gone, last = ender.see(self._token, self.instance.id, commands)
            if last is not None:  # of what is gone some clouds tell no more than that
                note_loss(around.journal, around.clock, last._replace(offer=self.instance.offer))
        except ProviderError as error:
            around.reporter.notice(
                f"instance {self.instance.id} is lost and its provider cannot be asked to end "
                f"it ({error.message}); its own lease ends it"
            )
        finally:
            self._lock.release(remove=gone)
        book.check(self._token)

    @contextmanager
    def or_lost(self) -> Iterator[None]:
        """For what comes before it is handed to its user: whatever stops that ends the instance."""
        try:
            yield
        except BaseException as error:
            why = str(error) or type(error).__name__
            attempt(partial(self.lost, why))  # what stopped it is told, not what follows from that
            raise

    def _finish(self) -> bool:
        """True for the first caller; drops a connection that nobody took."""
        with self._guard:
            if self._done:
                return False
            self._done = True
            first, self._first = self._first, None
        if first is not None:
            first.close()
        return True
