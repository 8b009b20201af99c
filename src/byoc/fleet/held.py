"""An instance in the hands of one run."""

from __future__ import annotations

import threading
from typing import NamedTuple

from ..clock import Clock
from ..errors import InstanceError, ProviderError
from ..providers.base import Instance, Provider, Traits
from ..state import Journal
from ..transport.ssh import Connection
from .ending import END_WAIT, ask_to_end, end_and_wait
from .locks import UseLock
from .ports import Dialer, Reporter, Target
from .recall import note_loss


class Surroundings(NamedTuple):
    """What a held instance works with; one set per fleet and provider. ``loose``: provider and id
    of what was asked to end and has not been seen gone."""

    provider: Provider
    journal: Journal
    dialer: Dialer
    reporter: Reporter
    clock: Clock
    connect_timeout: float
    loose: list[tuple[str, str]]


class Held:
    """An instance that this process may use and nobody else does. Made by ``Fleet.acquire``.

    End it by exactly one of :meth:`release`, :meth:`end` and :meth:`lost`; the first one counts.
    Connections got from :meth:`connect` are the caller's to close. ``warm``: it was there already.
    ``connecting``: seconds that acquire itself spent on authenticating the first connection.
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
    ) -> None:
        self.instance = instance
        self.host_key = host_key
        self.warm = warm
        self.connecting = connecting
        self._around = around
        self._lock = lock
        self._keep = keep
        self._first: Connection | None = first
        self._done = False
        self._guard = threading.Lock()

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
        one = self.instance
        return Target(one.address, one.port, one.user, self.host_key)

    def look(self) -> Instance:
        """The instance as its provider sees it now: is it gone, and why? Raises ProviderError."""
        return self._around.provider.get(self.instance.id)

    def release(self, idle: float) -> None:
        """Give it up: it stays warm for ``idle`` seconds under its agent's own clock.

        Ends it at once when ``idle`` is 0 or it was acquired with ``keep=False``.
        """
        if idle <= 0 or not self._keep:
            self.end()
            return
        if not self._finish():
            return
        until = self._around.clock.wall() + idle
        self._note(state="idle", idle_until=until)
        self._lock.release()

    def end(self) -> None:
        """End the instance and wait until its provider says that it is gone.

        Raises InstanceError when it has not ended after a minute, or ProviderError when the
        provider refuses; its lease still ends it, and the next sweep asks again.
        """
        if not self._finish():
            return
        gone = False
        try:
            try:
                self._note(state="ending", idle_until=0.0)
            finally:  # a journal that cannot be written must not keep it alive
                last = end_and_wait(
                    self._around.provider, self.instance.id, self._around.clock, END_WAIT
                )
            gone = last.state == "gone"
            if not gone:
                raise InstanceError(
                    f"instance {self.instance.id} has not ended after {END_WAIT:.0f} s",
                    hints=("see `byoc ps`; it ends by its own lease at the latest",),
                )
            self._note(state="gone", ended=self._around.clock.wall(), detail=last.detail)
        finally:
            self._lock.release(remove=gone)

    def lost(self, reason: str) -> None:
        """Note that it stopped answering, and ask its provider to end it.

        The machine may live on where only the network is cut: its work is given to another one, so
        it must not go on. When the provider cannot be asked either, its lease ends it.
        """
        if not self._finish():
            return
        gone = False
        try:
            self._note(state="lost", detail=reason)
        finally:
            try:
                ask_to_end(self._around.provider, self.instance.id, self._around.clock)
                last = self._around.provider.get(self.instance.id)
                note_loss(self._around.journal, self._around.clock, last)
                gone = last.state == "gone"
                state, ended = ("gone", self._around.clock.wall()) if gone else ("ending", 0.0)
                detail = "; ".join(text for text in (reason, last.detail) if text)
                self._note(state=state, ended=ended, detail=detail)
                if not gone:
                    self._around.loose.append((last.provider, last.id))
            except ProviderError as error:
                self._around.reporter.notice(
                    f"instance {self.instance.id} is lost and its provider cannot be asked to end "
                    f"it ({error.message}); its own lease ends it"
                )
            finally:
                self._lock.release(remove=gone)

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

    def _note(self, **changes: str | float | None) -> None:
        provider = self.instance.provider
        self._around.journal.update_instance(provider, self.instance.id, **changes)
